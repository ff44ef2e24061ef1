"""Doubles of the AI, the web and YouTube for tests, and their pytest fixtures."""
