"""Jobs that wait for others: histories that hold, and ones that break each property."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.sim.histories import (
    CANCELLED,
    CENTURY,
    COMPLETED,
    CREATED,
    EPOCH,
    ERROR,
    RETRY,
    WORKERS,
    History,
)
from zeke_queue.model import Completed, Failed, Released, Waiting
from zeke_sim.history import Began, Ended
from zeke_sim.properties import by_name

HOLDS, ASKED = "who waits for another job holds nothing", "a wait is what was asked for"
EARLY, WAKES = "nobody goes on too early", "the end of a job wakes who waits for it"
IN_VAIN, TOGETHER = "nobody waits for a job that has ended", "children end with their parent"
BACK = "children come back with their parent"
LOST, TOLD = "a lost job has no more children", "who has lost nothing is not told so"


def waiting(**rules: Any) -> tuple[History, UUID, UUID]:
    """Return a history in which a job waits for its child, with both."""
    h = History(**rules)
    parent = h.send("parents")
    h.claim(parent)
    child = h.spawn(parent)
    h.suspend(parent, child)
    return h, parent, child


def completes(h: History, child: UUID, *, wakes: tuple[UUID, ...] = ()) -> None:
    h.claim(child)
    h.run(child)
    h.settle(child, Completed(child, h.rows[child].attempt, None), wakes=wakes)


def test_a_job_waits_for_its_child_and_goes_on() -> None:
    h, parent, child = waiting()
    h.wait(5.0)
    completes(h, child, wakes=(parent,))
    h.complete(parent)
    assert h.verdict() is None


def test_a_child_that_fails_for_good_and_one_that_is_cancelled_wake_their_parent() -> None:
    h, parent, child = waiting()
    h.claim(child)
    h.run(child, "raised", "E: boom")
    h.settle(child, Failed(child, 1, 1.0, ERROR))
    h.wait(2.0)
    call = h.invoke("cancel", ids=(child,))
    h.change(child, call, state=CANCELLED, completed_on=h.now)
    h.wake(parent, call)
    h.answer(call, {child})
    h.complete(parent)
    assert h.verdict() is None


def test_cancelling_who_waits_takes_the_child_along() -> None:
    h, parent, child = waiting()
    call = h.invoke("cancel", ids=(parent,))
    h.change(parent, call, state=CANCELLED, completed_on=h.now, waits_for=None)
    h.change(child, call, state=CANCELLED, completed_on=h.now)
    h.answer(call, {parent, child})
    assert h.verdict() is None


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"state": RETRY}, "retry, of worker None, and waits for "),
        ({"worker": WORKERS["w1"]}, f"created, of worker {WORKERS['w1']}, and waits for "),
    ],
)
def test_who_waits_and_holds_something(columns: dict[str, Any], told: str) -> None:
    h = History()
    parent = h.send("parents")
    h.claim(parent)
    child = h.spawn(parent)
    h.suspend(parent, child, **columns)
    assert h.breaks(HOLDS) == f"{told}{child}"


def test_who_waits_and_is_claimed() -> None:
    h, parent, child = waiting()
    h.claim(parent, waits_for=None)
    assert h.breaks(HOLDS) == f"claimed, and waits for {child}"


def test_who_is_cancelled_and_waits_on() -> None:
    h, parent, child = waiting()
    h.by_hand("cancel", parent, CANCELLED, waits_for=child)
    assert h.breaks(HOLDS) == f"cancelled, of worker None, and waits for {child}"


def test_a_wait_for_another_job_than_was_asked_for() -> None:
    h = History()
    parent = h.send("parents")
    h.claim(parent)
    child, other = h.spawn(parent), h.send()
    h.suspend(parent, child, waits_for=other)
    assert h.breaks(ASKED) == f"it waits for {other}, and should for {child}"


def test_a_wait_without_a_rest() -> None:
    h = History()
    parent = h.send("parents")
    h.claim(parent)
    child = h.spawn(parent)
    h.suspend(parent, child, start_after=EPOCH)
    assert h.breaks(ASKED) == f"it waits for {child}, and starts at {EPOCH}"


def in_vain() -> tuple[History, UUID, UUID]:
    """Return a history in which a child ends while its parent runs."""
    h = History()
    parent = h.send("parents")
    h.claim(parent)
    child = h.spawn(parent)
    completes(h, child)
    return h, parent, child


def test_who_asks_to_wait_for_what_has_ended_is_due_at_once() -> None:
    h, parent, child = in_vain()
    h.suspend(parent, child, waits_for=None)
    assert h.verdict() is None


def test_a_wait_for_a_job_that_has_ended() -> None:
    h, parent, child = in_vain()
    h.suspend(parent, child)
    assert h.breaks(ASKED) == f"it waits for {child}, and should for None"


def test_who_has_nothing_to_wait_for_and_rests() -> None:
    h, parent, child = in_vain()
    h.suspend(parent, child, waits_for=None, start_after=EPOCH + CENTURY)
    assert h.breaks(ASKED) == f"nothing is left to wait for, and it starts at {EPOCH + CENTURY}"


def test_who_is_only_put_off_and_waits() -> None:
    h = History()
    parent, other = h.send("parents"), h.send()
    h.claim(parent)
    h.run(parent, "raised", "Snooze: later")
    h.settle(parent, Released(parent, 1), waits_for=other)
    assert h.breaks(ASKED) == f"it waits for {other}, and should for None"


def test_who_goes_on_before_its_child_has_ended() -> None:
    h, parent, child = waiting()
    h.claim(child)
    h.run(child, "raised", "E: boom")
    h.settle(child, Failed(child, 1, 1.0, ERROR), wakes=(parent,))
    assert h.breaks(EARLY) == f"it waited for {child}, which is retry, and goes on"


@pytest.mark.parametrize("start", [EPOCH, EPOCH + CENTURY])
def test_who_goes_on_at_another_time_than_that_of_the_end(start: Any) -> None:
    h, parent, child = waiting()
    h.wait(5.0)
    h.claim(child)
    call = h.invoke("settle", "w1", completed=(Completed(child, 1, None),), failed=(), released=())
    h.change(child, call, state=COMPLETED, completed_on=h.now)
    h.wake(parent, call, start_after=start)
    assert h.breaks(EARLY).endswith(f"starts at {start}")


def test_who_waits_on_and_is_due() -> None:
    h, parent, child = waiting()
    h.wake(parent, waits_for=child)
    assert h.breaks(EARLY).startswith(f"it waits for {child}, and starts at ")


def test_who_is_not_woken() -> None:
    h, _, child = waiting()
    completes(h, child)
    assert h.breaks(WAKES) == "it waits for a job that ended at 2.011 s"


@pytest.mark.parametrize("outcome", ["failed", "unknown"])
def test_of_an_end_that_is_not_certain_nobody_need_know(outcome: Any) -> None:
    h, _, child = waiting()
    h.claim(child)
    h.run(child)
    call = h.invoke("settle", "w1", completed=(Completed(child, 1, None),), failed=(), released=())
    h.answer(call, None, outcome)
    assert h.verdict() is None


@pytest.mark.parametrize("commits", [True, False])
def test_who_may_be_locked_by_a_cancellation_may_be_passed_over(*, commits: bool) -> None:
    h, parent, child = waiting()
    h.answer(h.invoke("cancel", transaction=1, ids=(parent,)), {parent, child})
    if commits:
        h.answer(h.invoke("commit", transaction=1), None)
        h.wait(1.0)
    completes(h, child)
    if commits:
        assert h.breaks(WAKES).startswith("it waits for a job that ended at ")
    else:
        assert h.verdict() is None


def sweeping(h: History, at: float) -> None:
    """Let a supervisor look for who was overlooked, undisturbed, until a time."""
    h.phase("quiet")
    while h.at < at:
        h.answer(h.invoke("wake_parents", "v1", limit=10), 0)
        h.wait(5.0)


def overlooked() -> tuple[History, UUID]:
    """Return a history in which nobody tells a parent of its child's end; its answer is lost."""
    h, parent, child = waiting(sweep=5.0, drift=0.0)
    h.claim(child)
    h.run(child)
    call = h.invoke("settle", "w1", completed=(Completed(child, 1, None),), failed=(), released=())
    h.change(child, call, state=COMPLETED, completed_on=h.now)
    h.lived("v1", "started")
    return h, parent


def test_who_was_overlooked_goes_on_at_the_next_sweep() -> None:
    h, parent = overlooked()
    sweeping(h, 30.0)
    h.wake(parent, h.invoke("wake_parents", "v1", limit=10))
    h.complete(parent)
    assert h.verdict() is None


@pytest.mark.parametrize("late", [True, False])
def test_who_was_overlooked_and_does_not_go_on(*, late: bool) -> None:
    h, parent = overlooked()
    sweeping(h, 60.0)
    if late:
        h.wake(parent, h.invoke("wake_parents", "v1", limit=10))
    assert h.breaks(IN_VAIN).startswith("it waits for a job that ended at 2.011 s, until ")


def test_a_child_that_outlives_its_cancelled_parent() -> None:
    h, parent, child = waiting()
    h.by_hand("cancel", parent, CANCELLED)
    violation = h.verdict()
    assert violation is not None
    assert violation.job == child
    assert h.breaks(TOGETHER) == f"its parent {parent} was cancelled, and it was not"


def test_a_child_that_is_not_waited_for_yet_ends_with_its_parent_too() -> None:
    h = History()
    parent = h.send("parents")
    h.claim(parent)
    h.spawn(parent)
    h.by_hand("cancel", parent, CANCELLED)
    assert h.breaks(TOGETHER) == f"its parent {parent} was cancelled, and it was not"


def test_children_that_nobody_waits_for_and_those_that_have_ended_stay_as_they_are() -> None:
    h = History()
    parent = h.send("parents")
    h.claim(parent)
    h.send(parent=parent)
    child = h.spawn(parent)
    completes(h, child)
    h.by_hand("cancel", parent, CANCELLED)
    assert h.verdict() is None


def test_a_child_that_is_cancelled_though_nobody_waits_for_it() -> None:
    h = History()
    parent = h.send("parents")
    child = h.send(parent=parent)
    call = h.invoke("cancel", ids=(parent,))
    h.change(parent, call, state=CANCELLED, completed_on=h.now)
    h.change(child, call, state=CANCELLED, completed_on=h.now)
    told = h.breaks("nothing changes unasked")
    assert told == "created became cancelled in job by cancel, and cancel does that"


def resumes(h: History, job: UUID, *along: UUID) -> None:
    """Resume a job, with some others."""
    call = h.invoke("resume", ids=(job,))
    for one in (job, *along):
        h.change(one, call, state=CREATED, completed_on=None, start_after=h.now, worker=None)
    h.answer(call, {job, *along})


def cancelled_family(**options: Any) -> tuple[History, UUID, UUID, UUID]:
    """Return a history in which a job is cancelled with one of its two children, the other before that."""
    h = History()
    parent = h.send("parents")
    h.claim(parent)
    alone, along = h.spawn(parent), h.spawn(parent, **options)
    h.suspend(parent, along)
    h.by_hand("cancel", alone, CANCELLED)
    h.wait(1.0)
    call = h.invoke("cancel", ids=(parent,))
    h.change(parent, call, state=CANCELLED, completed_on=h.now, waits_for=None)
    h.change(along, call, state=CANCELLED, completed_on=h.now)
    h.answer(call, {parent, along})
    h.wait(1.0)
    return h, parent, alone, along


def test_who_is_resumed_brings_those_children_back_that_were_cancelled_along() -> None:
    h, parent, _, along = cancelled_family()
    resumes(h, parent, along)
    assert h.verdict() is None


def test_a_child_that_stays_cancelled_when_its_parent_is_resumed() -> None:
    h, parent, _, along = cancelled_family()
    resumes(h, parent)
    violation = h.verdict()
    assert violation is not None
    assert violation.job == along
    assert h.breaks(BACK) == f"its parent {parent} was resumed, and it was not"


def test_a_grandchild_that_stays_cancelled_when_its_parent_comes_back() -> None:
    h = History()
    parent = h.send("parents")
    h.claim(parent)
    child = h.spawn(parent)
    h.suspend(parent, child)
    h.claim(child)
    grandchild = h.spawn(child)
    call = h.invoke("cancel", ids=(parent,))
    family = {parent, child, grandchild}
    for one in (parent, child, grandchild):
        h.change(one, call, state=CANCELLED, completed_on=h.now, waits_for=None)
    h.answer(call, family)
    resumes(h, parent, child)
    violation = h.verdict()
    assert violation is not None
    assert violation.job == grandchild
    assert h.breaks(BACK) == f"its parent {child} was resumed, and it was not"


def test_a_child_that_was_cancelled_after_its_parent_comes_back_with_it() -> None:
    h, parent, alone, along = cancelled_family()
    resumes(h, alone)
    h.by_hand("cancel", alone, CANCELLED)
    resumes(h, parent, along)
    assert h.breaks(BACK) == f"its parent {parent} was resumed, and it was not"


def test_a_child_that_comes_back_and_was_cancelled_for_itself() -> None:
    h, parent, alone, along = cancelled_family()
    resumes(h, parent, alone, along)
    assert h.breaks(BACK) == f"it was resumed with {parent}, and had ended before that one"


def test_a_child_that_comes_back_without_its_parent() -> None:
    h, parent, _, along = cancelled_family()
    call = h.invoke("resume", ids=(parent,))
    h.change(along, call, state=CREATED, completed_on=None, start_after=h.now, worker=None)
    h.answer(call, {along})
    assert h.breaks(BACK) == f"it was resumed, and its parent {parent} was not"


def test_who_is_resumed_by_name_may_have_been_cancelled_at_any_time() -> None:
    h, _, alone, along = cancelled_family()
    resumes(h, alone)
    resumes(h, along)
    assert h.verdict() is None


@pytest.mark.parametrize("taken", ["taken", "free again", "free"])
def test_a_child_whose_place_was_taken_need_not_come_back(taken: str) -> None:
    h, parent, _, _ = cancelled_family(singleton_key="k")
    if taken != "free":
        other = h.send(singleton_key="k")
        if taken == "free again":
            h.by_hand("cancel", other, CANCELLED)
            h.wait(1.0)
    resumes(h, parent)
    if taken == "taken":
        assert h.verdict() is None
    else:
        assert h.breaks(BACK) == f"its parent {parent} was resumed, and it was not"


def test_a_child_whose_place_was_taken_until_the_resumption_was_answered_need_not_come_back() -> None:
    h, parent, _, _ = cancelled_family(singleton_key="k")
    other = h.send(singleton_key="k")
    h.wait(1.0)
    call = h.invoke("resume", ids=(parent,))
    h.change(parent, call, state=CREATED, completed_on=None, start_after=h.now, worker=None)
    h.by_hand("cancel", other, CANCELLED)
    h.answer(call, {parent})
    assert h.verdict() is None


@pytest.mark.parametrize("outcome", ["failed", "unknown"])
def test_of_a_resumption_that_is_not_certain_nothing_need_come(outcome: Any) -> None:
    h, parent, _, _ = cancelled_family()
    call = h.invoke("resume", ids=(parent,))
    h.change(parent, call, state=CREATED, completed_on=None, start_after=h.now)
    h.answer(call, None, outcome)
    assert h.verdict(by_name(BACK)) is None


def test_a_child_that_is_archived_stays_where_it_is() -> None:
    h, parent, _, along = cancelled_family()
    h.archive(along)
    resumes(h, parent)
    assert h.verdict(by_name(BACK)) is None


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("cancel", "sent by attempt 1 of {parent}, which is cancelled, attempt 1"),
        ("attempt", "sent by attempt 2 of {parent}, which is active, attempt 1"),
        ("purge", "sent by attempt 1 of {parent}, which is gone"),
    ],
)
def test_a_child_of_a_job_that_is_lost(what: str, told: str) -> None:
    h = History()
    parent = h.send("parents")
    h.claim(parent)
    if what != "attempt":
        h.by_hand("cancel", parent, CANCELLED)
    if what == "purge":
        h.archive(parent)
    h.spawn(parent, 2 if what == "attempt" else 1)
    assert h.breaks(LOST) == told.format(parent=parent)


@pytest.mark.parametrize("lost", [True, False])
def test_a_handler_that_is_told_that_its_job_is_lost(*, lost: bool) -> None:
    h = History()
    parent = h.send("parents")
    h.claim(parent)
    h.events.append(Began(h.at, "w1", "parents", parent, 1))
    if lost:
        h.by_hand("cancel", parent, CANCELLED)
    h.wait(1.0)
    said = f"LeaseLost: Job {parent} is no longer this worker's"
    h.events.append(Ended(h.at, "w1", "parents", parent, 1, "raised", said))
    if lost:
        assert h.verdict() is None
    else:
        assert h.breaks(TOLD) == "attempt 1 is told that its job is lost, and holds it since 0.004 s"


# What others hold of waits.


def test_a_wait_that_no_handler_asked_for() -> None:
    h = History()
    parent, child = h.send("parents"), h.send()
    h.claim(parent)
    h.run(parent, "returned", None)
    h.invoke("suspend", "w1", waiting=(Waiting(parent, 1, child),), again=False)
    told = h.breaks("a settlement says what the handler did")
    assert told == f"Waiting({child}) is said of attempt 1, whose handler returned None"


def test_a_wait_of_an_attempt_that_is_not_current() -> None:
    h = History()
    parent, child = h.send("parents"), h.send()
    h.claim(parent)
    call = h.invoke("suspend", "w1", waiting=(Waiting(parent, 2, child),), again=False)
    h.change(parent, call, state=CREATED, worker=None, waits_for=child)
    assert h.breaks("a settlement is of the current attempt").startswith("attempt 1 became created with ")


def test_a_job_that_is_marked_or_woken_by_who_has_no_part_in_it() -> None:
    h = History()
    job, other = h.send(), h.send()
    h.change(job, h.invoke("cancel", ids=(other,)), awaited=True)
    told = "created became created in job by cancel, and spawn or suspend does that"
    assert h.breaks("nothing changes unasked") == told
    h, parent, _ = waiting()
    h.wake(parent, h.invoke("cancel", ids=(h.send(),)))
    told = (
        "created became created in job by cancel, and settle or suspend or cancel or wake_parents does that"
    )
    assert h.breaks("nothing changes unasked") == told
