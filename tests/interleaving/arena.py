"""Plays a script under a schedule, and judges what came of it."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

from tests.clocks import START, FrozenClock
from tests.conformance.planting import EMPTY
from tests.interleaving.allowed import Search, World
from tests.interleaving.lines import VERBS, missed_lines
from tests.interleaving.meeting import unexcused
from tests.interleaving.scheduler import Chooser, Ran, Scheduler, told
from tests.interleaving.wakeups import Ear, never_woken
from tests.model.pair import every_row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.interleaving.steps import Script

CLIENTS_MAX = 4

_SKIP = ("claim", "lock_queues", "lock_expired", "archive", "lock_due_schedules", "resume_waiting")
_READS = (
    "ready",
    "limited_queues",
    "known",
    "settled_before",
    "find_conflicts",
    "now",
    "count",
    "lag",
    "get",
    "events",
)
_FAMILY = ("children", "cancelled_along")
NEVER_WAIT = frozenset((*_SKIP, *_READS, *_FAMILY))
"""Statements that no other client keeps waiting, whatever it has locked."""


class Played(NamedTuple):
    """One interleaving: its history, and its fault (None: no fault)."""

    ran: Ran
    wrong: str | None
    moves: int


class Arena:
    """Clients of one database, which run one script after another."""

    def __init__(
        self, scheduler: Scheduler, connection: psycopg.AsyncConnection[Any], ear: Ear, clock: FrozenClock
    ) -> None:
        self._scheduler = scheduler
        self._connection = connection
        self._ear = ear
        self._clock = clock

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str) -> AsyncIterator[Arena]:
        clock = FrozenClock()
        async with AsyncExitStack() as stack:
            mine: list[psycopg.AsyncConnection[Any]] = []
            for _ in range(3):
                mine.append(await psycopg.AsyncConnection.connect(dsn, autocommit=True))
                stack.push_async_callback(mine[-1].close)
            ear = Ear(mine[2])
            await ear.listen()
            scheduler = Scheduler(mine[1], ear)
            await scheduler.open(stack, dsn, CLIENTS_MAX, clock)
            yield cls(scheduler, mine[0], ear, clock)

    async def play(self, script: Script, choose: Chooser) -> Played:
        before = await self._prepare(script)
        expected = World(script.before).answers_before
        assert before == expected, f"{script}\nbefore:\n  memory   {expected}\n  postgres {before}"
        await self._ear.all()
        ran = await self._scheduler.run(script.clients, choose)
        heard = await self._ear.all()
        if ran.errors:
            return Played(ran, f"a client raised {ran.errors!r}", 0)
        if met := unexcused(script, ran.history.ops):
            return Played(ran, f"locks have an order, and the server undid: {'; '.join(map(str, met))}", 0)
        kept = [str(op) for op in ran.history.ops if not NEVER_WAIT.isdisjoint(op.kept)]
        if kept:
            return Played(
                ran, "what only looks, or passes over locks, was kept waiting: " + "; ".join(kept), 0
            )
        rows = await every_row(self._connection)
        if missed := missed_lines(ran.history.ops, rows.events):
            return Played(ran, missed, 0)
        others = [op for op in ran.history.ops if op.verb not in VERBS]
        verdict = Search(script.before, others, replace(rows, events=[])).run()
        wrong = never_woken(others, heard, verdict.world)
        if verdict.order is None:
            wrong = f"memory allows no order of these; the nearest came so far:\n{verdict.nearest}"
        return Played(ran, wrong, verdict.moves)

    async def _prepare(self, script: Script) -> list[Any]:
        self._clock.advance((START - self._clock.now()).total_seconds())
        await self._connection.execute(EMPTY)
        storages = self._scheduler.storages
        for storage in storages:
            await storage.declare([], [])  # it forgets which queues had limits
        answers: list[Any] = []
        for step in script.before:
            if isinstance(step, (int, float)):
                self._clock.advance(step)
            else:
                answers.append(await getattr(storages[0], step.verb)(*step.arguments, **step.options))
        return answers


def failure(script: Script, played: Played, how: str) -> str:
    return (
        f"{played.wrong}\n\nthe script: {script}\n\nits verbs, by ticks:\n{played.ran.history}\n\n"
        f"the schedule, each statement after its client: {told(played.ran.schedule)}\n{how}"
    )
