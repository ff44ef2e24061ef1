"""The Postgres storage, on the tables of pg-boss 9."""

from zeke_queue.storage.postgres import migrate
from zeke_queue.storage.postgres.store import PostgresStorage

__all__ = ["PostgresStorage", "migrate"]
