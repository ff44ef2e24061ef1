"""What a worker does about the jobs that it holds: ``worker/state.py``, without an event loop.

The machine plays the storage, which knows which worker holds which attempt and may give jobs to others, and
the pool, whose handlers begin, end and ignore cancellations in any order. Actions are carried out at once.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.runtime.workers.samples import SLOT, claimed_job
from zeke_queue.model import Completed, Failed, Released
from zeke_queue.worker.claims import Claim, ServedQueue
from zeke_queue.worker.leased_job import RUNNING, SETTLING, WAITING, LeasedJob
from zeke_queue.worker.state import (
    CLOSE_ENOUGH,
    RECANCEL_INTERVAL,
    STALE,
    Interrupt,
    Report,
    Settle,
    Start,
    WakeClaims,
    WorkerState,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zeke_queue.worker.state import Action

LEASE = 60.0
PICK = st.integers(0, 1000)


class Machine(RuleBasedStateMachine):
    """A worker's jobs between a storage and a pool, both played here."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.number = 0
        self.held: dict[UUID, LeasedJob] = {}
        """What the storage knows this worker to hold; it fences settlements by this."""
        self.running: list[LeasedJob] = []
        self.cancelled: set[LeasedJob] = set()
        self.lost: set[LeasedJob] = set()
        self.all: list[LeasedJob] = []
        self.settled: dict[LeasedJob, int] = {}
        self.unknown: set[UUID] = set()
        self.batch: list[LeasedJob] = []
        self.freed: set[LeasedJob] = set()
        self.closed = False

    @initialize(size=st.integers(1, 4), limit=st.integers(1, 3))
    def begin(self, size: int, limit: int) -> None:
        self.size = size
        self.queues = {
            "free": ServedQueue("free", "free"),
            "limited": ServedQueue("limited", "limited", limit=limit),
            "thread": ServedQueue("thread", "thread", kind="thread"),
        }
        self.state = WorkerState(self.queues, size, 2.0, alive_until=self.now + LEASE)

    def carry_out(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Interrupt):
                assert action.job in self.running, "only what runs is cancelled"
                assert action.job.reason is not None
                self.cancelled.add(action.job)
            elif isinstance(action, Settle):
                assert self.state.outcomes, "there is something to store"
            elif isinstance(action, Report):
                assert action.seconds >= RECANCEL_INTERVAL

    @precondition(lambda self: self.now < self.state.alive_until)
    @rule(wish=st.lists(st.sampled_from(["free", "limited", "thread"]), max_size=6), late=st.booleans())
    def claim(self, wish: list[str], late: bool) -> None:  # noqa: FBT001 - drawn by Hypothesis
        claim = self.state.claims.claim(self.state.load(self.now), self.now)
        if claim is None:
            return
        left = {want.name: want.limit for want in claim.capacity}
        jobs = []
        for name in wish[: claim.limit]:
            if left.get(name, 0):
                left[name] -= 1
                self.number += 1
                jobs.append(claimed_job(self.number, name, expire_in=30.0, data=b"x" * self.number))
        if not jobs:
            return
        asked = self.now
        if late:
            self.now += LEASE + 1
        before = set(self.state.jobs)
        self.state.claims_begun += 1
        actions = self.state.claimed(jobs, asked, self.now)
        self.state.claims_ended += 1
        new = [job for job in self.state.jobs if job not in before]
        if self.now >= self.state.alive_until:
            assert (actions, new) == ([], []), "what is claimed as the lease ends is not begun"
            assert self.state.claims.unsure, "it is released after the next heartbeat"
            return
        assert len(new) == len(jobs)
        self.all += new
        self.held.update({job.claimed.id: job for job in new})
        assert any(isinstance(action, Settle if self.closed else Start) for action in actions)
        self.carry_out(actions)

    @precondition(lambda self: self.state.ready and len(self.state.running) < self.size)
    @rule()
    def start(self) -> None:
        assert not self.closed, "nothing begins once the worker ends"
        job = self.state.take(SLOT)
        assert job in self.state.jobs, "what is lost does not begin"
        assert job.stage == RUNNING
        self.running.append(job)

    @precondition(lambda self: self.running)
    @rule(which=PICK, how=st.sampled_from(["completed", "failed", "released", "none"]))
    def end(self, which: int, how: str) -> None:
        job = self.running.pop(which % len(self.running))
        claimed = job.claimed
        outcome = {
            "completed": Completed(claimed.id, 1, None),
            "failed": Failed(claimed.id, 1, 5.0, "{}"),
            "released": Released(claimed.id, 1, 1.0),
            "none": None,
        }[how]
        if job.reason == "lost":
            outcome = None  # as attempts do
        elif outcome is None:
            outcome = Completed(claimed.id, 1, None)
        held = job in self.state.jobs
        stored = self.state.ended(job, outcome)
        assert stored == (held and outcome is not None)
        if not stored:
            self.state.drop(job)
            assert job not in self.state.jobs

    @precondition(lambda self: not self.batch)
    @rule(most=st.integers(1, 3))
    def send_batch(self, most: int) -> None:
        self.batch = self.state.batch(most)
        for job in self.batch:
            assert job not in self.lost, "nothing is settled after its lease is lost"
            assert job.stage == SETTLING
            assert job.outcome is not None
            self.settled[job] = self.settled.get(job, 0) + 1

    @precondition(lambda self: self.batch)
    @rule(which=PICK)
    def defer(self, which: int) -> None:
        """Find that a job's row is locked."""
        job = self.batch[which % len(self.batch)]
        if job in self.state.jobs and job not in self.running:
            self.freed.add(job)
        self.state.defer([job], "locked")
        assert job in self.state.deferred

    @precondition(lambda self: self.batch)
    @rule()
    def answer_batch(self) -> None:
        for job in self.batch:
            self.held.pop(job.claimed.id, None)
        self.state.settled(self.batch, self.now)
        for job in self.batch:
            assert job not in self.state.jobs
            assert job not in self.state.deferred
        self.batch = []

    @rule(taken=st.lists(PICK, max_size=3))
    def heartbeat(self, taken: list[int]) -> None:
        """Renew the lease; some jobs have been cancelled, or given to other workers."""
        answer = {job_id: job.claimed.attempt for job_id, job in self.held.items()}
        for which in taken:
            if answer:
                job_id = sorted(answer)[which % len(answer)]
                del answer[job_id]
                self.held.pop(job_id, None)
        over = self.state.is_lease_over(self.now)
        self.state.renew(self.now + LEASE, self.now)
        assert self.state.is_lease_over(self.now) is over, (
            "others may hold the jobs of a lease that has ended"
        )
        known = {job.claimed.id for job in self.state.jobs}
        gone, released = self.state.compare(answer, self.state.sent(self.now))
        assert all(job.stage != SETTLING for job in gone), "what may be settled by now is not missed"
        assert all(job.claimed.id not in answer for job in gone), "what is still leased goes on"
        unknown = {job_id for job_id in answer if job_id not in known}
        assert released is not None
        assert {one.id for one in released} == self.unknown & unknown, "what is unknown twice is released"
        self.unknown = unknown
        self.lose(gone, self.state.lose(gone, self.now))
        self.state.restore(self.now + LEASE)

    @precondition(lambda self: self.now >= self.state.alive_until)
    @rule()
    def lease_ends(self) -> None:
        gone = self.state.unsettled()
        self.lose(gone, self.state.lease_ended(self.now))
        assert self.state.claims.unsure
        assert not self.state.unsettled()
        assert not self.state.ready

    def lose(self, gone: list[LeasedJob], actions: list[Action]) -> None:
        self.carry_out(actions)
        self.lost.update(gone)
        for job in gone:
            assert job not in self.state.jobs
            if job in self.running:
                assert job.reason == "lost", "its handler is interrupted, and its outcome dropped"

    @rule(seconds=st.sampled_from([0.5, 3.0, 12.0, 31.0, 61.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def deadlines(self) -> None:
        actions, upcoming = self.state.expire(self.now)
        self.carry_out(actions)
        for job in self.state.jobs:
            if job.stage == RUNNING and job.deadline <= self.now:
                assert job.reason is not None, "a handler does not go on past its deadline"
            elif job.stage != SETTLING and job.reason is None and job.deadline > self.now + 1:
                assert (upcoming or math.inf) <= job.deadline, "each deadline is watched"

    @rule()
    def tend(self) -> None:
        self.carry_out(self.state.tend(self.now))
        for job in self.state.ready:
            assert self.now - (job.deadline - 30.0) < STALE, "others get what does not begin here"

    @precondition(lambda self: self.now > 1060)
    @rule()
    def close(self) -> None:
        self.closed = True
        self.state.claims.stopping = True
        self.carry_out(self.state.close(self.now))
        assert not self.state.ready

    @precondition(lambda self: self.closed)
    @rule()
    def abandon(self) -> None:
        self.carry_out(self.state.interrupt_all(self.now))
        wanted = [job for job in self.running if job in self.state.jobs and job.reason != "lost"]
        released = {job: Released(job.claimed.id, 1) for job in self.running}
        self.carry_out(self.state.abandon(released.__getitem__))
        assert all(job in self.cancelled for job in self.running)
        assert all(job.outcome is released[job] for job in wanted), "each job gets an outcome"

    @invariant()
    def books_agree(self) -> None:
        if not hasattr(self, "state"):
            return
        state = self.state
        assert list(state.running) == self.running
        assert len(self.running) <= self.size
        assert [job for job in state.jobs if job.stage == WAITING] == sorted(state.ready, key=self.all.index)
        using = {*state.jobs, *state.running} - self.freed
        busy = sum(job.queue.name == "limited" for job in using)
        held = sum(len(job.claimed.data or b"") for job in using)
        assert state.payload_bytes == state.load(0.0).payload_bytes == held
        queue = self.queues["limited"]
        assert busy == queue.busy
        assert busy <= (queue.limit or 0), "a limit holds in the worker already"
        assert all(count == 1 for count in self.settled.values()), "each job has one outcome"
        waiting = [*state.outcomes, *self.batch]
        assert state.load(0.0).backlog == len(waiting) == len(set(waiting))
        for job in self.all:
            ends = (job in state.jobs) + (job in self.lost and job not in state.jobs)
            ended = job in self.settled or job in waiting
            assert ends or ended, "no job is forgotten without an outcome"

    def teardown(self) -> None:
        """End the worker: every job that is not lost has exactly one outcome, and nothing is held."""
        if not hasattr(self, "state"):
            return
        self.closed = True
        self.carry_out(self.state.close(self.now))
        released = {job: Released(job.claimed.id, 1) for job in self.running}
        self.carry_out(self.state.abandon(released.__getitem__))
        for job in list(self.running):
            self.running.remove(job)
            if not self.state.ended(job, None):
                self.state.drop(job)
        self.answer_batch()
        while self.state.outcomes:
            self.send_batch(3)
            self.answer_batch()
        assert not self.state.jobs
        assert self.queues["limited"].busy == 0
        for job in self.all:
            assert self.settled.get(job, 0) == (job not in self.lost)


TestMachine = Machine.TestCase


def state_of(*queues: ServedQueue, size: int = 2) -> WorkerState:
    return WorkerState({queue.name: queue for queue in queues}, size, 2.0)


def running(**kind: Any) -> tuple[WorkerState, LeasedJob]:
    state = state_of(ServedQueue("work", "work", **kind))
    state.claimed([claimed_job(1, "work")], 0.0, 0.0)
    return state, state.take(SLOT)


def test_jobs_of_a_limited_task_begin_before_those_claimed_ahead() -> None:
    state = state_of(ServedQueue("free", "free"), ServedQueue("limited", "limited", limit=5))
    names = ["free", "limited", "free", "limited"]
    state.claimed([claimed_job(number, name) for number, name in enumerate(names)], 0.0, 0.0)
    assert [state.take(SLOT).claimed.id.int for _ in names] == [1, 3, 0, 2]


def test_earliest_deadline_of_a_claim_is_watched() -> None:
    state = state_of(ServedQueue("work", "work"))
    jobs = [claimed_job(1, "work", expire_in=30.0), claimed_job(2, "work", expire_in=10.0)]
    assert state.claimed(jobs, 5.0, 6.0) == [Start(15.0)]


def test_job_past_its_deadline_before_it_begins_is_marked_as_expired() -> None:
    state = state_of(ServedQueue("work", "work"))
    state.claimed([claimed_job(1, "work", expire_in=1.0)], 0.0, 1.0)
    assert state.take(SLOT).reason == "expired"


def test_job_does_not_begin_a_moment_before_its_deadline() -> None:
    state = state_of(ServedQueue("work", "work"))
    state.claimed([claimed_job(1, "work", expire_in=1.0)], 0.0, 0.0)
    now = 1.0 - CLOSE_ENOUGH / 2
    assert state.expire(now) == ([], None)
    assert state.take(SLOT).deadline <= now


def test_first_reason_of_an_interruption_is_kept_unless_the_job_is_lost() -> None:
    state, job = running()
    assert state.interrupt(job, "expired", 1.0) == [Interrupt(job)]
    assert state.interrupt(job, "shutdown", 2.0) == []
    assert job.reason == "expired"
    assert state.interrupt(job, "lost", 3.0) == []
    assert job.reason == "lost"


def test_handler_that_ignores_its_cancellation_is_reported_and_cancelled_again() -> None:
    state, job = running()
    state.interrupt(job, "expired", 1.0)
    assert state.tend(1.0 + RECANCEL_INTERVAL - 0.1) == []
    later = 1.0 + RECANCEL_INTERVAL
    assert state.tend(later) == [Report(job, RECANCEL_INTERVAL), Interrupt(job)]
    assert state.tend(later + 0.1) == []


def test_handler_in_a_thread_is_notified_and_not_cancelled() -> None:
    class Context:
        cancelled = interrupted = False

        def end_log(self) -> None:
            pass

    state, job = running(kind="thread")
    job.context = context = Context()
    assert state.interrupt(job, "shutdown", 1.0) == []
    assert context.cancelled


def test_job_that_waits_too_long_is_released_and_not_claimed_ahead_again() -> None:
    queue = ServedQueue("work", "work")
    queue.measure(0.001)
    state = state_of(queue)
    state.claimed([claimed_job(1, "work")], 0.0, 0.0)
    assert state.tend(STALE - 0.1) == []
    assert state.tend(STALE) == [Settle()]
    assert state.outcomes[0].outcome == Released(UUID(int=1), 1)
    assert queue.ahead(10) == 0


@pytest.mark.parametrize(
    ("outcome", "due"),
    [
        (Completed(UUID(int=1), 1, None), math.inf),
        (Failed(UUID(int=1), 1, None, "{}"), math.inf),
        (Failed(UUID(int=1), 1, 0.02, "{}"), 0.02),
        (Released(UUID(int=1), 1, 0.03), 0.03),
    ],
)
def test_worker_sleeps_no_longer_than_until_a_job_is_due_again(
    outcome: Completed | Failed | Released, due: float
) -> None:
    state, job = running()
    assert state.ended(job, outcome)
    assert state.settled(state.batch(10), 0.0) == (due < math.inf)
    while isinstance(action := state.claims.next(state.load(0.0), 0.0), Claim):
        state.claims.claimed(0, action.limit)
    assert action is not None
    assert action.timeout == pytest.approx(min(0.05, due))  # type: ignore[union-attr]


def test_lost_job_of_a_limited_task_frees_its_slot() -> None:
    state = state_of(ServedQueue("work", "work", limit=1))
    state.claimed([claimed_job(1, "work")], 0.0, 0.0)
    assert state.claims.claim(state.load(0.0), 0.0) is None
    assert state.lose(state.unsettled(), 0.0) == [WakeClaims()]
    assert state.claims.claim(state.load(0.0), 0.0) is not None


def test_jobs_that_hold_a_pool_task_for_long_are_counted() -> None:
    queues = {name: ServedQueue(name, name) for name in ("quick", "slow", "unmeasured")}
    queues["limited"] = ServedQueue("limited", "limited", limit=9)
    queues["quick"].measure(0.01)
    queues["slow"].measure(1.0)
    state = WorkerState(queues, 8, 2.0)
    state.claimed([claimed_job(number, name) for number, name in enumerate(queues)], 0.0, 0.0)
    state.claimed([claimed_job(10 + number, name) for number, name in enumerate(queues)], 0.0, 0.0)
    for _ in range(4):
        state.take(SLOT).started = 5.0
    assert [job.queue.name for job in state.running] == ["limited", "limited", "quick", "slow"]
    assert state.load(5.1).slow == 4, "two of each kind, one of which runs"
    assert state.load(5.2).slow == 5, "a job that was expected to be quick is not"
    queues.pop("limited")
    assert WorkerState(queues, 8, 2.0).load(0.0).slow == 0


def test_limited_queue_whose_jobs_came_may_be_asked_again() -> None:
    queue = ServedQueue("work", "work", limit=2, ask_at=math.inf)
    state_of(queue).claimed([claimed_job(1, "work")], 0.0, 0.0)
    assert queue.ask_at == -math.inf


def test_lost_job_of_a_limited_task_counts_until_its_handler_ends() -> None:
    state, job = running(limit=1)
    assert state.lose([job], 0.0) == [Interrupt(job)]
    assert state.claims.claim(state.load(0.0), 0.0) is None
    assert not state.ended(job, None)
    assert state.drop(job), "the claim loop is woken"
    assert state.claims.claim(state.load(0.0), 0.0) is not None


def test_abandoned_job_of_a_limited_task_counts_until_its_handler_ends() -> None:
    state, job = running(limit=1)
    state.abandon(lambda job: Released(job.claimed.id, 1))
    state.settled(state.batch(10), 0.0)
    assert job.queue.busy == 1
    assert not state.ended(job, None)
    state.drop(job)
    assert job.queue.busy == 0


def test_job_whose_outcome_is_deferred_uses_no_place_and_no_memory() -> None:
    queue = ServedQueue("work", "work", limit=1)
    state = WorkerState({"work": queue}, 2, 2.0, payload_budget=3)
    state.claimed([claimed_job(1, data=b"data")], 0.0, 0.0)
    job = state.take(SLOT)
    assert state.ended(job, Completed(UUID(int=1), 1, None))
    batch = state.batch(10)
    assert state.claims.claim(state.load(0.0), 0.0) is None
    assert state.defer(batch, "locked"), "the claim loop is woken"
    assert job.claimed.data is None
    assert (state.payload_bytes, queue.busy, state.load(0.0).backlog) == (0, 0, 1)
    claim = state.claims.claim(state.load(0.0), 0.0)
    assert claim is not None
    assert claim.bytes_max == 3
    state.defer(batch, "failed")
    state.settled(batch, 0.0)
    assert (state.payload_bytes, queue.busy, state.load(0.0).backlog, state.deferred) == (0, 0, 0, {})


def test_lost_job_gets_no_outcome_when_its_handler_is_abandoned() -> None:
    state = state_of(ServedQueue("work", "work"))
    state.claimed([claimed_job(1, "work"), claimed_job(2, "work")], 0.0, 0.0)
    lost, kept = state.take(SLOT), state.take(SLOT)
    state.lose([lost], 1.0)
    actions = state.abandon(lambda job: Released(job.claimed.id, 1))
    assert actions == [Interrupt(lost), Interrupt(kept), Settle()]
    assert state.outcomes == [kept]


def test_outcome_of_a_lost_job_is_dropped() -> None:
    state = state_of(ServedQueue("work", "work"))
    state.claimed([claimed_job(1, "work")], 0.0, 0.0)
    job = state.take(SLOT)
    state.lose([job], 1.0)
    assert not state.ended(job, Completed(job.claimed.id, 1, None))
    assert state.load(0.0).backlog == 0
