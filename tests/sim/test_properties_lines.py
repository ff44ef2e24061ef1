"""Lines on their way to watchers: histories that hold, and ones that break the property."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.histories import History
from zeke_queue.core.event_limits import ATTEMPTS_KEPT
from zeke_queue.model import JobEvent, JobStatus
from zeke_sim.history.events import Received, Wrote

if TYPE_CHECKING:
    from uuid import UUID

ONCE = "watchers receive each line once"
COPIES = "lines are read as often as written"


def _tell(h: History, job: UUID, *seqs: int, watch: int = 1) -> None:
    h.events += [Received(h.at, "c1", watch, job, 1, seq) for seq in seqs]


def _ended(told: tuple[int, ...]) -> tuple[History, UUID]:
    """Return a history of a job with lines 1 and 2, of which a watcher receives some, and then the end."""
    h = History()
    job = h.send()
    lines = [JobEvent(job, 1, "log", "{}", seq, h.now) for seq in (1, 2)]
    h.wait(1.0)
    h.complete(job)
    h.answer(h.invoke("append_events", "w1", events=(JobEvent(job, 1, "log", "{}"),)))
    h.answer(h.invoke("events", after={job: 0}), lines)
    _tell(h, job, *told)
    h.told(job, JobStatus.COMPLETED, 1)
    return h, job


def test_watcher_receives_lines_in_order_and_once(h: History) -> None:
    job = h.send()
    _tell(h, job, 1, 3)
    _tell(h, job, 1, watch=2)
    assert h.verdict() is None
    _tell(h, job, 2)
    assert h.breaks(ONCE) == "line 2 came after line 3"
    h = History()
    _tell(h, h.send(), 1, 1)
    assert h.breaks(ONCE) == "line 1 came after line 1"


def test_watcher_of_an_ended_job_has_received_its_lines() -> None:
    h, job = _ended((1, 2))
    h.answer(h.invoke("events", after={job: 2}), [JobEvent(job, 1, "log", "{}", 3, h.now)])
    assert h.verdict() is None, "a line after the end is none of its"
    h, _ = _ended((1,))
    assert h.breaks(ONCE) == "line 2 precedes the end, and watch 1 has missed it"


def _write(h: History, job: UUID, message: str, number: int = 1) -> None:
    h.events.append(Wrote(h.at, "w1", job, number, "log", message))


def _log(job: UUID, message: str, seq: int = 0) -> JobEvent:
    return JobEvent(job, 1, "log", f'{{"level": "info", "message": "{message}"}}', seq)


def test_line_is_read_as_often_as_it_was_written(h: History) -> None:
    job = h.send()
    for message in ("a", "b", "b"):
        _write(h, job, message)
    lines = [_log(job, "a", 1), _log(job, "b", 2), _log(job, "b", 3), _log(job, "of the worker", 4)]
    h.answer(h.invoke("events", after={job: 0}), lines)
    h.answer(h.invoke("events", after={job: 0}), [*lines, _log(job, "of the worker", 5)])
    assert h.holds(COPIES)
    h.answer(h.invoke("events", after={job: 5}), [_log(job, "a", 6)])
    assert h.breaks(COPIES) == "log 'a' of attempt 1 was written 1 times, and is read in the rows [1, 6]"


def test_lines_of_the_newest_attempts_are_kept(h: History) -> None:
    job = h.send(retry_limit=100, retry_backoff=False)
    for _ in range(ATTEMPTS_KEPT):
        h.fail(job, 1.0)
    h.answer(h.invoke("append_events", "w1", events=(_log(job, "a"),)))
    h.answer(h.invoke("events", after={job: 0}), [_log(job, "a", 1)])
    h.claim(job)
    h.answer(h.invoke("events", after={job: 0}), [])
    assert h.holds(COPIES)


def test_late_write_of_a_line_may_be_stored_again_once_its_job_is_purged(h: History) -> None:
    job = h.send()
    _write(h, job, "a")
    h.answer(h.invoke("events", after={job: 0}), [_log(job, "a", 1)])
    h.complete(job)
    h.archive(job)
    h.purge(job)
    h.answer(h.invoke("events", after={job: 0}), [_log(job, "a", 2)])
    assert h.holds(COPIES)


def test_line_whose_write_was_answered_is_read(h: History) -> None:
    job = h.send()
    early = h.invoke("events", after={job: 0})
    h.answer(h.invoke("append_events", "w1", events=(_log(job, "a"),)))
    h.answer(h.invoke("append_events", "w1", events=(_log(job, "b"),)), outcome="unknown")
    h.answer(early, [])
    h.answer(h.invoke("events", after={job: 1}), [])
    assert h.holds(COPIES)
    h.answer(h.invoke("events", after={job: 0}), [])
    assert "log 'a' of attempt 1 was stored at" in h.breaks(COPIES)
