"""A buffer of job changes between two waits of a watch, used by both storages."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from zeke_queue.system.clock import wait

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_queue.system.clock import Clock


class Told:
    """The ids of jobs that may have changed, each once however often it was notified; wakes one waiter.

    Args:
        clock: the clock of timeouts.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ids: dict[UUID, None] = {}
        self._woken = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self, job_id: UUID) -> None:
        """Record a change of a job, and wake the waiter now or at its next wait."""
        self._ids[job_id] = None
        self._end_wait()

    def wake(self) -> None:
        """End the current wait, or else the next one, at once."""
        self._woken = True
        self._end_wait()

    async def wait(self, timeout: float) -> list[UUID]:
        """Return the ids recorded since the last call, in order; none after ``timeout`` seconds."""
        if not self._ids and not self._woken and timeout > 0:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await wait(self._clock, self._waiter, timeout)
            finally:
                self._waiter = None
        ids, self._ids, self._woken = list(self._ids), {}, False
        return ids

    def _end_wait(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
