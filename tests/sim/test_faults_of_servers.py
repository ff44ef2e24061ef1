"""Faults that the server makes: statements that outlive their clients, and notifications that it drops."""

from __future__ import annotations

import pytest

from tests.sim.test_faults import attempts, completed, of, outcome_of, send_later, woken
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import RowState
from zeke_sim.history.events import Answered, Change
from zeke_sim.world.node import Node


def test_abandoned_statement_fails_and_is_done_later() -> None:
    decision = {"fault": "abandoned", "for": 2.0, "wait": 9.0}
    outcome = outcome_of({"c1/insert/1": decision})
    left, again = of(Answered, outcome, verb="insert")
    assert (left.outcome, left.at, again.outcome) == ("unknown", pytest.approx(2.0, abs=0.01), "ok")
    # The repetition has inserted the job by then, so there is nothing left to do.
    assert not list(of(Change, outcome, call=left.call))
    outcome = outcome_of({"w1/settle/1": decision}, quiet=60.0)
    left = next(of(Answered, outcome, verb="settle"))
    assert left.at < completed(outcome)[0] < left.at + 1


def test_abandoned_claim_is_done_later() -> None:
    abandoned = {"fault": "abandoned", "for": 1.0, "wait": 1.05}
    outcome = outcome_of({f"w1/claim/{n}": abandoned for n in range(1, 8)})
    claim = next(event for event in of(Change, outcome) if event.after and event.after.attempt == 1)
    left = next(of(Answered, outcome, call=claim.call))
    assert (left.outcome, claim.at - left.at) == ("unknown", pytest.approx(0.05, abs=0.01))
    # Heartbeats find what each claim took, and release it.
    assert attempts(outcome) == [8]


async def send_and_cancel(node: Node) -> None:
    run = await node.queue.send("work", delay=40)
    with pytest.raises(StorageUnavailableError):
        await node.storage.cancel([run.id])


def test_abandoned_statement_ends_with_the_server() -> None:
    abandoned = {"fault": "abandoned", "for": 1.0, "wait": 30.0}
    restart = {"fault": "restart", "at": 20.0, "for": 1.0}
    outcome = outcome_of({"c1/cancel/1": abandoned, "db/0": restart}, send_and_cancel)
    assert RowState.CANCELLED not in {event.after.state for event in of(Change, outcome) if event.after}


def test_abandoned_commit_takes_effect_later() -> None:
    async def commits(node: Node) -> None:
        with pytest.raises(StorageUnavailableError):
            async with node.queue.transaction() as transaction:
                await transaction.send("work")

    outcome = outcome_of({"c1/commit/1": {"fault": "abandoned", "for": 1.0, "wait": 8.0}}, commits)
    sent = next(event for event in of(Change, outcome) if event.before is None)
    assert sent.at == pytest.approx(8.0, abs=0.01)


def test_full_queue_of_notifications_costs_polls_and_no_job() -> None:
    full = {"db/0": {"fault": "notify_full", "at": 5.0, "for": 10.0}}
    prompt, unheard = (woken(outcome_of(faults, send_later)) for faults in ({}, full))
    assert prompt + 0.02 < unheard <= prompt + 2.1
    late = {"db/0": {"fault": "notify_full", "at": 5.0, "for": 4.0}}
    assert woken(outcome_of(late, send_later)) == prompt
