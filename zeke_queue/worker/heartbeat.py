"""The heartbeat: one statement per interval for the whole worker, and the effects of its answer or absence.

The lease counts from before the last answered heartbeat was sent, so it ends here no later than in the
storage. Once it has ended, other workers may run the jobs: their handlers are cancelled and their outcomes
are not settled. Outcomes handed over before are still sent, since settlements are fenced.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from zeke_queue.errors import StorageError
from zeke_queue.model import Released, RowState
from zeke_queue.system import logging as log
from zeke_queue.system.waiting import Waiter, end
from zeke_queue.worker.loops import Part
from zeke_queue.worker.storage_health import log_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from uuid import UUID

    from zeke_queue.worker.loops import Shared
    from zeke_queue.worker.state import Action, LeasedJob

HANGING_MAX: Final = 3
"""Maximum number of unanswered heartbeats."""


class Heartbeat(Part):
    """Keeps a worker registered as alive in the storage.

    Args:
        interval: seconds between heartbeats.
        carry_out: carries out the actions of the state.
    """

    def __init__(
        self, shared: Shared, interval: float, carry_out: Callable[[Iterable[Action]], None]
    ) -> None:
        super().__init__(shared)
        self._interval = interval
        self._carry_out = carry_out
        self._renewed = Waiter()

    async def send(self) -> dict[UUID, int]:
        """Send one heartbeat, and give up jobs that the storage no longer holds for this worker.

        Returns:
            The storage's answer: the attempt of each job it holds for this worker.

        Raises:
            StorageUnavailableError: there was no answer.
        """
        sent_at = self._clock.monotonic()
        # A job whose outcome is in flight may be settled on one side only, before or after the heartbeat.
        before = self._state.unsettled()
        answer = await self._storage.heartbeat(self._info)
        # Two heartbeats may be in flight, and the older one may be answered last.
        self._state.alive_until = max(self._state.alive_until, sent_at + self._info.lease)
        if self._state.alive_until > self._clock.monotonic():
            # Otherwise the answer took too long: the lease that it grants has ended as well.
            self._renewed.notify()
        gone = self._state.missing(before, answer)
        if gone:
            self._carry_out(self._state.lose(gone, self._clock.monotonic()))
            await self._log_lost(gone)
        return answer

    async def release_unknown(self) -> None:
        """Release jobs that only the storage knows this worker holds: those of claims whose answer was lost.

        Call it only while no claim is under way.

        Raises:
            StorageUnavailableError: there was no answer.
        """
        known = {job.claimed.id: job.claimed.attempt for job in self._state.jobs}
        answer = await self.send()
        unknown = [Released(i, attempt) for i, attempt in answer.items() if known.get(i) != attempt]
        if unknown:
            log.get_logger().warning("claims_released", jobIds=[str(released.id) for released in unknown])
            await self._storage.settle(released=unknown)

    async def run(self) -> None:
        """Send heartbeats forever; the caller has sent the first one.

        A heartbeat without an answer by the time of the next one is abandoned, since its connection may be
        dead; the next one takes another connection.
        """
        failures = 0
        hanging: list[asyncio.Task[bool]] = []
        await self._clock.sleep(self._interval)
        try:
            while True:
                self._carry_out(self._state.tend(self._clock.monotonic()))
                heartbeat = asyncio.ensure_future(self._is_answered())
                hanging = [*(one for one in hanging if not one.done()), heartbeat]
                ended = Waiter()
                heartbeat.add_done_callback(lambda _, ended=ended: ended.notify())
                await ended.wait_for(self._interval, self._clock)
                if not heartbeat.done():
                    if len(hanging) == HANGING_MAX:
                        await asyncio.wait(hanging, return_when=asyncio.FIRST_COMPLETED)
                    continue
                failures = 0 if heartbeat.result() else failures + 1
                # While the storage is unavailable, retry more often, since the lease is running out.
                await (self._health.pause(failures) if failures else self._clock.sleep(self._interval))
        finally:
            await end(*hanging)

    async def watch_lease(self) -> None:
        """Give up all jobs each time the lease has ended."""
        while True:
            left = self._state.alive_until - self._clock.monotonic()
            if left > 0:
                await self._clock.sleep(left)
                continue
            jobs = len(self._state.unsettled())
            log.get_logger().error("lease_ended", lease=self._info.lease, jobs=jobs)
            self._carry_out(self._state.lease_ended(self._clock.monotonic()))
            self._renewed.clear()
            await self._renewed.wait()

    async def _is_answered(self) -> bool:
        """Send a heartbeat; return whether it was answered."""
        try:
            await self.send()
        except StorageError as error:
            log_refusal("heartbeat", error)
            return False
        return True

    async def _log_lost(self, gone: Sequence[LeasedJob]) -> None:
        try:
            found = await self._storage.get([job.claimed.id for job in gone])
        except StorageError:
            found = {}
        for job in gone:
            stored = found.get(job.claimed.id)
            if stored is not None and stored.row_state is RowState.CANCELLED:
                log.get_logger().info("job_cancelled", **job.log_fields())
            else:
                status = None if stored is None else stored.status.value
                log.get_logger().warning("lease_lost", **job.log_fields(), status=status)
