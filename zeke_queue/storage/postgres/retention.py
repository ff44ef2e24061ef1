"""Archiving and purging in batches, skipping rows that can't be moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import psycopg

from zeke_queue.core.validation import check_limit
from zeke_queue.storage.postgres import rows
from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from zeke_queue.storage.postgres.connection_pool import ConnectionPool

Move: TypeAlias = Literal["archive", "purge"]

BAD_ROWS: Final = 10
"""Bad rows per batch that raise the error: that many failures are not caused by the rows."""


class PostgresRetention:
    """``archive`` and ``purge`` of ``storage.jobs.JobStore`` on Postgres."""

    _pool: ConnectionPool

    async def archive(self, after: float, limit: int) -> int:
        """Move jobs that ended more than ``after`` seconds ago to the archive."""
        return await self._move("archive", after, limit)

    async def purge(self, after: float, limit: int) -> int:
        """Delete jobs archived more than ``after`` seconds ago, with their events."""
        return await self._move("purge", after, limit)

    async def _move(self, move: Move, after: float, limit: int) -> int:
        batch = _Batch(self._pool, move, after, check_limit(limit))
        try:
            return await batch.move(None)
        except psycopg.Error:
            # A trigger, or a foreign key of another table, prevents it.
            return await batch.move_in_parts(await batch.ids())


class _Batch:
    """The rows that one call moves, together or in parts."""

    def __init__(self, pool: ConnectionPool, move: Move, after: float, limit: int) -> None:
        self._pool = pool
        self._name = move
        self._after = rows.microseconds(after)
        self._limit = limit
        self._bad = 0

    async def ids(self) -> list[UUID]:
        """Return the ids of the rows, oldest first."""
        name = "ended" if self._name == "archive" else "archived"
        found = await self._pool.run(name, {"after": self._after, "limit": self._limit})
        return [row[0] for row in found]

    async def move(self, ids: Sequence[UUID] | None) -> int:
        """Move these rows, or all, in one statement; return how many."""
        parameters = {"after": self._after, "ids": None if ids is None else list(ids)}
        found = await self._pool.run(self._name, parameters, limit=self._limit)
        return found[0][0]

    async def move_in_parts(self, ids: Sequence[UUID]) -> int:
        """Move the rows that can be, by halves; report and skip rows that can't."""
        if not ids:
            return 0
        try:
            return await self.move(ids)
        except psycopg.Error as error:
            if len(ids) == 1:
                self._bad += 1
                if self._bad > BAD_ROWS:
                    raise
                get_logger().error(f"{self._name}_row_failed", jobId=str(ids[0]), error=str(error).strip())
                return 0
        half = len(ids) // 2
        return await self.move_in_parts(ids[:half]) + await self.move_in_parts(ids[half:])
