"""What the catalog declares, stored when a worker starts, or later if a row is locked.

Another session may keep the row of a queue or a schedule locked. The worker then starts with the stored
definition, in which a queue may have no limit yet, and retries until the declared one is stored. Queues that
have no row are stored before it starts; only another worker that just stores the same ones delays that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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


class Declaration:
    """The queues and schedules that a worker declares.

    Attributes:
        left: those that are not stored yet, since a row was locked.
    """

    def __init__(self, parts: Parts, health: StorageHealth) -> None:
        self._parts = parts
        self._health = health
        self.left: list[Declared] = []

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
            self.left = [*last.values(), *schedules]
            consequence = "the worker starts with the stored limits and schedules, and stores the rest later"
            log.get_logger().warning("declaration_waits", reason=str(error), consequence=consequence)

    async def run(self) -> None:
        """Store what is left, and repeat that as long as rows are locked; then wait to be cancelled."""
        failures = 0
        while self.left:
            await self._health.pause(failures)
            self.left = await self._store_rest(self.left)
            if failures == 0 and self.left:
                names = sorted(one.name for one in self.left)
                log.get_logger().warning("declaration_locked", names=names)
            failures += 1
        if failures:
            log.get_logger().info("declaration_stored")
        await Waiter().wait()

    async def _store_rest(self, rest: Sequence[Declared]) -> list[Declared]:
        """Store as much as possible, and return the rest: parts with a locked row are halved."""
        left: list[Declared] = []
        parts = [rest]
        while parts:
            part = parts.pop()
            try:
                await self._parts.storage.declare(
                    [one for one in part if isinstance(one, QueueSettings)],
                    [one for one in part if isinstance(one, Schedule)],
                )
            except LockTimeoutError:
                if not halve(parts, part):
                    left += part
            except StorageError as error:
                log_refusal("declare", error)
                return [*left, *part, *(one for other in parts for one in other)]
        return left
