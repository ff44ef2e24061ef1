"""Another program keeps rows and keys locked, in transactions that take long and are rolled back.

It locks jobs while they wait or run, some of which another program sends in bursts, so that several end
together; and it sends with the key of a schedule. Whatever does not need what is locked goes on meanwhile:
the other jobs of a burst, the other queue, the other schedule.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tests.workloads import Action, Known, Script, Step, act, doing, leased, sending
from zeke_queue.client.parts import parts_of
from zeke_queue.task.catalog import Catalog
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Node

PHASE: Final = 45.0

BURST: Final = 3
"""Jobs that are sent at one moment, and take equally long."""


class ChangedItsMind(Exception):
    """Rolls a transaction back."""


def build(draws: RandomStream) -> Setup:
    """Two queues, two schedules, two workers, a program that sends, and one that locks."""
    catalog = Catalog()
    catalog.task("work", retry_limit=1, retry_delay=1, expire_in=30.0)(act)
    catalog.task("tick", retry_limit=1, retry_delay=1)(act)
    catalog.task("keyed", retry_limit=1, retry_delay=1, singleton_key="key", concurrency_limit=1)(act)
    for name in ("tick", "keyed"):
        seconds, policy = draws.pick((3, 4, 5, 6)), draws.pick(("skip", "once", "once", "all"))
        catalog.schedule(name, f"* * * * * */{seconds}", catch_up=policy)
    known = Known()
    sends: list[tuple[float, Action]] = []
    locks: list[tuple[float, Action]] = []
    for burst in range(3 + draws.below(3)):
        at, seconds = draws.uniform(1.0, 0.7 * PHASE), draws.pick((0.5, 1.0, 2.0))
        payload = Script(steps=[Step(seconds=seconds)])
        first = BURST * burst
        sends += [(at, sending(known, first + place, "work", payload)) for place in range(BURST)]
        if draws.chance(0.7):
            moment = at + draws.uniform(0.0, seconds)
            locks.append((moment, _lock_job(known, first + draws.below(BURST), draws.tail(5.0, 20.0))))
    locks += [
        (draws.uniform(2.0, 0.8 * PHASE), _take_key(draws.tail(5.0, 20.0))) for _ in range(1 + draws.below(3))
    ]
    plans: dict[str, list[tuple[float, Action]]] = {"l1": [], "l2": [], "l3": []}
    for lock in locks:
        plans[draws.pick([*plans])].append(lock)
    return Setup(
        catalog,
        clients={"c1": doing(sends), **{name: doing(plan) for name, plan in plans.items()}},
        worker=leased(1 + draws.below(4)),
        schedulers=1 + draws.below(2),
        sweep=2.0,
        phase=PHASE,
        archive_after=20.0,
        delete_after=20.0,
    )


async def _wait(seconds: float) -> None:
    """Wait, until the faults end at most: from then on, due jobs are claimed at once."""
    await asyncio.sleep(max(0.0, min(seconds, PHASE - asyncio.get_running_loop().time())))


def _lock_job(known: Known, number: int, seconds: float) -> Action:
    """Return the action of cancelling a job, and of changing one's mind later."""

    async def lock(node: Node) -> None:
        if (job := known.get(number)) is None:
            return
        async with parts_of(node.queue).storage.transaction() as transaction:
            await transaction.cancel([job])
            await _wait(seconds)
            raise ChangedItsMind

    return _rolled_back(lock)


def _take_key(seconds: float) -> Action:
    """Return the action of sending a job with a schedule's key, and of changing one's mind later."""

    async def take(node: Node) -> None:
        async with node.queue.transaction() as transaction:
            await transaction.send("keyed", Script(steps=[]))
            await _wait(seconds)
            raise ChangedItsMind

    return _rolled_back(take)


def _rolled_back(action: Action) -> Action:
    async def do(node: Node) -> None:
        try:
            await action(node)
        except ChangedItsMind:
            return

    return do


SCENARIO = Scenario(__name__, "what is locked delays nothing else", build)
