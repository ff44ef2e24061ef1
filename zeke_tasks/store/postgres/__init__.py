"""The domain's store on Postgres, in the schema ``zeke`` of the database that keeps the jobs."""

from __future__ import annotations

from zeke_tasks.store.postgres.repository import PostgresRepository

__all__ = ["PostgresRepository"]
