"""Commands that run their jobs themselves and are killed for good: other workers end their jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.sim.runs import changes
from tests.workloads import act, doing, leased, script
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.errors import JobConflictError
from zeke_queue.model import FINAL, RowState
from zeke_queue.task.catalog import Catalog
from zeke_sim.experiment.run import run
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from tests.workloads import Action
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Node
    from zeke_sim.world.world import World

PHASE = 40.0
NEVER = 10_000.0
SEEDS = range(20)


def build(draws: RandomStream) -> Setup:
    """Two commands with private queues, of which one is killed for good, and a worker."""
    catalog = Catalog()
    catalog.task("mail", retry_limit=3, retry_delay=1, expire_in=60.0)(act)
    commands: dict[str, Catalog] = {}
    for number in (1, 2):
        # Version 7 of UUIDs, by which the time is known from which its jobs may have ended.
        private = Catalog(private_to=UUID(int=number << 80 | 7 << 76 | 2 << 62))
        private.include(catalog)
        commands[f"x{number}"] = private
    sends = [(draws.uniform(0.0, 0.7 * PHASE), _send(draws, commands)) for _ in range(12)]
    killed = draws.uniform(0.2 * PHASE, 0.8 * PHASE)

    def kill(world: World) -> None:
        world.later(killed, world.nodes["x1"].kill, NEVER)

    return Setup(
        catalog,
        clients={"c1": doing(sends)},
        worker=leased(2),
        workers=1,
        others=commands,
        sweep=2.0,
        phase=PHASE,
        archive_after=20.0,
        delete_after=20.0,
        before=kill,
    )


def _send(draws: RandomStream, commands: dict[str, Catalog]) -> Action:
    """Send a job to a command's queue, where another one may have its key."""
    catalog, key = commands[draws.pick(("x1", "x1", "x2"))], draws.pick(("a", "b", None))
    payload = script(draws, longest=8.0)

    async def send(node: Node) -> None:
        entropy = parts_of(node.queue).entropy
        queue = Queue(
            catalog, node.storage, clock=node.resting_clock, entropy=entropy, settings=node.world.settings
        )
        try:
            await queue.send("mail", payload, singleton_key=key)
        except JobConflictError:
            return  # the job that has the key does the same

    return send


SCENARIO = Scenario(__name__, "jobs of killed commands are moved to the queue of workers, and end", build)


@pytest.mark.nightly
def test_jobs_of_killed_commands_end_in_the_queue_of_workers() -> None:
    moved: list[RowState] = []
    for seed in SEEDS:
        outcome = run(SCENARIO, SCENARIO.plan(seed))
        assert outcome.violation is None, (seed, outcome.violation)
        steps = [(was, now) for _, was, now in changes(outcome.events) if was.name != now.name]
        moved += [now.state for _, now in steps]
        assert {now.name for _, now in steps} <= {"mail"}
    assert {RowState.CREATED, RowState.RETRY} <= set(moved)
    assert RowState.CANCELLED in moved or FINAL.intersection(moved)
