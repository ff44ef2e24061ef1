"""Plain workers: processes that hold nothing but ``Worker(queue)``, and no maintenance or cron apart.

Two or three of them run jobs, rescue each other's, serve ticks, archive and purge, while each is killed,
stopped, frozen or cut off now and then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.workloads import Known, act, doing, script, sending
from zeke_queue.task.catalog import Catalog
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from zeke_sim.loop.decisions import RandomStream

PHASE = 30.0


def build(draws: RandomStream) -> Setup:
    """Draw jobs of some seconds, and a schedule."""
    catalog = Catalog()
    catalog.task("work", retry_limit=2, retry_delay=1, expire_in=draws.pick((5.0, 20.0)))(act)

    @catalog.task("tick", retry_limit=1)
    async def tick() -> None:
        return

    del tick
    catalog.schedule("often", "* * * * * */10", task="tick", catch_up=draws.pick(("skip", "once", "all")))
    known = Known()
    actions = [
        (draws.uniform(0.0, 0.8 * PHASE), sending(known, number, "work", script(draws, longest=6.0)))
        for number in range(4 + draws.below(6))
    ]
    return Setup(
        catalog,
        clients={"c1": doing(actions)},
        workers=2 + draws.chance(0.3),
        maintenance=0,
        worker={
            "concurrency": 1 + draws.below(3),
            "maintenance": True,
            "schedules": True,
            "lease": 6.0,
            "heartbeat_interval": 2.0,
            "shutdown_timeout": draws.pick((0.5, 3.0)),
        },
        phase=PHASE,
        archive_after=draws.pick((5.0, 20.0)),
        delete_after=10.0,
    )


SCENARIO = Scenario(__name__, "plain workers, which rescue, archive and serve ticks themselves", build)
