"""What processes do that were told to stop: histories that hold, and ones that break each property."""

from __future__ import annotations

import pytest

from tests.sim.histories import WORKERS, History
from zeke_queue.model import Completed, Released, WorkerInfo
from zeke_sim.properties import by_name

BEGINS, ENDS = "who ends begins nothing", "who is told to stop ends in time"
LEAVES = "who leaves holds nothing"


def _stopping(**rules: float) -> History:
    """A worker that has looked for work, and is told to stop."""
    h = History(**rules)
    h.lived("w1", "started")
    h.claim()
    h.lived("w1", "stopping")
    return h


@pytest.mark.parametrize(("what", "holds"), [(None, False), ("killed", True), ("resumed", True)])
def test_a_worker_that_goes_on_when_it_was_told_to_stop(what: str | None, *, holds: bool) -> None:
    h = _stopping()
    h.wait(1.0)
    if what == "killed":
        h.lived("w1", what)
        h.lived("w1", "started")
    elif what is not None:
        h.lived("w1", what)
    job = h.send()
    h.claim(job)
    h.run(job)
    h.settle(job, Completed(job, 1, None))
    if holds:
        assert h.verdict() is None
    else:
        assert h.breaks(BEGINS) == "w1 was told to stop at 0.002 s, and began attempt 1 at 1.006 s"


def test_what_begins_in_the_same_moment_is_begun() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.lived("w1", "stopping")
    h.run(job)
    h.settle(job, Completed(job, 1, None))
    assert h.verdict() is None


def _sweeping(*verbs: str, fails: bool = False) -> History:
    """A supervisor that is told to stop, and goes on to call what it is there for."""
    h = History()
    h.lived("v1", "started")
    h.answer(h.invoke("archive", "v1", after=10.0, limit=10), 0)
    h.lived("v1", "stopping")
    for verb in verbs:
        h.answer(
            h.invoke(verb, "v1", after=10.0, limit=10), None if fails else 0, "failed" if fails else "ok"
        )
    return h


def test_a_supervisor_that_was_told_to_stop_ends_its_round() -> None:
    assert _sweeping("archive", "purge").verdict() is None


def test_a_supervisor_that_goes_on_when_it_was_told_to_stop() -> None:
    h = _sweeping("purge", "archive", "purge")
    assert h.breaks(BEGINS) == "v1 was told to stop at 0.002 s, and asks for purge again"


def test_a_supervisor_whose_calls_fail_may_try_them_again() -> None:
    assert _sweeping("purge", "purge", fails=True).verdict() is None


def test_a_process_that_took_the_place_of_one_that_stopped_goes_on() -> None:
    h = _sweeping("purge")
    h.lived("v1", "stopped")
    h.lived("v1", "started")
    for _ in range(2):
        h.answer(h.invoke("purge", "v1", after=10.0, limit=10), 0)
    assert h.verdict() is None


def test_a_worker_that_ends_too_late() -> None:
    h = _stopping(grace=2.0, drift=0.0)
    h.wait(20.5)
    h.lived("w1", "stopped")
    assert h.breaks(ENDS) == "w1 was to end at 20.002 s, and ended at 20.502 s"


def test_a_worker_that_does_not_end() -> None:
    h = _stopping(grace=2.0, drift=0.0)
    h.wait(20.5)
    assert h.breaks(ENDS) == "w1 was to end at 20.002 s, and has not at 20.502 s"


def test_a_worker_that_stood_still_has_that_much_longer() -> None:
    h = _stopping(grace=2.0)
    h.lived("w1", "paused")
    h.wait(20.5)
    h.lived("w1", "resumed")
    h.wait(19.0)
    h.lived("w1", "stopped")
    assert h.verdict() is None


def test_a_worker_that_was_killed_and_its_successor_need_not_end() -> None:
    h = _stopping(grace=2.0)
    h.lived("w1", "killed")
    h.lived("w1", "started")
    h.wait(30.0)
    assert h.verdict() is None


def test_who_is_no_worker_may_take_its_time() -> None:
    h = History(grace=2.0)
    h.lived("v1", "stopping")
    h.wait(40.0)
    h.lived("v1", "stopped")
    assert h.verdict() is None


def _leaves(h: History, answer: str | None) -> History:
    """A worker says goodbye a second after its last settlement was called, which was answered so."""
    call = h.invoke("settle", "w1", completed=(), failed=(), released=(), again=False)
    if answer is not None:
        h.answer(call, set() if answer == "ok" else "away", answer)
    h.wait(1.0)
    h.invoke("leave", "w1", worker=WORKERS["w1"])
    return h


@pytest.mark.parametrize("answer", ["ok", "unknown"])
def test_a_worker_that_leaves_jobs_behind(answer: str) -> None:
    h = History()
    h.claim(h.send())
    assert _leaves(h, answer).breaks(LEAVES).startswith("w1 leaves, and still holds 1")


def test_a_worker_that_leaves_when_the_storage_has_long_been_away() -> None:
    for failed in ("unknown", None):
        h = History()
        h.claim(h.send())
        call = h.invoke("beat", "w1", worker=WorkerInfo(WORKERS["w1"], "w1", 1, ("a",), 15.0))
        h.wait(5.0)
        if failed is not None:
            h.answer(call, "away", failed)
        assert _leaves(h, failed).verdict(by_name(LEAVES)) is None


def test_a_worker_that_holds_nothing_may_leave() -> None:
    h = History()
    job = h.send()
    h.claim(job)
    h.settle(job, Released(job, 1))
    assert _leaves(h, "ok").verdict(by_name(LEAVES)) is None


def test_a_worker_whose_lease_was_over_may_leave_what_is_not_its_any_more() -> None:
    h = History(lease=4.0)
    h.beat()
    h.claim(h.send())
    h.wait(4.5)
    assert _leaves(h, "ok").verdict(by_name(LEAVES)) is None


UNASKED = "nobody ends unasked"


def test_a_process_that_ends_by_itself_before_it_did_anything() -> None:
    for asked in (True, False):
        h = History(duties={"w1": ("claim",)})
        h.lived("w1", "started")
        if asked:
            h.lived("w1", "stopping")
        h.lived("w1", "stopped")
        assert (h.verdict(by_name(UNASKED)) is None) is asked
        if not asked:
            assert h.breaks(UNASKED) == "w1 ended by itself, and nobody had told it to stop"


def test_a_program_that_ends_by_itself() -> None:
    h = History(duties={"w1": ("claim",)})
    h.lived("c1", "started")
    h.lived("c1", "stopped")
    assert h.verdict(by_name(UNASKED)) is None
