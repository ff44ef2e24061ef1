"""What may be claimed, and when attempts are over: histories that hold, and ones that break each property."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.sim.histories import (
    ACTIVE,
    EPOCH,
    EXPIRED,
    RETRY,
    WORKERS,
    History,
    claimed,
)
from zeke_queue.model import Completed, Extended, Failed, Want
from zeke_sim.history import Answered, WorkerRow
from zeke_sim.properties import by_name

EXPIRED_ERROR = '{"type":"Expired","message":"m","traceback":null}'
EXPIRED_STORED = '{"type": "Expired", "message": "m", "traceback": null}'
LOST_ERROR = EXPIRED_ERROR.replace("Expired", "WorkerLost")
LOST_STORED = EXPIRED_STORED.replace("Expired", "WorkerLost")


def test_a_limit_holds() -> None:
    h = History()
    h.queue(limit=2)
    one, two, three = h.send(), h.send(), h.send()
    h.claim(one, two)
    h.run(one)
    h.settle(one, Completed(one, 1, None))
    h.claim(three)
    assert h.verdict() is None
    h.claim(h.send())
    assert h.breaks("active jobs within the limit") == "3 jobs of 'a' are active, and the limit is 2"


def test_a_limit_that_the_catalog_declares_holds_before_it_is_stored() -> None:
    h = History(limits={"a": 1})
    h.claim(h.send(), h.send())
    assert h.breaks("active jobs within the limit") == "2 jobs of 'a' are active, and the limit is 1"


def test_a_lowered_limit_binds_new_claims_only() -> None:
    h = History()
    h.queue(limit=3)
    one, two, three = h.send(), h.send(), h.send()
    h.claim(one)
    call = h.invoke("claim", "w1", worker=WORKERS["w1"], wants=(Want("a", 1),), limit=1)
    h.queue(limit=1)
    h.change(two, call, state=ACTIVE, attempt=1, worker=WORKERS["w1"], started_on=h.now)
    h.answer(call, [claimed(h.rows[two])])
    assert h.verdict() is None
    h.claim(three)
    assert h.breaks("active jobs within the limit") == "3 jobs of 'a' are active, and the limit is 1"


def test_a_claim_before_the_time() -> None:
    h = History()
    job = h.send(delay=10.0)
    h.wait(9)
    h.claim(job)
    text = h.breaks("nothing starts before its time")
    assert text.startswith(f"claimed at {EPOCH + timedelta(seconds=9.003)}")
    assert f"start_after is {EPOCH + timedelta(seconds=10.001)}" in text


def test_a_clock_that_jumps_is_the_one_that_counts() -> None:
    h = History()
    job = h.send(delay=10.0)
    h.jump = 11.0
    h.claim(job)
    assert h.verdict() is None


def test_a_claim_that_keeps_an_earlier_start() -> None:
    h = History()
    job = h.send()
    h.fail(job)
    h.claim(job, started_on=h.rows[job].started_on)
    assert "and started_on is" in h.breaks("a claim begins the attempt's time")


def test_a_claim_for_somebody_else() -> None:
    h = History()
    h.claim(h.send(), worker=WORKERS["w2"])
    expected = f"worker {WORKERS['w1']} claimed it for {WORKERS['w2']}"
    assert h.breaks("a claim begins the attempt's time") == expected


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"priority": 1}, {"priority": 2}),
        ({}, {"start_at": EPOCH - timedelta(days=1)}),
    ],
)
def test_a_claim_out_of_order(first: dict[str, Any], second: dict[str, Any]) -> None:
    h = History(strict_order=True)
    worse, better = h.send(**first), h.send(**second)
    h.claim(worse, free=1)
    assert f"before job {better}" in h.breaks("claims go in order")


def test_a_claim_in_order_takes_what_is_due_in_open_queues() -> None:
    h = History(strict_order=True)
    h.queue("paused", paused=True)
    h.queue("full", limit=1)
    h.claim(h.send("full"))
    h.send("paused", priority=9)
    h.send("full", priority=9)
    h.send(priority=9, delay=60.0)
    job = h.send(priority=1)
    wants = (Want("a", 1), Want("paused", 1), Want("full", 1))
    call = h.invoke("claim", "w1", worker=WORKERS["w1"], wants=wants, limit=1)
    h.change(job, call, state=ACTIVE, attempt=1, worker=WORKERS["w1"], started_on=h.now)
    h.answer(call, [claimed(h.rows[job])])
    assert h.verdict() is None


def test_an_answer_out_of_order() -> None:
    h = History()
    one, two = h.send(), h.send()
    h.claim(two, one)
    assert "in the claim's answer it comes after" in h.breaks("a claim gives what it took")


def test_a_claim_that_answers_another_attempt() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    last = h.events.pop()
    assert isinstance(last, Answered)
    h.events.append(last._replace(result=[claimed(h.rows[job], attempt=2)]))
    expected = "the claim's answer has attempt 2, and the row 1"
    assert h.breaks("a claim gives what it took") == expected


def test_a_claim_that_takes_more_than_it_wants() -> None:
    h = History()
    h.claim(h.send(), h.send(), free=1)
    assert h.breaks("a claim gives what it took") == "a claim of 1 jobs of 'a' took 2"


def test_a_claim_that_keeps_a_job_to_itself() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    last = h.events.pop()
    assert isinstance(last, Answered)
    h.events.append(last._replace(result=[]))
    assert "its answer does not have it" in h.breaks("a claim gives what it took")


def test_a_claim_of_a_paused_queue() -> None:
    h = History()
    job = h.send()
    h.answer(h.invoke("pause_queue", name="a", paused=True))
    h.claim(job)
    text = h.breaks("nothing is claimed from a paused queue")
    assert text == "claimed by a call of 0.005 s, and 'a' is paused since 0.004 s"


def test_claims_that_a_pause_does_not_bind() -> None:
    h = History()
    one, two = h.send(), h.send()
    under_way = h.invoke("claim", "w1", worker=WORKERS["w1"], wants=(Want("a", 1),), limit=1)
    h.answer(h.invoke("pause_queue", name="a", paused=True))
    h.change(one, under_way, state=ACTIVE, attempt=1, worker=WORKERS["w1"], started_on=h.now)
    h.answer(under_way, [claimed(h.rows[one])])
    h.invoke("pause_queue", name="a", paused=False)
    h.claim(two)
    assert h.verdict() is None


def test_a_deadline_that_has_not_passed() -> None:
    h = History()
    job = h.send(expire_in=10.0)
    h.claim(job)
    h.wait(9)
    h.overdue(job, "deadline")
    text = h.breaks("nothing is overdue before its time")
    assert text.endswith(f"its deadline is {EPOCH + timedelta(seconds=10.003)}")


def test_a_deadline_that_has_passed() -> None:
    h = History()
    job = h.send(expire_in=10.0)
    h.claim(job)
    h.wait(10.1)
    h.overdue(job, "deadline")
    h.settle(job, Failed(job, 1, 1.0, EXPIRED_ERROR, EXPIRED), output=EXPIRED_STORED)
    assert h.verdict() is None


def test_a_lease_that_has_not_ended() -> None:
    h = History()
    job = h.send()
    h.beat()
    h.claim(job)
    h.wait(14)
    h.overdue(job, "lease")
    assert f"worker {WORKERS['w1']} counts as dead" in h.breaks("nothing is overdue before its time")


def test_leases_that_have_ended() -> None:
    h = History()
    silent, gone = h.send(), h.send()
    h.beat("w1")
    h.beat("w2")
    h.claim(silent)
    h.claim(gone, node="w2")
    h.events.append(WorkerRow(h.at, h.now, WORKERS["w2"], h.now, 15.0, gone=True))
    h.overdue(gone, "lease")
    h.wait(16)
    h.overdue(silent, "lease")
    h.settle(silent, Failed(silent, 1, 1.0, LOST_ERROR), output=LOST_STORED)
    assert h.verdict(by_name("nothing is overdue before its time")) is None


def test_an_attempt_that_is_called_lost_by_nobody() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.settle(job, Failed(job, 1, 1.0, LOST_ERROR), output=LOST_STORED)
    assert h.breaks("nobody's time is cut short") == "attempt 1 is called lost, and was not overdue"


def test_a_worker_that_ends_an_attempt_before_its_time() -> None:
    h = History()
    job = h.send(expire_in=10.0)
    h.claim(job)
    h.wait(5)
    h.settle(job, Failed(job, 1, None, EXPIRED_ERROR, EXPIRED), output=EXPIRED_STORED)
    text = h.breaks("nobody's time is cut short")
    assert text == "attempt 1 is called expired at 5.005 s, and has time until 9.527 s"


def test_a_worker_whose_clock_is_a_little_fast() -> None:
    h = History(drift=0.05)
    job = h.send(expire_in=10.0, retry_limit=0)
    h.claim(job)
    h.wait(9.9)
    h.settle(job, Failed(job, 1, None, EXPIRED_ERROR, EXPIRED), output=EXPIRED_STORED)
    assert h.verdict() is None


def test_an_extension_gives_time() -> None:
    h = History()
    job = h.send(expire_in=10.0)
    h.claim(job)
    h.wait(5)
    h.extend(job, 20.0)
    h.wait(6)
    h.settle(job, Failed(job, 1, 1.0, EXPIRED_ERROR, EXPIRED), output=EXPIRED_STORED)
    text = h.breaks("nobody's time is cut short")
    assert text == "attempt 1 is called expired at 11.007 s, and has time until 24.053 s"


def test_an_extension_that_counts_from_the_start() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.wait(5)
    h.extend(job, 20.0, expire_in=20.0)
    assert h.breaks("an extension counts from now").startswith("extended by 20.0 s at ")


def test_an_extension_that_changes_something_else() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.extend(job, 20.0, output="1")
    assert h.breaks("an extension counts from now") == "while it ran output None became '1'"


def test_an_extension_that_begins_the_attempt_anew() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.wait(5)
    h.extend(job, 20.0, started_on=h.now, expire_in=20.0)
    assert h.breaks("no two leases overlap")


def test_an_extension_to_the_same_deadline_changes_nothing() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    row = h.rows[job]
    assert row.started_on is not None
    h.wait(5)
    left = row.started_on + timedelta(seconds=row.expire_in, milliseconds=-1) - h.now
    h.answer(h.invoke("extend", "w1", extended=(Extended(job, 1, left.total_seconds()),)), {job})
    assert h.verdict() is None


def test_an_extension_that_is_acknowledged_and_not_done() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.answer(h.invoke("extend", "w1", extended=(Extended(job, 1, 90.0),)), {job})
    text = h.breaks("answers tell what was done")
    assert text == "extend says that it changed it, and nothing changed"


def test_a_retry_by_hand_waits_for_nothing() -> None:
    h = History()
    job = h.send(retry_limit=0)
    h.fail(job, None)
    h.by_hand("retry", job, RETRY, retry_limit=1)
    h.claim(job)
    assert h.verdict() is None
    assert h.rows[job].retry_count == 1
    assert h.rows[job].state is ACTIVE
