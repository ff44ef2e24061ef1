"""The protocol of queues and schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_queue.model import QueueSettings, Schedule


class QueueAdmin(Protocol):
    """Queues and schedules, as declared in code and edited by users."""

    async def declare(self, queues: Sequence[QueueSettings], schedules: Sequence[Schedule]) -> None:
        """Store what code declares, all in one transaction: limits of queues, and schedules.

        Pauses of queues stay unchanged. An edit of a schedule made at run time is kept as long as the
        definition in code is the one it edited. A new schedule has no last tick, so its first occurrence is
        the first after now. Rows that are as declared already are not locked.

        Raises:
            LockTimeoutError: another transaction keeps a row locked that must change; nothing has changed.
        """
        ...

    async def queues(self) -> list[QueueSettings]:
        """Return the settings of all queues that have any, by name."""
        ...

    async def pause_queue(self, name: str, *, paused: bool) -> None:
        """Pause a queue (its waiting jobs are not claimed; running ones continue), or resume it."""
        ...

    async def put_schedule(self, schedule: Schedule) -> None:
        """Create or edit a schedule at run time; a changed cron or zone takes effect from now."""
        ...

    async def delete_schedule(self, name: str) -> bool:
        """Delete a schedule; False if there was none."""
        ...

    async def schedules(self) -> list[Schedule]:
        """Return all schedules, by name."""
        ...
