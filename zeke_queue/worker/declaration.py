"""What the catalog declares, stored when a worker starts, or later if a row is locked.

Another session may keep the row of a queue or a schedule locked. The worker then starts with the stored
definition, in which a queue may have no limit yet, and retries until the declared one is stored. Queues that
have no row are stored before it starts; only another worker that just stores the same ones delays that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.core.halves import halve
from zeke_queue.errors import LockTimeoutError, StorageError
from zeke_queue.model import QueueSettings, Schedule
from zeke_queue.system import logging as log
from zeke_queue.system.waiting import Waiter
from zeke_queue.worker.storage_health import log_refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_queue.client.parts import Parts
    from zeke_queue.worker.storage_health import StorageHealth

Declared = QueueSettings | Schedule

FAILURES_MAX: Final = 10
"""Locked parts of a declaration that one try meets at most, each for ``LOCK_SECONDS``."""


class Declaration:
    """The queues and schedules that a worker declares."""

    def __init__(self, parts: Parts, health: StorageHealth) -> None:
        self._parts = parts
        self._health = health
        self._rest: list[Sequence[Declared]] = []

    @property
    def left(self) -> list[Declared]:
        """Those that are not stored yet, since a row was locked."""
        return [one for part in self._rest for one in part]

    async def store(self) -> None:
        """Store everything, or leave it to ``run`` if a row that must change stays locked.

        Raises:
            UsageError: the catalog declares an invalid schedule.
            LockTimeoutError: another session is just storing the settings of a queue that is new.
            StorageError: there was no answer, or an error that another try would not change.
        """
        queues, schedules = self._parts.declaration()
        try:
            await self._parts.storage.declare(queues, schedules)
        except LockTimeoutError as error:
            # Of several declarations of one queue the last one counts.
            last = {queue.name: queue for queue in queues}
            known = {queue.name for queue in await self._parts.storage.queues()}
            if new := [queue for name, queue in last.items() if name not in known]:
                await self._parts.storage.declare(new, [])
            self._rest = [[*last.values(), *schedules]]
            consequence = "the worker starts with the stored limits and schedules, and stores the rest later"
            log.get_logger().warning("declaration_waits", reason=str(error), consequence=consequence)

    async def run(self) -> None:
        """Store what is left, and repeat that as long as rows are locked; then wait to be cancelled."""
        tries = 0
        while self._rest:
            await self._health.pause(tries)
            await self._store_rest()
            if tries == 0 and self._rest:
                names = sorted(one.name for one in self.left)
                log.get_logger().warning("declaration_locked", names=names)
            tries += 1
        if tries:
            log.get_logger().info("declaration_stored")
        await Waiter().wait()

    async def _store_rest(self) -> None:
        """Store as much as possible: a part with a locked row is halved, and its halves come last.

        A locked row by itself is left to the next try, which begins with what this one did not reach.
        """
        locked: list[Sequence[Declared]] = []
        failures = 0
        while self._rest and failures < FAILURES_MAX:
            part = self._rest[0]
            try:
                await self._parts.storage.declare(
                    [one for one in part if isinstance(one, QueueSettings)],
                    [one for one in part if isinstance(one, Schedule)],
                )
            except LockTimeoutError:
                failures += 1
                if not halve(self._rest, part):
                    locked.append(part)
            except StorageError as error:
                log_refusal("declare", error)
                break
            self._rest.pop(0)
        self._rest += locked
