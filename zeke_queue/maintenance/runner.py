"""Periodic maintenance: rescues lost jobs, releases private queues, resumes, archives and purges jobs.

Any number of them may run; each skips rows that another has locked. Duties are independent, and rows
where possible: a row that can't be settled is reported and skipped, and the rest is processed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from zeke_queue.core.timeouts import DUTY_SECONDS
from zeke_queue.errors import StatementTimeoutError, StorageUnavailableError
from zeke_queue.maintenance import private_queues
from zeke_queue.maintenance.rescuer import Rescuer
from zeke_queue.system.logging import get_logger
from zeke_queue.system.waiting import BACKOFF_MAX, OUTAGE_PAUSE_MAX, StoppableTimer, backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from uuid import UUID

    from zeke_queue.maintenance.outage_monitor import OutageMonitor
    from zeke_queue.model import ExpiredJob
    from zeke_queue.storage.maintenance import MaintainedStore
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy
    from zeke_queue.system.settings import Settings
    from zeke_queue.task.prepare import JobFactory

MaintenanceJob: TypeAlias = Literal["rescue", "release", "resume", "archive", "purge"]

DUTIES: Final[tuple[MaintenanceJob, ...]] = ("rescue", "release", "resume", "archive", "purge")
"""The duties of a sweep, in order."""

BATCHES: Final = 20
"""Batches of one duty per sweep at most, so that a backlog of one hardly delays the others."""

STUCK_MAX: Final = 1_000
"""Rows that can't be settled after which a sweep stops: that many failures are not caused by the rows."""


@dataclass(frozen=True, slots=True)
class MaintenanceResult:
    """The result of a sweep.

    Attributes:
        expired: jobs past their deadline that were released or ended.
        rescued: jobs of dead workers that were released or ended.
        resumed: jobs resumed because their child had ended without notifying them.
        archived: ended jobs moved to the archive.
        purged: archived jobs deleted.
        failed: the duties that could not be completed; the log says why.
    """

    expired: int = 0
    rescued: int = 0
    resumed: int = 0
    archived: int = 0
    purged: int = 0
    failed: tuple[str, ...] = ()


class MaintenanceParts(Protocol):
    """The part of a queue that maintenance and cron need."""

    @property
    def storage(self) -> MaintainedStore:
        """The storage whose jobs are maintained and whose schedules are served."""
        ...

    @property
    def clock(self) -> Clock:
        """The clock of the pauses between sweeps and between rounds."""
        ...

    @property
    def entropy(self) -> Entropy:
        """The source of the jitter of retries."""
        ...

    @property
    def settings(self) -> Settings:
        """The deployment's settings."""
        ...

    @property
    def factory(self) -> JobFactory:
        """The maker of the ticks' jobs, with the options of their tasks."""
        ...

    async def declare(self) -> None:
        """Store the queues and schedules declared in the catalog."""
        ...


class Maintenance:
    """Runs a sweep at regular intervals.

    Args:
        queue: the queue whose storage is maintained, with the jobs of all tasks.
        every: seconds between sweeps.
        archive_after: seconds for which an ended job stays in the job table; JOBS_ARCHIVE_AFTER by default.
        delete_after: seconds for which an archived job is kept; JOBS_DELETE_AFTER by default.
        batch: rows per statement at most.
        monitor: the time without an outage: a job is rescued only after as long a time as its worker's lease.
            By default, as soon as that lease has ended.
    """

    def __init__(
        self,
        queue: MaintenanceParts,
        *,
        every: float = 5.0,
        archive_after: float | None = None,
        delete_after: float | None = None,
        batch: int = 1000,
        monitor: OutageMonitor | None = None,
    ) -> None:
        settings = queue.settings
        self._storage = queue.storage
        self._rescuer = Rescuer(queue.storage, queue.entropy, queue.clock, monitor)
        self._clock = queue.clock
        self._monitor = monitor
        self._timer = StoppableTimer(queue.clock)
        self._every = every
        self._archive_after = settings.jobs_archive_after if archive_after is None else archive_after
        self._delete_after = settings.jobs_delete_after if delete_after is None else delete_after
        self._batch = batch
        self._unavailable: set[MaintenanceJob] = set()
        self._log = get_logger()

    async def run(self) -> None:
        """Sweep until stopped; a failing duty backs off, and the others keep their interval."""
        failures = dict.fromkeys(DUTIES, 0)
        due = dict.fromkeys(DUTIES, self._clock.monotonic())
        while not self._timer.stopped:
            now = self._clock.monotonic()
            duties: list[MaintenanceJob] = [name for name in DUTIES if due[name] <= now]
            swept = await self.sweep(duties)
            ended = self._clock.monotonic()
            for name in duties:
                failures[name] = failures[name] + 1 if name in swept.failed else 0
                longest = OUTAGE_PAUSE_MAX if name in self._unavailable else BACKOFF_MAX
                due[name] = ended + backoff(self._every, failures[name], longest)
            await self._timer.pause(min(due.values()) - ended)

    def stop(self) -> None:
        """Make ``run`` return soon: each remaining duty of the round does one batch at most."""
        self._timer.stop()

    async def sweep(self, duties: Iterable[MaintenanceJob] = DUTIES) -> MaintenanceResult:
        """Run duties once; one that fails is reported, and the others still run.

        Args:
            duties: some of ``DUTIES``.
        """
        settled: list[ExpiredJob] = []
        moved = dict.fromkeys(DUTIES, 0)
        stuck: set[UUID] = set()

        async def batch(duty: MaintenanceJob, until: float) -> bool:
            rows = 0
            match duty:
                case "rescue":
                    more = await self._rescuer.rescue(self._batch, stuck, settled, until)
                    more = more and len(stuck) < STUCK_MAX
                case "release":
                    await private_queues.release_abandoned(self._storage, self._clock, self._monitor)
                    more = False
                case "resume":
                    rows = await self._storage.resume_waiting(self._batch)
                    more = rows >= self._batch
                case "archive":
                    dating = not moved[duty]  # once a sweep is enough
                    rows = await self._storage.archive(self._archive_after, self._batch, dating=dating)
                    more = rows > 0  # it may stop short of a batch, at rows that it keeps
                case "purge":
                    rows = await self._storage.purge(self._delete_after, self._batch)
                    more = rows > 0
            moved[duty] += rows
            return more

        failed = [duty for duty in duties if not await self._do(duty, batch)]
        expired = sum(job.reason == "deadline" for job in settled)
        return MaintenanceResult(
            expired=expired,
            rescued=len(settled) - expired,
            resumed=moved["resume"],
            archived=moved["archive"],
            purged=moved["purge"],
            failed=tuple(failed),
        )

    async def _do(
        self, duty: MaintenanceJob, batch: Callable[[MaintenanceJob, float], Awaitable[bool]]
    ) -> bool:
        """Run a duty batch by batch while there is more, and time; return False if it failed."""
        self._unavailable.discard(duty)
        until = self._clock.monotonic() + DUTY_SECONDS
        try:
            for _ in range(BATCHES):
                if not await batch(duty, until) or self._timer.stopped or self._clock.monotonic() >= until:
                    break
        except StorageUnavailableError as error:
            # A statement that timed out costs the server as much each time, so it gets the longer pauses.
            if not isinstance(error, StatementTimeoutError):
                self._unavailable.add(duty)
            self._log.warning("maintenance_retrying", duty=duty, error=str(error))
            return False
        except Exception as error:  # noqa: BLE001 - a failing duty must not stop the others
            self._log.error("maintenance_failed", duty=duty, error=str(error), exc_info=error)
            return False
        return True
