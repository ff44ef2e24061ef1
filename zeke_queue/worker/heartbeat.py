"""The heartbeat: one statement per interval for the whole worker, and the effects of its answer or absence.

The lease counts from before the last answered heartbeat was sent, so it ends here no later than in the
storage, unless a crash of the server has lost that heartbeat: then a job may run twice, and one of the two
outcomes is stored. Once the lease has ended, other workers may run the jobs: their handlers are cancelled
and their outcomes are not settled. Outcomes handed over before are still sent, since settlements are fenced.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from zeke_queue.errors import StorageError, TimeLimitError, is_outage
from zeke_queue.model import RowState
from zeke_queue.system import logging as log
from zeke_queue.system.waiting import Waiter
from zeke_queue.worker.heartbeat_sender import HeartbeatSender
from zeke_queue.worker.heartbeat_thread import HeartbeatThread
from zeke_queue.worker.loops import Part
from zeke_queue.worker.storage_health import log_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from uuid import UUID

    from zeke_queue.maintenance.outage_monitor import OutageMonitor
    from zeke_queue.model import Released
    from zeke_queue.storage.workers import HeartbeatStore
    from zeke_queue.system.entropy import Entropy
    from zeke_queue.worker.leased_job import LeasedJob
    from zeke_queue.worker.loops import Shared
    from zeke_queue.worker.state import Action
    from zeke_queue.worker.unknown_jobs import Sent


RELEASE_FAILURES_MAX: Final = 3
"""Failed releases of single jobs after which the other jobs wait for the next heartbeat's answer."""


class Heartbeat(Part):
    """Keeps a worker registered as alive in the storage, and its jobs equal to the storage's.

    Args:
        interval: seconds between heartbeats.
        connection: sends them from a thread; None to send them through the storage, on this loop.
        monitor: records that heartbeats were answered.
        entropy: the source of the jitter of pauses.
        carry_out: carries out the actions of the state.
        thread: constructs the heartbeat thread; replaced only in simulations.
    """

    def __init__(
        self,
        shared: Shared,
        interval: float,
        connection: HeartbeatStore | None,
        monitor: OutageMonitor,
        *,
        entropy: Entropy,
        carry_out: Callable[[Iterable[Action]], None],
        thread: Callable[..., HeartbeatThread] = HeartbeatThread,
    ) -> None:
        super().__init__(shared)
        self._thread = thread
        self._shared = shared
        self._interval = interval
        self._connection = connection
        self._monitor = monitor
        self._carry_out = carry_out
        self._entropy = entropy
        self._renewed = Waiter()
        self._found = Waiter()
        self._failing = self._reported = False
        self._logs_from = -math.inf
        self._lost: list[LeasedJob] = []
        self._unknown: list[Released] = []
        self._unreleased: set[Released] = set()

    async def send(self) -> None:
        """Send one heartbeat, and give up jobs that the storage no longer holds for this worker.

        Raises:
            StorageUnavailableError: there was no answer.
        """
        sent = self._state.sent(self._clock.monotonic())
        answer = await self._storage.heartbeat(self._info)
        self._renew(sent.at)
        self._answered(answer, sent)

    async def release_unknown(self) -> None:
        """Release jobs that only the storage knows this worker holds: those of claims whose answer was lost.

        Call it only while no claim is under way.

        Raises:
            StorageUnavailableError: there was no answer.
        """
        await self.send()
        if self._state.unknown.suspected:
            await self.send()
        await self._release()

    async def run(self) -> None:
        """Send heartbeats until cancelled; the caller has sent the first one."""
        if self._connection is None:
            sender = HeartbeatSender(self.send, self._failed, self._interval, self._clock, self._entropy)
            await sender.run()
            return
        thread = self._thread(self._shared, self._connection, self._renew, self._answered, self._failed)
        await thread.run(self._interval, self._entropy)

    async def tend(self) -> None:
        """Handle what lasts too long, once per interval."""
        while True:
            await self._clock.sleep(self._interval)
            self._carry_out(self._state.tend(self._clock.monotonic()))

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

    async def reconcile(self) -> None:
        """Release the jobs that heartbeats found unknown, and log those that they found lost."""
        while True:
            await self._found.wait()
            try:
                await self._log_lost()
                await self._release()
            except StorageError as error:
                log_refusal("heartbeat", error)  # the next answers show the unknown jobs again

    def _renew(self, sent_at: float) -> None:
        """Move the end of the lease, from the time when an answered heartbeat was sent; from any thread."""
        now = self._clock.monotonic()
        self._state.renew(sent_at + self._info.lease, now)
        self._monitor.answered(sent_at)

    def _answered(self, answer: Mapping[UUID, int], sent: Sent) -> None:
        """Compare the held jobs with the answer of a heartbeat, which renewed the lease."""
        lost, unknown = self._state.compare(answer, sent)
        if unknown is not None:
            self._unknown = unknown
        if lost:
            self._carry_out(self._state.lose(lost, self._clock.monotonic()))
            self._lost += lost
        if lost or self._unknown:
            self._found.notify()
        self._state.restore(sent.at + self._info.lease)
        if not self._state.is_lease_over(self._clock.monotonic()):
            # Otherwise the answer took too long: the lease that it grants has ended as well.
            self._renewed.notify()
        if self._failing:
            # The database that answers now may be a standby whose row of this worker is older.
            self._failing = False
            if self._reported:
                self._reported = False
                log.get_logger().info("heartbeat_answered")
            self._state.claims.idle = None
            self._state.claims.wake()
            self._wake_claims.notify()

    async def _release(self) -> None:
        """Release the unknown jobs, one by one if one of them fails; a later answer names again what is left.

        Jobs whose release the storage refuses for their values are left to their deadlines.
        """
        # The failed ones come last, so that others are not behind them each time.
        unknown, self._unknown = sorted(self._unknown, key=self._unreleased.__contains__), []
        parts: list[Sequence[Released]] = [unknown] if unknown else []
        released: set[UUID] = set()
        failed: set[Released] = set()
        try:
            while parts and len(failed) < RELEASE_FAILURES_MAX:
                part = parts.pop()
                try:
                    released |= (await self._storage.settle_unlocked(released=part)).changed
                except Exception as error:
                    if isinstance(error, StorageError) and is_outage(error):
                        raise
                    if len(part) > 1:
                        parts += [[one] for one in reversed(part)]
                        continue
                    if isinstance(error, TimeLimitError):
                        self._health.log_given_up("release", error)
                    log_refusal("release", error)
                    if isinstance(error, StorageError):
                        failed.update(part)
                    else:
                        self._state.unknown.leave(part[0].id, part[0].attempt)
        finally:
            self._unreleased = failed
            if released:
                ids = [str(one) for one in sorted(released)]
                log.get_logger().warning("unknown_jobs_released", jobIds=ids)

    async def _log_lost(self) -> None:
        lost, self._lost = self._lost, []
        try:
            found = await self._storage.get([job.claimed.id for job in lost]) if lost else {}
        except Exception as error:  # noqa: BLE001 - a row that can't be read matters only to the log
            log_refusal("get", error)
            found = {}
        for job in lost:
            stored = found.get(job.claimed.id)
            if stored is not None and stored.row_state is RowState.CANCELLED:
                log.get_logger().info("job_cancelled", **job.log_fields())
            else:
                status = None if stored is None else stored.status.value
                log.get_logger().warning("lease_lost", **job.log_fields(), status=status)

    def _failed(self, error: StorageError) -> None:
        """Log the first error of an outage, and refusals once per interval; repetitions are more frequent.

        ``StorageHealth`` logs outages too, but does not see the errors of this connection.
        """
        self._failing = True
        now = self._clock.monotonic()
        if self._connection is not None and not (self._reported or self._health.unavailable):
            self._reported = True
            log.get_logger().warning("heartbeat_failed", error=str(error))
        elif now >= self._logs_from:
            log_refusal("heartbeat", error)
        else:
            return
        self._logs_from = now + self._interval
