"""The loop that stores outcomes, in batches.

A pool task hands over its outcome and takes the next job; it never waits for the storage. A batch of
outcomes is sent when there are enough or after 5 ms, or at once if none was sent lately. While it is under
way the next batch gathers. While the storage is unavailable, outcomes are kept and retried, even after the
end of the lease: every settlement is fenced by its attempt, so a late one changes nothing if another worker
has the job, and saves the work otherwise.

An outcome whose row another transaction keeps locked, or which the database fails to store for a reason
that is not in its values, is deferred and retried for as long as the worker runs. One that is refused
because of its own values is replaced by a failure.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.core import jsonb
from zeke_queue.core.failure import error_output
from zeke_queue.errors import LockTimeoutError, StatementFailedError, StatementTimeoutError
from zeke_queue.model import Completed, Failed, Released, Waiting
from zeke_queue.system import logging as log
from zeke_queue.system.waiting import Waiter, end
from zeke_queue.worker.loops import Part
from zeke_queue.worker.storage_health import log_refusal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from uuid import UUID

    from structlog.typing import FilteringBoundLogger

    from zeke_queue.worker.leased_job import LeasedJob, Outcome
    from zeke_queue.worker.loops import Shared
    from zeke_queue.worker.progress import ProgressWriter

GATHER: Final = 0.005
"""Seconds that an outcome waits for others at most."""

ENOUGH: Final = 250
"""Outcomes that are sent without further waiting."""

BATCH_MAX: Final = 1000
"""Outcomes per settlement at most."""


DEFERRED_FAILURES: Final = 3
"""Failures after which the pause between retries of deferred jobs no longer grows: at 0.8 seconds."""


class SettleLoop(Part):
    """Stores outcomes.

    Args:
        progress_writer: its lines must be stored before their job ends, since watchers leave then.
        refused_wait: makes the outcome of a job that would wait forever.
    """

    def __init__(
        self,
        shared: Shared,
        progress_writer: ProgressWriter,
        refused_wait: Callable[[LeasedJob, UUID, Sequence[UUID]], Outcome],
    ) -> None:
        super().__init__(shared)
        self._refused_wait = refused_wait
        self._progress_writer = progress_writer
        self._waiter = Waiter()
        self._timer: asyncio.TimerHandle | None = None
        self._gathered = False
        self._last = -GATHER
        self._closing = asyncio.Event()
        self._retrying: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._logger = log.get_logger()
        self._logs_all = log.enabled("info")

    def soon(self) -> None:
        """Store the waiting outcomes when there are enough of them, or when they have waited long enough."""
        if self._gathered:
            return
        if len(self._state.outcomes) >= ENOUGH:
            self._on_gathered()
        elif self._timer is None:
            self._timer = self._loop.call_at(self._last + GATHER, self._on_gathered)

    def close(self) -> None:
        """Make ``run`` return once everything is stored."""
        self._closing.set()
        self._waiter.notify()

    async def run(self) -> None:
        """Store outcomes until closed."""
        try:
            await self._run()
        finally:
            if self._retrying is not None:
                await end(self._retrying)

    async def _run(self) -> None:
        state = self._state
        while True:
            if state.deferred and self._retrying is None:
                self._retrying = self._loop.create_task(self._retry_deferred(), name="zeke-settle-deferred")
                self._retrying.add_done_callback(lambda _: self._waiter.notify())
            elif self._retrying is not None and self._retrying.done():
                self._retrying.result()
                self._retrying = None
            if state.outcomes and (self._gathered or self._closing.is_set()):
                batch = state.batch(BATCH_MAX)
                # Outcomes left over from this batch have waited already, and no timer will signal them again.
                self._gathered = bool(state.outcomes)
                await self._store(batch)
                self._last = self._loop.time()
                stored = [job for job in batch if job not in state.deferred] if state.deferred else batch
                if state.settled(stored, self._clock.monotonic()):
                    self._wake_claims.notify()
            elif self._closing.is_set() and not state.outcomes and not state.deferred:
                return
            else:
                await self._waiter.wait()

    def _on_gathered(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._gathered = True
        self._waiter.notify()

    async def _store(
        self, batch: Sequence[LeasedJob], *, repeated: bool = False, waits: bool = False
    ) -> None:
        """Store a batch, without a time limit; defer jobs that can't be stored for now."""
        if self._progress_writer.any:
            await self._progress_writer.flush()
        failures: list[StatementFailedError] = []

        async def settle(failed: int) -> None:
            try:
                await self._settle(batch, repeated=repeated or failed > 0, waits=waits)
            except StatementFailedError as error:
                failures.append(error)

        try:
            # A missing right or table is not caused by an outcome, and may be fixed meanwhile.
            await self._health.retry("settle", settle, self._closing)
        except Exception as error:  # noqa: BLE001 - one bad outcome must not hold up the rest
            await self._store_singly(batch, error)
        if failures and len(batch) > 1:
            # One row may be the reason, which must not hold up the others.
            half = len(batch) // 2
            await self._store(batch[:half], repeated=True)
            await self._store(batch[half:], repeated=True)
        elif failures:
            if batch[0] not in self._state.deferred:
                log_refusal("settle", failures[0])
            self._state.deferred[batch[0]] = None

    async def _store_singly(self, batch: Sequence[LeasedJob], error: Exception) -> None:
        """Settle each job by itself; store a failure in place of each outcome that the storage refuses."""
        if len(batch) > 1:
            for job in batch:
                await self._store([job], repeated=True)
            return
        job = batch[0]
        log_refusal("settle", error)
        if isinstance(job.outcome, Failed) and job.reason == "lost":
            # Its failure is refused too; the deadline will end the job.
            self._state.deferred.pop(job, None)
            self._state.unknown.leave(job.claimed.id, job.claimed.attempt)
            return
        job.reason = "lost"
        output = error_output(error, while_storing=type(job.outcome).__name__)
        job.outcome = Failed(job.claimed.id, job.claimed.attempt, None, output)
        await self._store(batch)

    async def _retry_deferred(self) -> None:
        """Store the outcomes of deferred jobs until none is left.

        A job whose deadline has passed would be rescued as soon as it is unlocked, and run again. So this
        waits for the lock, in Postgres's lock queue, while maintenance skips locked jobs.
        """
        deferred, failures = self._state.deferred, 0
        while deferred:
            await self._health.pause(min(failures, DEFERRED_FAILURES), self._closing)
            now = self._clock.monotonic()
            overdue = next((job for job in deferred if job.deadline <= now), None)
            tried: list[LeasedJob] = []
            for batch in ([*deferred],) if overdue is None else ([overdue], [*deferred]):
                tried += (rest := [job for job in batch if job in deferred])
                await self._store(rest, repeated=True, waits=rest == [overdue])
            stored = [job for job in dict.fromkeys(tried) if job not in deferred]
            if self._state.settled(stored, self._clock.monotonic()):
                self._wake_claims.notify()
            failures = 0 if stored else failures + 1

    async def _settle(self, batch: Sequence[LeasedJob], *, repeated: bool, waits: bool = False) -> None:
        """Settle a batch; defer the jobs whose rows another transaction keeps locked.

        Args:
            batch: the jobs.
            repeated: an earlier try had no answer, or left some out.
            waits: wait for locked jobs, although some are known to be locked.
        """
        outcomes = [job.outcome for job in batch]
        failed = [outcome for outcome in outcomes if type(outcome) is Failed]
        completed = [outcome for outcome in outcomes if type(outcome) is Completed]
        released = [outcome for outcome in outcomes if type(outcome) is Released]
        waiting = [outcome for outcome in outcomes if type(outcome) is Waiting]
        refused: dict[UUID, Sequence[UUID]] = {}

        async def suspend(**how: bool) -> set[UUID]:
            done = await self._storage.suspend(waiting, **how)
            refused.update(done.refused)
            return done.changed

        skip = bool(self._state.deferred) and not waits
        changed, is_whole = await _past_locks(
            partial(self._storage.settle, completed, failed, released), repeated=repeated, skip=skip
        )
        locked = {
            one.id for one in (*completed, *failed, *released) if not is_whole and one.id not in changed
        }
        if waiting:
            suspended, is_whole = await _past_locks(suspend, repeated=repeated, skip=skip)
            changed |= suspended
            locked |= {one.id for one in waiting if not is_whole and one.id not in changed}
            if refused:
                batch = await self._fail_refused(batch, refused)
        if locked or self._state.deferred:
            batch = self._defer(batch, locked - refused.keys())
        if self._logs_all or failed or len(changed) < len(batch):
            for job in batch:
                _log_outcome(self._logger, job, stored=job.claimed.id in changed)

    def _defer(self, batch: Sequence[LeasedJob], locked: AbstractSet[UUID]) -> list[LeasedJob]:
        """Defer the locked jobs of a batch; return the others."""
        free: list[LeasedJob] = []
        for job in batch:
            if job.claimed.id not in locked:
                self._state.deferred.pop(job, None)
                free.append(job)
            elif job not in self._state.deferred:
                self._state.deferred[job] = None
                self._logger.warning("settlement_waits_for_lock", **job.log_fields())
        return free

    async def _fail_refused(
        self, batch: Sequence[LeasedJob], refused: Mapping[UUID, Sequence[UUID]]
    ) -> list[LeasedJob]:
        """Fail jobs that would wait forever; return the other jobs of the batch."""
        endless = [job for job in batch if job.claimed.id in refused]
        for job in endless:
            if type(job.outcome) is Waiting:
                job.outcome = self._refused_wait(job, job.outcome.child, refused[job.claimed.id])
        await self._settle(endless, repeated=False)
        return [job for job in batch if job.claimed.id not in refused]


async def _past_locks(
    call: Callable[..., Awaitable[set[UUID]]], *, repeated: bool, skip: bool
) -> tuple[AbstractSet[UUID], bool]:
    """Call the storage; if rows are locked, call it again and skip the locked ones.

    Args:
        call: takes ``repeated`` and ``skip_locked``, and returns the ids that it changed.
        repeated: the first of these.
        skip: rows are known to be locked.

    Returns:
        The ids that were changed, and whether no row was skipped.
    """
    if not skip:
        try:
            return await call(repeated=repeated, skip_locked=False), True
        except (LockTimeoutError, StatementTimeoutError):
            repeated = True
    try:
        return await call(repeated=repeated, skip_locked=True), True
    except LockTimeoutError as error:
        return error.changed, False


def _log_outcome(logger: FilteringBoundLogger, job: LeasedJob, *, stored: bool) -> None:
    outcome = job.outcome
    fields: dict[str, Any] = {**job.log_fields(), "durationMs": round(job.took * 1000, 1)}
    if not stored:
        logger.warning("lease_lost", **fields, outcome=type(outcome).__name__)
    elif isinstance(outcome, Completed):
        logger.info("job_completed", **fields)
    elif isinstance(outcome, Failed):
        error = jsonb.loads(outcome.output)
        retry_in = None if outcome.retry_in is None else round(outcome.retry_in, 3)
        fields |= {"willRetry": retry_in is not None, "retryIn": retry_in}
        fields["error"] = {"type": error.get("type"), "message": error.get("message")}
        if error.get("traceback"):
            fields["exception"] = error["traceback"]
        (logger.error if retry_in is None else logger.warning)("job_failed", **fields)
    elif isinstance(outcome, Released):
        event = "job_snoozed" if outcome.delay and job.reason is None else "job_released"
        logger.info(event, **fields, delay=outcome.delay)
    elif isinstance(outcome, Waiting):
        logger.info("job_waits", **fields, childId=str(outcome.child))
