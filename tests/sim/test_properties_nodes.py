"""What processes do, and what happens in the end: histories that hold, and ones that break each property."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.histories import CANCELLED, History
from zeke_queue.model import Completed, RunStatus
from zeke_sim.history import Began
from zeke_sim.properties import by_name


def test_a_dead_node_that_has_an_effect() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.effect(job, "mail", alive=False)
    assert h.breaks("the dead do nothing") == "w1 is dead, and had the effect 'mail'"


@pytest.mark.parametrize("what", ["killed", "stopped", "paused"])
def test_a_node_that_calls_though_it_cannot(what: str) -> None:
    h = History()
    h.lived("w1", "started")
    h.lived("w1", what)
    h.beat("w1")
    how = "stands still" if what == "paused" else f"was {what}"
    assert h.breaks("the dead do nothing") == f"w1 {how} since 0.000 s, and did beat"


def test_a_successor_and_one_that_goes_on_may_do_anything() -> None:
    h = History()
    h.lived("w1", "killed")
    h.lived("w1", "started")
    h.lived("w1", "paused")
    h.lived("w1", "resumed")
    job = h.send()
    h.claim(job)
    h.run(job)
    h.effect(job, "mail")
    h.settle(job, Completed(job, 1, None))
    assert h.verdict() is None


def test_an_attempt_that_runs_twice() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.run(job)
    h.events.append(Began(h.at, "w2", "a", job, 1))
    text = h.breaks("each attempt runs once")
    assert text == "attempt 1 began on w2, and on w1 at 0.004 s"


def test_an_attempt_that_nobody_claimed() -> None:
    h = History()
    job = h.send()
    h.run(job)
    assert h.breaks("each attempt runs once") == "its handler began attempt 0, which nobody claimed"


def test_an_attempt_that_runs_elsewhere() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.run(job, node="w2")
    assert h.breaks("each attempt runs once") == "attempt 1 began on w2, and w1 claimed it"


def test_a_status_stream() -> None:
    h = History()
    job = h.send()
    h.told(job, RunStatus.QUEUED, 0)
    h.fail(job)
    h.told(job, RunStatus.EXECUTING, 1)
    h.told(job, RunStatus.QUEUED, 1)
    h.complete(job)
    h.told(job, RunStatus.COMPLETED, 2)
    h.told(job, RunStatus.COMPLETED, 2, watch=2)
    assert h.verdict() is None


def test_a_status_that_goes_back() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.told(job, RunStatus.EXECUTING, 1)
    h.told(job, RunStatus.QUEUED, 0)
    assert h.breaks("statuses never go back") == "told QUEUED of attempt 0 after EXECUTING of attempt 1"


def test_a_status_after_the_end() -> None:
    h = History()
    job = h.send()
    h.by_hand("cancel", job, CANCELLED)
    h.told(job, RunStatus.CANCELLED, 0)
    h.told(job, RunStatus.CANCELLED, 0)
    assert h.breaks("statuses never go back") == "told CANCELLED of attempt 0 after CANCELLED of attempt 0"


def test_a_status_that_the_job_never_had() -> None:
    h = History()
    job = h.send()
    h.told(job, RunStatus.COMPLETED, 1)
    assert h.breaks("statuses never go back") == "told COMPLETED of attempt 1, which it never was"


def idle(**rules: Any) -> History:
    """A history in its quiet phase, with a worker that looks for jobs of the queue, and finds none."""
    h = History(**{"poll": 2.0, "strict_order": True, **rules})
    h.lived("w1", "started")
    h.beat("w1")
    h.claim()
    h.phase("quiet")
    h.wait(10)
    return h


def test_a_job_that_is_picked_up_by_the_next_look() -> None:
    h = idle()
    job = h.send(delay=5.0)
    h.wait(7.9)
    h.claim(job)
    assert h.verdict() is None


@pytest.mark.parametrize("claimed", [True, False])
def test_a_job_that_is_picked_up_late(claimed: bool) -> None:  # noqa: FBT001 - drawn by name
    h = idle()
    job = h.send(delay=5.0)
    h.wait(8.2)
    if claimed:
        h.claim(job)
    assert h.breaks("due jobs are picked up").startswith(
        "due since 15.005 s, and a worker on w1 was idle since 6.000 s"
    )


def test_jobs_that_need_not_be_picked_up() -> None:
    h = idle()
    for name in ("a", "paused", "full"):
        job = h.send(name, expire_in=600.0)
        h.claim(job)
        h.events.append(Began(h.at, "w1", name, job, 1))
    h.queue("paused", paused=True)
    h.queue("full", limit=1)
    for name in ("a", "paused", "full", "elsewhere"):
        h.send(name)
    h.wait(100)
    assert h.verdict() is None


def test_a_job_that_a_transaction_keeps_locked_need_not_be_picked_up() -> None:
    for transaction, holds in ((7, True), (None, False)):
        h = idle()
        job = h.send()
        h.invoke("cancel", transaction=transaction, ids=(job,))
        h.wait(60)
        h.beat("w1")
        assert (h.verdict(by_name("due jobs are picked up")) is None) is holds


def test_a_busy_worker_need_not_look() -> None:
    h = idle()
    job = h.send()
    h.claim(job)
    h.events.append(Began(h.at, "w1", "a", job, 1))
    h.send()
    h.wait(60)
    assert h.verdict() is None


def test_a_worker_whose_calls_hang_need_not_look() -> None:
    h = idle()
    h.invoke("claim", "w1", worker=None, wants=(), limit=1)
    h.send()
    h.wait(60)
    assert h.verdict(by_name("due jobs are picked up")) is None


def sweeping() -> History:
    h = idle(sweep=5.0)
    h.lived("v1", "started")
    h.answer(h.invoke("overdue", "v1", limit=10), [])
    h.wait(60)
    return h


def test_a_deadline_that_nobody_sees() -> None:
    h = sweeping()
    job = h.send(expire_in=30.0)
    h.claim(job)
    h.events.append(Began(h.at, "w1", "a", job, 1))
    for _ in range(10):
        h.wait(4)
        h.beat("w1")
    text = h.breaks("what nobody runs is given back")
    assert text.startswith("overdue at 100.")
    assert "attempt 1 was active until 110." in text


def test_a_worker_that_is_gone_and_whose_job_nobody_takes() -> None:
    h = sweeping()
    h.beat("w1")
    job = h.send()
    h.claim(job)
    h.wait(30)
    assert h.breaks("what nobody runs is given back").startswith("overdue at 85.0")


def test_a_handler_that_runs_on_is_left_alone() -> None:
    h = sweeping()
    job = h.send(expire_in=600.0)
    h.claim(job)
    h.events.append(Began(h.at, "w1", "a", job, 1))
    for _ in range(40):
        h.wait(4)
        h.beat("w1")
    assert h.verdict(by_name("what nobody runs is given back")) is None


def test_an_outcome_that_is_never_settled() -> None:
    h = sweeping()
    job = h.send(expire_in=600.0)
    h.claim(job)
    h.run(job)
    for _ in range(40):
        h.wait(4)
        h.beat("w1")
    assert h.breaks("what nobody runs is given back").startswith("w1 has run no handler of attempt 1 since")
