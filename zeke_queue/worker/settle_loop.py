"""The loop that stores outcomes, in batches.

A pool task hands over its outcome and takes the next job; it never waits for the storage. A batch of
outcomes is sent when there are enough or after 5 ms, or at once if none was sent lately. While it is under
way the next batch gathers. While the storage is unavailable, outcomes are kept and retried, even after the
end of the lease: every settlement is fenced by its attempt, so a late one changes nothing if another worker
has the job, and saves the work otherwise.

An outcome whose row another transaction keeps locked, or which the database fails to store for a reason
that is not in its values, is deferred and retried for as long as the worker runs, beside the others and on
a connection of its own. An outcome that is refused because of its own values is replaced by a failure. In a
batch it is found by halves at once, since the search for a deferred one may take minutes.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.core import jsonb
from zeke_queue.core.failure import error_output
from zeke_queue.core.halves import halve
from zeke_queue.errors import StatementFailedError, StorageError, StorageUnavailableError, TimeLimitError
from zeke_queue.model import Completed, Failed, Released, Waiting
from zeke_queue.system import logging as log
from zeke_queue.system.waiting import Waiter, end
from zeke_queue.worker.leased_job import SETTLING
from zeke_queue.worker.loops import Part
from zeke_queue.worker.storage_health import REPORT_INTERVAL, log_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from uuid import UUID

    from structlog.typing import FilteringBoundLogger

    from zeke_queue.model import Suspensions
    from zeke_queue.worker.leased_job import Deferral, LeasedJob, Outcome
    from zeke_queue.worker.loops import Shared
    from zeke_queue.worker.progress import ProgressWriter

GATHER: Final = 0.005
"""Maximum seconds that an outcome waits for others."""

ENOUGH: Final = 250
"""Outcomes that are sent without further waiting."""

BATCH_MAX: Final = 1000
"""Maximum outcomes per settlement."""

FAILURES_MAX: Final = 24
"""Maximum failed statements of a search for rows that can't be stored: enough for two in ``BATCH_MAX``."""

LINES_FAILURES_MAX: Final = 2
"""Failed tries to store the last lines of jobs after which the jobs end without them."""

SHOWN: Final = 10
"""Maximum jobs that a log line names."""


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
        self._waits_at_end = False
        self._has_new = asyncio.Event()
        self._logs_from = -math.inf
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
        """Make ``run`` return once it has stored the batch under way."""
        self._waits_at_end = bool(self._state.deferred)
        self._closing.set()
        self._waiter.notify()

    async def run(self) -> None:
        """Store outcomes until closed; some may be left."""
        try:
            await self._run()
        finally:
            if self._retrying is not None:
                await end(self._retrying)
                self._retrying = None

    async def finish(self) -> None:
        """Store what ``run`` has left, once it has ended, and what came since an earlier call.

        Deferred jobs are tried once more. That waits for their locks as long as one statement does, unless
        an earlier statement has waited since ``close``.
        """
        state = self._state
        while state.outcomes:
            await self._search(state.batch(BATCH_MAX), new=True)
        left = [*state.deferred]
        while left:
            waits, self._waits_at_end = self._waits_at_end, False
            await self._search(left[:BATCH_MAX], waits=waits)
            left = left[BATCH_MAX:]

    def report_left(self) -> None:
        """Log the jobs whose outcomes were not stored, if any."""
        left = [job for job in self._state.jobs if job.stage == SETTLING]
        if left:
            ids = [str(job.claimed.id) for job in left[:SHOWN]]
            self._logger.error("settlements_given_up", jobs=len(left), jobIds=ids)

    async def _run(self) -> None:
        state = self._state
        while not self._closing.is_set():
            if state.deferred and self._retrying is None:
                self._retrying = self._loop.create_task(self._retry_deferred(), name="zeke-settle-deferred")
                self._retrying.add_done_callback(lambda _: self._waiter.notify())
            elif self._retrying is not None and self._retrying.done():
                self._retrying.result()
                self._retrying = None
            if state.outcomes and self._gathered:
                batch = state.batch(BATCH_MAX)
                # Outcomes left over from this batch have waited already, and no timer will signal them again.
                self._gathered = bool(state.outcomes)
                await self._search(batch, new=True)
                self._last = self._loop.time()
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
    ) -> Exception | None:
        """Store a batch, without a time limit; defer locked jobs, and one that can't be stored by itself.

        Returns:
            The error if none of them can be stored together, or one by itself.
        """
        failed: list[Exception] = []

        async def settle(failures: int) -> None:
            writer = self._progress_writer
            if writer.any and not await writer.flush() and failures < LINES_FAILURES_MAX:
                raise StorageUnavailableError("The last lines of these jobs are not stored yet")
            try:
                await self._settle(batch, repeated=repeated or failures > 0, waits=waits)
            except (StatementFailedError, TimeLimitError) as error:
                failed.append(error)

        try:
            # A missing right or table is not caused by an outcome, and may be fixed meanwhile.
            await self._health.retry("settle", settle, self._closing)
        except Exception as error:  # noqa: BLE001 - one bad outcome must not hold up the rest
            if len(batch) == 1:
                return await self._store_refused(batch[0], error)
            return error
        if not failed:
            return None
        if len(batch) == 1:
            self._defer_failed(batch[0], failed[0])
        return failed[0]

    async def _store_refused(self, job: LeasedJob, error: Exception) -> Exception | None:
        """Store a failure in place of an outcome that the storage refuses."""
        log_refusal("settle", error)
        if isinstance(job.outcome, Failed) and job.reason == "lost":
            # Its failure is refused too; the deadline will end the job.
            self._forget([job])
            self._state.unknown.leave(job.claimed.id, job.claimed.attempt)
            return None
        job.reason = "lost"
        output = error_output(error, while_storing=type(job.outcome).__name__)
        job.outcome = Failed(job.claimed.id, job.claimed.attempt, None, output)
        return await self._store([job])

    async def _retry_deferred(self) -> None:
        """Store the outcomes of deferred jobs, until none is left.

        A job whose deadline has passed would be rescued as soon as it is unlocked, and run again. So this
        waits for the lock, in Postgres's lock queue, while maintenance skips locked jobs. Several such jobs
        take turns.

        If the database stores none of many jobs, the reason is not one of them. From then on one at a time is
        tried, until the database stores it.
        """
        deferred, failures, size = self._state.deferred, 0, BATCH_MAX
        while deferred:
            await self._health.pause(failures, self._has_new)
            self._has_new.clear()
            new = [job for job, state in deferred.items() if state == "new"]
            now = self._clock.monotonic()
            overdue = [] if new else [job for job in deferred if job.deadline <= now][:1]
            if overdue:
                await self._store(overdue, repeated=True, waits=True)
            tried = new[:BATCH_MAX] or [job for job in deferred if job not in overdue][:size]
            failed = await self._search(tried)
            tried += overdue
            for job in (left := [job for job in tried if job in deferred]):
                state = deferred.pop(job)
                deferred[job] = "failed" if state == "new" else state  # at the end, so that others come next
            if failed == 0 or len(left) < len(tried):
                size = BATCH_MAX
            elif failed >= FAILURES_MAX:
                size = 1
            failures = 0 if new or len(left) < len(tried) else failures + 1

    async def _search(self, batch: Sequence[LeasedJob], *, new: bool = False, waits: bool = False) -> int:
        """Store jobs, by halves if they can't be stored together; return how often that failed.

        Refused outcomes do not count: each is found, and replaced. But later ones wait for a search among new
        jobs, so that they do count there, and the first part that the database fails to store ends it; the
        jobs that are left are deferred. For the same reason such a search waits for a lock once.
        """
        waits = waits or (new and not self._state.deferred)
        parts, failures = [batch] if batch else [], 0
        while parts and failures < FAILURES_MAX:
            part = parts.pop()
            error = await self._store(part, repeated=not new or part is not batch, waits=waits)
            waits = False
            if error is None:
                continue
            halve(parts, part)
            failed = isinstance(error, StorageError)
            failures += new or failed
            if new and failed:
                break
        if new and parts:
            self._defer([job for part in parts for job in part], "new")
            self._has_new.set()
        return failures

    async def _settle(self, batch: Sequence[LeasedJob], *, repeated: bool, waits: bool = False) -> None:
        """Settle a batch; defer the jobs whose rows another transaction keeps locked.

        Args:
            batch: the jobs.
            repeated: an earlier try had no answer, or left some out.
            waits: wait for locked jobs, before they are skipped.
        """
        outcomes = [job.outcome for job in batch]
        failed = [outcome for outcome in outcomes if type(outcome) is Failed]
        completed = [outcome for outcome in outcomes if type(outcome) is Completed]
        released = [outcome for outcome in outcomes if type(outcome) is Released]
        waiting = [outcome for outcome in outcomes if type(outcome) is Waiting]
        changed: set[UUID] = set()
        locked: AbstractSet[UUID] = frozenset()
        if waits:
            try:
                changed = await self._storage.settle(completed, failed, released, repeated=repeated)
            except TimeLimitError:
                waits, repeated = False, True
        if not waits:
            changed, locked = await self._storage.settle_unlocked(
                completed, failed, released, repeated=repeated
            )
        if waiting:
            suspended = await self._suspend(waiting, repeated=repeated, waits=waits)
            changed |= suspended.changed
            locked |= suspended.locked
            if suspended.refused:
                batch = await self._fail_refused(batch, suspended.refused)
        if locked:
            batch = self._defer_locked(batch, locked)
        if self._logs_all or failed or len(changed) < len(batch):
            for job in batch:
                _log_outcome(self._logger, job, stored=job.claimed.id in changed)
        self._forget(batch)

    async def _suspend(self, waiting: Sequence[Waiting], *, repeated: bool, waits: bool) -> Suspensions:
        if waits:
            try:
                return await self._storage.suspend(waiting, repeated=repeated)
            except TimeLimitError:
                repeated = True
        return await self._storage.suspend(waiting, repeated=repeated, skip_locked=True)

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

    def _defer_locked(self, batch: Sequence[LeasedJob], locked: AbstractSet[UUID]) -> list[LeasedJob]:
        """Defer the locked jobs of a batch; return the others."""
        for job in (kept := [job for job in batch if job.claimed.id in locked]):
            if self._state.deferred.get(job) != "locked":
                self._logger.warning("settlement_waits_for_lock", **job.log_fields())
        self._defer(kept, "locked")
        return [job for job in batch if job.claimed.id not in locked]

    def _defer_failed(self, job: LeasedJob, error: Exception) -> None:
        now = self._clock.monotonic()
        if now >= self._logs_from:
            self._logs_from = now + REPORT_INTERVAL
            self._logger.error("settlement_failed", **job.log_fields(), error=str(error))
        self._defer([job], "failed")

    def _defer(self, jobs: Sequence[LeasedJob], why: Deferral) -> None:
        if self._state.defer(jobs, why):
            self._wake_claims.notify()

    def _forget(self, jobs: Sequence[LeasedJob]) -> None:
        """Forget jobs whose outcome is stored, or never will be."""
        if self._state.settled(jobs, self._clock.monotonic()):
            self._wake_claims.notify()


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
