"""When handlers are interrupted: histories that hold, and ones that break each property."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.sim.histories import CANCELLED, WORKERS, History
from zeke_queue.core.failure import error_record
from zeke_queue.model import Failed, Released, RowState, WorkerInfo
from zeke_sim.history.events import Ended, Fault, WorkerRow

if TYPE_CHECKING:
    from uuid import UUID

REASON = "no handler is interrupted without a reason"
TOLD = "expired and lost handlers are interrupted"


def _began(h: History, *, data: str | None = None, expire_in: float = 60.0) -> UUID:
    """Begin a job's handler on w1, which sends a heartbeat now."""
    job = h.send(data=data, expire_in=expire_in)
    _beat(h)
    h.claim(job)
    h.begin(job)
    return job


def _beat(h: History, *jobs: UUID) -> None:
    """Answer a heartbeat of w1 with the jobs that it leases."""
    worker = WORKERS["w1"]
    call = h.invoke("heartbeat", "w1", worker=WorkerInfo(worker, "w1", 1, ("a",), 15.0))
    h.events.append(WorkerRow(h.at, h.now, worker, h.now, 15.0, gone=False))
    h.answer(call, dict.fromkeys(jobs, 1))


def _ended(h: History, job: UUID, how: Any = "cancelled") -> None:
    h.events.append(Ended(h.at, "w1", "a", job, 1, how, None))


def _script(**step: float) -> str:
    steps = ", ".join(f'"{name}": {value}' for name, value in step.items())
    return f'{{"steps": [{{{steps}}}]}}'


def test_handler_is_interrupted_only_for_a_reason(h: History) -> None:
    job = _began(h)
    h.wait(10.0)
    _ended(h, job)
    assert h.breaks(REASON) == (
        "its handler was interrupted at 10.006 s, and has time until 60.005 s; the job is still its worker's,"
        " which goes on"
    )
    h = History()
    job = _began(h, expire_in=5.0)
    h.extend(job, 20.0)
    h.wait(5.0)
    _ended(h, job)
    assert "has time until 20.007 s" in h.breaks(REASON)


def test_deadline_and_cancellation_are_reasons(h: History) -> None:
    job = _began(h, expire_in=5.0)
    h.wait(5.0)
    _ended(h, job)
    assert h.verdict() is None
    h = History()
    job = _began(h)
    h.by_hand("cancel", job, CANCELLED)
    _ended(h, job)
    assert h.verdict() is None


def test_stop_of_worker_is_a_reason_after_the_shutdown_timeout() -> None:
    for waited, holds in ((1.0, False), (3.0, True)):
        h = History(shutdown_timeout=3.0)
        job = _began(h)
        h.lived("w1", "stopping")
        h.wait(waited)
        _ended(h, job)
        h.settle(job, Released(job, 1), state=RowState.CREATED)
        assert (h.verdict() is None) is holds


def test_stop_of_a_predecessor_does_not_explain_an_interruption() -> None:
    h = History(shutdown_timeout=3.0)
    h.lived("w1", "stopping")
    h.lived("w1", "stopped")
    h.wait(5.0)
    h.lived("w1", "started")
    job = _began(h)
    h.wait(1.0)
    _ended(h, job)
    assert "was interrupted" in h.breaks(REASON)


def test_end_of_lease_is_a_reason() -> None:
    for beats, holds in ((1, True), (2, False)):
        h = History(lease=15.0)
        job = _began(h)
        for _ in range(beats):
            h.wait(7.5)
            _beat(h, job)
        h.lived("w1", "partitioned")
        h.wait(15.0 if beats == 1 else 5.0)
        _ended(h, job)
        assert (h.verdict() is None) is holds


def test_end_of_lease_is_not_a_reason_for_a_worker_that_could_have_renewed_it() -> None:
    for well, holds in ((3.0, True), (6.0, False)):
        h = History(lease=15.0)
        job = _began(h)
        h.lived("w1", "partitioned")
        h.wait(15.0 - well)
        h.lived("w1", "reconnected")
        h.wait(well)
        _ended(h, job)
        assert (h.verdict() is None) is holds


def test_handler_ends_after_its_deadline(h: History) -> None:
    job = _began(h, data=_script(seconds=9.0), expire_in=5.0)
    h.wait(6.0)
    _ended(h, job, "returned")
    assert h.breaks(TOLD) == (
        "its handler ran until 6.006 s, and should have ended at 5.255 s, because of its deadline"
    )


def test_handler_may_end_late_if_it_cleans_up_or_stood_still(h: History) -> None:
    job = _began(h, data=_script(seconds=9.0, cleanup=1.0, swallow=0.0), expire_in=5.0)
    h.wait(6.0)
    _ended(h, job)
    assert h.verdict() is None
    h = History()
    job = _began(h, data=_script(seconds=9.0), expire_in=5.0)
    h.events.append(Fault(h.at, "w1", "node/w1/0", "pause", 9.0))
    h.wait(9.0)
    _ended(h, job)
    assert h.verdict() is None


def test_handler_ends_after_lease_or_cancellation() -> None:
    h = History(lease=15.0)
    job = _began(h, data=_script(seconds=40.0))
    h.wait(20.0)
    _ended(h, job, "returned")
    assert "should have ended at 15.753 s, because of the end of the lease" in h.breaks(TOLD)
    h = History()
    job = _began(h, data=_script(seconds=40.0))
    h.by_hand("cancel", job, CANCELLED)
    _beat(h)
    h.wait(1.0)
    _ended(h, job, "returned")
    assert "because of the heartbeat that did not name it" in h.breaks(TOLD)


def test_skipped_time_renews_the_lease() -> None:
    h = History(lease=15.0)
    _beat(h)
    skipped = h.now + timedelta(seconds=12)
    h.wait(1.0)
    h.events.append(WorkerRow(h.at, h.now, WORKERS["w1"], skipped, 15.0, gone=False))
    h.wait(13.0)
    job = h.send(data=_script(seconds=40.0))
    h.claim(job)
    h.begin(job)
    h.wait(6.0)
    _ended(h, job, "returned")
    assert h.verdict() is None


def test_heartbeat_may_be_under_way_while_time_is_skipped() -> None:
    h = History(lease=15.0)
    worker = WORKERS["w1"]
    info = WorkerInfo(worker, "w1", 1, ("a",), 15.0)
    _beat(h)
    call = h.invoke("heartbeat", "w1", worker=info)
    skipped = h.now + timedelta(seconds=12)
    h.wait(1.0)
    h.events.append(WorkerRow(h.at, h.now, worker, skipped, 15.0, gone=False))
    h.wait(13.0)
    h.answer(call, {})
    job = h.send()
    h.claim(job)
    h.begin(job)
    h.wait(6.0)
    _ended(h, job)
    assert "was interrupted at 20." in h.breaks(REASON)


def test_handler_without_a_script_is_not_bound(h: History) -> None:
    job = _began(h, expire_in=5.0)
    h.wait(50.0)
    _ended(h, job, "returned")
    h.overdue(job, "deadline")
    assert h.verdict() is None


def test_extension_that_is_answered_late_excuses_interruption() -> None:
    for late, holds in ((0.0, True), (0.5, False)):
        h = History()
        job = _began(h, expire_in=5.0)
        h.wait(5.0 - 0.004 - late)
        h.extend(job, 20.0)
        h.wait(late)
        _ended(h, job)
        assert h.holds(REASON) is holds
        h.settle(job, Failed(job, 1, 1.0, error_record("Expired", "too long"), RowState.EXPIRED))
        assert h.holds("no attempt is cut short") is holds
