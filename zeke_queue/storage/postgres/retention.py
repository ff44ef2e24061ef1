"""Archiving and purging in batches, skipping rows that can't be moved."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from uuid import UUID

import psycopg

from zeke_queue.core.timeouts import DUTY_SECONDS, RETRY_SECONDS
from zeke_queue.core.validation import check_limit
from zeke_queue.errors import LockTimeoutError, StatementTimeoutError, TimeLimitError
from zeke_queue.storage.postgres import rows
from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_queue.storage.postgres.connection_pool import ConnectionPool
    from zeke_queue.system.clock import Clock

Move: TypeAlias = Literal["date", "archive", "purge"]

LISTS: Final[dict[str, str]] = {"date": "undated", "archive": "ended", "purge": "archived"}
"""The statement that returns the rows of each move."""

ORPHANS_AT_ONCE: Final = 500
"""Maximum jobs with lines that one call checks, and maximum lines of missing jobs that it deletes."""

NIL: Final = UUID(int=0)
"""The id before all others."""

BAD_ROWS: Final = 10
"""Bad rows beyond which a call ends; if it has moved none it fails, since the rows may not be the cause."""

SKIPPED_MAX: Final = 1_000
"""Bad rows that a process remembers, to begin behind them; beyond that the first ones are met again."""

_FAILED: Final = (psycopg.Error, TimeLimitError)
"""What a row may cause: errors of triggers and foreign keys, locks of other tables, and slowness."""

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
    """``archive`` and ``purge`` of ``storage.maintenance.MaintenanceStore`` on Postgres."""

    _pool: ConnectionPool
    _clock: Clock
    _batch_sizes: dict[Move, BatchSize]
    _skipped: dict[Move, dict[UUID, float]]
    """Rows that could not be moved, each with the monotonic time from which on it is tried again."""
    _dating_from = 0.0
    _orphans_after = NIL

    async def archive(self, after: float, limit: int, *, dating: bool = True) -> int:
        """Move jobs that ended more than ``after`` seconds ago to the archive.

        First, those of other programs that ended at no plausible time get the present one. If that takes all
        the time of the call, it is left out for ``RETRY_SECONDS``.
        """
        began = self._clock.monotonic()
        if dating and began >= self._dating_from:
            try:
                await self._move("date", 0, limit)
            except _FAILED as error:
                get_logger().error("date_failed", error=str(error).strip())
            now = self._clock.monotonic()
            if now - began >= DUTY_SECONDS:
                self._dating_from = now + RETRY_SECONDS
                return 0
        return await self._move("archive", after, limit)

    async def purge(self, after: float, limit: int) -> int:
        """Delete jobs archived more than ``after`` seconds ago, with their events, and events without a job.

        Each call checks the next ``ORPHANS_AT_ONCE`` jobs that have events.
        """
        purged = await self._move("purge", after, limit)
        try:
            ((last, deleted),) = await self._pool.run(
                "orphans", {"after": self._orphans_after}, limit=ORPHANS_AT_ONCE
            )
        except _FAILED as error:
            get_logger().error("orphans_failed", error=str(error).strip())
        else:
            if deleted < ORPHANS_AT_ONCE:  # else the same jobs may have more
                self._orphans_after = last or NIL
        return purged

    async def _move(self, move: Move, after: float, limit: int) -> int:
        """Move up to ``limit`` rows: in one statement, or in parts where that is not possible."""
        size = self._batch_sizes.setdefault(move, BatchSize())
        skipped = self._skipped.setdefault(move, {})
        batch = _Batch(self._pool, self._clock, move, after, check_limit(limit), size=size, skipped=skipped)
        return await batch.run()


class _Batch:
    """The rows that one call moves, together or in parts.

    After ``DUTY_SECONDS`` it begins no further statement. What it learned is kept: the size of batches, and
    the rows to skip.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        clock: Clock,
        move: Move,
        after: float,
        limit: int,
        *,
        size: BatchSize,
        skipped: dict[UUID, float],
    ) -> None:
        self._pool = pool
        self._clock = clock
        self._began = clock.monotonic()
        self._name = move
        self._after = rows.microseconds(after)
        self._limit = limit
        self._size = size
        self._skipped = skipped
        self._bad = 0
        self._moved = 0
        self._error: Exception | None = None

    async def run(self) -> int:
        """Move the rows that can be, and return how many; report and skip rows that can't.

        Rows that earlier calls skipped are tried when there are no others, up to the first that fails again:
        refused ones at once, those that took too long or were locked after ``RETRY_SECONDS``.

        Raises:
            Exception: no row could be moved because of a time limit, or of more than ``BAD_ROWS`` rows.
        """
        known = [job_id for job_id, at in self._skipped.items() if at <= self._began][: self._limit]
        if await self._move_together():
            is_last = self._moved < self._limit
        else:
            is_last = self._has_time() and await self._move_in_parts()
        if is_last:
            await self._move_skipped(known)
        if not self._moved and self._error is not None:
            raise self._error
        return self._moved

    def _has_time(self) -> bool:
        return self._clock.monotonic() - self._began < DUTY_SECONDS

    async def _ids(self) -> list[UUID]:
        """Return the ids of the rows, oldest first."""
        parameters = {"after": self._after, "without": list(self._skipped), "limit": self._limit}
        found = await self._pool.run(LISTS[self._name], parameters)
        return [row[0] for row in found]

    async def _move(self, ids: Sequence[UUID] | None) -> int:
        """Move these rows, or all that were not skipped, in one statement; return how many."""
        parameters = {
            "after": self._after,
            "without": list(self._skipped),
            "ids": None if ids is None else list(ids),
        }
        try:
            found = await self._pool.run(self._name, parameters, limit=self._limit)
        except TimeLimitError as error:
            self._error = error
            raise
        return found[0][0]

    async def _move_together(self) -> bool:
        """Move all rows in one statement; return False if that is not possible."""
        if self._size.of(self._limit) < self._limit:
            return False
        try:
            self._moved = await self._move(None)
        except _FAILED as error:
            self._note(error, self._limit)
            return False
        self._size.succeed(self._limit)
        return True

    async def _move_in_parts(self) -> bool:
        """Move rows by halves; return whether all of them were tried, and there are no others.

        A part that fails is halved, and those after it are no larger. At the first lock it is tested whether
        the table is locked: then no row is the reason, and this ends.
        """
        ids = await self._ids()
        rest, most, is_tested = ids, max(1, len(ids) // 2), False
        while rest and self._bad <= BAD_ROWS and self._has_time():
            part = rest[: self._size.of(most)]
            try:
                self._moved += await self._move(part)
            except _FAILED as error:
                self._note(error, len(part))
                if isinstance(error, LockTimeoutError) and not is_tested:
                    is_tested = True
                    if await self._is_table_locked():
                        return False
                most = len(part) // 2
                if most == 0:
                    self._skip(part[0], error)
                    most, rest = self._limit, rest[1:]
            else:
                self._size.succeed(self._limit)
                rest = rest[len(part) :]
        return not rest and len(ids) < self._limit

    async def _move_skipped(self, known: Sequence[UUID]) -> None:
        """Move rows that earlier calls skipped; the first that fails again becomes the last."""
        for job_id in known:
            if not self._has_time():
                return
            try:
                self._moved += await self._move([job_id])
            except _FAILED as error:
                self._skipped.pop(job_id, None)
                self._skip(job_id, error)
                return
            self._skipped.pop(job_id, None)

    async def _is_table_locked(self) -> bool:
        """Return whether a statement that moves no row can't be run either."""
        try:
            await self._move([])
        except _FAILED as error:
            return isinstance(error, TimeLimitError)
        return False

    def _note(self, error: Exception, size: int) -> None:
        """Make the following batches smaller if the server was too slow for one of this size."""
        if isinstance(error, StatementTimeoutError):
            self._size.halve(size)
            get_logger().warning(f"{self._name}_batch_halved", rows=size, error=str(error))

    def _skip(self, job_id: UUID, error: Exception) -> None:
        """Report and remember a row."""
        get_logger().error(f"{self._name}_row_failed", jobId=str(job_id), error=str(error).strip())
        pause = RETRY_SECONDS if isinstance(error, TimeLimitError) else 0.0
        self._skipped[job_id] = self._clock.monotonic() + pause
        if len(self._skipped) > SKIPPED_MAX:
            self._skipped.pop(next(iter(self._skipped)))
        self._bad += 1
        if self._bad > BAD_ROWS:
            self._error = error
