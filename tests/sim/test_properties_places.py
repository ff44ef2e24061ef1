"""What workers do with their places: histories that hold, and such as break it."""

from __future__ import annotations

from tests.sim.histories import CANCELLED, WORKERS, History
from zeke_queue.model import Completed, Released, Want
from zeke_sim.history import Began, Fault
from zeke_sim.properties import by_name

BEGINS = "who has a free place begins what it claimed"
ALIVE = "who begins a job is alive"
KEEPS = "what is claimed is begun or given back"
ASKS = "who has room asks for work"


def _ask(h: History, *names: str, limit: int = 1) -> None:
    """Let a worker ask for jobs of some queues, and get none."""
    wants = tuple(Want(name, limit) for name in names)
    h.answer(h.invoke("claim", "w1", worker=WORKERS["w1"], wants=wants, limit=limit), [])


def test_a_job_that_is_given_back_though_a_place_is_free() -> None:
    h = History()
    _ask(h, "a")
    job = h.send()
    h.claim(job)
    h.wait(2.0)
    h.settle(job, Released(job, 1))
    assert h.breaks(BEGINS) == (
        "w1 gives attempt 1 back and has not begun it since 0.006 s, though it runs 0 jobs and has 1 places"
    )


def test_a_job_that_is_given_back_since_no_place_is_free() -> None:
    h = History()
    _ask(h, "a")
    job, other = h.send(), h.send()
    h.claim(job, other)
    h.events.append(Began(h.at, "w1", "a", other, 1))
    h.wait(2.0)
    h.settle(job, Released(job, 1))
    assert h.verdict() is None


def test_a_job_that_is_given_back_by_a_worker_that_ends() -> None:
    h = History()
    _ask(h, "a")
    job = h.send()
    h.claim(job)
    h.lived("w1", "stopping")
    h.wait(2.0)
    h.settle(job, Released(job, 1))
    assert h.verdict() is None


def test_a_job_that_is_given_back_since_the_lease_was_over() -> None:
    h = History(lease=4.0)
    h.beat(lease=4.0)
    _ask(h, "a")
    job = h.send()
    h.claim(job)
    h.wait(6.0)
    h.settle(job, Released(job, 1))
    assert h.verdict() is None


def test_a_job_that_is_given_back_late_for_want_of_an_answer() -> None:
    h = History()
    _ask(h, "a")
    job, other = h.send(), h.send()
    h.claim(job, other)
    h.events.append(Began(h.at, "w1", "a", other, 1))
    h.wait(3.0)
    h.answer(h.invoke("note", "w1", events=()), outcome="failed")
    h.events.pop(-3)  # the other never began, and only the call that failed explains the delay
    h.settle(job, Released(job, 1))
    assert h.verdict() is None


def test_a_task_that_a_worker_asks_no_jobs_of_any_more() -> None:
    for names, holds in (("a",), False), (("a", "b"), True):
        h = History(limits={"a": 1, "b": 1}, lease=3.0)
        h.lived("w1", "started")
        _ask(h, "a", "b")
        h.wait(12.0)
        _ask(h, *names)
        assert (h.verdict() is None) is holds
        if not holds:
            assert h.breaks(ASKS) == "w1 asks for no job of 'b', and has held none since 0.000 s"


def test_what_a_worker_asks_for_that_has_not_heard_of_its_loss() -> None:
    h = History(limits={"a": 1, "b": 1}, lease=3.0)
    h.lived("w1", "started")
    _ask(h, "a", "b")
    job = h.send("c")
    h.claim(job)
    h.wait(12.0)
    h.by_hand("cancel", job, CANCELLED)
    _ask(h, "a")
    assert h.verdict(by_name(ASKS)) is None


def test_a_task_whose_limit_was_used_up_a_moment_ago() -> None:
    h = History(limits={"a": 1, "b": 1}, lease=3.0)
    _ask(h, "a", "b")
    jobs = h.send("a"), h.send("b")
    h.wait(11.0)
    h.claim(*jobs)
    for job in jobs:
        h.run(job)
        h.settle(job, Completed(job, 1, None))
    _ask(h, "a")
    assert h.verdict() is None


def test_a_job_that_is_begun_when_the_lease_is_over() -> None:
    for waited, holds in ((1.0, True), (6.0, False)):
        h = History(lease=4.0)
        h.beat(lease=4.0)
        job = h.send()
        h.claim(job)
        h.wait(waited)
        h.run(job)
        h.settle(job, Completed(job, 1, None))
        assert (h.verdict() is None) is holds
        if not holds:
            assert h.breaks(ALIVE) == "w1 began attempt 1 at 6.006 s, and its lease was over at 4.201 s"


def test_a_process_that_stood_still_begins_a_job_late() -> None:
    h = History(lease=4.0)
    h.beat(lease=4.0)
    job = h.send()
    h.claim(job)
    h.events.append(Fault(h.at, "w1", "node/w1/0", "stall", h.at + 6.0))
    h.wait(6.0)
    h.run(job)
    h.settle(job, Completed(job, 1, None))
    assert h.verdict() is None


def test_a_job_that_a_worker_holds_and_does_not_know_of() -> None:
    for waited, holds in ((5.0, True), (30.0, False)):
        h = History(lease=4.0)
        h.lived("w1", "started")
        job = h.send()
        h.claim(job)
        h.wait(waited)
        assert (h.verdict(by_name(KEEPS)) is None) is holds
        if not holds:
            assert h.breaks(KEEPS) == (
                "w1 has neither begun attempt 1 nor given it back from 0.003 s to 30.004 s"
            )


def test_a_job_of_a_worker_that_can_not_reach_the_storage() -> None:
    h = History(lease=4.0)
    h.lived("w1", "started")
    job = h.send()
    h.claim(job)
    h.lived("w1", "cut")
    h.wait(30.0)
    assert h.verdict() is None
