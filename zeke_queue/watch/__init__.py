"""Subscriptions to changes of jobs, over one path to the storage."""
