"""How a worker ends: ``Shutdown`` in ``worker/state.py``, without an event loop.

Handlers and parts of the worker, which the tests play, end in any order or never.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.runtime.workers.samples import SLOT, claimed_job
from zeke_queue.model import Completed, Released
from zeke_queue.worker.claims import ServedQueue
from zeke_queue.worker.state import (
    ABORT_TIMEOUT,
    CANCEL_TIMEOUT,
    FINAL_SETTLE_TIMEOUT,
    Finish,
    Shutdown,
    WorkerState,
)


class Ending:
    """A worker that ends, with jobs in its pool, and the parts that the shutdown waits for."""

    def __init__(self, jobs: int, timeout: float = 30.0) -> None:
        self.state = WorkerState({"work": ServedQueue("work", "work")}, 3, 2.0)
        if jobs:
            self.state.claimed([claimed_job(number, "work") for number in range(jobs)], 0.0, 0.0)
        for _ in range(min(jobs, 3)):
            self.state.take(SLOT)
        self.shutdown = Shutdown(self.state, timeout, lambda job: Released(job.claimed.id, 1))
        self.alive = {"claim", "settle", "heartbeat"}
        self.seen: list[str] = []
        self.now = 100.0

    def advance(self) -> float | None:
        """Carry out the actions; return until when the shutdown waits, or None at its end."""
        while (step := self.shutdown.next(self.alive, self.now)) is not None:
            actions, until = step
            if not actions and until > self.now:
                return until
            for action in actions:
                self.seen.append(type(action).__name__)
                if isinstance(action, Finish):
                    self.alive.add("finish")
        return None

    def end_job(self) -> None:
        job = next(iter(self.state.running))
        outcome = None if job.reason == "lost" else Completed(job.claimed.id, 1, None)
        assert self.state.ended(job, outcome) == (outcome is not None)


EVENTS = st.lists(
    st.sampled_from(["job", "claim", "settle", "heartbeat", "finish", "abort", "time", "a moment"]),
    max_size=30,
)


@given(st.integers(0, 5), st.sampled_from([0.0, 0.5, 30.0]), EVENTS)
def test_shutdown_ends_in_time_and_leaves_each_job_an_outcome(
    jobs: int, timeout: float, events: list[str]
) -> None:
    ending = Ending(jobs, timeout)
    limit = timeout + CANCEL_TIMEOUT + 3 * FINAL_SETTLE_TIMEOUT
    aborted = None
    for event in [*events, *["time"] * 5]:
        if (until := ending.advance()) is None:
            break
        running = bool(ending.state.running)
        if event == "job" and running:
            ending.end_job()
        elif event == "abort":
            ending.shutdown.abort(ending.now)
            aborted = ending.now if aborted is None else aborted
        elif event == "time":
            ending.now = until
        elif event == "a moment":
            ending.now = min(until, ending.now + 0.3)
        else:
            ending.alive.discard(event)
    assert ending.advance() is None, "whatever does not end, the worker does"
    assert ending.now - 100.0 <= limit
    if aborted is not None:
        assert ending.now - aborted <= 4 * ABORT_TIMEOUT
    steps = [name for name in ending.seen if name in ("Finish", "StopParts")]
    assert steps == ["Finish", "StopParts"], "each happens once, and nothing is stopped before it is stored"
    assert ending.shutdown.stuck >= len(ending.state.running)
    assert not ending.state.ready
    assert all(job.outcome is not None for job in ending.state.jobs)
    assert len(ending.state.outcomes) == jobs


def test_shutdown_waits_for_each_step_as_long_as_it_may() -> None:
    ending = Ending(4)
    waits = [ending.advance()]
    assert ending.seen == ["Settle"], "what had not begun is released"
    for _ in range(4):
        assert waits[-1] is not None
        ending.now = waits[-1]
        waits.append(ending.advance())
    assert waits == [130.0, 132.0, 137.0, 142.0, 147.0]
    assert ending.seen == ["Settle", *["Interrupt"] * 3, *["Interrupt", "Settle"] * 3, "Finish", "StopParts"]


def test_shutdown_without_jobs_waits_for_no_time() -> None:
    ending = Ending(0)
    ending.alive.remove("claim")
    assert ending.advance() == 100.0 + FINAL_SETTLE_TIMEOUT
    ending.alive.clear()
    assert ending.advance() is None
    assert ending.seen == ["Finish", "StopParts"]


def test_abort_ends_the_time_of_running_jobs_and_shortens_the_other_steps() -> None:
    ending = Ending(1)
    assert ending.advance() == 130.0
    ending.now = 110.0
    ending.shutdown.abort(ending.now)
    assert ending.advance() == 111.0
    ending.now = 111.0
    ending.shutdown.abort(ending.now)
    assert ending.advance() == 112.0, "a second request gives no more time"
