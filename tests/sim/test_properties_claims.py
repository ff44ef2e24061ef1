"""What may be claimed, and when attempts are over: histories that hold, and ones that break each property."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from tests.cases import check_each
from tests.sim.histories import ACTIVE, EPOCH, EXPIRED, RETRY, WORKERS, History, claimed
from zeke_queue.model import Completed, Extended, Failed, QueueCapacity
from zeke_sim.history.events import Answered, Fault, WorkerRow

LIMIT = "active jobs within the limit"
STARTS, GIVES = "a claim begins the attempt's time", "a claim returns what it took"
EARLY, OVERDUE = "nothing starts before its time", "nothing expires before its time"
CUT, EXTENDS = "no attempt is cut short", "an extension counts from now"

EXPIRED_ERROR = '{"type":"Expired","message":"m","traceback":null}'
EXPIRED_STORED = '{"type": "Expired", "message": "m", "traceback": null}'
LOST_ERROR = EXPIRED_ERROR.replace("Expired", "WorkerLost")
LOST_STORED = EXPIRED_STORED.replace("Expired", "WorkerLost")


def _claim_slowly(h: History, *names: str) -> int:
    """Begin a claim of one job, which ``_take`` continues."""
    capacity = tuple(QueueCapacity(name, 1) for name in names or ("a",))
    return h.invoke("claim", "w1", worker=WORKERS["w1"], capacity=capacity, limit=1)


def _take(h: History, call: int, job: Any) -> None:
    h.change(job, call, state=ACTIVE, attempt=1, worker=WORKERS["w1"], started_on=h.now)
    h.answer(call, [claimed(h.rows[job])])


def test_row_that_another_program_locks_is_skipped() -> None:
    def check(row: str, until: float, skipped: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History(strict_order=True)
        first, second = h.send(), h.send()
        rows = {"the job": first, "its queue": "a", "another job": second}
        h.events.append(Fault(h.at, "db", "db/0", "foreign_lock", h.at + until, rows[row]))
        h.wait(1.0)
        h.claim(second)
        assert h.holds("claims go in order") is skipped

    cases = [
        ("the job", 5.0, True),
        ("its queue", 5.0, True),
        ("the job", 0.5, False),
        ("another job", 5.0, False),
    ]
    check_each(cases, check)


def test_row_that_a_transaction_cancels_is_skipped() -> None:
    def check(*ends: tuple[str, str]) -> None:
        h = History(strict_order=True)
        first, second = h.send(), h.send()
        h.answer(h.invoke("cancel", "c1", 1, ids=[first]), {first})
        for verb, node in ends:
            outcome = {"rollback": "ok", "commit": "unknown"}.get(verb, "failed")
            h.answer(h.invoke(verb, node, 1, ids=[]), None, outcome)
        h.claim(second)
        assert h.holds("claims go in order") is (("rollback", "db") not in ends)

    check_each(
        {
            "until its end": (),
            "while its commit may be applied": (("commit", "c1"),),
            "not after it was rolled back": (("rollback", "db"),),
            "nor after its next call": (("rollback", "db"), ("cancel", "c1")),
        },
        check,
    )


def test_limit_binds_claims(h: History) -> None:
    h.queue(limit=2)
    one, two, three = h.send(), h.send(), h.send()
    h.claim(one, two)
    h.run(one)
    h.settle(one, Completed(one, 1, None))
    h.claim(three)
    assert h.verdict() is None
    h.claim(h.send())
    assert h.breaks(LIMIT) == "3 jobs of 'a' are active, and the limit is 2"


def test_declared_limit_binds_before_it_is_stored() -> None:
    h = History(limits={"a": 1})
    h.claim(h.send(), h.send())
    assert h.breaks(LIMIT) == "2 jobs of 'a' are active, and the limit is 1"


def test_lowered_limit_binds_only_new_claims(h: History) -> None:
    h.queue(limit=3)
    one, two, three = h.send(), h.send(), h.send()
    h.claim(one)
    call = _claim_slowly(h)
    h.queue(limit=1)
    _take(h, call, two)
    assert h.verdict() is None
    h.claim(three)
    assert h.breaks(LIMIT) == "3 jobs of 'a' are active, and the limit is 1"


def test_job_is_not_claimed_before_start_after(h: History) -> None:
    job = h.send(delay=10.0)
    h.wait(9)
    h.claim(job)
    text = h.breaks(EARLY)
    assert text.startswith(f"claimed at {EPOCH + timedelta(seconds=9.003)}")
    assert f"start_after is {EPOCH + timedelta(seconds=10.001)}" in text


def test_start_after_is_by_the_clock_of_the_storage(h: History) -> None:
    job = h.send(delay=10.0)
    h.jump = 11.0
    h.claim(job)
    assert h.verdict() is None


def test_claim_sets_start_and_worker(h: History) -> None:
    h.claim(h.send(), worker=WORKERS["w2"])
    assert h.breaks(STARTS) == f"worker {WORKERS['w1']} claimed it for {WORKERS['w2']}"
    h = History()
    job = h.send()
    h.fail(job)
    h.claim(job, started_on=h.rows[job].started_on)
    assert "and started_on is" in h.breaks(STARTS)


def test_claims_go_in_order() -> None:
    def check(first: dict[str, Any], second: dict[str, Any]) -> None:
        h = History(strict_order=True)
        worse, better = h.send(**first), h.send(**second)
        h.claim(worse, free=1)
        assert f"before job {better}" in h.breaks("claims go in order")

    check_each([({"priority": 1}, {"priority": 2}), ({}, {"start_at": EPOCH - timedelta(days=1)})], check)


def test_claim_order_ignores_jobs_that_can_not_be_claimed() -> None:
    h = History(strict_order=True)
    h.queue("paused", paused=True)
    h.queue("full", limit=1)
    h.send_claimed("full")
    h.send("paused", priority=9)
    h.send("full", priority=9)
    h.send(priority=9, delay=60.0)
    job = h.send(priority=1)
    _take(h, _claim_slowly(h, "a", "paused", "full"), job)
    assert h.verdict() is None


def test_claim_answers_the_rows_it_took() -> None:
    def check(told: str, answered: Any) -> None:
        h = History()
        job = h.send_claimed()
        last = h.events.pop()
        assert isinstance(last, Answered)
        h.events.append(last._replace(result=answered(h.rows[job])))
        assert told in h.breaks(GIVES)

    other_attempt = "the claim's answer has attempt 2, and the row 1"
    cases = {
        "another attempt": (other_attempt, lambda row: [claimed(row, attempt=2)]),
        "left out": ("its answer does not have it", lambda _row: []),
    }
    check_each(cases, check)


def test_claim_returns_jobs_in_order_up_to_its_limit(h: History) -> None:
    h.claim(h.send(), h.send(), free=1)
    assert h.breaks(GIVES) == "a claim of 1 jobs of 'a' took 2"
    h = History()
    one, two = h.send(), h.send()
    h.claim(two, one)
    assert "in the claim's answer it comes after" in h.breaks(GIVES)


def test_paused_queue_is_not_claimed_from(h: History) -> None:
    job = h.send()
    h.answer(h.invoke("pause_queue", name="a", paused=True))
    h.claim(job)
    text = h.breaks("nothing is claimed from a paused queue")
    assert text == "claimed by a call of 0.005 s, and 'a' is paused since 0.004 s"


def test_pause_does_not_bind_earlier_and_later_claims(h: History) -> None:
    one, two = h.send(), h.send()
    under_way = _claim_slowly(h)
    h.answer(h.invoke("pause_queue", name="a", paused=True))
    _take(h, under_way, one)
    h.invoke("pause_queue", name="a", paused=False)
    h.claim(two)
    assert h.verdict() is None


def test_attempt_is_overdue_after_its_deadline(h: History) -> None:
    job = h.send_claimed(expire_in=10.0)
    h.wait(9)
    h.overdue(job, "deadline")
    assert h.breaks(OVERDUE).endswith(f"its deadline is {EPOCH + timedelta(seconds=10.003)}")
    h = History()
    job = h.send_claimed(expire_in=10.0)
    h.wait(10.1)
    h.overdue(job, "deadline")
    h.settle(job, Failed(job, 1, 1.0, EXPIRED_ERROR, EXPIRED), output=EXPIRED_STORED)
    assert h.verdict() is None


def test_attempt_is_overdue_after_its_lease(h: History) -> None:
    job = h.send()
    h.heartbeat()
    h.claim(job)
    h.wait(14)
    h.overdue(job, "lease")
    assert f"worker {WORKERS['w1']} counts as dead" in h.breaks(OVERDUE)


def test_lease_ends_only_after_as_long_a_time_without_an_outage(h: History) -> None:
    for node, kind, seconds, waited, lease, holds in (
        ("db", "restart", 20.0, 1.0, 15.0, False),
        ("db", "restart", 20.0, 16.0, 15.0, True),
        ("db", "restart", 5.0, 1.0, 15.0, True),
        ("v1", "partition", 20.0, 1.0, 15.0, False),
        ("w1", "partition", 20.0, 1.0, 15.0, True),
        ("db", "db_clock", 20.0, 1.0, 15.0, True),
        ("db", "restart", 9.0, 1.0, 4.0, True),
        ("db", "restart", 10.0, 1.0, 4.0, False),
    ):
        h = History(lease=lease, sweep=5.0)
        job = h.send()
        h.heartbeat()
        h.claim(job)
        h.wait(20)
        h.events.append(Fault(h.at, node, "db/0", kind, h.at + seconds))
        h.wait(seconds + waited)
        h.overdue(job, "lease")
        assert h.holds("no lease ends right after an outage") is holds, (node, kind, seconds, waited, lease)


def test_attempts_of_dead_and_unregistered_workers_are_overdue(h: History) -> None:
    silent, gone = h.send(), h.send()
    h.heartbeat("w1")
    h.heartbeat("w2")
    h.claim(silent)
    h.claim(gone, node="w2")
    h.events.append(WorkerRow(h.at, h.now, WORKERS["w2"], h.now, 15.0, gone=True))
    h.overdue(gone, "lease")
    h.wait(16)
    h.overdue(silent, "lease")
    h.settle(silent, Failed(silent, 1, 1.0, LOST_ERROR), output=LOST_STORED)
    assert h.holds(OVERDUE)


def test_attempt_is_not_ended_before_its_time(h: History) -> None:
    job = h.send_claimed()
    h.settle(job, Failed(job, 1, 1.0, LOST_ERROR), output=LOST_STORED)
    assert h.breaks(CUT) == "attempt 1 is called lost, and was not overdue"
    h = History()
    job = h.send_claimed(expire_in=10.0)
    h.wait(5)
    h.settle(job, Failed(job, 1, None, EXPIRED_ERROR, EXPIRED), output=EXPIRED_STORED)
    assert h.breaks(CUT) == "attempt 1 is called expired at 5.005 s, and has time until 9.527 s"


def test_fast_clock_of_worker_is_tolerated() -> None:
    h = History(drift=0.05)
    job = h.send_claimed(expire_in=10.0, retry_limit=0)
    h.wait(9.9)
    h.settle(job, Failed(job, 1, None, EXPIRED_ERROR, EXPIRED), output=EXPIRED_STORED)
    assert h.verdict() is None


def test_extension_moves_the_deadline(h: History) -> None:
    job = h.send_claimed(expire_in=10.0)
    h.wait(5)
    h.extend(job, 20.0)
    h.wait(6)
    h.settle(job, Failed(job, 1, 1.0, EXPIRED_ERROR, EXPIRED), output=EXPIRED_STORED)
    assert h.breaks(CUT) == "attempt 1 is called expired at 11.007 s, and has time until 24.053 s"


def test_extension_changes_the_deadline_alone_from_now() -> None:
    def check(rule: str, told: str, columns: dict[str, Any]) -> None:
        h = History()
        job = h.send_claimed()
        h.wait(5)
        h.extend(job, 20.0, **columns)
        assert h.breaks(rule).startswith(told)

    anew = {"started_on": EPOCH + timedelta(seconds=5.004), "expire_in": 20.0}
    cases = {
        "from the start": (EXTENDS, "extended by 20.0 s at ", {"expire_in": 20.0}),
        "output": (EXTENDS, "while it ran output None became '1'", {"output": "1"}),
        "attempt begins again": ("no two leases overlap", "", anew),
    }
    check_each(cases, check)


def test_extension_to_the_same_deadline_changes_nothing(h: History) -> None:
    job = h.send_claimed()
    row = h.rows[job]
    assert row.started_on is not None
    h.wait(5)
    left = row.started_on + timedelta(seconds=row.expire_in, milliseconds=-1) - h.now
    h.answer(h.invoke("extend", "w1", extended=(Extended(job, 1, left.total_seconds()),)), {job})
    assert h.verdict() is None


def test_acknowledged_extension_is_done(h: History) -> None:
    job = h.send_claimed()
    h.answer(h.invoke("extend", "w1", extended=(Extended(job, 1, 90.0),)), {job})
    assert h.breaks("answers match what was done") == "extend says that it changed it, and nothing changed"


def test_retry_by_hand_can_be_claimed_at_once(h: History) -> None:
    job = h.send(retry_limit=0)
    h.fail(job, None)
    h.by_hand("retry", job, RETRY, retry_limit=1)
    h.claim(job)
    assert h.verdict() is None
    assert (h.rows[job].retry_count, h.rows[job].state) == (1, ACTIVE)
