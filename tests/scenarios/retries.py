"""Jobs that fail and are tried again: by backoff, by what the handler asks for, until their limit, by hand.

The limit is that of the send if it sets one, even zero; else the task's. Some jobs fail again and again,
and a user retries them by hand, also when no retry is left. Their handlers run on the loop, in threads or
in processes.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from tests.workloads import Action, Known, Script, Step, act, act_at_once, doing, script, sending, tending
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.history.events import Change
from zeke_sim.history.state import Broken
from zeke_sim.properties import ALL, holds
from zeke_sim.testing.client import through_faults
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from zeke_sim.history.state import RunState
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Node


class Plea(Script):
    """A script with the number of retries set by its sender; None for the task's."""

    retries: int | None = None


@holds("a send's word counts", Change)
def a_sends_word_counts(event: Change, _state: RunState) -> None:
    """A job may use as many retries as its sender asked for, none included."""
    row = event.after
    if row is None or event.before is not None or event.table != "job" or row.data is None:
        return
    asked = json.loads(row.data).get("retries")
    if asked is not None and row.retry_limit != asked:
        raise Broken(f"{asked} retries were asked for, and the job has {row.retry_limit}", job=row.id)


def build(draws: RandomStream) -> Setup:
    """A handful of flaky jobs, two workers, a maintenance process."""
    catalog = Catalog()
    backoff = draws.chance(0.7)

    @catalog.task(
        "flaky",
        retry_limit=draws.below(4),
        retry_delay=1 + draws.below(3),
        retry_backoff=backoff,
        retry_delay_max=draws.pick((None, 4, 1)) if backoff else None,
        expire_in=draws.pick((10.0, 30.0)),
    )
    async def flaky(payload: Plea, job: JobContext) -> object:
        return await act(payload, job)

    del flaky
    limit, where = draws.pick((0, 1, 4, 5)), draws.pick(("loop", "thread", "process"))
    chronic = catalog.task(
        "chronic",
        retry_limit=limit,
        retry_delay=1,
        retry_backoff=True,
        expire_in=60.0,
        process=where == "process",
    )
    chronic(act if where == "loop" else act_at_once)
    known = Known()
    actions = [action for number in range(1 + draws.below(2)) for action in _hopeless(draws, known, number)]
    parcels = [_parcel(draws) for _ in range(3 + draws.below(6))]

    async def send(node: Node) -> None:
        for number, (pause, plea) in enumerate(parcels):
            if not node.world.leaves_out(f"action/{node.name}/{number}"):
                await through_faults(lambda plea=plea: _send(node, plea))
            await asyncio.sleep(pause)

    return Setup(
        catalog,
        clients={"c1": send, "c2": doing(actions)},
        worker={
            "concurrency": 1 + draws.below(3),
            "lease": 6.0,
            "heartbeat_interval": 2.0,
            "shutdown_timeout": 3.0,
        },
        phase=40.0,
        archive_after=20.0,
        delete_after=20.0,
    )


def _hopeless(draws: RandomStream, known: Known, number: int) -> list[tuple[float, Action]]:
    """Draw a job that fails at once, each time but the last, and when a user retries it by hand."""
    failing = Script(steps=[Step(end="raise") for _ in range(3 + draws.below(3))])
    at = draws.uniform(0.0, 10.0)
    again = [at + draws.uniform(0.5, 4.0) * (1 + place) for place in range(draws.below(4))]
    actions: list[tuple[float, Action]] = [(moment, tending(known, number, "retry")) for moment in again]
    return [(at, sending(known, number, "chronic", failing)), *actions]


def _parcel(draws: RandomStream) -> tuple[float, Plea]:
    """Draw a job, and the seconds until the next one."""
    retries = draws.pick((None, None, None, 0, 1, 2))
    return round(draws.uniform(0.0, 6.0), 2), Plea(steps=script(draws, steps=4).steps, retries=retries)


async def _send(node: Node, plea: Plea) -> object:
    if plea.retries is None:
        return (await node.queue.send("flaky", plea)).id
    return (await node.queue.send("flaky", plea, retry_limit=plea.retries)).id


SCENARIO = Scenario(
    __name__,
    "jobs that fail are tried again, by backoff, until their limit",
    build,
    properties=(*ALL, a_sends_word_counts),
)
