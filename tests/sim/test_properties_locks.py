"""Locked rows delay their own jobs only: valid histories, and ones that violate each property."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.cases import check_each
from tests.sim.histories import CANCELLED, COMPLETED, EPOCH, WORKERS, History
from zeke_queue.errors import LockTimeoutError
from zeke_queue.model import (
    Completed,
    NewJob,
    QueueCapacity,
    Released,
    Schedule,
    Settled,
    Suspensions,
    Waiting,
)
from zeke_sim.history.events import Answered, Fault
from zeke_sim.history.state import Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

OUTCOME = "a locked row delays only its own outcome"
CLAIM = "a locked row delays no other claim"
SCHEDULE = "a locked key delays no other schedule"
QUEUE_OF_ONE = "__pgboss__singleton_queue"
GAVE_UP = str(LockTimeoutError.of("it was not unlocked within 2 s"))


def _lock(h: History, row: Any, seconds: float) -> None:
    h.events.append(Fault(h.at, "db", "db/0", "foreign_lock", h.at + seconds, row))


def _settles(h: History, outcomes: Sequence[Completed | Released]) -> int:
    """Begin a settlement on w1."""
    completed = tuple(one for one in outcomes if isinstance(one, Completed))
    released = tuple(one for one in outcomes if isinstance(one, Released))
    return h.invoke("settle", "w1", completed=completed, failed=(), released=released, repeated=False)


def _asks(h: History, *jobs: UUID) -> None:
    """Ask for the ends of jobs, and give up after the time for a lock."""
    call = _settles(h, [Completed(job, 1, None) for job in jobs])
    h.wait(2.0)
    h.answer(call, GAVE_UP, "failed", waited=2.0)


def _stores(h: History, job: UUID, waits: float = 0.0, slow: float = 0.0) -> None:
    """Store the end of a job whose handler has returned, by a call that waits for a lock or is slow."""
    call = _settles(h, [Completed(job, 1, None)])
    h.wait(waits + slow)
    h.change(job, call, state=COMPLETED, completed_on=h.now)
    h.answer(call, {job}, waited=waits)


def _within(h: History, verb: str, answer: Any = None, *, ends: str | None = None, **args: Any) -> None:
    """Make a call in a transaction, which may then end by a commit or a rollback."""
    call = h.invoke(verb, "c1", transaction=1, **args)
    if answer is not None:
        h.answer(call, answer)
    if ends is not None:
        h.answer(h.invoke(ends, "c1" if ends == "commit" else "db", transaction=1))


def _rolls_back(h: History, verb: str, answer: Any, node: str = "c1", **args: Any) -> None:
    """Make a call in a transaction that the server then rolls back, which the client learns later."""
    number = 7
    h.answer(h.invoke(verb, node, number, **args), answer)
    h.answer(h.invoke("rollback", "db", number))
    h.answer(h.invoke("insert", node, number, jobs=(h.new("b"),)), "the transaction is gone", "failed")


def _loses_an_answer(h: History) -> None:
    call = h.invoke("append_events", "w1", events=())
    h.answer(call, "the connection broke", "unknown")
    last = h.events[-1]
    assert isinstance(last, Answered)
    h.events[-1] = Answered(*last[:-2], None)


def test_outcome_is_stored_while_another_row_is_locked() -> None:
    def check(seconds: float, happens: Callable[[History, UUID], object], holds: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History()
        h.heartbeat()
        other, job = h.send_claimed(), h.send_claimed(singleton_key="k")
        _lock(h, other, 60.0)
        happens(h, job)
        h.run(job)
        _asks(h, other, job)
        h.wait(seconds)
        _stores(h, job)
        assert h.holds(OUTCOME) is holds

    cases: dict[str, tuple[float, Callable[[History, UUID], object], bool]] = {
        "in time": (0.5, lambda h, _: h.wait(0.0), True),
        "late": (5.0, lambda h, _: h.wait(0.0), False),
        "its row is locked": (5.0, lambda h, job: _lock(h, job, 9.0), True),
        "its row was locked before": (5.0, lambda h, job: _lock(h, job, 0.5), False),
        "its key is locked": (5.0, lambda h, _: _lock(h, Place("a", None, "k"), 9.0), True),
        "another key is locked": (5.0, lambda h, _: _lock(h, Place("a", None, "l"), 9.0), False),
        "a transaction cancels it": (5.0, lambda h, job: _within(h, "cancel", set(), ids=[job]), True),
        "one has cancelled it": (
            5.0,
            lambda h, job: _within(h, "cancel", set(), ids=[job], ends="commit"),
            False,
        ),
        "one has rolled it back": (
            5.0,
            lambda h, job: _within(h, "cancel", set(), ids=[job], ends="rollback"),
            False,
        ),
        "one was rolled back before its next call": (
            5.0,
            lambda h, job: _rolls_back(h, "cancel", set(), ids=[job]),
            False,
        ),
        "one sends its key": (
            5.0,
            lambda h, _: _within(h, "insert", [None], jobs=(h.new(singleton_key="k"),)),
            True,
        ),
        "maintenance may have it": (5.0, lambda h, _: _within(h, "lock_expired", limit=9), True),
        "maintenance has others": (5.0, lambda h, _: _within(h, "lock_expired", [], limit=9), False),
        "the worker pauses": (5.0, lambda h, _: h.lived("w1", "paused"), True),
        "an answer was lost shortly before": (5.0, lambda h, _: _loses_an_answer(h), True),
        "an answer was lost long before": (12.0, lambda h, _: _loses_an_answer(h), False),
    }
    check_each(cases, check)


def test_only_locked_jobs_are_reported_as_locked() -> None:
    def check(happens: Callable[[History, UUID], object], holds: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History()
        job = h.send_claimed()
        happens(h, job)
        done = (Completed(job, 1, None),)
        args: dict[str, Any] = {"completed": done, "failed": (), "released": (), "repeated": True}
        h.answer(h.invoke("settle_unlocked", "w1", **args), Settled(set(), {job}))
        assert h.holds(OUTCOME) is holds

    cases: dict[str, tuple[Callable[[History, UUID], object], bool]] = {
        "it is free": (lambda h, _: h.wait(0.0), False),
        "its row is locked": (lambda h, job: _lock(h, job, 9.0), True),
        "another row is locked": (lambda h, _: _lock(h, h.send(), 9.0), False),
        "a transaction has cancelled it": (lambda h, job: _within(h, "cancel", set(), ids=[job]), True),
    }
    check_each(cases, check)


def test_key_that_an_outcome_takes_may_be_locked() -> None:
    def check(key: str, holds: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History()
        job, rival = (h.send_claimed(singleton_key=one) for one in (QUEUE_OF_ONE, key))
        released: dict[str, Any] = {"completed": (), "failed": (), "repeated": True}
        _within(h, "settle", {rival}, **released, released=(Released(rival, 1),))
        call = h.invoke("settle_unlocked", "w1", **released, released=(Released(job, 1),))
        h.answer(call, Settled(set(), {job}))
        assert h.holds(OUTCOME) is holds

    check_each({"its own": (QUEUE_OF_ONE, True), "another": (f"{QUEUE_OF_ONE}:b", False)}, check)


def test_job_that_was_waited_for_during_the_call_may_have_been_locked() -> None:
    def check(seconds: float, holds: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History()
        job, child, grandchild = h.send_claimed(), h.send_claimed(), h.send()
        h.suspend(child, grandchild)
        cancel = h.invoke("cancel", "c1", 1, ids=[grandchild])
        h.answer(cancel, {grandchild})
        commit = h.invoke("commit", "c1", 1)
        calls = [h.invoke("suspend", "w1", waiting=(Waiting(job, 1, child),), repeated=True)] * (not seconds)
        h.change(grandchild, cancel, state=CANCELLED, completed_on=h.now)
        h.wake(child, cancel)
        h.answer(commit)
        h.wait(seconds)
        calls = calls or [h.invoke("suspend", "w1", waiting=(Waiting(job, 1, child),), repeated=True)]
        h.answer(calls[0], Suspensions(set(), {}, frozenset({job})))
        assert h.holds(OUTCOME) is holds

    check_each({"during the call": (0.0, True), "before it": (1.0, False)}, check)


def test_outcome_waits_for_the_settlement_of_others_once() -> None:
    def check(times: int, holds: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History()
        h.heartbeat()
        other, job = h.send_claimed(), h.send_claimed()
        _lock(h, other, 60.0)
        h.run(job)
        for _ in range(times):
            _asks(h, other)
        _stores(h, job)
        assert h.holds(OUTCOME) is holds

    check_each({"once": (1, True), "twice": (2, True), "for as long as the lock": (4, False)}, check)


def test_settlement_may_not_wait_longer_than_for_a_lock(h: History) -> None:
    h.heartbeat()
    job = h.send_claimed()
    h.run(job)
    _stores(h, job, waits=2.0)
    assert h.holds(OUTCOME)
    job = h.send_claimed()
    h.run(job)
    _stores(h, job, waits=5.0)
    assert "which was not locked, at" in h.breaks(OUTCOME, job)


def test_slow_settlement_does_not_wait_for_a_lock(h: History) -> None:
    h.heartbeat()
    job = h.send_claimed()
    h.run(job)
    _stores(h, job, slow=5.0)
    assert h.holds(OUTCOME)


def test_job_waits_while_the_one_that_it_waits_for_is_locked() -> None:
    def check(locked: int, holds: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History()
        h.heartbeat()
        job, child, other = h.send_claimed(), h.send(), h.send()
        _lock(h, (child, other)[locked], 60.0)
        h.run(job, "raised", f"Wait: Waits for job {child}")
        call = h.invoke("suspend", "w1", waiting=(Waiting(job, 1, child),), repeated=False)
        h.wait(2.0)
        h.answer(call, GAVE_UP, "failed", waited=2.0)
        h.wait(5.0)
        h.suspend(job, child)
        assert h.holds(OUTCOME) is holds

    check_each({"the child": (0, True), "another job": (1, False)}, check)


def test_id_that_is_sent_again_is_another_job() -> None:
    h = History(delete_after=10.0, archive_after=10.0)
    h.heartbeat()
    job = h.send()
    h.complete(job)
    h.wait(11.0)
    h.archive(job)
    h.wait(11.0)
    h.purge(job)
    sent = NewJob(job, "a")
    call = h.invoke("insert", jobs=(sent,))
    h.insert(sent, call)
    h.answer(call, [job])
    h.complete(job)
    assert h.holds(OUTCOME)


def test_due_job_is_claimed_while_another_row_is_locked() -> None:
    def check(seconds: float, happens: Callable[[History, UUID], object], holds: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History(strict_order=True)
        h.claim()  # w1 serves the queue
        h.wait(10.0)
        job, other = h.send(), h.send()
        _lock(h, other, 60.0)
        happens(h, job)
        if happens is not no_claim:
            h.claim()
        h.wait(seconds)
        h.claim(job)
        assert h.holds(CLAIM) is holds

    def no_claim(h: History, _job: UUID) -> None:
        h.wait(0.0)

    cases: dict[str, tuple[float, Callable[[History, UUID], object], bool]] = {
        "in time": (4.0, lambda h, _: h.wait(0.0), True),
        "late": (7.0, lambda h, _: h.wait(0.0), False),
        "the worker does not ask": (7.0, no_claim, True),
        "its row is locked": (7.0, lambda h, job: _lock(h, job, 9.0), True),
        "its queue is locked": (7.0, lambda h, _: _lock(h, "a", 9.0), True),
        "the worker runs another job": (7.0, lambda h, _: h.begin(h.send_claimed("b")), True),
        "the worker lost an answer": (7.0, lambda h, _: _loses_an_answer(h), True),
        "the worker is partitioned": (7.0, lambda h, _: h.lived("w1", "partitioned"), True),
        "faults have ended": (7.0, lambda h, _: h.phase("quiet"), True),
        "the queue is paused": (7.0, lambda h, _: h.queue(paused=True), True),
    }
    check_each(cases, check)


def test_claim_waits_for_no_lock(h: History) -> None:
    capacity = (QueueCapacity("a", 1),)
    call = h.invoke("claim", "w1", worker=WORKERS["w1"], capacity=capacity, limit=1)
    h.wait(60.0)
    h.answer(call, [], waited=60.0)
    assert h.breaks(CLAIM) == "claim of w1, made at 0.001 s, waited 60.000 s for locks"


EVERY_MINUTE = Schedule("s", "* * * * *", "a", last_tick=EPOCH, next_tick=EPOCH + timedelta(minutes=1))


def _serves(h: History, schedule: Schedule, key: str | None = None) -> None:
    """Serve the next tick of a schedule."""
    assert schedule.next_tick is not None
    meta = f'{{"schedule":"{schedule.name}","tick":"{schedule.next_tick.isoformat()}"}}'
    call = h.invoke("insert", "s1", 2, jobs=(h.new(meta=meta, singleton_key=key),))
    h.answer(call, [None])
    after = schedule.next_tick + timedelta(minutes=1)
    h.schedule(schedule, replace(schedule, last_tick=schedule.next_tick, next_tick=after))


def test_schedule_without_a_key_is_served_while_a_key_is_locked() -> None:
    def check(seconds: float, happens: Callable[[History], object], holds: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History()
        h.answer(h.invoke("lock_due_schedules", "s1", 1, limit=50, only=None), (h.now, []))
        h.wait(60.0)
        call = h.invoke("insert", "s1", 1, jobs=(h.new(),))
        h.wait(0.2)
        h.answer(call, GAVE_UP, "failed", waited=0.2)
        happens(h)
        h.wait(seconds)
        _serves(h, EVERY_MINUTE)
        assert h.holds(SCHEDULE) is holds

    cases: dict[str, tuple[float, Callable[[History], object], bool]] = {
        "in time": (2.0, lambda h: h.wait(0.0), True),
        "late": (6.0, lambda h: h.wait(0.0), False),
        "its ticks have a key": (6.0, lambda h: _serves(h, replace(EVERY_MINUTE, data="1"), "k"), True),
        "it was written meanwhile": (
            2.0,
            lambda h: (h.wait(4.0), h.schedule(EVERY_MINUTE, EVERY_MINUTE)),
            True,
        ),
        "a scheduler is away": (6.0, lambda h: h.lived("s1", "killed"), True),
    }
    check_each(cases, check)


def test_schedule_waits_for_a_commit_that_its_client_has_given_up(h: History) -> None:
    h.wait(60.0)
    served = EVERY_MINUTE.next_tick
    h.answer(h.invoke("lock_due_schedules", "s1", 1, limit=50, only=None), (h.now, [EVERY_MINUTE]))
    h.answer(h.invoke("record_tick", "s1", 1, name="s", last_tick=served, next_tick=None), None)
    h.answer(h.invoke("commit", "s1", 1), "the connection broke", "unknown")
    h.answer(h.invoke("insert", "s1", 2, jobs=(h.new(),)), GAVE_UP, "failed", waited=0.2)
    h.wait(30.0)
    h.schedule(EVERY_MINUTE, replace(EVERY_MINUTE, last_tick=served, next_tick=None))
    assert h.holds(SCHEDULE)


def test_schedule_is_not_locked_by_a_transaction_that_was_rolled_back() -> None:
    h = History()
    _rolls_back(h, "lock_due_schedules", (h.now, [EVERY_MINUTE]), "s1", limit=50, only=None)
    h.wait(60.0)
    call = h.invoke("insert", "s1", 8, jobs=(h.new(),))
    h.wait(0.2)
    h.answer(call, GAVE_UP, "failed", waited=0.2)
    h.wait(600.0)
    _serves(h, EVERY_MINUTE)
    assert not h.holds(SCHEDULE)


def test_statements_of_a_tick_wait_only_briefly() -> None:
    def check(waited: list[float], text: str | None) -> None:
        h = History()
        answers = {"lock_due_schedules": (h.now, []), "insert": [], "commit": None}
        for (verb, answer), seconds in zip(answers.items(), waited, strict=True):
            call = h.invoke(verb, "s1", 1, jobs=())
            h.wait(seconds)
            h.answer(call, answer, waited=seconds)
        assert h.holds(SCHEDULE) if text is None else h.breaks(SCHEDULE).startswith(text)

    cases: dict[str, tuple[list[float], str | None]] = {
        "within the limit": ([0.0, 0.2, 0.0], None),
        "for as long as a key is locked": (
            [0.0, 60.0, 0.0],
            "insert of s1, made at 0.003 s, waited 60.000 s",
        ),
        "in the search": ([0.1, 0.0, 0.0], "lock_due_schedules of s1, made at 0.001 s, waited 0.100 s"),
    }
    check_each(cases, check)


def test_schedule_is_late_for_other_reasons_than_locks() -> None:
    h = History()
    h.answer(h.invoke("lock_due_schedules", "s1", 1, limit=50, only=None), (h.now, []))
    h.wait(70.0)
    _serves(h, EVERY_MINUTE)
    assert h.holds(SCHEDULE)
