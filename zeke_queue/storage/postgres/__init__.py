"""The storage on Postgres, on the tables that pg-boss 9 left."""

from zeke_queue.storage.postgres import migrate

__all__ = ["migrate"]
