"""Skips idle time, in which only heartbeats, and polls, sweeps and checks that find nothing, would happen.

A world is idle when no job runs or is due, no statement is in transit, no archiving, deletion or tick is
due, and every process rests. A process rests if it is dead or sleeps because it found nothing to do; it
must not be paused, cut off, backing off after a failure, or have a failed background call to repeat. A
worker with maintenance or schedules never rests, since it may back off in one duty while it sleeps in
another. Until the next instant at which something is due, the processes of an idle world would change only
the workers' heartbeats. So time jumps to that instant, and the processes' timers are shifted. The monotonic
clock of a worker's runtime is suspended, since leases and polls follow it: the worker then behaves as
without the jump. The clocks of handlers and programs advance.
"""

from __future__ import annotations

import heapq
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zeke_queue.model import FINAL
from zeke_sim.history.events import ScheduleRow
from zeke_sim.world.node import DUTIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from zeke_queue.model import Schedule
    from zeke_sim.history.events import Change
    from zeke_sim.loop.event_loop import RunQueue
    from zeke_sim.world.context import WorldContext
    from zeke_sim.world.node import Node
    from zeke_sim.world.setup import Setup

SHORTEST: Final = 0.5
"""Minimum idle time, in seconds, that is skipped."""

POLL: Final = 1.0
"""Seconds between polls of a scheduler."""

LATER: Final = 1.1
"""Factor by which a usual sleep may be longer because of a slow clock."""

_LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


class PendingWork(NamedTuple):
    """Work that will be due for schedulers or maintenance.

    Attributes:
        at: when it is due, by the database's clock.
        number: a sequence number, which orders equal times.
        what: ``job`` to archive one, ``archive`` to delete one, ``schedule`` to serve a tick.
        key: the job's id, or the schedule's name.
    """

    at: datetime
    number: int
    what: str
    key: Any


class TimeSkipper:
    """Tracks when work will be due, and skips idle time until then.

    Attributes:
        jumped: total of skipped seconds.
    """

    def __init__(self, world: WorldContext, nodes: Mapping[str, Node], setup: Setup) -> None:
        self._world = world
        self._nodes = nodes
        self._setup = setup
        self._duties: dict[str, list[PendingWork]] = {"scheduler": [], "maintenance": []}
        self._number = 0
        self.jumped = 0.0

    def see(self, event: Change | ScheduleRow) -> None:
        """Record when a changed row will need work."""
        if isinstance(event, ScheduleRow):
            whose, what, key = "scheduler", "schedule", event.name
        else:
            row = event.after
            if row is None or row.state not in FINAL:
                return
            whose, what, key = "maintenance", event.table, row.id
        if (at := self._due(what, key)) is not None:
            self._number += 1
            heapq.heappush(self._duties[whose], PendingWork(at, self._number, what, key))

    def jump(self) -> None:
        """Skip time, if the world is idle."""
        world = self._world
        tables = world.store.tables
        if world.open_calls or tables.active or world.server.transactions or world.down or world.running:
            return
        if any(tables.waiting_for_ended()):
            return
        now, soonest = world.loop.time(), world.loop.soonest()
        resting = [node for node in self._nodes.values() if node.role != "client"]
        pauses = {node: soonest.get(node.run_queue, now) - now for node in resting if not node.dead}
        if not all(self._rests(node, pause) for node, pause in pauses.items()):
            return
        run_queues = {one for node in resting for one in (node.run_queue, node.thread[0])}
        seconds = min((when for one, when in soonest.items() if one not in run_queues), default=inf) - now
        if seconds < SHORTEST:
            return
        time = world.database_clock.now()
        names = list(tables.lines)
        if names and (start := world.store.next_due(names)) is not None:
            seconds = min(seconds, (start - time).total_seconds())
        held: dict[RunQueue, float] = {}
        for role in self._duties:
            seconds = self._until_done(role, seconds, pauses, held)
        if SHORTEST <= seconds < inf:
            self._skip(seconds, held, list(pauses))

    def _until_done(
        self, role: str, seconds: float, pauses: Mapping[Node, float], held: dict[RunQueue, float]
    ) -> float:
        """Return the seconds until a process of this role does the next due work, at most ``seconds``.

        The polls of these processes are delayed: the remaining sleep of each starts when the work is due.
        """
        mine = {node.run_queue: pause for node, pause in pauses.items() if node.role == role}
        at = self._next(role) if mine else None
        if at is None:
            return seconds
        put_off = max(0.0, (at - self._world.database_clock.now()).total_seconds())
        held.update(dict.fromkeys(mine, put_off))
        return min(seconds, put_off + min(mine.values()))

    def _rests(self, node: Node, pause: float) -> bool:
        """Return whether a process sleeps as usual; after a failure, its sleep has a different length."""
        if node.paused or node.link is not None:
            return False
        if node.role == "worker":
            if self._setup.worker.get("maintenance") or self._setup.worker.get("schedules"):
                return False
            return node.calls.asleep > 0 and not node.calls.owing
        if node.role == "scheduler":
            return not node.calls.failing and pause <= LATER * POLL
        if node.calls.owing.intersection(DUTIES[node.role]):
            return False
        return pause <= LATER * self._setup.sweep

    def _next(self, whose: str) -> datetime | None:
        """Return when the next work of schedulers or maintenance is due; None for never."""
        duties = self._duties[whose]
        while duties and self._due(duties[0].what, duties[0].key) != duties[0].at:
            heapq.heappop(duties)
        return duties[0].at if duties else None

    def _due(self, what: str, key: Any) -> datetime | None:
        """Return when a row in its current state needs work; None for never."""
        setup, tables = self._setup, self._world.store.tables
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

    def _skip(self, seconds: float, held: Mapping[RunQueue, float], resting: list[Node]) -> None:
        """Skip ``seconds`` for idle processes; those in ``held`` are shifted by less."""
        world = self._world
        self.jumped += seconds
        run_queues: dict[float, set[RunQueue]] = {}
        for node in resting:
            together = run_queues.setdefault(min(seconds, held.get(node.run_queue, seconds)), set())
            together |= {node.run_queue, node.thread[0]}
        for later, together in run_queues.items():
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
    """Return when a schedule is due next; None if it has no further tick."""
    if schedule.paused:
        return None
    if schedule.next_tick is None:
        return None if schedule.last_tick is not None else _LONG_AGO  # not seen by a scheduler yet
    return schedule.next_tick
