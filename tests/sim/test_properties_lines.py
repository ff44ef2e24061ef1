"""Lines on their way to watchers: histories that hold, and ones that break the property."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.histories import History
from zeke_queue.model import JobEvent, JobStatus
from zeke_sim.history.events import Received

if TYPE_CHECKING:
    from uuid import UUID

ONCE = "watchers receive each line once"


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
