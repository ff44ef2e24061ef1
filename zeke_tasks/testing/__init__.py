"""Doubles of the AI, the web and YouTube for tests, and the fixtures that give them."""
