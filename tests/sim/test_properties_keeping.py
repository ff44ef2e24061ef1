"""What a storage keeps: histories that hold, and such as break it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.histories import WORKERS, History
from zeke_queue.model import JobEvent
from zeke_sim.history import WorkerRow

if TYPE_CHECKING:
    from uuid import UUID

KNOWN = "a worker is known until it leaves"
AGAIN = "what was told is told again"
KEPT = "lines are kept as long as their job"

DAY = 86_400.0


def _forgotten(h: History) -> None:
    h.events.append(WorkerRow(h.at, h.now, WORKERS["w1"], None, 15.0, gone=True))


def test_a_worker_that_is_forgotten_though_it_has_not_left() -> None:
    for waited, holds in ((DAY + 20.0, True), (DAY / 2, False)):
        h = History()
        h.beat()
        h.wait(waited)
        _forgotten(h)
        assert (h.verdict() is None) is holds
        if not holds:
            assert h.breaks(KNOWN).endswith("it has not left")


def test_a_worker_that_leaves_is_forgotten() -> None:
    h = History()
    h.beat()
    call = h.invoke("leave", "w1", worker=WORKERS["w1"])
    _forgotten(h)
    h.answer(call)
    assert h.verdict() is None


def test_a_worker_that_is_known_though_it_has_left() -> None:
    h = History()
    h.beat()
    h.answer(h.invoke("leave", "w1", worker=WORKERS["w1"]), outcome="failed")
    assert h.verdict() is None
    h.answer(h.invoke("leave", "w1", worker=WORKERS["w1"]))
    assert h.breaks(KNOWN) == f"worker {WORKERS['w1']} has left, and is still known"


def test_a_beat_that_overtakes_the_goodbye() -> None:
    h = History()
    call = h.invoke("leave", "w1", worker=WORKERS["w1"])
    h.beat()
    h.answer(call)
    assert h.verdict() is None


def _note(h: History, job: UUID, outcome: str = "ok") -> None:
    line = JobEvent(job, 1, "log", '{"message": "x"}')
    h.answer(h.invoke("note", "w1", events=(line,)), outcome=outcome)


def _told_of(*, again: bool, ended: bool = False) -> History:
    """A line was not taken, and the process goes on (or ends), and says it again, or not."""
    h = History()
    h.lived("w1", "started")
    job = h.send()
    _note(h, job, "failed")
    if ended:
        h.lived("w1", "stopping")
    if again:
        _note(h, job)
    h.wait(20.0)
    return h


def test_a_line_that_was_not_taken_and_is_not_sent_again() -> None:
    assert _told_of(again=True).verdict() is None
    assert _told_of(again=False, ended=True).verdict() is None
    assert (
        _told_of(again=False).breaks(AGAIN).startswith('w1 could not keep log {"message": "x"} of attempt 1')
    )


def _read(h: History, job: UUID, *seqs: int, after: int = 0) -> None:
    found = [JobEvent(job, 1, "log", "{}", seq) for seq in seqs]
    h.answer(h.invoke("events", job_id=job, after=after), found)


def test_a_line_that_is_gone() -> None:
    h = History()
    job = h.send()
    _read(h, job, 1, 2)
    _read(h, job, 2, after=1)
    assert h.verdict() is None
    _read(h, job, 2)
    assert h.breaks(KEPT) == "line 1 was read before, and is not there any more"


def test_a_line_that_is_not_in_an_answer_which_was_long_on_its_way() -> None:
    h = History()
    job = h.send()
    call = h.invoke("events", job_id=job, after=0)
    _read(h, job, 1)
    h.answer(call, [])
    assert h.verdict() is None


def test_the_lines_of_a_job_that_was_purged() -> None:
    h = History()
    job = h.send()
    h.complete(job)
    _read(h, job, 1)
    h.wait(20.0)
    h.archive(job)
    h.wait(20.0)
    h.purge(job)
    _read(h, job)
    assert h.verdict() is None
