"""What a storage keeps: histories that hold, and ones that break each property."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.histories import WORKERS, History
from zeke_queue.model import JobEvent
from zeke_sim.history.events import WorkerRow

if TYPE_CHECKING:
    from uuid import UUID

KNOWN = "a worker is registered until it leaves"
AGAIN = "unstored events are sent again"
KEPT = "lines are read as often as written"
LATE = "late lines stay those of their attempt"
LINE = '{"message": "x"}'

DAY = 86_400.0


def _forgotten(h: History) -> None:
    h.events.append(WorkerRow(h.at, h.now, WORKERS["w1"], None, 15.0, gone=True))


def test_worker_is_forgotten_after_it_has_been_silent_for_long() -> None:
    for waited, holds in ((DAY + 20.0, True), (DAY / 2, False)):
        h = History()
        h.heartbeat()
        h.wait(waited)
        _forgotten(h)
        assert (h.verdict() is None) is holds
    assert h.breaks(KNOWN).endswith("it has not left")


def test_worker_is_forgotten_when_it_leaves(h: History) -> None:
    h.heartbeat()
    h.answer(h.invoke("deregister", "w1", worker=WORKERS["w1"]), outcome="failed")
    assert h.verdict() is None
    h.answer(h.invoke("deregister", "w1", worker=WORKERS["w1"]))
    assert h.breaks(KNOWN) == f"worker {WORKERS['w1']} has left, and is still known"
    h = History()
    h.heartbeat()
    call = h.invoke("deregister", "w1", worker=WORKERS["w1"])
    _forgotten(h)
    h.answer(call)
    assert h.verdict() is None


def test_heartbeat_may_arrive_before_the_answer_to_leave(h: History) -> None:
    call = h.invoke("deregister", "w1", worker=WORKERS["w1"])
    h.heartbeat()
    h.answer(call)
    assert h.verdict() is None


def _note(h: History, job: UUID, outcome: str = "ok", *, node: str = "w1", attempt: int = 1) -> None:
    line = JobEvent(job, attempt, "log", LINE)
    h.answer(h.invoke("append_events", node, events=(line,)), outcome=outcome)


def _noted(*, repeated: bool, ended: bool = False) -> History:
    """Return a history in which a line was not stored, and its process sends it again, ends, or neither."""
    h = History()
    h.lived("w1", "started")
    job = h.send_claimed()
    h.begin(job)
    _note(h, job, "failed")
    if ended:
        h.lived("w1", "stopping")
    if repeated:
        _note(h, job)
    h.wait(20.0)
    return h


def test_line_that_was_not_stored_is_sent_again() -> None:
    assert _noted(repeated=True).verdict() is None
    assert _noted(repeated=False, ended=True).verdict() is None
    told = _noted(repeated=False).breaks(AGAIN)
    assert told.startswith('w1 could not keep log {"message": "x"} of attempt 1')


def _read(h: History, job: UUID, *seqs: int, after: int = 0) -> None:
    found = [JobEvent(job, 1, "log", LINE, seq) for seq in seqs]
    h.answer(h.invoke("events", after={job: after}), found)


def test_late_line_is_one_of_its_attempt(h: History) -> None:
    job = h.send_claimed()
    h.begin(job)
    h.fail(job)
    h.claim(job)
    _note(h, job)
    _read(h, job, 1)
    assert h.holds(LATE)
    h.answer(h.invoke("events", after={job: 0}), [JobEvent(job, 2, "log", LINE, 1)])
    assert h.breaks(LATE) == f"log of attempt 2 is read, but was not sent: {LINE}"


def test_process_stores_lines_of_attempts_that_it_ran() -> None:
    for node, attempt in (("w2", 1), ("w1", 2)):
        h = History()
        job = h.send_claimed()
        h.begin(job)
        _note(h, job, node=node, attempt=attempt)
        assert h.breaks(LATE) == f"{node} stores log of attempt {attempt}, which it has not run"


def test_line_that_was_read_is_kept(h: History) -> None:
    job = h.send_claimed()
    h.begin(job)
    call = h.invoke("events", after={job: 0})
    _note(h, job)
    _read(h, job, 1, 2)
    _read(h, job, 2, after=1)
    h.answer(call, [])
    assert h.verdict() is None, "a slow answer may lack a line"
    _read(h, job, 2)
    assert h.breaks(KEPT) == "line 1 was read before, and is not there any more"


def test_lines_are_purged_with_their_job(h: History) -> None:
    job = h.send()
    h.complete(job)
    _note(h, job)
    _read(h, job, 1)
    h.wait(20.0)
    h.archive(job)
    h.wait(20.0)
    h.purge(job)
    _read(h, job)
    assert h.verdict() is None
