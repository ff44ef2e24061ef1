"""Processes that were asked to stop: histories that hold, and ones that break each property."""

from __future__ import annotations

from tests.cases import check_each
from tests.sim.histories import WORKERS, History
from zeke_queue.model import Completed, QueueCapacity, Released, RowState, Settled, WorkerInfo
from zeke_sim.history.events import Ended

BEGINS, ENDS = "a stopping process starts nothing", "a stopping process ends in time"
LEAVES, UNASKED = "a worker that leaves holds nothing", "no process ends without a request"


def _stopping(**rules: float) -> History:
    """Return a history of a worker that has claimed, and is asked to stop."""
    h = History(**rules)
    h.lived("w1", "started")
    h.claim()
    h.lived("w1", "stopping")
    return h


def test_stopping_worker_begins_no_job() -> None:
    def check(*lived: str) -> None:
        h = _stopping()
        h.wait(1.0)
        for what in lived:
            h.lived("w1", what)
        job = h.send()
        h.complete(job)
        if lived:
            assert h.verdict() is None
        else:
            assert h.breaks(BEGINS) == "w1 was asked to stop at 0.002 s, and began attempt 1 at 1.006 s"

    check_each({"stopping": (), "replaced": ("killed", "started"), "resumed": ("resumed",)}, check)


def test_job_may_begin_at_the_instant_of_the_stop(h: History) -> None:
    job = h.send_claimed()
    h.lived("w1", "stopping")
    h.run(job)
    h.settle(job, Completed(job, 1, None))
    assert h.verdict() is None


def _sweeping(*verbs: str, fails: bool = False) -> History:
    """Return a history of a maintenance process that is asked to stop, and continues its calls."""
    h = History()
    h.lived("v1", "started")
    h.answer(h.invoke("archive", "v1", after=10.0, limit=10), 0)
    h.lived("v1", "stopping")
    for verb in verbs:
        call = h.invoke(verb, "v1", after=10.0, limit=10)
        h.answer(call, None if fails else 0, "failed" if fails else "ok")
    return h


def test_stopping_maintenance_only_ends_its_round() -> None:
    assert _sweeping("archive", "purge").verdict() is None
    assert _sweeping("purge", "purge", fails=True).verdict() is None, "it may repeat a call that failed"
    h = _sweeping("purge", "archive", "purge")
    assert h.breaks(BEGINS) == "v1 was asked to stop at 0.002 s, and asks for purge again"


def test_stopping_worker_has_its_duties_until_its_handlers_end() -> None:
    h = History(duties={"w1": ("claim", "purge")})
    job = h.send_claimed()
    h.begin(job)
    h.lived("w1", "stopping")
    for _ in range(3):
        h.answer(h.invoke("purge", "w1", after=10.0, limit=10), 0)
    assert h.verdict() is None
    h.events.append(Ended(h.at, "w1", "a", job, 1, "returned", None))
    h.answer(h.invoke("purge", "w1", after=10.0, limit=10), 0)
    assert h.verdict() is None
    h.answer(h.invoke("purge", "w1", after=10.0, limit=10), 0)
    assert "asks for purge again" in (h.breaks(BEGINS) or "")


def test_process_that_replaces_a_stopped_one_continues() -> None:
    h = _sweeping("purge")
    h.lived("v1", "stopped")
    h.lived("v1", "started")
    for _ in range(2):
        h.answer(h.invoke("purge", "v1", after=10.0, limit=10), 0)
    assert h.verdict() is None


def test_stopping_worker_ends_in_time() -> None:
    h = _stopping(shutdown_timeout=2.0, drift=0.0)
    h.wait(20.5)
    assert h.breaks(ENDS) == "w1 was to end at 20.002 s, and has not at 20.502 s"
    h.lived("w1", "stopped")
    assert h.breaks(ENDS) == "w1 was to end at 20.002 s, and ended at 20.502 s"


def test_time_to_stop_does_not_bind_every_process() -> None:
    def check(node: str, *lives: tuple[str, float]) -> None:
        h = History(shutdown_timeout=2.0)
        h.lived(node, "started")
        if node == "w1":
            h.claim()
        h.lived(node, "stopping")
        for what, seconds in lives:
            h.lived(node, what)
            h.wait(seconds)
        h.lived(node, "stopped")
        assert h.verdict() is None

    h = _stopping(shutdown_timeout=2.0)
    h.lived("w1", "killed")
    h.lived("w1", "started")
    h.wait(30.0)
    assert h.verdict() is None, "it was killed"
    cases = {
        "it stood still": ("w1", ("paused", 20.5), ("resumed", 19.0)),
        "it is no worker": ("v1", ("stopping", 40.0)),
    }
    check_each(cases, check)


def _leaves(h: History, answer: str | None) -> History:
    """Return a history of a worker that deregisters a second after its last settlement was answered."""
    call = h.invoke("settle", "w1", completed=(), failed=(), released=(), repeated=False)
    if answer is not None:
        h.answer(call, set() if answer == "ok" else "away", answer)
    h.wait(1.0)
    h.invoke("deregister", "w1", worker=WORKERS["w1"])
    return h


def test_worker_that_holds_jobs_does_not_leave() -> None:
    def check(answer: str) -> None:
        h = History()
        h.claim(h.send())
        assert _leaves(h, answer).breaks(LEAVES).startswith("w1 leaves, and still holds 1")

    check_each(["ok", "unknown"], check)


def test_worker_may_leave_after_long_outage() -> None:
    def check(failed: str | None) -> None:
        h = History()
        h.claim(h.send())
        call = h.invoke("heartbeat", "w1", worker=WorkerInfo(WORKERS["w1"], "w1", 1, ("a",), 15.0))
        h.wait(5.0)
        if failed is not None:
            h.answer(call, "away", failed)
        assert _leaves(h, failed).holds(LEAVES)

    check_each(["unknown", None], check)


def test_job_that_was_found_locked_may_be_left() -> None:
    def check(seconds: float, again: bool, allowed: bool) -> None:  # noqa: FBT001 - columns of the table
        h = History()
        job = h.send()
        h.claim(job)
        call = h.invoke("settle_unlocked", "w1", completed=(Completed(job, 1, None),), failed=(), released=())
        h.answer(call, Settled(set(), {job}))
        h.wait(seconds)
        if again:
            h.settle(job, Released(job, 1))
            h.claim(job)
        assert _leaves(h, "ok").holds(LEAVES) is allowed

    check_each([(1.0, False, True), (10.0, False, False), (1.0, True, False)], check)


def test_job_of_a_claim_that_came_late_may_be_left() -> None:
    def check(beats: int, allowed: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History(lease=10.0)
        h.heartbeat()
        job = h.send()
        call = h.invoke("claim", "w1", worker=WORKERS["w1"], capacity=(QueueCapacity("a", 10),), limit=100)
        h.answer(call, "away", "unknown")
        h.wait(1.0)
        began = {"attempt": 1, "worker": WORKERS["w1"], "started_on": h.now}
        h.change(job, call, state=RowState.ACTIVE, **began)
        for _ in range(beats):
            h.wait(4.0)
            h.heartbeat()
        assert _leaves(h, "ok").holds(LEAVES) is allowed

    check_each([(1, True), (4, False)], check)


def test_worker_may_leave_without_jobs_or_lease(h: History) -> None:
    job = h.send_claimed()
    h.settle(job, Released(job, 1))
    assert _leaves(h, "ok").holds(LEAVES)
    h = History(lease=4.0)
    h.heartbeat()
    h.claim(h.send())
    h.wait(4.5)
    assert _leaves(h, "ok").holds(LEAVES)


def test_process_does_not_end_by_itself() -> None:
    for asked in (True, False):
        h = History(duties={"w1": ("claim",)})
        h.lived("w1", "started")
        if asked:
            h.lived("w1", "stopping")
        h.lived("w1", "stopped")
        assert h.holds(UNASKED) is asked
    assert h.breaks(UNASKED) == "w1 ended without a request to stop"


def test_program_may_end_by_itself() -> None:
    h = History(duties={"w1": ("claim",)})
    h.lived("c1", "started")
    h.lived("c1", "stopped")
    assert h.holds(UNASKED)
