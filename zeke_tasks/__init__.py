"""Zeke's catalog: the tasks that turn feeds and pages into stories, and the store that keeps the stories."""
