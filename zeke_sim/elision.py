"""Skips stretches of time in which nothing would happen but heartbeats, looks and sweeps that find nothing.

A world is calm when no job runs or is due, no statement is on its way, no process stands still or is cut off,
and nothing is left to be done that is due by now. Until the next instant at which something is due, all that
its processes would do changes nothing but the workers' heartbeats. So time jumps: the processes' monotonic
clocks stand still meanwhile, and their timers move along. What comes then meets them just as it would have.
"""

from __future__ import annotations

import heapq
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zeke_queue.model import FINAL
from zeke_sim.history import ScheduleRow

if TYPE_CHECKING:
    from zeke_queue.model import Schedule
    from zeke_sim.history import Change
    from zeke_sim.loop import Lane
    from zeke_sim.node import Node
    from zeke_sim.world import World

SHORTEST: Final = 2.0
"""Seconds that are worth a jump."""

AHEAD: Final = timedelta(seconds=1.1)
"""How long before a tick schedulers are awake again: their looks are a second apart."""

_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Duty(NamedTuple):
    """Something that a supervisor or a scheduler will have to do.

    Attributes:
        at: from when on, by the database's clock.
        number: of its making, which tells equal ones apart.
        what: ``job`` to archive one, ``archive`` to delete one, ``schedule`` to serve a tick.
        key: the job's id, or the schedule's name.
    """

    at: datetime
    number: int
    what: str
    key: Any


class Elision:
    """Knows when something will be due, and lets time jump there.

    Attributes:
        jumped: seconds that were skipped.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._duties: list[Duty] = []
        self._number = 0
        self.jumped = 0.0

    def see(self, event: Change | ScheduleRow) -> None:
        """Note from when on there is something to do about a row."""
        if isinstance(event, ScheduleRow):
            what, key = "schedule", event.name
        else:
            row = event.after
            if row is None or row.state not in FINAL:
                return
            what, key = event.table, row.id
        if (at := self._due(what, key)) is not None:
            self._number += 1
            heapq.heappush(self._duties, Duty(at, self._number, what, key))

    def jump(self) -> None:
        """Let time jump, if the world is calm."""
        world = self._world
        tables = world.store.tables
        if world.open_calls or tables.active or world.transactions or world.down or world.running:
            return
        resting = [node for node in world.nodes.values() if node.role != "client"]
        if any(node.paused or node.link is not None for node in resting):
            return
        lanes = {node.lane for node in resting}
        timer = world.loop.next_timer(but=lanes)
        seconds = float("inf") if timer is None else timer - world.loop.time()
        if seconds < SHORTEST:
            return
        now = world.database_clock.now()
        seconds = min(seconds, self._until_due(now))
        names = list(tables.lines)
        if seconds >= SHORTEST and names and (start := world.store.next_due(names)) is not None:
            seconds = min(seconds, (start - now).total_seconds())
        if SHORTEST <= seconds < float("inf"):
            self._skip(seconds, resting, lanes)

    def _until_due(self, now: datetime) -> float:
        """Return the seconds until there is something to do; 0 while it is due and not done."""
        duties = self._duties
        while duties and self._due(duties[0].what, duties[0].key) != duties[0].at:
            heapq.heappop(duties)
        return max(0.0, (duties[0].at - now).total_seconds()) if duties else float("inf")

    def _due(self, what: str, key: Any) -> datetime | None:
        """Return from when on something is to be done about a row as it stands; None if nothing ever is."""
        setup, tables = self._world.setup, self._world.store.tables
        if what == "schedule":
            plan = tables.plans.get(key) if setup.schedulers else None
            return None if plan is None else _awake_for(plan.schedule)
        row = (tables.jobs if what == "job" else tables.archive).get(key) if setup.supervisors else None
        if row is None:
            return None
        ended, wait = (
            (row.completed_on, setup.archive_after)
            if what == "job"
            else (row.archived_on, setup.delete_after)
        )
        return None if ended is None else ended + timedelta(seconds=wait)

    def _skip(self, seconds: float, resting: list[Node], lanes: set[Lane]) -> None:
        world = self._world
        self.jumped += seconds
        world.loop.shift(lanes, seconds)
        for node in resting:
            node.clock.suspended += seconds
        beaten = {
            (node.name, node.incarnation) for node in resting if node.role == "worker" and not node.dead
        }
        workers = world.store.tables.workers
        for key, row in list(workers.items()):
            if (row.host, row.pid) in beaten and row.beat_on is not None:
                workers[key] = replace(row, beat_on=row.beat_on + timedelta(seconds=seconds))


def _awake_for(schedule: Schedule) -> datetime | None:
    """Return from when on schedulers must be awake for a schedule; None if it fires no more."""
    if schedule.paused:
        return None
    if schedule.next_tick is None:
        return None if schedule.last_tick is not None else _LONG_AGO  # it waits for its first look
    return schedule.next_tick - AHEAD
