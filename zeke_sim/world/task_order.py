"""Nondeterminism that a correct system must tolerate: which node runs next, and which rows a claim skips."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.loop.event_loop import RunQueue
    from zeke_sim.world.context import WorldContext


class Order:
    """Chooses which of several nodes runs next; a choice out of turn is a decision of the plan."""

    def __init__(self, world: WorldContext) -> None:
        self._world = world
        self._choices = 0
        self._priorities: dict[str, float] = {}

    def choose(self, runnable: Sequence[RunQueue]) -> int:
        """Return the index of the run queue that runs next."""
        world = self._world
        self._choices += 1

        def draw(draws: RandomStream) -> str | None:
            if world.knobs.order == "permuted":
                place = draws.below(len(runnable))
            else:
                place = self._first_by_priority(runnable, draws)
            return runnable[place].name if place else None

        name = world.decisions.at(f"order/{self._choices}", draw) if world.faulty else None
        if name is None:
            return 0
        return next((place for place, run_queue in enumerate(runnable) if run_queue.name == name), 0)

    def _first_by_priority(self, runnable: Sequence[RunQueue], draws: RandomStream) -> int:
        """Choose as PCT does: the node with the highest priority, which sometimes drops to the lowest."""
        priorities = self._priorities
        for name in (run_queue.name for run_queue in runnable):
            if name not in priorities:
                priorities[name] = self._world.decisions.stream(f"priority/{name}").random()
        best = max(range(len(runnable)), key=lambda place: priorities[runnable[place].name])
        if draws.chance(0.02):
            priorities[runnable[best].name] = min(priorities.values()) - 1.0
        return best


class Skips:
    """The store's source of randomness, which decides for each row whether a claim skips it."""

    def __init__(self, world: WorldContext) -> None:
        self._world = world
        self._statement = ""
        self._count = 0

    def stream(self, name: str) -> Any:
        """Return itself, the only random stream of the store."""
        del name
        return self

    def random(self) -> float:
        """Return 0 to skip a row, 1 to claim it."""
        world = self._world
        if not world.faulty:
            return 1.0
        if world.statement != self._statement:
            self._statement, self._count = world.statement, 0
        self._count += 1
        chance = world.knobs.skip
        skip = world.decisions.at(
            f"{self._statement}/skip/{self._count}", lambda draws: True if draws.chance(chance) else None
        )
        return 0.0 if skip else 1.0
