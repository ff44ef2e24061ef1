"""Executors of handlers outside the loop: threads and child processes."""
