"""Highlights, their scores, and the insights of teams."""
