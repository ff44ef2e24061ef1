"""Jobs that users cancel and resume in any state.

Two programs cancel, resume and retry jobs at random: such that wait, that run, that are just being settled,
that have ended. Handlers obey the cancellation, clean up for some seconds, continue for a while, or never
check, and their outcome comes when the job is cancelled, resumed, or running elsewhere. Ended jobs go to the
archive after a few seconds, so that archiving competes with requeueing. A third program cancels within
transactions, which it keeps open for a while, and reads the events of the jobs.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tests.workloads import Action, Known, Tending, act, doing, leased, script, sending, tending
from zeke_queue.client.parts import parts_of
from zeke_queue.core.options import SendOptions
from zeke_queue.task.catalog import Catalog
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Node

PHASE: Final = 40.0


def build(draws: RandomStream) -> Setup:
    """A handful of jobs, and for each of them some changes of mind, by either of two programs."""
    catalog = Catalog()
    catalog.task(
        "work", retry_limit=draws.below(3), retry_delay=1 + draws.below(2), expire_in=draws.pick((4.0, 15.0))
    )(act)

    known = Known()
    archive_after = draws.pick((2.0, 5.0, 15.0))
    plans: dict[str, list[tuple[float, Action]]] = {"c1": [], "c2": [], "c3": []}
    for number in range(3 + draws.below(4)):
        at = draws.uniform(0.0, 0.6 * PHASE)
        plans["c1"].append((at, _send(draws, known, number)))
        for moment, what in _changes_of_mind(draws, at, archive_after):
            plans[draws.pick(("c2", "c3"))].append((moment, tending(known, number, what)))
    plans["c4"] = [_look_back(draws, known) for _ in range(4 + draws.below(8))]
    for number in range(draws.below(4)):
        at, seconds = draws.uniform(0.1, 0.8) * PHASE, round(draws.uniform(0.5, 3.0), 2)
        plans["c4"].append((at, _slowly(known, number, seconds)))
        plans[draws.pick(("c2", "c3"))].append(
            (at + draws.uniform(0.0, seconds), tending(known, number, "cancel"))
        )
    lease = draws.pick((3.0, 6.0))
    return Setup(
        catalog,
        clients={name: doing(plan) for name, plan in plans.items()},
        maintenance=1 + draws.below(2),
        worker=leased(1 + draws.below(3), lease, 2.0),
        sweep=draws.pick((1.0, 3.0)),
        phase=PHASE,
        archive_after=archive_after,
        delete_after=draws.pick((5.0, 20.0)),
        batch=draws.pick((1, 2, 1000)),
    )


def _look_back(draws: RandomStream, known: Known) -> tuple[float, Action]:
    """Draw when all that is known of the jobs is read from the first line."""

    async def read(node: Node) -> None:
        for job in list(known.values()):
            await parts_of(node.queue).storage.events({job: 0})

    return draws.uniform(0.2, 1.5) * PHASE, read


def _slowly(known: Known, number: int, seconds: float) -> Action:
    """Return the action of cancelling a job in a transaction that is open for a number of seconds."""

    async def cancel(node: Node) -> None:
        if number in known:
            async with parts_of(node.queue).storage.transaction() as transaction:
                await transaction.cancel([known[number]])
                await asyncio.sleep(seconds)

    return cancel


def _changes_of_mind(draws: RandomStream, sent: float, kept: float) -> list[tuple[float, Tending]]:
    """Draw the actions on a job, and their times: also at the moment of its archiving."""
    changes: list[tuple[float, Tending]] = []
    at = sent
    for _ in range(draws.below(3)):
        at += draws.uniform(0.0, 6.0)
        changes.append((at, "cancel"))
        at += draws.pick((draws.uniform(0.0, 3.0), kept + draws.uniform(0.0, 3.0)))
        changes.append((at, "resume"))
    again = (sent + draws.uniform(1.0, 12.0) + draws.pick((0.0, kept)) for _ in range(draws.below(3)))
    changes.extend((moment, "retry") for moment in again)
    return changes


def _send(draws: RandomStream, known: Known, number: int) -> Action:
    options = SendOptions(delay=round(draws.uniform(0.0, 8.0), 2)) if draws.chance(0.3) else None
    return sending(known, number, "work", script(draws, longest=8.0, stubborn=0.7, hasty=0), options)


SCENARIO = Scenario(
    __name__, "jobs cancelled, resumed and retried in every state, while the archive takes them", build
)
