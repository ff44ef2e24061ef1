"""Looking after what nobody else does: jobs whose time ran out or whose worker died, and rows that grow old.

Any number of supervisors may run; what one has locked the others pass over. Each duty stands for itself, and
each row where it must: a row that can't be settled is reported and left, and the rest is done all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from zeke_queue.core import failure, retry
from zeke_queue.errors import StorageUnavailable
from zeke_queue.model import Failed, JobState, RetryPolicy
from zeke_queue.system.logging import get_logger
from zeke_queue.system.waiting import Pace, backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from uuid import UUID

    from zeke_queue.client.queue import Queue
    from zeke_queue.model import Overdue

Duty: TypeAlias = Literal["give_back", "wake", "archive", "purge"]

DUTIES: Final[tuple[Duty, ...]] = ("give_back", "wake", "archive", "purge")
"""What there is to do in a sweep, in this order."""

BATCHES: Final = 20
"""Batches of one duty that one sweep does at most, so that a backlog of one delays the others little."""

STUCK_MAX: Final = 1_000
"""Rows that can't be settled until a sweep gives up on the others: then it is not the rows that are bad."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did.

    Attributes:
        expired: jobs past their deadline that were given back or ended.
        reaped: jobs of dead workers that were given back or ended.
        woken: jobs whose child had ended without their being told, and that go on.
        archived: ended jobs that were moved to the archive.
        purged: archived jobs that were deleted.
        failed: the duties that could not be done to the end; the log says why.
    """

    expired: int = 0
    reaped: int = 0
    woken: int = 0
    archived: int = 0
    purged: int = 0
    failed: tuple[str, ...] = ()


class Supervisor:
    """Sweeps from time to time.

    Args:
        queue: whose jobs it looks after: all of the storage's, whatever their task.
        every: seconds between sweeps.
        archive_after: seconds for which an ended job stays in the job table; JOBS_ARCHIVE_AFTER by default.
        delete_after: seconds for which an archived job is kept; JOBS_DELETE_AFTER by default.
        batch: rows that one statement takes at most.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        every: float = 5.0,
        archive_after: float | None = None,
        delete_after: float | None = None,
        batch: int = 1000,
    ) -> None:
        settings = queue.settings
        self._storage = queue.storage
        self._draws = queue.entropy.stream("retry")
        self._clock = queue.clock
        self._pace = Pace(queue.clock)
        self._every = every
        self._archive_after = settings.jobs_archive_after if archive_after is None else archive_after
        self._delete_after = settings.jobs_delete_after if delete_after is None else delete_after
        self._batch = batch
        self._log = get_logger()

    async def run(self) -> None:
        """Sweep until told to stop; a duty that fails rests for a while, the others keep their pace."""
        failures = dict.fromkeys(DUTIES, 0)
        due = dict.fromkeys(DUTIES, self._clock.monotonic())
        while not self._pace.stopped:
            now = self._clock.monotonic()
            duties: list[Duty] = [name for name in DUTIES if due[name] <= now]
            swept = await self.sweep(duties)
            ended = self._clock.monotonic()
            for name in duties:
                failures[name] = failures[name] + 1 if name in swept.failed else 0
                due[name] = ended + backoff(self._every, failures[name])
            await self._pace.pause(min(due.values()) - ended)

    def stop(self) -> None:
        """End ``run`` soon: each duty that is left in the round does one batch at most."""
        self._pace.stop()

    async def sweep(self, duties: Iterable[Duty] = DUTIES) -> Swept:
        """Do duties once; one that fails is reported, and does not keep the others from being done.

        Args:
            duties: which of ``DUTIES``.
        """
        given_back: list[Overdue] = []
        moved = {"wake": 0, "archive": 0, "purge": 0}
        stuck: set[UUID] = set()

        async def give_back() -> bool:
            found, changed = await self._give_back(stuck)
            given_back.extend(changed)
            return found >= self._batch and len(stuck) < STUCK_MAX

        async def wake() -> bool:
            moved["wake"] += (rows := await self._storage.wake_parents(self._batch))
            return rows >= self._batch

        async def archive() -> bool:
            moved["archive"] += (rows := await self._storage.archive(self._archive_after, self._batch))
            return rows >= self._batch

        async def purge() -> bool:
            moved["purge"] += (rows := await self._storage.purge(self._delete_after, self._batch))
            return rows >= self._batch

        doing = dict(zip(DUTIES, (give_back, wake, archive, purge), strict=True))
        failed = [name for name in duties if not await self._do(name, doing[name])]
        expired = sum(job.reason == "deadline" for job in given_back)
        return Swept(
            expired=expired,
            reaped=len(given_back) - expired,
            woken=moved["wake"],
            archived=moved["archive"],
            purged=moved["purge"],
            failed=tuple(failed),
        )

    async def _do(self, name: str, duty: Callable[[], Awaitable[bool]]) -> bool:
        """Do a duty batch by batch, while it says that there is more; False if that could not be done."""
        try:
            for _ in range(BATCHES):
                if not await duty() or self._pace.stopped:
                    break
        except StorageUnavailable as error:
            self._log.warning("supervisor_waits", duty=name, error=str(error))
            return False
        except Exception as error:  # noqa: BLE001 - whatever stops one duty must not stop the others
            self._log.error("supervisor_duty_failed", duty=name, error=str(error), exc_info=error)
            return False
        return True

    async def _give_back(self, stuck: set[UUID]) -> tuple[int, Sequence[Overdue]]:
        """Settle one batch of overdue jobs.

        Args:
            stuck: jobs that could not be settled in this sweep, to which this batch's are added. They come up
                again each time, so as many more are asked for, and passed over.

        Returns:
            How many others were found, and those that were settled.
        """
        found: list[Overdue] = []
        failures: list[Failed] = []
        changed: set[UUID] = set()
        try:
            async with self._storage.transaction() as transaction:
                overdue = await transaction.overdue(self._batch + len(stuck))
                found = [job for job in overdue if job.id not in stuck]
                failures = [self._verdict(job) for job in found]
                if failures:
                    changed = await transaction.settle(failed=failures)
        except StorageUnavailable:
            raise
        except Exception as error:
            if not failures:
                raise
            self._log.warning("supervisor_settles_in_parts", jobs=len(failures), error=str(error))
            changed = await self._settle_in_parts(failures, stuck)
        for job, verdict in zip(found, failures, strict=True):
            if job.id in changed:
                self._report(job, verdict)
        return len(found), [job for job in found if job.id in changed]

    def _verdict(self, job: Overdue) -> Failed:
        policy = RetryPolicy(job.retry_limit, job.retry_delay, job.retry_backoff, job.retry_delay_max)
        wait = retry.verdict(policy, job.retry_count, self._draws.random())
        worker = "an unknown worker" if job.worker is None else f"worker {job.worker}"
        if job.reason == "deadline":
            final = JobState.EXPIRED
            error = failure.error_record(
                "Expired",
                f"Attempt {job.attempt} on {worker} was still running at its deadline, startedon + expirein:"
                " give the task a longer expire_in, or let its handler extend the job",
            )
        else:
            final = JobState.FAILED
            error = failure.error_record(
                "WorkerLost",
                f"Attempt {job.attempt} was lost with {worker}, which stopped beating: it was killed, or cut"
                " off from the database for longer than its lease",
            )
        return Failed(job.id, job.attempt, None if wait is None else max(0.0, wait), error, final)

    async def _settle_in_parts(self, failures: Sequence[Failed], stuck: set[UUID]) -> set[UUID]:
        """Settle what can be, by halves, down to rows that can't; those are reported, and added to ``stuck``.

        Their locks are gone with the transaction that failed, but a settlement names the attempt, so what
        changed hands in between is left alone.
        """
        try:
            return await self._storage.settle(failed=failures)
        except StorageUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - it is one row's, and the others must not wait for it
            if len(failures) == 1:
                job_id = str(failures[0].id)
                self._log.error("supervisor_row_failed", jobId=job_id, error=str(error), exc_info=error)
                stuck.add(failures[0].id)
                return set()
        half = len(failures) // 2
        first = await self._settle_in_parts(failures[:half], stuck)
        return first | await self._settle_in_parts(failures[half:], stuck)

    def _report(self, job: Overdue, verdict: Failed) -> None:
        self._log.warning(
            "job_expired" if job.reason == "deadline" else "job_lost",
            taskId=job.name,
            jobId=str(job.id),
            attempt=job.attempt,
            workerId=None if job.worker is None else str(job.worker),
            willRetry=verdict.retry_in is not None,
            retryIn=None if verdict.retry_in is None else round(verdict.retry_in, 3),
        )
