"""Archiving and purging in batches, skipping rows that can't be moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import psycopg

from zeke_queue.core.validation import check_limit
from zeke_queue.errors import LockTimeoutError, StatementTimeoutError
from zeke_queue.storage.postgres import rows
from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from zeke_queue.storage.postgres.connection_pool import ConnectionPool

Move: TypeAlias = Literal["archive", "purge"]

BAD_ROWS: Final = 10
"""Bad rows per batch that raise the error: that many failures are not caused by the rows."""


PARTS: Final = 8
"""Statements per call at most, where batches are smaller than asked for or are being halved."""

GROW_AFTER: Final = 20
"""Batches of a reduced size that must succeed in a row before the size is doubled."""


class BatchSize:
    """The number of rows that one statement moves: halved after a timeout, doubled again after successes."""

    def __init__(self) -> None:
        self._size: int | None = None
        self._successes = 0

    def of(self, limit: int) -> int:
        """Return the size of a batch of ``limit`` rows at most."""
        return limit if self._size is None else min(limit, self._size)

    def halve(self, size: int) -> None:
        """Halve the size after a batch that took too long."""
        self._size, self._successes = max(1, size // 2), 0

    def succeed(self, limit: int) -> None:
        """Double a reduced size after enough batches."""
        if self._size is None:
            return
        self._successes += 1
        if self._successes >= GROW_AFTER:
            self._size, self._successes = self._size * 2, 0
            if self._size >= limit:
                self._size = None


class PostgresRetention:
    """``archive`` and ``purge`` of ``storage.jobs.JobStore`` on Postgres."""

    _pool: ConnectionPool
    _batch_sizes: dict[Move, BatchSize]

    async def archive(self, after: float, limit: int) -> int:
        """Move jobs that ended more than ``after`` seconds ago to the archive."""
        return await self._move("archive", after, limit)

    async def purge(self, after: float, limit: int) -> int:
        """Delete jobs archived more than ``after`` seconds ago, with their events."""
        return await self._move("purge", after, limit)

    async def _move(self, move: Move, after: float, limit: int) -> int:
        """Move up to ``limit`` rows, in smaller batches while the server is too slow for one."""
        check_limit(limit)
        size, moved = self._batch_sizes.setdefault(move, BatchSize()), 0
        for _ in range(PARTS):
            part = size.of(limit)
            if moved + part > limit:
                break
            try:
                found = await self._move_batch(_Batch(self._pool, move, after, part))
            except StatementTimeoutError as error:
                if part == 1:
                    raise
                size.halve(part)
                get_logger().warning(f"{move}_batch_halved", rows=part, error=str(error))
                continue
            size.succeed(limit)
            moved += found
            if not found:
                break
        return moved

    async def _move_batch(self, batch: _Batch) -> int:
        try:
            return await batch.move(None)
        except LockTimeoutError:
            ids = await batch.ids()
            # If the last row can't be moved either, it is the table that is locked, and no row is bad.
            return await batch.move(ids[-1:]) + await batch.move_in_parts(ids[:-1])
        except psycopg.Error:
            # A trigger or a foreign key of another table prevents it.
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
        except (psycopg.Error, LockTimeoutError, StatementTimeoutError) as error:
            if len(ids) == 1:
                self._bad += 1
                if self._bad > BAD_ROWS:
                    raise
                get_logger().error(f"{self._name}_row_failed", jobId=str(ids[0]), error=str(error).strip())
                return 0
        half = len(ids) // 2
        return await self.move_in_parts(ids[:half]) + await self.move_in_parts(ids[half:])
