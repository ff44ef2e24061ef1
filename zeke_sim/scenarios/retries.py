"""Jobs that fail and are tried again: by backoff, by what the handler asks for, until their limit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from zeke_queue.catalog import Catalog
from zeke_sim.scenario import Scenario
from zeke_sim.setup import Setup
from zeke_sim.workloads import act, script, through_faults

if TYPE_CHECKING:
    from zeke_sim.draws import Draws
    from zeke_sim.node import Node


def build(draws: Draws) -> Setup:
    """A handful of flaky jobs, two workers, a supervisor."""
    catalog = Catalog()
    backoff = draws.chance(0.7)
    catalog.task(
        "flaky",
        retry_limit=draws.below(4),
        retry_delay=1 + draws.below(3),
        retry_backoff=backoff,
        retry_delay_max=draws.pick((None, 4, 1)) if backoff else None,
        expire_in=draws.pick((10.0, 30.0)),
    )(act)

    async def send(node: Node) -> None:
        for _ in range(3 + draws.below(6)):
            payload = script(draws)
            await through_faults(lambda payload=payload: node.queue.send("flaky", payload))
            await asyncio.sleep(draws.uniform(0.0, 6.0))

    return Setup(
        catalog,
        clients={"c1": send},
        worker={"concurrency": 1 + draws.below(3), "lease": 6.0, "beat": 2.0, "grace": 3.0},
        phase=40.0,
        archive_after=20.0,
        delete_after=20.0,
    )


SCENARIO = Scenario("retries", "jobs that fail are tried again, by backoff, until their limit", build)
