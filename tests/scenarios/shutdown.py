"""Workers that are stopped and started again while they are busy.

Each worker is stopped once or twice, as in a deploy, with a shutdown timeout of a few seconds. Its handlers
end within the grace period, after it, or ignore the cancellation that follows. Quick jobs are sent in bursts,
so that some were claimed ahead and must be released at once, and many outcomes wait to be stored. In some
runs the database goes away at that very moment; in others a claim is under way. What the worker held waits
again and has lost no retry, and no job is lost.

In some runs another worker drains the queue, and ends when no work is left: when it reports
so it runs nothing of its own any more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from tests.workloads import Action, Known, Script, Step, act, doing, script, sending
from zeke_queue.model import RowState
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.task import Send
from zeke_queue.worker import Worker
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.history.events import Lived, Violation
from zeke_sim.world.programs import InlineProcesses, InlineThreads
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Main, Node
    from zeke_sim.world.world import World

PHASE: Final = 30.0

AIMS: Final = ("now", "now", "answered", "unanswered")
"""When a worker is stopped: at a time, or with its next claim, whose answer may be lost."""


def build(draws: RandomStream) -> Setup:
    """Slow jobs and bursts of quick ones, and two workers that are stopped in the midst of them."""
    catalog = Catalog()
    catalog.task("slow", retry_limit=draws.below(3), retry_delay=1, expire_in=draws.pick((8.0, 60.0)))(act)
    catalog.task("quick", retry_limit=1, retry_delay=1, expire_in=draws.pick((3.0, 60.0)))(act)

    known = Known()
    actions = [(draws.uniform(0.0, 0.7 * PHASE), _slow(draws, known, n)) for n in range(3 + draws.below(4))]
    bursts = [draws.uniform(0.0, 0.7 * PHASE) for _ in range(1 + draws.below(3))]
    actions += [(at, _burst(draws)) for at in bursts]
    stops = [(f"w{1 + n % 2}", _stop(draws, bursts), draws.pick(AIMS)) for n in range(2 + draws.below(3))]
    outage = (stops[0][1] + draws.uniform(-0.2, 1.0), draws.tail(2.0, 15.0)) if draws.chance(0.4) else None
    lease = draws.pick((4.0, 6.0))
    worker = {
        "concurrency": 1 + draws.below(3),
        "lease": lease,
        "heartbeat_interval": lease / 4,
        "shutdown_timeout": draws.pick((0.0, 0.5, 3.0)),
    }
    drain = {"d1": _draining(draws.pick(bursts), worker)} if draws.chance(0.4) else {}
    return Setup(
        catalog,
        clients={"c1": doing(actions), **drain},
        worker=worker,
        sweep=2.0,
        phase=PHASE,
        archive_after=20.0,
        delete_after=20.0,
        before=_planned(stops, outage),
    )


def _draining(at: float, options: Mapping[str, Any]) -> Main:
    """Return a program that runs due jobs from a time on, and ends."""

    async def main(node: Node) -> None:
        world = node.world
        await asyncio.sleep(max(0.0, at - world.time()))
        inline: Any = {"threads": InlineThreads(), "processes": InlineProcesses()}
        async with Worker(node.queue, watchdog=None, **inline, **options) as worker:
            await worker.drain()
            violation = _running(node, worker)
            world.recorder.add(Lived(world.time(), node.name, "stopping"))
        # Raised here, since an error inside would make the worker interrupt its handlers, and break another
        # rule.
        if violation is not None:
            raise violation

    return main


def _running(node: Node, worker: Worker) -> Violation | None:
    """Return the error of a process that still runs a handler; None if it does not.

    What was cancelled or lost has no owner, though its handler may not know that yet.
    """
    world = node.world
    for (job, attempt), handler in world.running.items():
        row = world.store.tables.jobs.get(job)
        is_here = handler.node.name == node.name
        if is_here and row is not None and (row.state, row.worker) == (RowState.ACTIVE, worker.id):
            said = f"{node.name} goes on with attempt {attempt}"
            return Violation("who has drained runs nothing", said, job=job, at=world.time())
    return None


def _slow(draws: RandomStream, known: Known, number: int) -> Action:
    return sending(known, number, "slow", script(draws, longest=8.0, stubborn=0.5, hasty=0))


def _burst(draws: RandomStream) -> Action:
    """Send quick jobs, some of which are slow, so that jobs claimed ahead must wait."""
    several = [_quick(draws) for _ in range(4 + draws.below(10))]

    async def send(node: Node) -> None:
        await node.queue.send_many(several)

    return send


def _quick(draws: RandomStream) -> Send:
    seconds = draws.pick((0.0, 0.0, 0.01, 0.05, round(draws.uniform(0.0, 5.0), 2)))
    return Send("quick", Script(steps=[Step(seconds=seconds, end=draws.pick(("return", "return", "raise")))]))


def _stop(draws: RandomStream, bursts: list[float]) -> float:
    """Draw when a worker is stopped: at any time, or right after a burst."""
    if draws.chance(0.5):
        return draws.pick(bursts) + draws.uniform(0.0, 1.0)
    return draws.uniform(2.0, 0.9 * PHASE)


def _planned(
    stops: list[tuple[str, float, str]], outage: tuple[float, float] | None
) -> Callable[[World], Any]:
    def plan(world: World) -> None:
        for name, at, aim in stops:
            node = world.nodes[name]
            if aim == "now":
                world.later(at, node.terminate)
            else:
                world.later(
                    at, _with_a_claim, node, {"answered": ("sigterm",)}.get(aim, ("sigterm", "partition_in"))
                )
        if outage is not None:
            at, seconds = outage
            world.later(at, world.go_away, round(seconds, 3))

    return plan


def _with_a_claim(node: Node, faults: tuple[str, ...]) -> None:
    """Inject faults while the worker's next claim is in progress."""
    waiting = node.awaits.setdefault("claim", [])
    waiting.extend((f"workload/{node.name}/{kind}", {"fault": kind, "for": 0.4}) for kind in faults)


SCENARIO = Scenario(__name__, "workers told to stop while they are busy, with or without the database", build)
