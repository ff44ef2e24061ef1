"""Skips stretches of time in which nothing would happen but heartbeats, looks and sweeps that find nothing.

A world is calm when no job runs or is due, no statement is on its way, nothing is left to be done that is
due by now, and every process rests: it is dead, or sleeps as those do that found nothing to do; none stands
still, is cut off, waits for longer after a failure, or has yet to tell what it could not. Until the next
instant at which something is due, all that its processes would do changes nothing but the workers'
heartbeats. So time jumps, and the processes' timers move along. The monotonic clocks that a worker's runtime
reads stand still, since leases and looks go by them: what comes then meets it as it would have. Those that
handlers and programs read go on.
"""

from __future__ import annotations

import heapq
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zeke_queue.model import FINAL
from zeke_sim.history.events import ScheduleRow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zeke_queue.model import Schedule
    from zeke_sim.history.events import Change
    from zeke_sim.loop.event_loop import Lane
    from zeke_sim.world.node import Node
    from zeke_sim.world.world import World

SHORTEST: Final = 0.5
"""Seconds that are worth a jump."""

LOOK: Final = 1.0
"""Seconds between a scheduler's looks."""

LATER: Final = 1.1
"""How much longer a sleep may be than usual, for clocks that go slowly."""

_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Duty(NamedTuple):
    """Something that somebody will have to do.

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
        self._duties: dict[str, list[Duty]] = {"scheduler": [], "supervisor": []}
        self._number = 0
        self.jumped = 0.0

    def see(self, event: Change | ScheduleRow) -> None:
        """Note from when on there is something to do about a row."""
        if isinstance(event, ScheduleRow):
            whose, what, key = "scheduler", "schedule", event.name
        else:
            row = event.after
            if row is None or row.state not in FINAL:
                return
            whose, what, key = "supervisor", event.table, row.id
        if (at := self._due(what, key)) is not None:
            self._number += 1
            heapq.heappush(self._duties[whose], Duty(at, self._number, what, key))

    def jump(self) -> None:
        """Skip time, if the world is idle."""
        world = self._world
        tables = world.store.tables
        if world.open_calls or tables.active or world.server.transactions or world.down or world.running:
            return
        if any(tables.overlooked()):
            return
        now, soonest = world.loop.time(), world.loop.soonest()
        resting = [node for node in world.nodes.values() if node.role != "client"]
        pauses = {node: soonest.get(node.lane, now) - now for node in resting if not node.dead}
        if not all(self._rests(node, pause) for node, pause in pauses.items()):
            return
        lanes = {node.lane for node in resting}
        seconds = min((when for lane, when in soonest.items() if lane not in lanes), default=inf) - now
        if seconds < SHORTEST:
            return
        time = world.database_clock.now()
        names = list(tables.lines)
        if names and (start := world.store.next_due(names)) is not None:
            seconds = min(seconds, (start - time).total_seconds())
        held: dict[Lane, float] = {}
        for role in self._duties:
            seconds = self._until_done(role, seconds, pauses, held)
        if SHORTEST <= seconds < inf:
            self._skip(seconds, held, list(pauses))

    def _until_done(
        self, role: str, seconds: float, pauses: Mapping[Node, float], held: dict[Lane, float]
    ) -> float:
        """Return the seconds until one of these processes does what is due next, or fewer.

        Their next look before that is put off until it is due, and comes as much later as they would have
        slept from now on.
        """
        mine = {node.lane: pause for node, pause in pauses.items() if node.role == role}
        at = self._next(role) if mine else None
        if at is None:
            return seconds
        put_off = max(0.0, (at - self._world.database_clock.now()).total_seconds())
        held.update(dict.fromkeys(mine, put_off))
        return min(seconds, put_off + min(mine.values()))

    def _rests(self, node: Node, pause: float) -> bool:
        """Return whether a process sleeps as usual; after a failure it would wait for longer, or for less."""
        if node.paused or node.link is not None:
            return False
        if node.role == "worker":
            return node.storage.asleep > 0 and not node.storage.owing
        if node.role == "scheduler":
            return not node.storage.failing and pause <= LATER * LOOK
        return pause <= LATER * self._world.setup.sweep

    def _next(self, whose: str) -> datetime | None:
        """Return from when on there is something to do for schedulers, or for supervisors; None for never."""
        duties = self._duties[whose]
        while duties and self._due(duties[0].what, duties[0].key) != duties[0].at:
            heapq.heappop(duties)
        return duties[0].at if duties else None

    def _due(self, what: str, key: Any) -> datetime | None:
        """Return from when on something is to be done about a row as it stands; None if nothing ever is."""
        setup, tables = self._world.setup, self._world.store.tables
        if what == "schedule":
            plan = tables.plans.get(key)
            return None if plan is None else _due_of(plan.schedule)
        row = (tables.jobs if what == "job" else tables.archive).get(key)
        if row is None:
            return None
        ended, wait = (
            (row.completed_on, setup.archive_after)
            if what == "job"
            else (row.archived_on, setup.delete_after)
        )
        return None if ended is None else ended + timedelta(seconds=wait)

    def _skip(self, seconds: float, held: Mapping[Lane, float], resting: list[Node]) -> None:
        """Skip so many seconds for idle processes; some are frozen for a part of them."""
        world = self._world
        self.jumped += seconds
        lanes: dict[float, set[Lane]] = {}
        for node in resting:
            lanes.setdefault(min(seconds, held.get(node.lane, seconds)), set()).add(node.lane)
        for later, together in lanes.items():
            world.loop.shift(together, later)
        beaten: set[tuple[str, int]] = set()
        for node in resting:
            if node.role == "worker":
                node.resting_clock.suspended += seconds
                beaten.add((node.name, node.incarnation))
        workers = world.store.tables.workers
        for key, row in list(workers.items()):
            if (row.host, row.pid) in beaten and row.beat_on is not None:
                workers[key] = replace(row, beat_on=row.beat_on + timedelta(seconds=seconds))


def _due_of(schedule: Schedule) -> datetime | None:
    """Return when a schedule is to be served next; None if it fires no more."""
    if schedule.paused:
        return None
    if schedule.next_tick is None:
        return None if schedule.last_tick is not None else _LONG_AGO  # it waits for its first look
    return schedule.next_tick
