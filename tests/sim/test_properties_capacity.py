"""Workers with free slots: valid histories, and ones that violate each property."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cases import check_each
from tests.sim.histories import ACTIVE, CANCELLED, WORKERS, History, claimed
from zeke_queue.model import Completed, QueueCapacity, Released, Settled
from zeke_sim.history.events import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

BEGINS = "a worker with a free slot starts what it claimed"
ALIVE = "a worker whose lease ended starts no job"
KEEPS = "claimed jobs are started or released"
ASKS = "a worker with a free slot claims jobs"


def _ask(h: History, *names: str, limit: int = 1) -> None:
    """Ask for jobs of some queues from w1, and get none."""
    capacity = tuple(QueueCapacity(name, limit) for name in names)
    h.answer(h.invoke("claim", "w1", worker=WORKERS["w1"], capacity=capacity, limit=limit), [])


def _begins_another(h: History) -> None:
    h.begin(h.send_claimed())
    h.wait(2.0)


def _stops(h: History) -> None:
    h.lived("w1", "stopping")
    h.wait(2.0)


def _lacks_an_answer(h: History) -> None:
    h.wait(2.0)
    h.answer(h.invoke("append_events", "w1", events=()), outcome="failed")


def test_job_is_released_only_if_no_slot_is_free() -> None:
    def check(happens: Callable[[History], None], holds: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History(lease=4.0)
        h.heartbeat(lease=4.0)
        _ask(h, "a")
        job = h.send_claimed()
        happens(h)
        h.settle(job, Released(job, 1))
        if holds:
            assert h.verdict() is None
        else:
            assert h.breaks(BEGINS) == (
                "w1 gives attempt 1 back and has not begun it since 0.008 s, though it runs 0 jobs"
                " and has 1 places"
            )

    cases: dict[str, tuple[Callable[[History], None], bool]] = {
        "a place was free": (lambda h: h.wait(2.0), False),
        "no place was free": (_begins_another, True),
        "the worker stops": (_stops, True),
        "the lease was over": (lambda h: h.wait(6.0), True),
        "an answer was missing": (_lacks_an_answer, True),
    }
    check_each(cases, check)


def test_heartbeat_answered_with_a_claim_may_be_compared_after_it() -> None:
    for between, holds in ((0.0, True), (0.001, False)):
        h = History(lease=4.0)
        h.heartbeat(lease=4.0)
        _ask(h, "a")
        job = h.send()
        claim = h.invoke("claim", "w1", worker=WORKERS["w1"], capacity=(QueueCapacity("a", 1),), limit=1)
        row = h.change(job, claim, state=ACTIVE, attempt=1, worker=WORKERS["w1"], started_on=h.now)
        h.wait(5.0)
        h.heartbeat(lease=4.0)
        h.wait(between - 0.001)
        h.answer(claim, [claimed(row)])
        h.wait(2.0)
        h.settle(job, Released(job, 1))
        assert h.holds(BEGINS) is holds


def test_worker_asks_for_every_task_with_room() -> None:
    for names, holds in (("a", "b"), True), (("a",), False):
        h = History(limits={"a": 1, "b": 1}, lease=3.0)
        h.lived("w1", "started")
        _ask(h, "a", "b")
        h.wait(12.0)
        _ask(h, *names)
        assert (h.verdict() is None) is holds
    assert h.breaks(ASKS) == "w1 asks for no job of 'b', and has held none since 0.000 s"


def test_worker_that_does_not_know_of_its_loss_need_not_ask() -> None:
    h = History(limits={"a": 1, "b": 1}, lease=3.0)
    h.lived("w1", "started")
    _ask(h, "a", "b")
    job = h.send_claimed("c")
    h.wait(12.0)
    h.by_hand("cancel", job, CANCELLED)
    _ask(h, "a")
    assert h.holds(ASKS)


def test_worker_at_its_limit_need_not_claim() -> None:
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


def test_worker_at_the_limit_that_two_names_share_need_claim_neither() -> None:
    for shared, holds in (({("b", "b-old"): (1,)}, True), ({}, False)):
        h = History(limits={"a": 1, "b": 1, "b-old": 1}, lease=3.0, shared=shared)
        _ask(h, "a", "b", "b-old")
        jobs = h.send("a"), h.send("b")
        h.claim(*jobs)
        h.wait(11.0)
        for job in jobs:
            h.run(job)
            h.settle(job, Completed(job, 1, None))
        _ask(h, "a")
        assert h.holds(ASKS) is holds


def test_job_begins_before_the_lease_is_over() -> None:
    for waited, stands_still, holds in ((1.0, False, True), (6.0, True, False), (6.0, False, False)):
        h = History(lease=4.0)
        h.heartbeat(lease=4.0)
        job = h.send_claimed()
        if stands_still:
            h.events.append(Fault(h.at, "w1", "node/w1/0", "freeze", h.at + 6.0))
        h.wait(waited)
        h.run(job)
        h.settle(job, Completed(job, 1, None))
        assert (h.verdict() is None) is holds
    assert h.breaks(ALIVE) == "w1 began attempt 1 at 6.006 s, and its lease was over at 4.201 s"


def test_late_heartbeat_disturbs_a_worker_whose_lease_it_may_cost() -> None:
    for seconds, holds in ((2.5, True), (1.5, False)):
        h = History(lease=4.0, slack=60.0)
        h.lived("w1", "started")
        job = h.send_claimed()
        h.wait(4.0)
        beat = h.invoke("append_events", "w1", events=())
        h.wait(seconds)
        h.answer(beat)
        h.wait(5.5)
        h.settle(job, Released(job, 1))
        assert h.holds(KEEPS) is holds


def test_claimed_job_is_begun_or_released() -> None:
    for waited, lived, holds in (
        (5.0, "started", True),
        (30.0, "partitioned", True),
        (30.0, "started", False),
    ):
        h = History(lease=4.0)
        h.lived("w1", "started")
        h.claim(h.send())
        if lived == "partitioned":
            h.lived("w1", lived)
        h.wait(waited)
        assert h.holds(KEEPS) is holds
        if lived == "partitioned":
            assert h.verdict() is None
    assert h.breaks(KEEPS) == "w1 has neither begun attempt 1 nor given it back from 0.003 s to 30.004 s"


def test_claimed_job_may_stay_while_its_release_finds_it_locked() -> None:
    for waited, holds in ((9.0, True), (11.0, False)):
        h = History(lease=4.0)
        h.lived("w1", "started")
        job = h.send_claimed()
        h.wait(9.0)
        release = h.invoke("settle_unlocked", "w1", completed=(), failed=(), released=(Released(job, 1),))
        h.answer(release, Settled(set(), {job}))
        h.wait(waited)
        assert h.holds(KEEPS) is holds
    assert h.breaks(KEEPS) == "w1 has neither begun attempt 1 nor given it back from 9.006 s to 20.006 s"
