"""Jobs that people take off and bring back, whatever they are doing.

Two programs cancel, resume and retry jobs at random: such that wait, that run, that are just being settled,
that have ended. Handlers heed the cancellation, clean up for some seconds, go on for a while, or never look,
and their outcome comes when the job is cancelled, resumed, or running elsewhere. Ended jobs go to the archive
after a few seconds, so that archiving meets those who want them back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.catalog import Catalog
from zeke_queue.sending import SendOptions
from zeke_sim.scenario import Scenario
from zeke_sim.setup import Setup
from zeke_sim.workloads import Deed, Known, act, doing, script, sending, tending

if TYPE_CHECKING:
    from zeke_sim.draws import Draws

PHASE: Final = 45.0


def build(draws: Draws) -> Setup:
    """A handful of jobs, and more changes of mind than jobs."""
    catalog = Catalog()
    catalog.task(
        "work",
        retry_limit=draws.below(3),
        retry_delay=1 + draws.below(2),
        expire_in=draws.pick((4.0, 15.0)),
    )(act)

    known = Known()
    jobs = 3 + draws.below(4)
    sends = [(draws.uniform(0.0, 0.5 * PHASE), _send(draws, known, number)) for number in range(jobs)]
    minds = {
        name: doing(
            [(draws.uniform(0.0, PHASE), _tend(draws, known, jobs)) for _ in range(5 + draws.below(6))]
        )
        for name in ("c2", "c3")
    }
    lease = draws.pick((3.0, 6.0))
    return Setup(
        catalog,
        clients={"c1": doing(sends), **minds},
        supervisors=1 + draws.below(2),
        worker={"concurrency": 1 + draws.below(3), "lease": lease, "beat": lease / 3, "grace": 2.0},
        sweep=draws.pick((1.0, 3.0)),
        phase=PHASE,
        archive_after=draws.pick((2.0, 5.0, 15.0)),
        delete_after=draws.pick((5.0, 20.0)),
    )


def _send(draws: Draws, known: Known, number: int) -> Deed:
    options = SendOptions(delay=round(draws.uniform(0.0, 8.0), 2)) if draws.chance(0.3) else None
    return sending(known, number, "work", script(draws, longest=8.0, stubborn=0.6), options)


def _tend(draws: Draws, known: Known, jobs: int) -> Deed:
    return tending(known, draws.below(jobs), draws.pick(("cancel", "cancel", "resume", "retry")))


SCENARIO = Scenario(
    "cancel", "jobs cancelled, resumed and retried in every state, while the archive takes them", build
)
