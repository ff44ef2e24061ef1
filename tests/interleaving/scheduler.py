"""One statement at a time: the choice of the next client, and the detection of ends and waits.

A released statement is either answered, or kept waiting by another client. The second is what the
server says (``pg_blocking_pids``, asked on a connection of its own), never what a time limit suggests, so a
slow machine runs the same order as a quick one. Only when every client waits at its gate, has ended, or is
blocked by one at its gate, the next statement is sent.

If the end of one transaction releases two that waited, the server chooses the first, and a second run of the
same choices may see the other order. Both are judged alike.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import psycopg

from tests.interleaving.brake import Brake
from tests.interleaving.client import Client
from tests.interleaving.gate import Gate, gated_storage
from tests.interleaving.history import History
from tests.interleaving.wakeups import Ear
from zeke_queue.system.entropy import SeededEntropy

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AsyncExitStack

    from tests.clocks import FrozenClock
    from zeke_queue.storage.postgres import PostgresStorage

BLOCKERS = "select pid, pg_blocking_pids(pid) from unnest(%s::int[]) as pid"

_GLANCE_SECONDS = 0.001
"""Seconds to wait for an answer before asking the server for blocked clients: it only saves queries."""

_RUN_SECONDS = 60
"""Seconds after which a run hangs; it normally takes some hundredths of a second."""


class Chooser(ABC):
    """Chooses the client whose statement goes next."""

    @abstractmethod
    def __call__(self, standing: Sequence[int]) -> int:
        """Return one of the clients that stand before a statement."""

    def undoes(self) -> bool:
        """Return whether the server undoes the transaction instead, if it may be."""
        return False

    def brakes(self) -> bool:
        """Return whether the statement stops once more, inside."""
        return False


class Drawn(Chooser):
    """Choices that follow from a seed: each client alike, or by ranks of which a few change on the way.

    With ranks one client runs far ahead of another, which draws of equal chance seldom do.

    Args:
        undone: the chance of a statement that the server undoes its transaction instead, 0 to 1.
        braked: the chance of a statement that it stops once more, inside.
    """

    def __init__(self, seed: int, *, undone: float = 0.0, braked: float = 0.0) -> None:
        streams = SeededEntropy(seed)
        self._random, self._chance = streams.stream("schedule"), streams.stream("undo")
        self._braking = streams.stream("brake")
        self._undone, self._braked = undone, braked
        self._by_rank = self._random.random() < 0.5
        self._ranks: dict[int, float] = {}

    def __call__(self, standing: Sequence[int]) -> int:
        if not self._by_rank:
            return self._random.choice(standing)
        for client in standing:
            self._ranks.setdefault(client, self._random.random())
        first = max(standing, key=self._ranks.__getitem__)
        if self._random.random() < 0.25:
            self._ranks[first] = self._random.random() / 2
        return first

    def undoes(self) -> bool:
        return self._chance.random() < self._undone

    def brakes(self) -> bool:
        return self._braking.random() < self._braked


class Planned(Chooser):
    """Given choices, and after these always the first; records the alternatives.

    Args:
        brakes: whether each statement stops once more, inside.
    """

    def __init__(self, plan: Sequence[int], *, brakes: bool = False) -> None:
        self._plan = list(plan)
        self._brakes = brakes
        self.made: list[tuple[int, int]] = []
        """For each choice, its index and the number of alternatives."""

    def __call__(self, standing: Sequence[int]) -> int:
        place = self._plan[len(self.made)] if len(self.made) < len(self._plan) else 0
        place = min(place, len(standing) - 1)
        self.made.append((place, len(standing)))
        return standing[place]

    def brakes(self) -> bool:
        return self._brakes

    def following(self) -> list[int] | None:
        """Return the next plan, in the order of a tree walk, or None if this was the last."""
        places = list(self.made)
        while places:
            place, number = places.pop()
            if place + 1 < number:
                return [*(before for before, _ in places), place + 1]
        return None


class Ran(NamedTuple):
    """What happened in a run.

    Attributes:
        schedule: the statements in the order in which they were released, each with its client's number.
        waits: how often one was kept waiting by another client.
        errors: what clients raised that no storage should.
    """

    history: History
    schedule: tuple[tuple[int, str], ...]
    waits: int
    errors: tuple[BaseException, ...]


class Scheduler:
    """Runs scripts of several clients, statement by statement."""

    def __init__(self, watch: psycopg.AsyncConnection[Any], ear: Ear) -> None:
        self.storages: list[PostgresStorage] = []
        self.history = History()
        self._gates: list[Gate] = []
        self._tasks: list[asyncio.Future[None]] = []
        self._watch = watch
        self._brake = Brake(watch)
        self._ear = ear
        self._changed = asyncio.Event()

    async def open(self, stack: AsyncExitStack, dsn: str, clients: int, clock: FrozenClock) -> None:
        """Open the storages of ``number`` clients, which ``stack`` closes."""
        await self._brake.install()
        for _ in range(clients):
            gate = Gate(self._changed.set, self._next_tick)
            self.storages.append(await stack.enter_async_context(gated_storage(dsn, gate, clock)))
            self._gates.append(gate)

    def _next_tick(self) -> int:
        return self.history.next_tick()

    async def run(self, scripts: Sequence[Sequence[Step]], choose: Chooser) -> Ran:
        self.history = History()
        gates = self._gates[: len(scripts)]
        for gate in gates:
            gate.is_open = False
        clients = [
            Client(number, storage, gate, self.history, self._ear)
            for number, (storage, gate) in enumerate(zip(self.storages, gates, strict=False))
        ]
        self._tasks = [
            asyncio.ensure_future(_all(steps, client)) for steps, client in zip(scripts, clients, strict=True)
        ]
        for task in self._tasks:
            task.add_done_callback(lambda _: self._changed.set())
        schedule: list[tuple[int, str]] = []
        try:
            async with asyncio.timeout(_RUN_SECONDS):
                waits = await self._let_go_one_by_one(gates, choose, schedule)
        except TimeoutError:
            raise AssertionError(f"This never ended:\n{told(schedule)}\n{self.history}") from None
        finally:
            for gate in gates:
                gate.is_open = True
                await self._brake.take_off(gate)
            for task in self._tasks:
                task.cancel()
            ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        errors = tuple(error for error in ended if error is not None)
        return Ran(self.history, tuple(schedule), waits, errors)

    async def _let_go_one_by_one(
        self, gates: Sequence[Gate], choose: Chooser, schedule: list[tuple[int, str]]
    ) -> int:
        """Release statements until none is left; return how often one was blocked."""
        waits = 0
        while True:
            waits += await self._settle(gates)
            standing = [number for number, gate in enumerate(gates) if gate.stands]
            if not standing:
                return waits
            chosen = choose(standing)
            gate = gates[chosen]
            if gate.inside:
                schedule.append((chosen, f"{gate.running} goes on"))
                await self._brake.take_off(gate)
                continue
            undo = gate.may_be_undone and choose.undoes()
            if choose.brakes():
                await self._brake.put_on(gate)
            else:
                await self._brake.take_off(gate)
            schedule.append((chosen, gate.let_go(undo=undo) + " (undone)" * undo))

    async def _settle(self, gates: Sequence[Gate]) -> int:
        """Wait until each client is at its gate, has ended, or is blocked; return how many newly are."""
        while True:
            self._changed.clear()
            running = [gate for gate in gates if gate.running is not None]
            at_rest = all(
                task.done() or gate.stopped_at is not None or gate.running is not None
                for gate, task in zip(gates, self._tasks, strict=True)
            )
            if not at_rest:
                await self._changed.wait()
            elif not running:
                return 0
            elif not await self._changes() and (waits := await self._waits(running, gates)) is not None:
                return waits

    async def _changes(self) -> bool:
        try:
            async with asyncio.timeout(_GLANCE_SECONDS):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def _waits(self, running: Sequence[Gate], gates: Sequence[Gate]) -> int | None:
        """Return how many are newly blocked, if all of these are, at last by one at its gate."""
        found = await (await self._watch.execute(BLOCKERS, [[gate.pid for gate in running]])).fetchall()
        blockers: dict[int, list[int]] = dict(found)
        ops = {gate.pid: gate.op for gate in gates}
        for gate in running:
            if gate.op is not None:
                others = (ops.get(pid) for pid in blockers.get(gate.pid, ()))
                gate.op.kept_by.update(other for other in others if other is not None)
        standing = {gate.pid for gate in gates if gate.stopped_at is not None} | {self._brake.pid}

        def waits_for_one_that_stands(pid: int, seen: frozenset[int]) -> bool:
            # A circle is a deadlock, which the server breaks.
            return pid not in seen and any(
                other in standing or waits_for_one_that_stands(other, seen | {pid})
                for other in blockers.get(pid, ())
            )

        if self._changed.is_set() or not all(waits_for_one_that_stands(g.pid, frozenset()) for g in running):
            return None
        return sum(self._note_wait(gate, blockers[gate.pid]) for gate in running)

    def _note_wait(self, gate: Gate, blockers: Sequence[int]) -> bool:
        """Record the clients that block a statement; return whether its verb is newly blocked."""
        gate.inside = self._brake.pid in blockers
        if gate.op is None or gate.running is None:
            return False
        gate.op.waited = True
        if gate.inside or gate.op.kept[-1:] == [gate.running]:
            return False
        gate.op.kept.append(gate.running)
        return True


class Step(Protocol):
    async def run(self, client: Client) -> None: ...


async def _all(steps: Sequence[Step], client: Client) -> None:
    for step in steps:
        await step.run(client)


def told(schedule: Sequence[tuple[int, str]]) -> str:
    return " · ".join(f"{client} {name}" for client, name in schedule)
