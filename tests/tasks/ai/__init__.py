"""Asking an AI: OpenAI on loopback, and those that are none."""
