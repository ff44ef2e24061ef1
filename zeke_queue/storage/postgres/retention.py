"""Archiving and purging in batches, skipping rows that can't be moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import psycopg

from zeke_queue.core.timeouts import SLOW_MAX
from zeke_queue.core.validation import check_limit
from zeke_queue.errors import LockTimeoutError, StatementTimeoutError, TimeLimitError
from zeke_queue.storage.postgres import rows
from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from zeke_queue.storage.postgres.connection_pool import ConnectionPool

Move: TypeAlias = Literal["archive", "purge"]

BAD_ROWS: Final = 10
"""Bad rows of a batch beyond which the error is raised: that many failures are not caused by the rows."""

_FAILED: Final = (psycopg.Error, TimeLimitError)
"""What a row may cause: errors of triggers and foreign keys, locks of other tables, and slowness."""
PARTS: Final = 8
"""Successful statements per call at most, while batches are smaller than asked for."""

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
        """Move up to ``limit`` rows: in one statement, or in parts where that is not possible."""
        size = self._batch_sizes.setdefault(move, BatchSize())
        batch = _Batch(self._pool, move, after, check_limit(limit), size)
        if size.of(limit) == limit:
            try:
                moved = await batch.move(None)
            except _FAILED as error:
                batch.note(error, limit)
            else:
                size.succeed(limit)
                return moved
        return await batch.move_in_parts(await batch.ids())


class _Batch:
    """The rows that one call moves, together or in parts."""

    def __init__(self, pool: ConnectionPool, move: Move, after: float, limit: int, size: BatchSize) -> None:
        self._pool = pool
        self._name = move
        self._after = rows.microseconds(after)
        self._limit = limit
        self._size = size
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
        """Move the rows that can be, by halves; report and skip rows that can't.

        A part that takes too long is halved too, and those after it are no larger. At the first lock, and
        after ``SLOW_MAX`` slow rows in a row, the last row is tried: if it fails in the same way, the table
        or the server is the reason, and no row is.
        """
        moved, parts, slow, most, is_probed = 0, 0, 0, self._limit, False
        rest = list(ids)
        while rest and (parts < PARTS or self._size.of(self._limit) == self._limit):
            part = rest[: min(most, self._size.of(self._limit))]
            try:
                moved += await self.move(part)
            except _FAILED as error:
                self.note(error, len(part))
                if isinstance(error, LockTimeoutError) and not is_probed:
                    is_probed = True
                    moved += await self._probe(rest[-1:], error)
                most = len(part) // 2
                if most == 0:
                    slow = slow + 1 if isinstance(error, StatementTimeoutError) else 0
                    if slow == SLOW_MAX:
                        slow = 0
                        moved += await self._probe(rest[-1:], error)
                    self._skip(part[0], error)
                    most = self._limit
                    rest = rest[1:]
            else:
                slow = 0
                parts += 1
                self._size.succeed(self._limit)
                rest = rest[len(part) :]
        return moved

    async def _probe(self, last: Sequence[UUID], error: Exception) -> int:
        """Move the last row, and return how many were moved.

        Raises:
            Exception: that row's, if it is of the same kind as ``error``.
        """
        try:
            return await self.move(last)
        except type(error):
            raise
        except _FAILED:
            return 0

    def note(self, error: Exception, size: int) -> None:
        """Make the following batches smaller if the server was too slow for one of this size."""
        if isinstance(error, StatementTimeoutError):
            self._size.halve(size)
            get_logger().warning(f"{self._name}_batch_halved", rows=size, error=str(error))

    def _skip(self, job_id: UUID, error: Exception) -> None:
        """Report a row, or raise the error if it is not caused by the rows."""
        self._bad += 1
        if self._bad > BAD_ROWS:
            raise error
        get_logger().error(f"{self._name}_row_failed", jobId=str(job_id), error=str(error).strip())
