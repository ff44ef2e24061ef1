"""The tasks on highlights of stories, their relevance, and the insights of teams."""
