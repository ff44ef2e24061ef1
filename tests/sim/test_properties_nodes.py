"""What processes do, and what happens in the end: histories that hold, and ones that break each property."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.cases import check_each
from tests.sim.histories import CANCELLED, History
from zeke_queue.model import Completed, JobStatus
from zeke_sim.history.events import Began, Fault

DEAD, ONCE, STATUSES = "a dead process does nothing", "each attempt runs once", "statuses never go back"
BLOCKED = "a blocked event loop stops no heartbeats"
PICKED_UP, GIVEN_BACK = "due jobs are picked up", "abandoned jobs are released"


def test_dead_process_has_no_effect(h: History) -> None:
    h.effect(h.send_claimed(), "mail", alive=False)
    assert h.breaks(DEAD) == "w1 is dead, and had the effect 'mail'"


def test_process_that_is_not_running_makes_no_call() -> None:
    def check(what: str, how: str) -> None:
        h = History()
        h.lived("w1", "started")
        h.lived("w1", what)
        h.heartbeat("w1")
        assert h.breaks(DEAD) == f"w1 {how} since 0.000 s, and did heartbeat"

    check_each([("killed", "was killed"), ("stopped", "was stopped"), ("paused", "is suspended")], check)


def _stands_still(h: History, kind: str, node: str = "w1") -> None:
    h.events.append(Fault(h.at, node, f"node/{node}/0", kind, h.at + 40.0))
    h.lived(node, "paused")


def test_blocked_process_sends_heartbeats_and_does_nothing_else() -> None:
    def check(kind: str, does: str, broken: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History()
        job = h.send_claimed()
        _stands_still(h, kind)
        if does == "heartbeat":
            h.heartbeat()
        else:
            h.claim()
        if broken:
            assert h.breaks(DEAD) == f"w1 is suspended since 0.004 s, and did {does}"
        else:
            assert h.holds(DEAD)
        assert job in h.rows

    cases = [("block", "heartbeat", False), ("block", "claim", True), ("pause", "heartbeat", True)]
    check_each(cases, check)


def test_blocked_worker_keeps_its_lease() -> None:
    def check(kind: str, beats: int, broken: bool, *happens: str) -> None:  # noqa: FBT001 - a column of the table
        h = History(lease=15.0)
        h.heartbeat()
        h.claim()
        for what in happens[:1]:
            h.lived("w1", what)
        _stands_still(h, kind)
        for _ in range(beats):
            h.wait(10.0)
            h.heartbeat()
        h.wait(40.0 - 10.0 * beats)
        h.lived("w1", "resumed")
        assert h.holds(BLOCKED) is not broken

    cases = {
        "all are sent": ("block", 3, False),
        "the last are missing": ("block", 2, True),
        "none is sent": ("block", 0, True),
        "the whole process stands still": ("pause", 0, False),
        "the worker is about to end": ("block", 0, False, "stopping"),
    }
    check_each(cases, check)


def test_successor_and_resumed_process_may_do_anything(h: History) -> None:
    for what in ("killed", "started", "paused", "resumed"):
        h.lived("w1", what)
    job = h.send_claimed()
    h.run(job)
    h.effect(job, "mail")
    h.settle(job, Completed(job, 1, None))
    assert h.verdict() is None


def test_each_attempt_runs_once_where_it_was_claimed(h: History) -> None:
    job = h.send_claimed()
    h.run(job)
    h.events.append(Began(h.at, "w2", "a", job, 1))
    assert h.breaks(ONCE) == "attempt 1 began on w2, and on w1 at 0.004 s"
    h = History()
    h.run(h.send())
    assert h.breaks(ONCE) == "its handler began attempt 0, which was not claimed"
    h = History()
    h.run(h.send_claimed(), node="w2")
    assert h.breaks(ONCE) == "attempt 1 began on w2, and w1 claimed it"


def test_status_stream_holds(h: History) -> None:
    job = h.send()
    h.told(job, JobStatus.QUEUED, 0)
    h.fail(job)
    h.told(job, JobStatus.EXECUTING, 1)
    h.told(job, JobStatus.QUEUED, 1)
    h.complete(job)
    h.told(job, JobStatus.COMPLETED, 2)
    h.told(job, JobStatus.COMPLETED, 2, watch=2)
    assert h.verdict() is None


def test_status_stream_is_monotonic_and_true(h: History) -> None:
    job = h.send_claimed()
    h.told(job, JobStatus.EXECUTING, 1)
    h.told(job, JobStatus.QUEUED, 0)
    assert h.breaks(STATUSES) == "told QUEUED of attempt 0 after EXECUTING of attempt 1"
    h = History()
    job = h.send()
    h.by_hand("cancel", job, CANCELLED)
    h.told(job, JobStatus.CANCELLED, 0)
    h.told(job, JobStatus.CANCELLED, 0)
    assert h.breaks(STATUSES) == "told CANCELLED of attempt 0 after CANCELLED of attempt 0"
    h = History()
    h.told(h.send(), JobStatus.COMPLETED, 1)
    assert h.breaks(STATUSES) == "told COMPLETED of attempt 1, which it never was"


def _idle(**rules: Any) -> History:
    """Return a history in its quiet phase, with a worker that claims from the queue, and finds nothing."""
    h = History(**{"poll": 2.0, "strict_order": True, **rules})
    h.lived("w1", "started")
    h.heartbeat("w1")
    h.claim()
    h.phase("quiet")
    h.wait(10)
    return h


def test_due_job_is_claimed_by_the_next_poll() -> None:
    for waited, claimed, holds in ((7.9, True, True), (8.2, True, False), (8.2, False, False)):
        h = _idle()
        job = h.send(delay=5.0)
        h.wait(waited)
        if claimed:
            h.claim(job)
        assert (h.verdict() is None) is holds
        if not holds:
            told = "due since 15.005 s, and a worker on w1 was idle since 6.000 s"
            assert h.breaks(PICKED_UP).startswith(told)


def test_jobs_that_can_not_be_claimed_need_not_be() -> None:
    h = _idle()
    for name in ("a", "paused", "full"):
        h.begin(h.send_claimed(name, expire_in=600.0))
    h.queue("paused", paused=True)
    h.queue("full", limit=1)
    for name in ("a", "paused", "full", "elsewhere"):
        h.send(name)
    h.wait(100)
    assert h.verdict() is None


def test_job_that_a_transaction_locks_need_not_be_claimed() -> None:
    for transaction, holds in ((7, True), (None, False)):
        h = _idle()
        job = h.send()
        h.invoke("cancel", transaction=transaction, ids=(job,))
        h.wait(60)
        h.heartbeat("w1")
        assert h.holds(PICKED_UP) is holds


def test_busy_or_hanging_worker_need_not_claim() -> None:
    h = _idle()
    h.begin(h.send_claimed())
    h.send()
    h.wait(60)
    assert h.verdict() is None
    h = _idle()
    h.invoke("claim", "w1", worker=None, capacity=(), limit=1)
    h.send()
    h.wait(60)
    assert h.holds(PICKED_UP)


def _sweeping() -> History:
    h = _idle(sweep=5.0)
    h.lived("v1", "started")
    h.answer(h.invoke("lock_expired", "v1", limit=10), [])
    h.wait(60)
    h.heartbeat("w1")
    return h


def _beats(h: History, times: int) -> None:
    for _ in range(times):
        h.wait(4)
        h.heartbeat("w1")


def test_attempt_past_its_deadline_is_ended() -> None:
    h = _sweeping()
    h.begin(h.send_claimed(expire_in=30.0))
    _beats(h, 10)
    text = h.breaks(GIVEN_BACK)
    assert text.startswith("overdue at 100.")
    assert "attempt 1 was active until 110." in text


def test_attempt_is_ended_unless_its_worker_runs_it() -> None:
    def check(happens: Callable[[History, Any], None], told: str | None) -> None:
        h = _sweeping()
        happens(h, h.send_claimed(expire_in=600.0))
        if told is None:
            assert h.holds(GIVEN_BACK)
        else:
            assert h.breaks(GIVEN_BACK).startswith(told)

    def runs_on(h: History, job: Any) -> None:
        h.begin(job)
        _beats(h, 40)

    def is_not_settled(h: History, job: Any) -> None:
        h.run(job)
        _beats(h, 40)

    cases: dict[str, tuple[Callable[[History, Any], None], str | None]] = {
        "the worker is gone": (lambda h, _job: h.wait(30), "overdue at 85.0"),
        "the handler runs on": (runs_on, None),
        "it is not settled": (is_not_settled, "w1 has run no handler of attempt 1 since"),
    }
    check_each(cases, check)
