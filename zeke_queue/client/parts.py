"""The parts of a queue, for packages that need more of it than an application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from zeke_queue.model import QueueSettings, Schedule
    from zeke_queue.storage import Storage
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy
    from zeke_queue.system.settings import Settings
    from zeke_queue.task.catalog import Catalog
    from zeke_queue.task.prepare import JobFactory
    from zeke_queue.task.run import RunSource
    from zeke_queue.watch.job_watcher import JobWatcher


@dataclass(frozen=True, slots=True)
class Parts:
    """What a queue consists of.

    Attributes:
        catalog: the tasks that may be sent.
        entropy: the source of ids and jitter.
        watcher: the job watcher, whose subscriptions share one path to the storage.
        runs: provides jobs to their runs.
    """

    catalog: Catalog[Any]
    storage: Storage
    clock: Clock
    entropy: Entropy
    settings: Settings
    factory: JobFactory
    watcher: JobWatcher
    runs: RunSource

    async def declare(self) -> None:
        """Store the catalog's queues and schedules; workers and schedulers do so when they start.

        Jobs sent by this library go to the task's own queue; an alias's queue holds jobs that other programs
        send under that name. Limits apply per queue, so a task's is divided: one to each alias, the rest to
        its own queue. A schedule no longer declared stays until it is deleted: another program may own it.

        Raises:
            InvalidOptionError: a task's limit does not exceed its number of aliases.
            UsageError: a schedule's task is unknown, or its payload is invalid.
        """
        await self.storage.declare(*self.declaration())

    def declaration(self) -> tuple[list[QueueSettings], list[Schedule]]:
        """Return what ``declare`` stores.

        Raises:
            InvalidOptionError: as for ``declare``.
            UsageError: as for ``declare``.
        """
        return self.catalog.stored_queues(), self.catalog.stored_schedules(self.settings.jobs_cron_tz)


class HasParts(Protocol):
    """A queue, as ``queue.py`` defines it over this module."""

    def _open(self) -> Parts: ...


def parts_of(queue: HasParts) -> Parts:
    """Return the parts of a queue, for packages that need more of it than an application.

    Raises:
        UsageError: the queue opened its storage for a block (``connect``, ``in_memory``), which has ended.
    """
    return queue._open()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - of this package
