"""A scenario whose property is easily violated: no answer to a claim is lost; and one that raises."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.scenarios import load
from zeke_sim.history.events import Answered
from zeke_sim.history.state import Broken, RunState
from zeke_sim.properties import ALL, holds

if TYPE_CHECKING:
    from zeke_sim.world.faults import Knobs


@holds("no claim is left unanswered", Answered)
def no_claim_is_left_unanswered(event: Answered, state: RunState) -> None:
    """Every claim is answered, which no network promises."""
    del state
    if event.verb == "claim" and event.outcome == "unknown":
        raise Broken(f"claim {event.call} of {event.node} was left without an answer")


SCENARIO = replace(
    load("retries"), name="tests.sim.planted:SCENARIO", properties=(*ALL, no_claim_is_left_unanswered)
)


class WrongRatesError(Exception):
    """An application's error that can't be sent to another process."""

    def __init__(self, shop: str, reason: str) -> None:
        super().__init__(f"rates of {shop} {reason}")


def _wrong(_: Knobs) -> Knobs:
    raise WrongRatesError("shop", "are wrong")


WRONG = replace(SCENARIO, name="tests.sim.planted:WRONG", adjust=_wrong)
