"""Which tasks the faults of a run hit."""

from __future__ import annotations

import asyncio

from tests.sim.worlds import SKIPPING, catalog_of, sending, simulated
from zeke_sim.experiment.fault_coverage import FaultCoverage
from zeke_sim.history.events import Fault

KINDS = ("lost_wakeup", "late_wakeup", "spurious", "notify_full", "db_clock")


async def waits() -> None:
    await asyncio.sleep(60)  # noqa: TID251 - as an application does


def test_faults_that_no_handler_notices_hit_no_task() -> None:
    """Its process sleeps beside the handler, and is woken or not; the handler goes on all the same."""
    outcome = simulated(
        catalog_of(waits),
        sending("look"),
        knobs=SKIPPING.but(kinds=KINDS, wake=1.0, database=9.0),
        phase=600.0,
        worker={"concurrency": 2},
    )
    coverage = FaultCoverage()
    coverage.take(outcome)
    assert coverage.never() == ["look"]
    assert {event.kind for event in outcome.events if isinstance(event, Fault)} == {*KINDS}
