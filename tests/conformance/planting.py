"""Rows written past a storage, as pg-boss 9 or a person with psql writes them."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import LiteralString, Protocol

import psycopg
from psycopg import sql

from zeke_queue.model import Job
from zeke_queue.storage.memory import MemoryStorage

COLUMNS = {
    "retrycount": "retry_count",
    "retrylimit": "retry_limit",
    "retrydelay": "retry_delay",
    "retrybackoff": "retry_backoff",
    "retrydelaymax": "retry_delay_max",
    "startafter": "start_after",
    "startedon": "started_on",
    "singletonkey": "singleton_key",
    "singletonon": "singleton_on",
    "createdon": "created_on",
    "completedon": "completed_on",
    "keepuntil": "keep_until",
    "groupkey": "group_key",
    "waitsfor": "waits_for",
    "awaited": "awaited",
    "state": "row_state",
    **{n: n for n in ("id", "name", "priority", "attempt", "worker", "policy", "parent")},
}

EMPTY: LiteralString = """
DELETE FROM pgboss.job;
DELETE FROM pgboss.archive;
DELETE FROM pgboss.zeke_any_schedule;
DELETE FROM pgboss.queue;
DELETE FROM pgboss.worker;
DELETE FROM pgboss.watcher;
DELETE FROM pgboss.job_event;
DELETE FROM pgboss.api_session;
DELETE FROM pgboss.api_key;
DELETE FROM pgboss.rate_limit;
SELECT setval('pgboss.job_event_seq_seq', 1, false)
"""
"""Deletes every row that a test may have left; for few rows this takes a tenth of the time of TRUNCATE."""


class Plant(Protocol):
    """Writes a live row, which replaces one with the same id."""

    async def __call__(self, job: Job) -> None: ...


class PlantInMemory:
    def __init__(self, storage: MemoryStorage) -> None:
        self._storage = storage

    async def __call__(self, job: Job) -> None:
        self._storage.plant([job])


class PlantInPostgres:
    def __init__(self, dsn: str) -> None:
        self._dsn = dsn

    async def __call__(self, job: Job) -> None:
        values = {column: getattr(job, field) for column, field in COLUMNS.items()}
        values["state"] = job.row_state.value
        values["expirein"] = timedelta(seconds=job.expire_in)
        for column in ("data", "meta", "output"):
            value = getattr(job, column)
            values[column] = None if value is None else json.dumps(value)
        insert = sql.SQL("INSERT INTO pgboss.job ({}) VALUES ({})").format(
            sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(map(sql.Placeholder, values))
        )
        async with await psycopg.AsyncConnection.connect(self._dsn) as connection:
            await connection.execute("DELETE FROM pgboss.job WHERE id = %s", [job.id])
            await connection.execute(insert, values)
