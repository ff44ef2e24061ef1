"""Concurrency limits, pauses and priorities of several queues over several workers.

One task has a limit that it shares with its alias, under which another program sends; one has a limit of one;
one has none, or one that is never reached. Most jobs are of one limited queue; they have priorities, some
are due later, some fail and are retried. Meanwhile an operator raises limits and lowers them, also below what
runs, and pauses queues and resumes them, and workers that start declare the limits of the code again; jobs
are cancelled while they run. In some runs one worker runs all jobs. In the end every queue is resumed, so
that all can drain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.workloads import Action, Known, act, doing, leased, own_id, script, sending, tending
from zeke_queue.client.parts import parts_of
from zeke_queue.core.options import SendOptions
from zeke_queue.model import NewJob, QueueSettings
from zeke_queue.task.catalog import Catalog
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.properties import ALL
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Node

PHASE: Final = 30.0

SHARED: Final = ("narrow", "narrow-old")
LIMITED: Final = (*SHARED, "single")
QUEUES: Final = (*LIMITED, "free")

SENDS: Final = 6
"""How many jobs a sender sends at most."""


def build(draws: RandomStream) -> Setup:
    """Three tasks in four queues, two workers, two senders, an operator."""
    catalog = Catalog()
    options: dict[str, Any] = {"retry_limit": 2, "retry_delay": 1, "expire_in": draws.pick((5.0, 30.0))}
    catalog.task("narrow", aliases=["narrow-old"], concurrency_limit=2 + draws.below(2), **options)(act)
    catalog.task("single", concurrency_limit=1, **options)(act)
    catalog.task("free", concurrency_limit=draws.pick((None, None, 9)), **options)(act)

    known, busy = Known(), draws.pick(LIMITED)
    lease = draws.pick((3.0, 6.0))
    return Setup(
        catalog,
        clients={
            "c1": _sender(draws, known, 0, busy),
            "c2": _sender(draws, known, SENDS, busy),
            "op": _operator(draws, busy),
        },
        workers=draws.pick((1, 2, 2)),
        worker=leased(1 + draws.below(3), lease, 2.0),
        sweep=2.0,
        phase=PHASE,
        archive_after=20.0,
        delete_after=20.0,
    )


def _sender(draws: RandomStream, known: Known, first: int, busy: str) -> Any:
    """Draw what a program sends, and which of it a user cancels a while later."""
    actions: list[tuple[float, Action]] = []
    for number in range(first, first + 3 + draws.below(SENDS - 2)):
        at = draws.uniform(0.0, 0.6 * PHASE)
        actions.append((at, _send(draws, known, number, busy)))
        if draws.chance(0.6):
            actions.append((at + draws.uniform(0.5, 6.0), tending(known, number, "cancel")))
    return doing(actions)


def _send(draws: RandomStream, known: Known, number: int, busy: str) -> Action:
    queue, payload = draws.pick((*QUEUES, busy, busy)), script(draws, longest=6.0, steps=2, hasty=1)
    priority = draws.pick((0, 0, 1, -1))
    delay = draws.pick((0.0, 0.0, round(draws.uniform(0.0, 6.0), 2)))
    if queue != "narrow-old":
        return sending(known, number, queue, payload, SendOptions(priority=priority, delay=delay))
    foreign = NewJob(
        own_id(draws), queue, payload.model_dump_json(), priority, delay, retry_limit=1, expire_in=30.0
    )
    return _as_another_program(foreign)


def _as_another_program(job: NewJob) -> Action:
    """Insert a row under a name that this library would not send to: it sends to the task's own queue."""

    async def insert(node: Node) -> None:
        await parts_of(node.queue).storage.insert([job])

    return insert


def _operator(draws: RandomStream, busy: str) -> Any:
    actions = [(draws.uniform(0.0, 0.8 * PHASE), _measure(draws)) for _ in range(2 + draws.below(5))]
    for _ in range(draws.below(3)):
        # There is room for several, and soon that is too much.
        at = draws.uniform(0.0, 0.4 * PHASE)
        actions += [(at, _limit(busy, None)), (at + draws.uniform(2.0, 8.0), _limit(busy, 1))]
    actions += [(0.9 * PHASE, _pause(name, paused=False)) for name in QUEUES]
    return doing(actions)


def _measure(draws: RandomStream) -> Action:
    if draws.chance(0.6):
        return _limit(draws.pick(LIMITED), draws.pick((1, 2, 3, None)))
    return _pause(draws.pick(QUEUES), paused=draws.chance(0.6))


def _limit(name: str, limit: int | None) -> Action:
    async def declare(node: Node) -> None:
        names = SHARED if name in SHARED else (name,)
        shared = SHARED if name in SHARED and limit is not None else ()
        # In one call, as workers do: of two, one may be applied after the next change of the limit.
        queues = [QueueSettings(one, limit, limited_with=shared) for one in names]
        await parts_of(node.queue).storage.declare(queues, [])

    return declare


def _pause(name: str, *, paused: bool) -> Action:
    async def pause(node: Node) -> None:
        await parts_of(node.queue).storage.pause_queue(name, paused=paused)

    return pause


SCENARIO = Scenario(
    __name__,
    "concurrency limits that change, pauses and priorities, over several workers",
    build,
    # The operator sets other limits than the code's.
    properties=[one for one in ALL if one.name != "a task's names share its limit"],
)
