"""Faults that the server makes: statements that outlive their clients, and notifications that it drops."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests.runtime.catalogs import nothing
from tests.sim.histories import History
from tests.sim.test_faults import attempts, completed, of, outcome_of, send_later, woken
from tests.sim.worlds import sending
from zeke_queue.core.timeouts import LOCK_SECONDS
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import RowState
from zeke_queue.task.catalog import Catalog
from zeke_sim.history.events import Answered, Began, Change, Fault, Invoked
from zeke_sim.history.state import Place
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


def test_write_that_fails_while_the_queue_of_notifications_is_full_is_found() -> None:
    def check(result: str, *, full: bool, holds: bool) -> None:
        h = History()
        if full:
            h.events.append(Fault(h.at, "db", "db/0", "notify_full", h.at + 10.0))
        h.answer(h.invoke("insert", "c1", jobs=(h.new(),)), result, "failed")
        assert h.holds("a full notification queue fails no write") is holds

    check("the queue is full", full=True, holds=False)
    check("the queue is full", full=False, holds=True)
    check("Another transaction keeps a row locked", full=True, holds=True)


def lock(at: float, seconds: float, *, shared: bool = False) -> dict[str, Any]:
    return {
        "db/0": {"fault": "foreign_lock", "at": at, "for": seconds, "which": 0.0, "shared": float(shared)}
    }


def test_locked_running_job_is_settled_when_it_is_unlocked() -> None:
    outcome = outcome_of(lock(1.0, 9.0), sending("work", times=2))
    first = next(of(Answered, outcome, verb="settle"))
    assert (first.outcome, first.at) == ("failed", pytest.approx(2 + LOCK_SECONDS, abs=0.1))
    other, locked = completed(outcome)
    assert other < first.at + 1.0
    assert 10.0 < locked < 13.0
    assert attempts(outcome) == [1, 1]


def test_locked_waiting_job_is_claimed_when_it_is_unlocked() -> None:
    async def send_and_lock(node: Node) -> None:
        await node.queue.send("work", delay=5)

    outcome = outcome_of(lock(2.0, 8.0), send_and_lock)
    assert 10.0 < woken(outcome) < 12.5


def test_locked_queue_with_a_limit_waits_alone() -> None:
    limited = Catalog()
    for name, limit in (("limited", 1), ("free", None)):
        limited.task(name, concurrency_limit=limit)(nothing)

    async def send_both(node: Node) -> None:
        await node.clock.sleep(3.0)
        await node.queue.send("limited")
        await node.queue.send("free")

    outcome = outcome_of(lock(2.0, 8.0, shared=True), send_both, catalog=limited)
    began = {event.task: event.at for event in of(Began, outcome)}
    assert began["free"] < 3.1
    assert 10.0 < began["limited"] < 12.5


def test_locked_key_delays_the_schedule_that_needs_it_alone() -> None:
    catalog = Catalog()
    catalog.task("free")(nothing)
    catalog.task("keyed", singleton_key="key")(nothing)
    for name in ("free", "keyed"):
        catalog.schedule(name, "* * * * * */5", catch_up="all")
    outcome = outcome_of(lock(6.5, 20.0, shared=True), idle, catalog=catalog, schedulers=1, phase=40.0)
    fault = next(of(Fault, outcome))
    assert fault.row == Place("keyed", None, "key")
    ticks = {name: [event.at for event in of(Began, outcome, task=name)] for name in ("free", "keyed")}
    assert all(later - earlier < 7.0 for earlier, later in pairwise(ticks["free"]))
    first, second, *_ = ticks["keyed"]
    assert first < 6.5
    assert 26.5 < second < 31.0


async def idle(_node: Node) -> None:
    """Do nothing."""


def test_fault_without_a_row_to_lock_is_not_recorded() -> None:
    assert not list(of(Fault, outcome_of(lock(1.0, 9.0), send_later)))


def test_blocked_loop_stops_handlers_and_keeps_the_lease() -> None:
    outcome = outcome_of({"node/w1/0": {"fault": "block", "at": 1.0, "for": 20.0}}, workers=2)
    assert attempts(outcome) == [1]
    assert completed(outcome)[0] > 21.0
    calls = {event.verb for event in of(Invoked, outcome, node="w1") if 1.0 < event.at < 21.0}
    assert calls == {"heartbeat"}
