"""The domain's store on Postgres, in the schema ``zeke`` of the jobs' database."""

from __future__ import annotations

from zeke_tasks.store.postgres.repository import PostgresRepository

__all__ = ["PostgresRepository"]
