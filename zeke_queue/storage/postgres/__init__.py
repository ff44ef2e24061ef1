"""The storage on Postgres, on the tables that pg-boss 9 left."""

from zeke_queue.storage.postgres import migrate
from zeke_queue.storage.postgres.store import PostgresStorage

__all__ = ["PostgresStorage", "migrate"]
