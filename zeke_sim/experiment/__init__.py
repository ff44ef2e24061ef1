"""Scenarios, runs over many seeds, replay, shrinking and coverage."""
