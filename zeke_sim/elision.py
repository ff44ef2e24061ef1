"""Skips stretches of time in which nothing would happen but heartbeats, looks and sweeps that find nothing.

A world is calm when no job runs or is due, no statement is on its way, and every process is well. Until the
next instant at which something is due, all that its processes would do changes nothing but the workers'
heartbeats. So time jumps: the processes' monotonic clocks stand still meanwhile, and their timers move along.
What comes then meets them just as it would have.
"""

from __future__ import annotations

import heapq
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from zeke_queue.model import FINAL
from zeke_sim.history import ScheduleRow

if TYPE_CHECKING:
    from datetime import datetime

    from zeke_sim.history import Change
    from zeke_sim.world import World

SHORTEST: Final = 2.0
"""Seconds that are worth a jump."""

AHEAD: Final = 1.1
"""Seconds before a tick at which schedulers are awake again: their looks are a second apart."""


class Elision:
    """Knows when something will be due, and lets time jump there."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._due: list[datetime] = []
        self.jumped = 0.0

    def see(self, event: Change | ScheduleRow) -> None:
        """Note from when on there is something to do about a row."""
        setup = self._world.setup
        if isinstance(event, ScheduleRow):
            after = event.after
            if after is not None and not after.paused and after.next_tick is not None:
                heapq.heappush(self._due, after.next_tick - timedelta(seconds=AHEAD))
            return
        row = event.after
        if row is None or not setup.supervisors:
            return
        if row.archived_on is not None:
            heapq.heappush(self._due, row.archived_on + timedelta(seconds=setup.delete_after))
        elif row.state in FINAL and row.completed_on is not None:
            heapq.heappush(self._due, row.completed_on + timedelta(seconds=setup.archive_after))

    def jump(self) -> None:
        """Let time jump, if the world is calm."""
        world = self._world
        tables = world.store.tables
        if world.open_calls or tables.active or world.transactions or world.down or world.running:
            return
        resting = [node for node in world.nodes.values() if node.role != "client"]
        if any(
            node.dead or node.paused or node.link is not None or node.clock.rate != 1.0 for node in resting
        ):
            return
        loop, now = world.loop, world.database_clock.now()
        lanes = {node.lane for node in resting}
        timer = loop.next_timer(but=lanes)
        seconds = float("inf") if timer is None else timer - loop.time()
        if seconds < SHORTEST:
            return
        seconds = min(seconds, self._until_due(now))
        names = list(tables.lines)
        if seconds >= SHORTEST and names and (start := world.store.next_due(names)) is not None:
            seconds = min(seconds, (start - now).total_seconds())
        if SHORTEST <= seconds < float("inf"):
            self._skip(seconds)

    def _until_due(self, now: datetime) -> float:
        due = self._due
        while due and due[0] <= now:
            heapq.heappop(due)
        return (due[0] - now).total_seconds() if due else float("inf")

    def _skip(self, seconds: float) -> None:
        world = self._world
        self.jumped += seconds
        resting = [node for node in world.nodes.values() if node.role != "client"]
        world.loop.shift({node.lane for node in resting}, seconds)
        for node in resting:
            node.clock.suspended += seconds
        beaten = {(node.name, node.incarnation) for node in resting if node.role == "worker"}
        workers = world.store.tables.workers
        for key, row in list(workers.items()):
            if (row.host, row.pid) in beaten and row.beat_on is not None:
                workers[key] = replace(row, beat_on=row.beat_on + timedelta(seconds=seconds))
