"""Jobs that wait for others: histories that hold, and ones that break each property."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.cases import check_each
from tests.sim.histories import CANCELLED, CENTURY, COMPLETED, CREATED, EPOCH, ERROR, RETRY, WORKERS, History
from zeke_queue.model import Completed, Failed, Released, Waiting
from zeke_sim.history.events import Ended, Fault
from zeke_sim.history.state import LOST_FOR

HOLDS, ASKED = "a waiting job holds nothing", "a wait is as requested"
EARLY, WAKES = "no parent continues too early", "the end of a job resumes those that wait for it"
IN_VAIN, TOGETHER = "no job waits for an ended job", "children end with their parent"
BACK, UNASKED = "children are resumed with their parent", "nothing changes without a request"
LOST, TOLD = "a lost job has no more children", "no held job is reported as lost"


def active(**rules: Any) -> tuple[History, UUID, UUID]:
    """Return a history in which a job runs that has a child, with both."""
    h = History(**rules)
    parent = h.send_claimed("parents")
    return h, parent, h.insert_child(parent)


def waiting(**rules: Any) -> tuple[History, UUID, UUID]:
    """Return a history in which a job waits for its child, with both."""
    h, parent, child = active(**rules)
    h.suspend(parent, child)
    return h, parent, child


def in_vain() -> tuple[History, UUID, UUID]:
    """Return a history in which a child ends while its parent runs, with both."""
    h, parent, child = active()
    completes(h, child)
    return h, parent, child


def completes(h: History, child: UUID, *, wakes: tuple[UUID, ...] = ()) -> None:
    h.claim(child)
    h.run(child)
    h.settle(child, Completed(child, h.rows[child].attempt, None), wakes=wakes)


def test_job_waits_for_its_child() -> None:
    h, parent, child = waiting()
    h.wait(5.0)
    completes(h, child, wakes=(parent,))
    h.complete(parent)
    assert h.verdict() is None


def test_cancelled_child_wakes_its_parent() -> None:
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


def test_child_is_cancelled_with_its_waiting_parent() -> None:
    h, parent, child = waiting()
    cancels(h, parent, child)
    assert h.verdict() is None


def test_waiting_job_holds_nothing() -> None:
    def check(told: str, suspended: dict[str, Any]) -> None:
        h, parent, child = active()
        h.suspend(parent, child, **suspended)
        assert h.breaks(HOLDS) == f"{told}, and waits for {child}"

    cases = {
        "state": ("retry, of worker None", {"state": RETRY}),
        "worker": (f"created, of worker {WORKERS['w1']}", {"worker": WORKERS["w1"]}),
    }
    check_each(cases, check)
    h, parent, child = waiting()
    h.claim(parent, waits_for=None)
    assert h.breaks(HOLDS) == f"claimed, and waits for {child}"
    h, parent, child = waiting()
    h.by_hand("cancel", parent, CANCELLED, waits_for=child)
    assert h.breaks(HOLDS) == f"cancelled, of worker None, and waits for {child}"


def test_job_waits_as_its_handler_requested() -> None:
    def check(family: tuple[History, UUID, UUID], columns: dict[str, Any], told: str) -> None:
        h, parent, child = family
        h.suspend(parent, child, **columns)
        assert h.breaks(ASKED) == told.format(child=child)

    other, rest = UUID(int=7), EPOCH + CENTURY
    nothing = {"waits_for": None, "start_after": rest}
    cases = {
        "for another job": (
            active(),
            {"waits_for": other},
            f"it waits for {other}, and should for {{child}}",
        ),
        "without a rest": (
            active(),
            {"start_after": EPOCH},
            f"it waits for {{child}}, and starts at {EPOCH}",
        ),
        "for an ended job": (in_vain(), {}, "it waits for {child}, and should for None"),
        "a rest in vain": (in_vain(), nothing, f"nothing is left to wait for, and it starts at {rest}"),
    }
    check_each(cases, check)
    h, parent, child = in_vain()
    h.suspend(parent, child, waits_for=None)
    assert h.verdict() is None, "it is due at once"


def test_released_job_does_not_wait_for_another(h: History) -> None:
    parent, other = h.send("parents"), h.send()
    h.claim(parent)
    h.run(parent, "raised", "Snooze: later")
    h.settle(parent, Released(parent, 1), waits_for=other)
    assert h.breaks(ASKED) == f"it waits for {other}, and should for None"


def test_parent_continues_when_its_child_has_ended() -> None:
    h, parent, child = waiting()
    h.claim(child)
    h.run(child, "raised", "E: boom")
    h.settle(child, Failed(child, 1, 1.0, ERROR), wakes=(parent,))
    assert h.breaks(EARLY) == f"it waited for {child}, which is retry, and goes on"
    h, parent, child = waiting()
    h.wake(parent, waits_for=child)
    assert h.breaks(EARLY).startswith(f"it waits for {child}, and starts at ")
    for start in (EPOCH, EPOCH + CENTURY):
        h, parent, child = waiting()
        h.wait(5.0)
        h.claim(child)
        call = h.invoke("settle", "w1", completed=(Completed(child, 1, None),), failed=(), released=())
        h.change(child, call, state=COMPLETED, completed_on=h.now)
        h.wake(parent, call, start_after=start)
        assert h.breaks(EARLY).endswith(f"starts at {start}")


def test_end_of_child_wakes_its_parent() -> None:
    h, _, child = waiting()
    completes(h, child)
    assert h.breaks(WAKES) == "it waits for a job that ended at 2.011 s"


def test_parent_that_another_program_has_locked_is_resumed_later() -> None:
    for seconds, holds in ((60.0, True), (0.5, False)):
        h, parent, child = waiting()
        h.events.append(Fault(h.at, "db", "db/0", "foreign_lock", h.at + seconds, parent))
        h.wait(2.0)
        completes(h, child)
        assert h.holds(WAKES) is holds


def test_uncertain_end_resumes_no_parent() -> None:
    for outcome in ("failed", "unknown"):
        h, _, child = waiting()
        h.claim(child)
        h.run(child)
        call = h.invoke("settle", "w1", completed=(Completed(child, 1, None),), failed=(), released=())
        h.answer(call, None, outcome)
        assert h.verdict() is None


def test_parent_that_a_transaction_locks_need_not_be_woken() -> None:
    for ends in ([], ["commit"], ["rollback", "insert"]):  # the insert is refused
        h, parent, child = waiting()
        h.answer(h.invoke("cancel", transaction=1, ids=(parent,)), {parent, child})
        for verb in ends:
            h.answer(h.invoke(verb, transaction=1, jobs=()), None, "failed" if verb == "insert" else "ok")
        h.wait(1.0)
        completes(h, child)
        assert (h.verdict() is None) is (not ends)
    assert h.breaks(WAKES).startswith("it waits for a job that ended at ")


def test_parent_that_was_locked_when_its_child_was_cancelled_need_not_be_woken() -> None:
    for late in (True, False):
        h, parent, child = waiting()
        h.answer(h.invoke("cancel", transaction=1, ids=(parent,)), {parent, child})
        if not late:
            h.answer(h.invoke("rollback", transaction=1))
        h.answer(h.invoke("cancel", transaction=2, ids=(child,)), {child})
        if late:
            h.answer(h.invoke("rollback", transaction=1))
        commit = h.invoke("commit", transaction=2)
        h.wait(16.0)
        h.change(child, commit, state=CANCELLED, completed_on=h.now)
        h.answer(commit)
        assert h.holds(WAKES) is late


def test_parent_that_a_given_up_commit_may_keep_locked_need_not_be_woken() -> None:
    for wait in (40.0, 80.0):
        h, parent, child = waiting()
        h.answer(h.invoke("cancel", transaction=1, ids=(parent,)), {parent, child})
        h.answer(h.invoke("commit", transaction=1), "the connection broke", "unknown")
        h.wait(wait)
        completes(h, child)
        assert h.holds(WAKES) is (wait < LOST_FOR)


def sweeping(h: History, at: float) -> None:
    """Call ``resume_waiting`` without faults until a time."""
    h.phase("quiet")
    while h.at < at:
        h.answer(h.invoke("resume_waiting", "v1", limit=10), 0)
        h.wait(5.0)


def waiting_for_ended() -> tuple[History, UUID]:
    """Return a history in which no call wakes a parent at its child's end, whose answer is lost."""
    h, parent, child = waiting(sweep=5.0, drift=0.0)
    h.claim(child)
    h.run(child)
    call = h.invoke("settle", "w1", completed=(Completed(child, 1, None),), failed=(), released=())
    h.change(child, call, state=COMPLETED, completed_on=h.now)
    h.lived("v1", "started")
    return h, parent


def test_sweep_wakes_parents_that_were_overlooked() -> None:
    h, parent = waiting_for_ended()
    sweeping(h, 30.0)
    h.wake(parent, h.invoke("resume_waiting", "v1", limit=10))
    h.complete(parent)
    assert h.verdict() is None
    h, parent = waiting_for_ended()
    sweeping(h, 60.0)
    told = "it waits for a job that ended at 2.011 s, until "
    assert h.breaks(IN_VAIN).startswith(told)
    h.wake(parent, h.invoke("resume_waiting", "v1", limit=10))
    assert h.breaks(IN_VAIN).startswith(told), "it was woken late"


def test_awaited_children_are_cancelled_with_their_parent() -> None:
    for h, parent, child in (waiting(), active()):
        h.by_hand("cancel", parent, CANCELLED)
        assert h.breaks(TOGETHER, child) == f"its parent {parent} was cancelled, and it was not"


def test_other_children_are_not_cancelled_with_their_parent() -> None:
    h, parent, child = active()
    h.send(parent=parent)
    completes(h, child)
    h.by_hand("cancel", parent, CANCELLED)
    assert h.verdict() is None
    h = History()
    parent = h.send("parents")
    child = h.send(parent=parent)
    cancels(h, parent, child)
    assert h.breaks(UNASKED) == "created became cancelled in job by cancel, and cancel does that"


def cancels(h: History, *jobs: UUID) -> None:
    """Cancel a job, with some others."""
    call = h.invoke("cancel", ids=jobs[:1])
    for job in jobs:
        h.change(job, call, state=CANCELLED, completed_on=h.now, waits_for=None)
    h.answer(call, set(jobs))


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
    alone, along = h.insert_child(parent), h.insert_child(parent, **options)
    h.suspend(parent, along)
    h.by_hand("cancel", alone, CANCELLED)
    h.wait(1.0)
    cancels(h, parent, along)
    h.wait(1.0)
    return h, parent, alone, along


def test_children_that_were_cancelled_along_are_resumed_along() -> None:
    h, parent, _, along = cancelled_family()
    resumes(h, parent, along)
    assert h.verdict() is None
    h, parent, _, along = cancelled_family()
    resumes(h, parent)
    assert h.breaks(BACK, along) == f"its parent {parent} was resumed, and it was not"


def test_grandchildren_are_resumed_along() -> None:
    h, parent, child = waiting()
    h.claim(child)
    grandchild = h.insert_child(child)
    cancels(h, parent, child, grandchild)
    resumes(h, parent, child)
    assert h.breaks(BACK, grandchild) == f"its parent {child} was resumed, and it was not"


def test_only_children_that_were_cancelled_with_or_after_their_parent_are_resumed() -> None:
    h, parent, alone, along = cancelled_family()
    resumes(h, alone)
    h.by_hand("cancel", alone, CANCELLED)
    resumes(h, parent, along)
    assert h.breaks(BACK) == f"its parent {parent} was resumed, and it was not"
    h, parent, alone, along = cancelled_family()
    resumes(h, parent, alone, along)
    assert h.breaks(BACK) == f"it was resumed with {parent}, and had ended before that one"
    h, parent, _, along = cancelled_family()
    call = h.invoke("resume", ids=(parent,))
    h.change(along, call, state=CREATED, completed_on=None, start_after=h.now, worker=None)
    h.answer(call, {along})
    assert h.breaks(BACK) == f"it was resumed, and its parent {parent} was not"
    h, _, alone, along = cancelled_family()
    resumes(h, alone)
    resumes(h, along)
    assert h.verdict() is None, "each was resumed by its own id"


def test_child_whose_key_is_taken_is_not_resumed() -> None:
    for taken in (True, False):
        h, parent, _, _ = cancelled_family(singleton_key="k")
        other = h.send(singleton_key="k")
        if not taken:
            h.by_hand("cancel", other, CANCELLED)
            h.wait(1.0)
        resumes(h, parent)
        assert (h.verdict() is None) is taken
    assert h.breaks(BACK) == f"its parent {parent} was resumed, and it was not"
    h, parent, _, _ = cancelled_family(singleton_key="k")
    other = h.send(singleton_key="k")
    h.wait(1.0)
    call = h.invoke("resume", ids=(parent,))
    h.change(parent, call, state=CREATED, completed_on=None, start_after=h.now, worker=None)
    h.by_hand("cancel", other, CANCELLED)
    h.answer(call, {parent})
    assert h.verdict() is None, "the key was taken until the answer"


def test_uncertain_resumption_resumes_no_children() -> None:
    for outcome in ("failed", "unknown"):
        h, parent, _, _ = cancelled_family()
        call = h.invoke("resume", ids=(parent,))
        h.change(parent, call, state=CREATED, completed_on=None, start_after=h.now)
        h.answer(call, None, outcome)
        assert h.holds(BACK)


def test_archived_child_is_not_resumed() -> None:
    h, parent, _, along = cancelled_family()
    h.archive(along)
    resumes(h, parent)
    assert h.holds(BACK)


def test_lost_job_has_no_more_children() -> None:
    def check(what: str, told: str) -> None:
        h = History()
        parent = h.send_claimed("parents")
        if what != "attempt":
            h.by_hand("cancel", parent, CANCELLED)
        if what == "purge":
            h.archive(parent)
        h.insert_child(parent, 2 if what == "attempt" else 1)
        assert h.breaks(LOST) == told.format(parent=parent)

    cases = [
        ("cancel", "sent by attempt 1 of {parent}, which is cancelled, attempt 1"),
        ("attempt", "sent by attempt 2 of {parent}, which is active, attempt 1"),
        ("purge", "sent by attempt 1 of {parent}, which is gone"),
    ]
    check_each(cases, check)


def test_lease_lost_is_raised_only_for_lost_jobs() -> None:
    for why in ("cancelled", "lease", "nothing"):
        h = History()
        h.heartbeat()
        parent = h.send_claimed("parents")
        h.begin(parent)
        if why == "cancelled":
            h.by_hand("cancel", parent, CANCELLED)
        h.wait(h.rules.lease * 2 if why == "lease" else 1.0)
        said = f"LeaseLostError: Job {parent} is no longer this worker's"
        h.events.append(Ended(h.at, "w1", "parents", parent, 1, "raised", said))
        assert (h.verdict() is None) is (why != "nothing"), why
    assert h.breaks(TOLD) == "attempt 1 raised LeaseLostError, and holds its job since 0.006 s"


# Other properties of waits.


def test_wait_is_as_the_handler_requested(h: History) -> None:
    parent, child = h.send("parents"), h.send()
    h.claim(parent)
    h.run(parent, "returned", None)
    h.invoke("suspend", "w1", waiting=(Waiting(parent, 1, child),), repeated=False)
    told = h.breaks("a settlement says what the handler did")
    assert told == f"Waiting({child}) is said of attempt 1, whose handler returned None"


def test_wait_is_of_the_current_attempt(h: History) -> None:
    parent, child = h.send("parents"), h.send()
    h.claim(parent)
    call = h.invoke("suspend", "w1", waiting=(Waiting(parent, 2, child),), repeated=False)
    h.change(parent, call, state=CREATED, worker=None, waits_for=child)
    assert h.breaks("a settlement is of the current attempt").startswith("attempt 1 became created with ")


def test_job_is_awaited_and_woken_only_by_verbs_of_waits(h: History) -> None:
    job, other = h.send(), h.send()
    h.change(job, h.invoke("cancel", ids=(other,)), awaited=True)
    told = "created became created in job by cancel, and {} does that"
    assert h.breaks(UNASKED) == told.format("insert_child or suspend")
    h, parent, _ = waiting()
    h.wake(parent, h.invoke("cancel", ids=(h.send(),)))
    assert h.breaks(UNASKED) == told.format(
        "settle or settle_unlocked or suspend or cancel or resume_waiting"
    )
