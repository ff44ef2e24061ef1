"""A scenario with a property that is easily violated: that no answer to a claim is ever lost."""

from __future__ import annotations

from dataclasses import replace

from tests.scenarios import load
from zeke_sim.history.events import Answered
from zeke_sim.history.state import Broken, RunState
from zeke_sim.properties import ALL, holds


@holds("no claim is left unanswered", Answered)
def no_claim_is_left_unanswered(event: Answered, state: RunState) -> None:
    """Every claim is answered, which no network promises."""
    del state
    if event.verb == "claim" and event.outcome == "unknown":
        raise Broken(f"claim {event.call} of {event.node} was left without an answer")


SCENARIO = replace(
    load("retries"), name="tests.sim.planted:SCENARIO", properties=(*ALL, no_claim_is_left_unanswered)
)
