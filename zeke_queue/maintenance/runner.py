"""Looking after what nobody else does: jobs whose time ran out or whose worker died, and rows that grow old.

Any number of supervisors may run; what one has locked the others pass over. Each duty stands for itself, and
each row where it must: a row that can't be settled is reported and left, and the rest is done all the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

from zeke_queue.errors import StorageUnavailableError
from zeke_queue.maintenance.rescuer import Rescuer
from zeke_queue.system.logging import get_logger
from zeke_queue.system.waiting import Pace, backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from uuid import UUID

    from zeke_queue.model import Overdue
    from zeke_queue.storage.store import Storage
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy
    from zeke_queue.system.settings import Settings

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


class Parts(Protocol):
    """What maintenance needs of a queue."""

    @property
    def storage(self) -> Storage:
        """The storage whose jobs are maintained."""
        ...

    @property
    def clock(self) -> Clock:
        """The clock of the pauses between sweeps."""
        ...

    @property
    def entropy(self) -> Entropy:
        """The source of the jitter of retries."""
        ...

    @property
    def settings(self) -> Settings:
        """The deployment's settings."""
        ...


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
        queue: Parts,
        *,
        every: float = 5.0,
        archive_after: float | None = None,
        delete_after: float | None = None,
        batch: int = 1000,
    ) -> None:
        settings = queue.settings
        self._storage = queue.storage
        self._rescuer = Rescuer(queue.storage, queue.entropy)
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
            found, changed = await self._rescuer.rescue(self._batch, stuck)
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
        except StorageUnavailableError as error:
            self._log.warning("supervisor_waits", duty=name, error=str(error))
            return False
        except Exception as error:  # noqa: BLE001 - whatever stops one duty must not stop the others
            self._log.error("supervisor_duty_failed", duty=name, error=str(error), exc_info=error)
            return False
        return True
