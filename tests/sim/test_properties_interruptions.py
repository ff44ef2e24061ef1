"""When handlers are interrupted: histories that hold, and ones that break each property."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.sim.histories import CANCELLED, WORKERS, History
from zeke_queue.core.failure import error_record
from zeke_queue.model import Failed, JobState, Released, WorkerInfo
from zeke_sim.history import Began, Ended, Fault, WorkerRow
from zeke_sim.properties import by_name

if TYPE_CHECKING:
    from uuid import UUID

REASON = "nobody is interrupted without a reason"
TOLD = "who has to end is told so"


def _began(h: History, *, data: str | None = None, expire_in: float = 60.0) -> UUID:
    """Let a job's handler begin at a worker that beats now."""
    job = h.send(data=data, expire_in=expire_in)
    _beat(h)
    h.claim(job)
    h.events.append(Began(h.at, "w1", "a", job, 1))
    return job


def _beat(h: History, *jobs: UUID) -> None:
    """Let a heartbeat be answered, with the jobs that the storage holds for the worker."""
    worker = WORKERS["w1"]
    call = h.invoke("beat", "w1", worker=WorkerInfo(worker, "w1", 1, ("a",), 15.0))
    h.events.append(WorkerRow(h.at, h.now, worker, h.now, 15.0, gone=False))
    h.answer(call, dict.fromkeys(jobs, 1))


def _ended(h: History, job: UUID, how: Any = "cancelled") -> None:
    h.events.append(Ended(h.at, "w1", "a", job, 1, how, None))


def _script(**step: float) -> str:
    steps = ", ".join(f'"{name}": {value}' for name, value in step.items())
    return f'{{"steps": [{{{steps}}}]}}'


def test_a_handler_that_is_interrupted_for_nothing() -> None:
    h = History()
    job = _began(h)
    h.wait(10.0)
    _ended(h, job)
    assert h.breaks(REASON) == (
        "its handler was interrupted at 10.006 s, and has time until 60.005 s; the job is still its worker's,"
        " which goes on"
    )


def test_a_handler_that_is_interrupted_at_its_deadline() -> None:
    h = History()
    job = _began(h, expire_in=5.0)
    h.wait(5.0)
    _ended(h, job)
    assert h.verdict() is None


def test_a_handler_whose_extension_is_not_heeded() -> None:
    h = History()
    job = _began(h, expire_in=5.0)
    h.extend(job, 20.0)
    h.wait(5.0)
    _ended(h, job)
    assert "has time until 20.007 s" in h.breaks(REASON)


def test_a_handler_whose_job_is_cancelled() -> None:
    h = History()
    job = _began(h)
    h.by_hand("cancel", job, CANCELLED)
    _ended(h, job)
    assert h.verdict() is None


def test_a_handler_whose_worker_ends() -> None:
    for waited, holds in ((1.0, False), (3.0, True)):
        h = History(grace=3.0)
        job = _began(h)
        h.lived("w1", "stopping")
        h.wait(waited)
        _ended(h, job)
        h.settle(job, Released(job, 1), state=JobState.CREATED)
        assert (h.verdict() is None) is holds


def test_a_handler_of_the_next_process_has_a_grace_of_its_own() -> None:
    h = History(grace=3.0)
    h.lived("w1", "stopping")
    h.lived("w1", "stopped")
    h.wait(5.0)
    h.lived("w1", "started")
    job = _began(h)
    h.wait(1.0)
    _ended(h, job)
    assert "was interrupted" in h.breaks(REASON)


def test_a_handler_whose_workers_lease_is_over() -> None:
    for beats, holds in ((1, True), (2, False)):
        h = History(lease=15.0)
        job = _began(h)
        for _ in range(beats):
            h.wait(7.5)
            _beat(h, job)
        h.wait(15.0 if beats == 1 else 5.0)
        _ended(h, job)
        assert (h.verdict() is None) is holds


def test_a_handler_that_goes_on_after_its_deadline() -> None:
    h = History()
    job = _began(h, data=_script(seconds=9.0), expire_in=5.0)
    h.wait(6.0)
    _ended(h, job, "returned")
    assert h.breaks(TOLD) == (
        "its handler went on until 6.006 s, and had to end at 5.255 s for its deadline, which it heeds within"
        " 0.0 s"
    )


def test_a_handler_that_heeds_its_deadline_late() -> None:
    h = History()
    job = _began(h, data=_script(seconds=9.0, cleanup=1.0, swallow=0.0), expire_in=5.0)
    h.wait(6.0)
    _ended(h, job)
    assert h.verdict() is None


def test_a_handler_that_stood_still_with_its_process() -> None:
    h = History()
    job = _began(h, data=_script(seconds=9.0), expire_in=5.0)
    h.events.append(Fault(h.at, "w1", "node/w1/0", "pause", 9.0))
    h.wait(9.0)
    _ended(h, job)
    assert h.verdict() is None


def test_a_handler_that_goes_on_when_the_lease_is_over() -> None:
    h = History(lease=15.0)
    job = _began(h, data=_script(seconds=40.0))
    h.wait(20.0)
    _ended(h, job, "returned")
    assert "had to end at 15.753 s for the end of the lease" in h.breaks(TOLD)


def test_a_lease_does_not_end_in_a_calm_stretch_that_was_skipped() -> None:
    h = History(lease=15.0)
    _beat(h)
    skipped = h.now + timedelta(seconds=12)
    h.wait(1.0)
    h.events.append(WorkerRow(h.at, h.now, WORKERS["w1"], skipped, 15.0, gone=False))
    h.wait(13.0)
    job = h.send(data=_script(seconds=40.0))
    h.claim(job)
    h.events.append(Began(h.at, "w1", "a", job, 1))
    h.wait(6.0)
    _ended(h, job, "returned")
    assert h.verdict() is None


def test_a_beat_may_be_under_way_while_a_calm_stretch_is_skipped() -> None:
    h = History(lease=15.0)
    worker = WORKERS["w1"]
    info = WorkerInfo(worker, "w1", 1, ("a",), 15.0)
    _beat(h)
    call = h.invoke("beat", "w1", worker=info)
    skipped = h.now + timedelta(seconds=12)
    h.wait(1.0)
    h.events.append(WorkerRow(h.at, h.now, worker, skipped, 15.0, gone=False))
    h.wait(13.0)
    h.answer(call, {})
    job = h.send()
    h.claim(job)
    h.events.append(Began(h.at, "w1", "a", job, 1))
    h.wait(6.0)
    _ended(h, job)
    assert "was interrupted at 20." in h.breaks(REASON)


def test_a_handler_that_is_not_told_of_the_cancellation_of_its_job() -> None:
    h = History()
    job = _began(h, data=_script(seconds=40.0))
    h.by_hand("cancel", job, CANCELLED)
    _beat(h)
    h.wait(1.0)
    _ended(h, job, "returned")
    assert "for the heartbeat that did not name it" in h.breaks(TOLD)


def test_handlers_without_a_script_take_what_time_they_will() -> None:
    h = History()
    job = _began(h, expire_in=5.0)
    h.wait(50.0)
    _ended(h, job, "returned")
    h.overdue(job, "deadline")
    assert h.verdict() is None


def test_an_extension_that_is_answered_when_the_time_is_up() -> None:
    for late, holds in ((0.0, True), (0.5, False)):
        h = History()
        job = _began(h, expire_in=5.0)
        h.wait(5.0 - 0.004 - late)
        h.extend(job, 20.0)
        h.wait(late)
        _ended(h, job)
        assert (h.verdict(by_name(REASON)) is None) is holds
        h.settle(job, Failed(job, 1, 1.0, error_record("Expired", "too long"), JobState.EXPIRED))
        assert (h.verdict(by_name("nobody's time is cut short")) is None) is holds
