"""What a worker claims, and when it sleeps: the decisions of ``worker/claims.py``, without an event loop.

The machine plays the rest of a worker and its storage: claims are answered by any number of jobs up to their
limit, jobs begin, end and are settled in any order, and answers may be lost.
"""

from __future__ import annotations

import math
from collections import Counter, deque

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from zeke_queue.worker.claims import (
    AHEAD_MAX,
    AHEAD_SECONDS,
    BACKLOG_MAX,
    CLAIM_MAX,
    EMPTY_CLAIMS,
    FAIR_INTERVAL,
    OVERTAKEN_INTERVAL,
    Claim,
    ClaimState,
    Load,
    Recover,
    ServedQueue,
    Sleep,
    WaitForRoom,
)

IDLE = Load(running=0, ready=0, backlog=0)
POLL = 2.0


def quick(name: str = "quick", seconds: float = 0.0001) -> ServedQueue:
    """Make a queue whose jobs are quick enough to be claimed ahead."""
    queue = ServedQueue(name, name)
    queue.measure(seconds)
    return queue


def asleep(state: ClaimState, now: float = 0.0) -> Sleep:
    """Answer claims with nothing until the worker sleeps."""
    while isinstance(action := state.next(IDLE, now), Claim):
        state.claimed(0, action.limit)
    assert isinstance(action, Sleep)
    return action


class Worker(RuleBasedStateMachine):
    """A worker of which only the claims are real."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.ready: deque[ServedQueue] = deque()
        self.running: list[ServedQueue] = []
        self.settling: list[ServedQueue] = []
        self.empty = 0
        self.woken = False
        self.stopped = False

    @initialize(
        size=st.integers(1, 12),
        count=st.integers(1, 3),
        limit=st.none() | st.integers(1, 5),
        task_limit=st.none() | st.integers(1, 5),
    )
    def begin(self, size: int, count: int, limit: int | None, task_limit: int | None) -> None:
        self.size = size
        self.task_limit = task_limit
        self.queues = {
            f"q{number}": ServedQueue(
                f"q{number}",
                "task",
                limit=min((n for n in (limit, task_limit) if n is not None), default=None),
                is_own_limit=task_limit is not None,
            )
            for number in range(count)
        }
        self.state = ClaimState([*self.queues.values()], size, POLL)

    @property
    def load(self) -> Load:
        slow = sum(queue.limit is None and not queue.is_quick for queue in [*self.ready, *self.running])
        return Load(len(self.running), len(self.ready), len(self.settling), slow=slow)

    @rule(count=st.integers(0, 600), lost=st.booleans(), data=st.data())
    def carry_out(self, count: int, lost: bool, data: st.DataObject) -> None:  # noqa: FBT001 - drawn by Hypothesis
        unsure, free = self.state.unsure, self.size - len(self.running) - len(self.ready)
        action = self.state.next(self.load, self.now)
        if unsure:
            assert isinstance(action, Recover), "jobs that are unknown are released before more are claimed"
            self.state.unsure = lost
        elif self.stopped:
            assert action is None
        elif isinstance(action, Claim):
            self.empty = 0 if self.answer(action, count, lost, free, data) else self.empty + 1
            self.woken = False
        elif isinstance(action, Sleep):
            assert self.empty >= EMPTY_CLAIMS, "one empty claim is no proof"
            assert not self.woken, "what may be due is claimed before a sleep"
            assert 0 <= action.timeout <= POLL
            self.sleep(count, lost, free, data)
        else:
            assert isinstance(action, WaitForRoom)
            assert self.ready or self.running or self.settling, "a worker with nothing to do claims"

    def answer(
        self,
        claim: Claim,
        count: int,
        lost: bool,  # noqa: FBT001
        free: int,
        data: st.DataObject,
    ) -> int:
        """Check a claim, and answer it with jobs of its queues; return how many."""
        assert 0 < claim.limit <= CLAIM_MAX
        assert len({want.name for want in claim.capacity}) == len(claim.capacity) > 0
        left = {want.name: want.limit for want in claim.capacity}
        places = self.size - self.load.slow - sum(queue.busy for queue in self.queues.values())
        busy = sum(queue.busy for queue in self.queues.values())
        for name, most in left.items():
            queue = self.queues[name]
            assert 0 < most <= CLAIM_MAX
            if queue.limit is not None:
                assert most <= max(free, places), "what has a limit is claimed for free or quick pool tasks"
                assert busy + most <= queue.limit, "a limit holds in the worker already"
            elif queue.seconds is None:
                assert most <= max(free, 0), "nothing is claimed ahead before it has been measured"
        if self.task_limit is not None:
            assert busy + min(claim.limit, sum(left.values())) <= self.task_limit, "over all its queues"
        if any(self.queues[name].limit is None and not self.queues[name].is_quick for name in left):
            assert claim.limit <= free, "priorities hold among those that wait for a pool task"
        if lost:
            self.state.unsure = True
            return 0
        came = 0
        for _ in range(min(count, claim.limit)):
            busy = sum(queue.busy for queue in self.queues.values())
            # The storage enforces the limit over all queues of the task.
            names = [
                name for name, most in left.items() if most and busy < (self.queues[name].limit or math.inf)
            ]
            if not names:
                break
            name = data.draw(st.sampled_from(names)) if len(names) > 1 else names[0]
            left[name] -= 1
            queue = self.queues[name]
            if queue.limit is not None:
                queue.busy += 1
                queue.ask_at = -math.inf
            self.ready.append(queue)
            came += 1
        self.state.claimed(came, claim.limit)
        return came

    def sleep(self, count: int, lost: bool, free: int, data: st.DataObject) -> None:  # noqa: FBT001
        """Claim once more, as a sleep does first, and end the sleep by a notification or its time limit."""
        claim = self.state.claim(self.load, self.now, last=True)
        if claim is not None and self.task_limit is not None:
            assert {want.name for want in claim.capacity} == self.queues.keys(), "no queue is left out"
        if claim is None or self.answer(claim, count, lost, free, data):
            self.state.found()
            self.empty = 0
            return
        if lost:
            return
        woken = data.draw(st.booleans())
        self.now += 0.0 if woken else POLL
        self.state.slept(self.now, woken=woken)
        self.empty = 0 if woken else self.empty

    @precondition(lambda self: self.ready and len(self.running) < self.size)
    @rule(count=st.integers(1, 12))
    def start(self, count: int) -> None:
        while count and self.ready and len(self.running) < self.size:
            self.running.append(self.ready.popleft())
            count -= 1

    @precondition(lambda self: self.running)
    @rule(seconds=st.sampled_from([0.00001, 0.001, 0.05, 0.2, 5.0]))
    def end(self, seconds: float) -> None:
        queue = self.running.pop()
        queue.measure(seconds)
        self.settling.append(queue)

    @precondition(lambda self: self.settling)
    @rule(due_in=st.none() | st.sampled_from([0.0, 0.5, 30.0]))
    def settle(self, due_in: float | None) -> None:
        for queue in self.settling:
            queue.busy -= queue.limit is not None
        self.settling = []
        if due_in is not None:
            self.state.due(self.now + due_in, self.now)
            self.woken |= due_in == 0.0
        self.woken |= self.state.freed()

    @rule(seconds=st.sampled_from([0.01, 0.3, 40.0]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def wake(self) -> None:
        self.state.wake()
        self.woken = True

    @rule()
    def doubt(self) -> None:
        self.state.doubt()
        self.woken = True
        assert self.state.idle is None, "the storage may have forgotten that the worker sleeps"

    @precondition(lambda self: self.now > POLL)
    @rule()
    def stop(self) -> None:
        self.state.stopping = self.stopped = True

    @invariant()
    def jobs_stay_within_bounds(self) -> None:
        if not hasattr(self, "queues"):
            return
        assert len(self.running) <= self.size
        assert len(self.ready) <= max(self.size, AHEAD_MAX + CLAIM_MAX)
        held = Counter(queue.name for queue in [*self.ready, *self.running, *self.settling])
        for queue in self.queues.values():
            assert queue.limit is None or held[queue.name] == queue.busy <= queue.limit
        assert self.task_limit is None or held.total() <= self.task_limit


TestWorker = Worker.TestCase


def test_jobs_are_claimed_for_free_pool_tasks_until_they_are_measured() -> None:
    state = ClaimState([ServedQueue("work", "work")], size=10, poll=POLL)
    action = state.next(Load(running=4, ready=1, backlog=0), 0.0)
    assert action == Claim([("work", 5)], 5)  # pyright: ignore[reportArgumentType]
    assert isinstance(state.next(Load(running=10, ready=0, backlog=0), 0.0), WaitForRoom)


@pytest.mark.parametrize("backlog", [BACKLOG_MAX, BACKLOG_MAX + 1])
def test_nothing_is_claimed_while_too_many_outcomes_wait(backlog: int) -> None:
    state = ClaimState([quick()], size=10, poll=POLL)
    assert isinstance(state.next(Load(0, 0, backlog), 0.0), WaitForRoom)
    assert isinstance(state.next(Load(0, 0, BACKLOG_MAX - 1), 0.0), Claim)


def test_quick_jobs_are_claimed_ahead_up_to_a_second_of_work() -> None:
    assert quick(seconds=0.0001).ahead(10) == AHEAD_MAX
    assert quick(seconds=0.05).ahead(10) == int(10 * AHEAD_SECONDS / 0.05)
    assert quick(seconds=0.2).ahead(10) == 0


FULL = Load(running=10, ready=0, backlog=0)


def answered(state: ClaimState, load: Load, now: float, count: int | None = None) -> list[tuple[str, int]]:
    """Answer the claim of now with ``count`` jobs, or as many as it may bring; return what it asked for."""
    action = state.next(load, now)
    assert isinstance(action, Claim)
    state.claimed(action.limit if count is None else count, action.limit)
    return [(want.name, want.limit) for want in action.capacity]


def test_worker_with_tasks_of_both_kinds_claims_for_free_pool_tasks_after_a_moment() -> None:
    state = ClaimState([quick(), ServedQueue("slow", "slow")], size=10, poll=POLL)
    assert answered(state, IDLE, 0.0) == [("quick", 10), ("slow", 10)]
    assert answered(state, FULL, 3.0) == [("quick", CLAIM_MAX)], "the moment begins with the answer"
    assert answered(state, FULL, 3.0 + FAIR_INTERVAL) == [("quick", CLAIM_MAX)]
    assert isinstance(state.next(FULL, 3.01 + FAIR_INTERVAL), WaitForRoom)
    assert answered(state, Load(running=7, ready=0, backlog=0), 4.0) == [("quick", 3), ("slow", 3)]


def test_full_claim_for_free_pool_tasks_is_followed_by_one_ahead() -> None:
    state = ClaimState([quick(), ServedQueue("slow", "slow")], size=10, poll=POLL)
    some = Load(running=2, ready=1, backlog=0)
    assert answered(state, some, 0.0, count=6) == [("quick", 7), ("slow", 7)]
    assert answered(state, some, 0.0) == [("quick", 7), ("slow", 7)]
    assert answered(state, some, 3.0) == [("quick", CLAIM_MAX)], (
        "else such a worker claims ten jobs at a time"
    )
    assert answered(state, IDLE, 3.0) == [("quick", 10), ("slow", 10)], "no pool task has a job"
    assert answered(state, some, 3.0) == [("quick", CLAIM_MAX)]
    assert answered(state, some, 3.01 + FAIR_INTERVAL) == [("quick", 7), ("slow", 7)]


def test_slow_jobs_are_not_followed_by_a_claim_ahead_for_a_quick_queue_that_had_none() -> None:
    state = ClaimState([quick(), ServedQueue("slow", "slow")], size=10, poll=POLL)
    some = Load(running=2, ready=1, backlog=0)
    answered(state, some, 0.0)
    state.brought_quick = False
    assert answered(state, some, 0.0) == [("quick", 7), ("slow", 7)], "a claim ahead would find nothing"


def test_store_is_a_second_of_work_of_the_pool_tasks_that_slow_and_limited_jobs_leave() -> None:
    queue = quick(seconds=0.02)
    limited = ServedQueue("limited", "limited", limit=4, busy=4)
    state = ClaimState([queue, limited], size=10, poll=POLL)
    assert answered(state, Load(10, 0, 0, slow=1), 0.0) == [("quick", 250)]
    assert answered(state, Load(10, 0, 0, slow=6), 0.0) == [("quick", 50)], "at least for one pool task"
    shared = [ServedQueue(name, "video", limit=4, busy=2) for name in ("video", "film")]
    state = ClaimState([queue, *shared], size=10, poll=POLL)
    assert answered(state, Load(10, 0, 0), 0.0) == [("quick", 300)], "queues that share a limit count once"


def test_worker_asks_a_limited_queue_again_in_time_though_no_job_ends() -> None:
    limited = ServedQueue("limited", "limited", limit=2)
    state = ClaimState([quick(), limited], size=10, poll=POLL)
    held = Load(running=10, ready=AHEAD_MAX, backlog=0)
    assert answered(state, held, 0.0) == [("quick", 2), ("limited", 2)]
    assert state.next(held, 0.0) == (pytest.approx(OVERTAKEN_INTERVAL),), "others came first"
    assert answered(state, held, 0.03, count=1) == [("quick", 2), ("limited", 2)]
    assert state.next(held, 0.03) == (pytest.approx(FAIR_INTERVAL),), "it had none"
    assert isinstance(state.next(Load(10, AHEAD_MAX + 1, 0), 1.0), WaitForRoom)
    assert state.has_room(AHEAD_MAX, 0), "it may be asked once the store is not exceeded"


def test_limited_queue_is_asked_beside_quick_ones_while_pool_tasks_have_quick_jobs() -> None:
    limited = ServedQueue("limited", "limited", limit=2)
    state = ClaimState([quick(), limited], size=10, poll=POLL)
    assert answered(state, IDLE, 0.0) == [("quick", 10), ("limited", 2)]
    limited.busy, limited.ask_at = 2, -math.inf
    assert answered(state, FULL, 0.0) == [("quick", CLAIM_MAX)], "it has no room"
    assert answered(state, FULL, 0.0) == [("quick", CLAIM_MAX)]
    limited.busy = 1
    held = Load(running=10, ready=AHEAD_MAX, backlog=0)
    assert answered(state, held, 0.1) == [("quick", 1), ("limited", 1)], "in claim order"
    assert isinstance(state.next(held, 0.1), WaitForRoom), "none of its jobs was next"
    assert answered(state, held, 0.1 + FAIR_INTERVAL) == [("quick", 1), ("limited", 1)]
    limited.ask_at = -math.inf
    for wanted in (("quick", CLAIM_MAX), ("quick", 1), ("quick", CLAIM_MAX)):
        assert answered(state, FULL, FAIR_INTERVAL)[0] == wanted, "they take turns"


@pytest.mark.parametrize(
    ("load", "busy", "room"),
    [
        (Load(10, AHEAD_MAX, 0, slow=7), 1, 2),
        (Load(10, AHEAD_MAX, 0, slow=9), 1, None),
        (Load(10, AHEAD_MAX, 0), 8, 2),
        (Load(10, AHEAD_MAX + 1, 0), 1, None),
    ],
)
def test_limited_queue_gets_no_pool_task_that_has_a_slow_job(load: Load, busy: int, room: int | None) -> None:
    limited = ServedQueue("limited", "limited", limit=10, busy=busy)
    state = ClaimState([quick(), limited], size=10, poll=POLL)
    if room is None:
        assert isinstance(state.next(load, 0.0), WaitForRoom)
    else:
        assert answered(state, load, 0.0) == [("quick", room), ("limited", room)]


def test_queues_that_share_a_limit_get_its_room_in_turn() -> None:
    queues = [ServedQueue(name, "video", limit=4, is_own_limit=True) for name in ("video", "film", "clip")]
    state = ClaimState([*queues, ServedQueue("mail", "mail")], size=10, poll=POLL)
    queues[0].busy = 1
    claims = [state.claim(IDLE, 0.0) for _ in range(3)]
    asked = [{want.name: want.limit for want in claim.capacity} for claim in claims if claim is not None]
    assert sorted(asked, key=str) == sorted(
        [{"video": 3, "mail": 10}, {"film": 3, "mail": 10}, {"clip": 3, "mail": 10}], key=str
    )
    last = state.claim(IDLE, 0.0, last=True)
    assert last is not None
    assert dict(last.capacity) == {"video": 3, "film": 3, "clip": 3, "mail": 10}
    assert last.limit == 3, "together they claim no more than the room"


def test_slower_job_replaces_the_measured_time_and_a_faster_one_lowers_it_slowly() -> None:
    queue = ServedQueue("work", "work")
    queue.measure(1.0)
    queue.measure(0.5)
    assert queue.seconds == pytest.approx(0.975)
    queue.measure(3.0)
    assert queue.seconds == 3.0


def test_polls_come_soon_after_work_ran_out_and_then_at_the_interval() -> None:
    state = ClaimState([ServedQueue("work", "work")], size=1, poll=POLL)
    timeouts = [asleep(state).timeout]
    for _ in range(4):
        state.slept(0.0, woken=False)
        action = state.next(IDLE, 0.0)
        assert isinstance(action, Sleep)
        timeouts.append(action.timeout)
    assert timeouts == [0.05, 0.2, 1.0, POLL, POLL]


def test_sleep_ends_when_a_job_comes_due() -> None:
    state = ClaimState([ServedQueue("work", "work")], size=1, poll=POLL)
    for at in (0.04, 0.03, 0.05):
        state.due(at, now=0.0)
    assert asleep(state).timeout == pytest.approx(0.03)
    state.slept(0.03, woken=False)
    assert isinstance(state.next(IDLE, 0.03), Claim), "what is due is claimed"
    assert asleep(state, 0.03).timeout == 0.05, "and it is forgotten then"


def test_wake_up_during_a_sleep_is_reported_once() -> None:
    state = ClaimState([ServedQueue("work", "work")], size=1, poll=POLL)
    state.wake()
    asleep(state)
    assert not state.was_woken(), "a wake-up before the sleep led to a claim"
    state.wake()
    assert state.was_woken()
    assert not state.was_woken()


def test_second_full_claim_in_a_row_turns_notifications_off() -> None:
    state = ClaimState([ServedQueue("work", "work")], size=4, poll=POLL)
    assert [state.claimed(count, 4) for count in (4, 4, 4, 3, 4)] == [False, True, True, False, False]


def test_room_counts_only_while_the_loop_waits_for_it() -> None:
    state = ClaimState([quick()], size=10, poll=POLL)
    assert not state.has_room(0, 0)
    assert isinstance(state.next(Load(10, AHEAD_MAX, 0), 0.0), WaitForRoom)
    assert not state.has_room(AHEAD_MAX, 0)
    assert state.has_room(AHEAD_MAX // 2, 0)
    state.roomy()
    assert not state.has_room(0, 0)


def test_claim_asks_for_what_is_left_of_the_budget_of_payloads() -> None:
    state = ClaimState([quick(), ServedQueue("slow", "slow")], size=10, poll=POLL, payload_budget=1000)
    fair = state.next(Load(0, 0, 0, payload_bytes=300), 0.0)
    assert isinstance(fair, Claim)
    assert fair.bytes_max == 700
    ahead = state.next(Load(10, 0, 0, payload_bytes=999), FAIR_INTERVAL)
    assert isinstance(ahead, Claim)
    assert ahead.bytes_max == 1


def test_nothing_is_claimed_once_payloads_have_used_up_their_budget() -> None:
    state = ClaimState([quick()], size=10, poll=POLL, payload_budget=1000)
    assert isinstance(state.next(Load(3, 2, 0, payload_bytes=1000), 0.0), WaitForRoom)
    assert not state.has_room(1, 501), "a claim brings more than one job"
    assert state.has_room(1, 500)
    assert not state.has_room(0, 1000)
    assert state.has_room(0, 999), "pool tasks are free"
    assert isinstance(state.next(Load(3, 0, 0, payload_bytes=999), 0.0), Claim)


@pytest.mark.parametrize(("limit", "drains", "wakes"), [(None, 0, False), (2, 0, True), (None, 1, True)])
def test_ended_jobs_wake_a_worker_that_has_a_limit_or_is_drained(
    limit: int | None,
    drains: int,
    wakes: bool,  # noqa: FBT001 - a column of the table
) -> None:
    state = ClaimState([ServedQueue("work", "work", limit=limit)], size=1, poll=POLL)
    state.drains = drains
    asleep(state)
    assert state.freed() == wakes
    assert isinstance(state.next(IDLE, 0.0), Claim if wakes else Sleep)


def test_unknown_jobs_are_released_even_when_claiming_ends() -> None:
    state = ClaimState([ServedQueue("work", "work")], size=1, poll=POLL)
    state.doubt()
    state.stopping = True
    assert isinstance(state.next(IDLE, 0.0), Recover)
    state.unsure = False
    assert state.next(IDLE, 0.0) is None
