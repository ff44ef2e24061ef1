"""Rescue of jobs past their deadline or of dead workers.

A row that can't be settled, or that another transaction keeps locked, is reported and skipped, and the other
jobs of its batch are settled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_queue.core import failure, retry
from zeke_queue.core.halves import halve
from zeke_queue.core.timeouts import SLOW_MAX
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


class Rescuer:
    """Settles jobs that no worker will settle.

    Args:
        storage: the storage of the jobs.
        entropy: the source of the jitter of retries.
        clock: measures how long a search takes.

    Attributes:
        monitor: the time without an outage of the storage; None if it does not matter.
    """

    def __init__(self, storage: JobStore, entropy: Entropy, clock: Clock) -> None:
        self.monitor: OutageMonitor | None = None
        self._storage = storage
        self._clock = clock
        self._draws = entropy.stream("retry")
        self._log = get_logger()

    async def rescue(self, batch: int, stuck: set[UUID]) -> tuple[int, Sequence[ExpiredJob]]:
        """Settle one batch of overdue jobs: each is retried, or fails permanently.

        Args:
            batch: jobs per statement at most.
            stuck: jobs that could not be settled in this sweep; those of this batch are added. They are found
                again each time, so that many more are requested, and skipped.

        Returns:
            How many others were found, and those that were settled.
        """
        found: list[ExpiredJob] = []
        failures: list[Failed] = []
        settled: set[UUID] = set()
        changed: set[UUID] = set()
        try:
            async with self._storage.transaction(own=True) as transaction:
                overdue = await self._overdue(transaction, batch + len(stuck))
                found = [job for job in overdue if job.id not in stuck]
                failures = [self._verdict(job) for job in found]
                if failures:
                    settled = await transaction.settle(failed=failures)
            changed = settled
        except Exception as error:
            if not failures or is_outage(error):
                raise
            self._log.warning("rescue_retried_singly", jobs=len(failures), error=str(error))
            await self._settle_in_parts(failures, changed, stuck)
        finally:
            for job, verdict in zip(found, failures, strict=False):
                if job.id in changed:
                    self._report(job, verdict)
        return len(found), [job for job in found if job.id in changed]

    async def _overdue(self, transaction: Transaction, limit: int) -> list[ExpiredJob]:
        """Lock overdue jobs; skip those of workers that may not have had time to renew their lease."""
        monitor, began = self.monitor, self._clock.monotonic()
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
        self, failures: Sequence[Failed], changed: set[UUID], stuck: set[UUID]
    ) -> None:
        """Settle the rows that can be, by halves; report rows that can't and add them to ``stuck``.

        Their locks ended with the failed transaction. A settlement names the attempt, so jobs that were
        claimed or settled meanwhile are not changed. After ``SLOW_MAX`` slow rows in a row the last row is
        tried: if it is slow too, or there is none, the server is slow, and this ends.
        """
        parts: list[Sequence[Failed]] = [failures]
        slow = 0
        while parts:
            part = parts.pop()
            try:
                settled, locked = await self._storage.settle_unlocked(failed=part)
            except Exception as error:
                if is_outage(error):
                    raise
                if halve(parts, part):
                    continue
                slow = slow + 1 if isinstance(error, StatementTimeoutError) else 0
                if slow > SLOW_MAX or (slow == SLOW_MAX and not parts):
                    raise
                if slow == SLOW_MAX:
                    far = parts[0]
                    parts = [*([far[:-1]] if len(far) > 1 else []), *parts[1:], far[-1:]]
                self._skip(part[0].id, error, stuck)
            else:
                slow = 0
                changed |= settled
                for job_id in sorted(locked):
                    self._skip(job_id, LockTimeoutError.of("the settlement skipped it"), stuck)

    def _skip(self, job_id: UUID, error: Exception, stuck: set[UUID]) -> None:
        """Report a job that can't be settled now, and add it to ``stuck``."""
        if isinstance(error, TimeLimitError):
            self._log.warning("rescue_postponed", jobId=str(job_id), error=str(error))
        else:
            self._log.error("rescue_failed", jobId=str(job_id), error=str(error), exc_info=error)
        stuck.add(job_id)

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
