"""Rescue of jobs past their deadline or of dead workers.

A row that can't be settled, or that another transaction keeps locked, is reported and skipped, and the other
jobs of its batch are settled. A batch that takes too long is set aside; later calls try it by halves, when
there are no other jobs, since each try may take a minute. Skipped rows come last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.core import failure, retry
from zeke_queue.core.halves import halve
from zeke_queue.core.timeouts import RETRY_SECONDS
from zeke_queue.errors import LockTimeoutError, StatementTimeoutError, TimeLimitError, is_outage
from zeke_queue.model import EXPIRED_TYPE, Failed, RetryPolicy, RowState
from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from zeke_queue.maintenance.outage_monitor import OutageMonitor
    from zeke_queue.model import ExpiredJob
    from zeke_queue.storage.jobs import JobStore, Transaction
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy


ASIDE_MAX: Final = 10_000
"""Jobs set aside or skipped at which no others are tried: each search finds them again."""


class Rescuer:
    """Settles jobs that no worker will settle.

    Args:
        storage: the storage of the jobs.
        entropy: the source of the jitter of retries.
        clock: measures how long a search takes.
        monitor: the time without an outage of the storage; None if it does not matter.
    """

    def __init__(
        self, storage: JobStore, entropy: Entropy, clock: Clock, monitor: OutageMonitor | None = None
    ) -> None:
        self._monitor = monitor
        self._storage = storage
        self._clock = clock
        self._draws = entropy.stream("retry")
        self._aside: list[Sequence[UUID]] = []
        self._slow: dict[UUID, float] = {}
        self._skipped: set[UUID] = set()
        self._log = get_logger()

    async def rescue(self, batch: int, stuck: set[UUID], rescued: list[ExpiredJob], until: float) -> bool:
        """Settle one batch of overdue jobs: each is retried, or fails permanently.

        Args:
            batch: jobs per statement at most.
            stuck: jobs that could not be settled in this sweep; those of this batch are added. They are found
                again each time, so that many more are requested, and skipped.
            rescued: the settled jobs are added.
            until: the monotonic time from which on no further part of the batch is tried.

        Returns:
            Whether there may be more.

        Raises:
            StatementTimeoutError: the batch took too long, and was set aside.
        """
        found: list[ExpiredJob] = []
        failures: list[Failed] = []
        settled: set[UUID] = set()
        changed: set[UUID] = set()
        part: Sequence[UUID] | None = None
        try:
            async with self._storage.transaction(own=True) as transaction:
                found, part = await self._choose(transaction, batch, stuck)
                failures = [self._verdict(job) for job in found]
                if failures:
                    settled = await transaction.settle(failed=failures)
            changed = settled
            self._drop(part)
        except Exception as error:
            if not failures or is_outage(error):
                raise
            self._drop(part)
            if isinstance(error, StatementTimeoutError):
                self._set_aside(failures, error)
                raise
            self._log.warning("rescue_retried_singly", jobs=len(failures), error=str(error))
            await self._settle_in_parts(failures, changed, stuck, until)
        finally:
            for job, verdict in zip(found, failures, strict=False):
                if job.id in changed:
                    self._report(job, verdict)
                    rescued.append(job)
        return len(found) >= batch or bool(self._aside) or not self._skipped <= stuck

    async def _choose(
        self, transaction: Transaction, batch: int, stuck: set[UUID]
    ) -> tuple[list[ExpiredJob], Sequence[UUID] | None]:
        """Lock overdue jobs, and return those to settle now, with the part that they are of, if any.

        First jobs that were not tried before, then parts that were set aside, then skipped ones.
        """
        if not self._aside:
            now = self._clock.monotonic()
            self._aside += [[job_id] for job_id, retry_at in self._slow.items() if retry_at <= now]
            self._slow = {job_id: retry_at for job_id, retry_at in self._slow.items() if retry_at > now}
        aside = {*self._slow, *self._skipped, *(job_id for part in self._aside for job_id in part)}
        # In steps, since each limit is a statement of its own.
        limit = batch * (1 + -(-len(stuck | aside) // batch))
        overdue = {job.id: job for job in await self._overdue(transaction, limit) if job.id not in stuck}
        others = [job for job_id, job in overdue.items() if job_id not in aside]
        if others and len(aside) < ASIDE_MAX:
            return others[:batch], None
        while self._aside:
            part = self._aside[0]
            if found := [overdue[job_id] for job_id in part if job_id in overdue]:
                return found, part
            self._aside.pop(0)  # they are no longer overdue
        last = [job for job_id, job in overdue.items() if job_id in self._skipped][:batch]
        self._skipped = {*stuck, *(job_id for job_id in self._skipped if job_id in overdue)}
        self._skipped.difference_update(job.id for job in last)
        return last, None

    def _drop(self, part: Sequence[UUID] | None) -> None:
        if part is not None:
            self._aside.remove(part)

    def _set_aside(self, failures: Sequence[Failed], error: StatementTimeoutError) -> None:
        """Leave jobs that took too long to later calls: by halves, and a single one for ``RETRY_SECONDS``."""
        ids = [failed.id for failed in failures]
        if not halve(self._aside, ids):
            self._slow[ids[0]] = self._clock.monotonic() + RETRY_SECONDS
            self._report_skipped(ids[0], error)

    async def _overdue(self, transaction: Transaction, limit: int) -> list[ExpiredJob]:
        """Lock overdue jobs; skip those of workers that may not have had time to renew their lease."""
        monitor, began = self._monitor, self._clock.monotonic()
        if monitor is None:
            return await transaction.lock_expired(limit)
        overdue = await transaction.lock_expired(limit, monitor.uptime())
        if self._clock.monotonic() - began > monitor.gap:
            # The outage may have been during this call.
            return [job for job in overdue if job.reason == "deadline"]
        return overdue

    def _verdict(self, job: ExpiredJob) -> Failed:
        policy = RetryPolicy(job.retry_limit, job.retry_delay, job.retry_backoff, job.retry_delay_max)
        wait = retry.verdict(policy, job.retry_count, self._draws.random())
        worker = "an unknown worker" if job.worker is None else f"worker {job.worker}"
        if job.reason == "deadline":
            final = RowState.EXPIRED
            error = failure.error_record(
                EXPIRED_TYPE,
                f"Attempt {job.attempt} on {worker} was still running at its deadline, startedon + expirein:"
                " give the task a longer expire_in, or let its handler extend the job",
            )
        else:
            final = RowState.FAILED
            error = failure.error_record(
                "WorkerLost",
                f"Attempt {job.attempt} was lost with {worker}, whose heartbeats stopped: it was killed, or"
                " cut off from the database for longer than its lease",
            )
        return Failed(job.id, job.attempt, None if wait is None else max(0.0, wait), error, final)

    async def _settle_in_parts(
        self, failures: Sequence[Failed], changed: set[UUID], stuck: set[UUID], until: float
    ) -> None:
        """Settle the rows that can be, by halves; report and skip rows that can't.

        Their locks ended with the failed transaction. A settlement names the attempt, so jobs that were
        claimed or settled meanwhile are not changed. What is left at the time ``until`` is set aside, as are
        the others of a part that takes too long.
        """
        parts: list[Sequence[Failed]] = [failures]
        try:
            while parts and self._clock.monotonic() < until:
                part = parts.pop()
                try:
                    settled, locked = await self._storage.settle_unlocked(failed=part)
                except StatementTimeoutError as error:
                    self._set_aside(part, error)
                    raise
                except Exception as error:
                    if is_outage(error):
                        raise
                    if not halve(parts, part):
                        self._skip(part[0].id, error, stuck)
                else:
                    changed |= settled
                    for job_id in sorted(locked):
                        self._skip(job_id, LockTimeoutError.of("the settlement skipped it"), stuck)
        finally:
            self._aside += [[failed.id for failed in part] for part in parts]

    def _skip(self, job_id: UUID, error: Exception, stuck: set[UUID]) -> None:
        """Leave a job to the next sweep."""
        self._report_skipped(job_id, error)
        self._skipped.add(job_id)
        stuck.add(job_id)

    def _report_skipped(self, job_id: UUID, error: Exception) -> None:
        """Log a job that can't be settled now."""
        if isinstance(error, TimeLimitError):
            self._log.warning("rescue_postponed", jobId=str(job_id), error=str(error))
        else:
            self._log.error("rescue_failed", jobId=str(job_id), error=str(error), exc_info=error)

    def _report(self, job: ExpiredJob, verdict: Failed) -> None:
        self._log.warning(
            "job_expired" if job.reason == "deadline" else "job_lost",
            taskId=job.name,
            jobId=str(job.id),
            attempt=job.attempt,
            workerId=None if job.worker is None else str(job.worker),
            willRetry=verdict.retry_in is not None,
            retryIn=None if verdict.retry_in is None else round(verdict.retry_in, 3),
        )
