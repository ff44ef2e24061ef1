"""Queues and schedules: as declared in code and edited by users, and which ticks are due."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from zeke_queue.core import jsonb
from zeke_queue.storage.memory.locks import queue_lock
from zeke_queue.storage.memory.rows import normal
from zeke_queue.storage.memory.tables import Plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from zeke_queue.model import QueueSettings, Schedule
    from zeke_queue.storage.memory.locks import Locks
    from zeke_queue.storage.memory.tables import Tables
    from zeke_queue.storage.memory.unit_of_work import AutoCommit
    from zeke_queue.storage.notifier import Notifier
    from zeke_queue.system.clock import Clock

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


def due(scope: AutoCommit, now: datetime, limit: int, passed: Callable[[str], bool]) -> list[Schedule]:
    """Return schedules whose next tick is due or unknown, longest due first.

    It is unknown if the schedule was never served. A served schedule without a next tick never fires again.
    """
    found = [
        plan.schedule
        for plan in scope.plans()
        if not plan.schedule.paused and _is_due(plan.schedule, now) and not passed(plan.schedule.name)
    ]
    found.sort(key=lambda schedule: (schedule.next_tick or _BEFORE_ALL, schedule.name))
    return found[:limit]


def _is_due(schedule: Schedule, now: datetime) -> bool:
    if schedule.next_tick is None:
        return schedule.last_tick is None
    return schedule.next_tick <= now


def serve(scope: AutoCommit, name: str, last_tick: datetime, next_tick: datetime | None) -> None:
    """Record the last decided occurrence, and the next one."""
    plan = scope.plan(name)
    if plan is not None:
        scope.store_plan(
            replace(plan, schedule=replace(plan.schedule, last_tick=last_tick, next_tick=next_tick))
        )


def edited(schedule: Schedule, before: Schedule | None) -> Schedule:
    """Return the schedule to store: with the ticks of the one it replaces, unless it starts over.

    It starts over from now if cron or zone change, and at the end of a pause, since a paused schedule does
    not catch up on missed ticks.
    """
    definition = _definition(schedule)
    if before is None or (before.cron, before.zone) != (schedule.cron, schedule.zone):
        return definition
    if before.paused and not schedule.paused:
        return definition
    return replace(definition, last_tick=before.last_tick, next_tick=before.next_tick)


def _definition(schedule: Schedule) -> Schedule:
    """Return a schedule's definition by code or user, its JSON as jsonb stores it, without ticks."""
    options = jsonb.loads(jsonb.normalise(jsonb.dumps(dict(schedule.options))))
    return replace(schedule, data=normal(schedule.data), options=options, last_tick=None, next_tick=None)


class MemoryAdmin:
    """``storage.admin.QueueAdmin`` in memory; the protocol documents each verb."""

    _tables: Tables
    _scope: AutoCommit
    _locks: Locks
    _notifier: Notifier
    _clock: Clock

    async def declare(self, queues: Sequence[QueueSettings], schedules: Sequence[Schedule]) -> None:
        """Store limits, and schedules whose definition in code differs from the last declared one."""
        definitions = [(schedule, _definition(schedule)) for schedule in schedules]

        def changed() -> list[tuple[Schedule, Schedule]]:
            plans = self._tables.plans
            return [
                (schedule, definition)
                for schedule, definition in definitions
                if (plan := plans.get(schedule.name)) is None or plan.declared != definition
            ]

        def wanted() -> Iterator[str]:
            yield from (schedule.name for schedule, _ in changed())
            for name in limits:
                if name in self._tables.queues and self._tables.queues[name] != declared(name):
                    yield queue_lock(name)

        def declared(name: str) -> QueueSettings:
            return replace(limits[name], paused_on=self._tables.queue(name).paused_on)

        limits = {queue.name: queue for queue in queues}
        if self._locks.any:
            await self._locks.clear(wanted)
        for schedule, definition in changed():
            plan = self._tables.plans.get(schedule.name)
            stored = edited(schedule, plan and plan.schedule)
            self._scope.store_plan(Plan(stored, declared=definition))
        for name in limits:
            if declared(name) != self._tables.queues.get(name):
                self._tables.queues[name] = declared(name)
                self._notifier.queue(name)

    async def queues(self) -> list[QueueSettings]:
        """Return the settings of all queues that have any, by name."""
        return sorted(self._tables.queues.values(), key=lambda queue: queue.name)

    async def pause_queue(self, name: str, *, paused: bool) -> None:
        """Pause a queue, keeping the time of an earlier pause, or resume it."""
        if self._locks.any:
            await self._locks.clear(lambda: [queue_lock(name)])
        queue = self._tables.queue(name)
        since = (queue.paused_on or self._clock.now()) if paused else None
        self._tables.queues[name] = replace(queue, paused_on=since)
        if not paused:
            self._notifier.queue(name)

    async def put_schedule(self, schedule: Schedule) -> None:
        """Create or edit a schedule; the schedule last declared in code is kept for comparison."""
        if self._locks.any:
            await self._locks.clear(lambda: [schedule.name])
        plan = self._tables.plans.get(schedule.name)
        stored = edited(schedule, plan and plan.schedule)
        self._scope.store_plan(Plan(stored, declared=plan and plan.declared))

    async def delete_schedule(self, name: str) -> bool:
        """Delete a schedule; False if there was none."""
        if self._locks.any:
            await self._locks.clear(lambda: [name])
        return self._tables.plans.pop(name, None) is not None

    async def schedules(self) -> list[Schedule]:
        """Return all schedules, by name."""
        return [plan.schedule for _, plan in sorted(self._tables.plans.items())]
