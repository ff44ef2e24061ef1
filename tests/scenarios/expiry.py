"""Attempts that take longer than they may.

Each attempt has ``expire_in`` seconds. The worker interrupts its handler then; maintenance releases what
expires nevertheless, since its worker died or is paused, and there are two, which sweep often, so
that worker and maintenance meet over one attempt.

Handlers end in time or too late, move their deadline first or do not, and meet the interruption in every way:
they obey it at once, clean up for some seconds, continue for a while and then return, or never check. Some
jobs have so little time that it is over before their handler begins. Leases are short, so that jobs of
dead workers restart while the deadlines of others pass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.workloads import Known, Script, Step, act, doing, leased, sending
from zeke_queue.core.options import SendOptions
from zeke_queue.task.catalog import Catalog
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from zeke_sim.loop.decisions import RandomStream

PHASE: Final = 30.0

ENDS: Final = ("return", "return", "return", "raise", "snooze")


def build(draws: RandomStream) -> Setup:
    """Jobs with seconds to live, two workers, two maintenance processes."""
    catalog = Catalog()
    time = draws.pick((1.0, 2.0, 4.0))
    catalog.task("brief", expire_in=time, retry_limit=draws.below(3), retry_backoff=draws.chance(0.5))(act)
    catalog.task("patient", expire_in=20.0, retry_limit=2, retry_delay=1)(act)
    catalog.task("hasty", expire_in=draws.pick((0.005, 0.05, 0.5)), retry_limit=1, retry_delay=1)(act)

    known = Known()
    actions = [
        (draws.uniform(0.0, 0.8 * PHASE), _send(draws, known, number, time))
        for number in range(4 + draws.below(6))
    ]
    lease = draws.pick((3.0, 6.0))
    return Setup(
        catalog,
        clients={"c1": doing(actions)},
        maintenance=2,
        worker=leased(1 + draws.below(3), lease, 2.0),
        sweep=draws.pick((1.0, 3.0)),
        phase=PHASE,
        archive_after=20.0,
        delete_after=20.0,
        batch=draws.pick((1, 2, 1000)),
    )


def _send(draws: RandomStream, known: Known, number: int, time: float) -> Any:
    steps = [_step(draws, time) for _ in range(1 + draws.below(3))]
    options = SendOptions(expire_in=time / 2) if draws.chance(0.2) else None
    task = draws.pick(("brief", "brief", "brief", "patient", "hasty"))
    return sending(known, number, task, Script(steps=steps), options)


def _step(draws: RandomStream, time: float) -> Step:
    """Draw an attempt that may end well before its time, near it, or long after."""
    return Step(
        seconds=round(time * draws.pick((0.0, draws.uniform(0.0, 0.9), 1.0, draws.uniform(0.9, 4.0))), 3),
        end=draws.pick(ENDS),
        after=round(draws.uniform(0.0, 3.0), 2),
        extend=draws.pick((0.0, 0.0, time / 2, 2 * time)),
        swallow=draws.pick((0.0, 0.0, round(draws.uniform(0.0, 2 * time), 3), 60.0)),
        cleanup=draws.pick((0.0, 0.0, round(draws.uniform(0.0, 2 * time), 3))),
    )


SCENARIO = Scenario(__name__, "attempts that take longer than they may, met by worker and maintenance", build)
