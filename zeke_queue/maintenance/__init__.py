"""Rescue of expired and lost jobs, archiving, purging, and cron."""
