"""Jobs that wait for others: they hold no worker meanwhile, and resume only when those have ended."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.model import FINAL, RowState, Waiting
from zeke_sim.history.events import Answered, Change, Ended, Invoked
from zeke_sim.history.state import ENDS, LOST_FOR, Broken, End, ending, place_of
from zeke_sim.properties.definition import holds, is_end, is_send
from zeke_sim.properties.interruptions import lease_over
from zeke_sim.properties.liveness import duty_since
from zeke_sim.properties.settlements import outcomes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from zeke_sim.history.events import Event, Image
    from zeke_sim.history.state import Request, RunState

_CREATED, _ACTIVE, _CANCELLED = RowState.CREATED, RowState.ACTIVE, RowState.CANCELLED

FAR: Final = timedelta(days=36_000)
"""The delay of a job that waits for another: about a century, so that it never becomes due on its own."""

IN_TURN: Final = timedelta(seconds=1)
"""The pause of a job that waits for several ended jobs in turn."""

ROLLED_BACK: Final = 15.0
"""Seconds after its last answer by which an uncommitted transaction has ended and released its locks."""


@holds("a waiting job holds nothing", Change)
def a_waiting_job_holds_nothing(event: Change, _state: RunState) -> None:
    """A job that waits for another is in state created, has no worker, and is not claimed."""
    before, after = event.before, event.after
    if after is None:
        return
    if after.waits_for is not None and (after.state is not _CREATED or after.worker is not None):
        raise Broken(
            f"{after.state}, of worker {after.worker}, and waits for {after.waits_for}", job=after.id
        )
    if after.state is _ACTIVE and before is not None and before.waits_for is not None:
        raise Broken(f"claimed, and waits for {before.waits_for}", job=after.id)


@holds("a wait is as requested", Change, steps=is_end)
def a_wait_is_as_requested(event: Change, state: RunState) -> None:
    """A suspended job waits for exactly the requested job, or is due at once if that has ended, but once."""
    after = event.after
    if after is None or after.state is not _CREATED:
        return
    requests = outcomes(event, state)
    if not requests:
        return
    differences = [_difference(request, after, state) for request in requests]
    if all(differences):
        raise Broken(differences[0] or "", job=after.id)


def _difference(request: Request, after: Image, state: RunState) -> str | None:
    """Describe how a row differs from the request; return None if it does not."""
    what: Any = request.what
    awaited = state.live.get(what.child) if isinstance(what, Waiting) else None
    waited = None if awaited is None or awaited.state in FINAL else awaited.id
    if after.waits_for != waited:
        return f"it waits for {after.waits_for}, and should for {waited}"
    if waited is None:
        return _difference_at_an_end(what, request, after, state) if isinstance(what, Waiting) else None
    if state.now is not None and after.start_after < state.now + FAR:
        return f"it waits for {waited}, and starts at {after.start_after}"
    return None


def _difference_at_an_end(wait: Waiting, request: Request, after: Image, state: RunState) -> str | None:
    """Describe how a row differs from a request to wait for a job that has ended."""
    since = request.call.invoked.at
    if not any(_rows_during(wait.child, since, state)):
        return f"{wait.child} does not exist, so the wait must be refused"
    start = after.start_after
    times = [now for now in (start, start - IN_TURN) if state.stamped(now, since)]
    if times and all(_was_due_for(wait, state.at, state, now) for now in times):
        return f"it waits again for {wait.child}, which had ended, and must be refused"
    if not any(_is_in_turn(wait, after.started_on, now, state) == (now != start) for now in times):
        return f"nothing is left to wait for, and it starts at {start}"
    return None


def _was_due_for(wait: Waiting, until: float, state: RunState, now: datetime | None = None) -> bool:
    """Return whether this attempt followed the last one at once, because of the same end of a job.

    A call recognises only an end that is not after its own time, which is when the released job is due: it
    may have waited for the end after its clock was read, and the clock may jump.

    Args:
        now: the time of the call that was to recognise the end again.
    """
    at, due, child = _due_for_an_end(wait, until, state)
    if due is None or child != wait.child:
        return False
    seen = [row for row in state.lives[wait.child].between(at, until) if row is not None]
    return (
        bool(seen)
        and seen[0].state in FINAL
        and len({row.completed_on for row in seen if row.state in FINAL}) == 1
        and (end := seen[0].completed_on) is not None
        and end <= due
        and (now is None or end <= now)
    )


def _due_for_an_end(
    wait: Waiting, until: float, state: RunState
) -> tuple[float, datetime | None, UUID | None]:
    """Return when an attempt ended because it waited for an ended job, when the next was due, and that job.

    The next attempt is that of the given wait. All but the time are None if it was due for another reason.
    """
    life = state.lives[wait.id]
    for change in reversed(life.changes):
        before, after = change.before, change.after
        if before is None or after is None or before.state is not _ACTIVE or before.attempt >= wait.attempt:
            continue
        causes, asked = state.causes(change), life.outcomes.get(before.attempt, ())
        waits = [one.what for one in asked if isinstance(one.what, Waiting) and one.call in causes]
        rows = life.between(change.at, until)
        if (
            waits
            and after.waits_for is None
            and all(row is None or row.state in {_CREATED, _ACTIVE} for row in rows)
        ):
            return change.at, after.start_after, waits[0].child
        break
    return until, None, None


def _is_in_turn(wait: Waiting, began: datetime | None, now: datetime, state: RunState) -> bool:
    """Return whether a job, due because of an end, waits for a job that had ended before it began again."""
    ended = _rows_during(wait.child, state.at, state)[0]
    if _due_for_an_end(wait, state.at, state)[1] is None or ended is None:
        return False
    end = ended.completed_on
    return end is None or began is None or not began <= end <= now


@holds("no job waits in a cycle", Change)
def no_job_waits_in_a_cycle(event: Change, state: RunState) -> None:
    """No job waits for itself, directly or through the jobs for which others wait."""
    after = event.after
    if after is None or event.table != "job":
        return
    chain = [after.id]
    while (waited := _awaited_by(state.live.get(chain[-1]))) is not None:
        if waited == after.id:
            raise Broken(f"it waits for itself, by {' -> '.join(map(str, chain))}", job=after.id)
        if waited in chain:
            return  # the job whose wait closed that cycle was reported
        chain.append(waited)


@holds("a wait is refused only if it would not end", Answered, verbs=("suspend",))
def a_wait_is_refused_only_if_it_would_not_end(event: Answered, state: RunState) -> None:
    """A wait is refused only if the other job does not exist, waits for this one, or had ended before."""
    if event.outcome != "ok":
        return
    since, waiting = state.calls[event.call].invoked.at, state.calls[event.call].invoked.args["waiting"]
    for job, chain in event.result.refused.items():
        wait = next(one for one in waiting if one.id == job)
        child = wait.child
        if chain == (child,) and child != job:
            if not _was_due_for(wait, since, state):
                raise Broken(f"it may not wait for {child}, and has not been due for its end", job=job)
        elif not chain:
            if all(_rows_during(child, since, state)):
                raise Broken(f"it may not wait for {child}, which exists", job=job, since=since)
        elif chain[-1] != job or not all(
            any(row is not None and row.waits_for == after for row in _rows_during(one, since, state))
            for one, after in pairwise(chain)
        ):
            raise Broken(f"it may not wait for {chain[0]}, which does not wait for it", job=job, since=since)


def _rows_during(job: UUID, since: float, state: RunState) -> list[Image | None]:
    """Return the versions of a job's row since a moment; None for no row."""
    return list(state.lives[job].between(since, state.at)) or [None]


@holds("no parent continues too early", Change)
def no_parent_continues_too_early(event: Change, state: RunState) -> None:
    """A waiting job resumes only after the other job has ended or is gone, and is due at that moment."""
    before, after = event.before, event.after
    if before is None or after is None or before.waits_for is None or before.state is not after.state:
        return
    if after.waits_for == before.waits_for:
        if after.start_after != before.start_after:
            raise Broken(f"it waits for {after.waits_for}, and starts at {after.start_after}", job=after.id)
        return
    child = state.live.get(before.waits_for)
    if after.waits_for is not None or (child is not None and child.state not in FINAL):
        how = "gone" if child is None else child.state
        raise Broken(f"it waited for {before.waits_for}, which is {how}, and goes on", job=after.id)
    calls = [call.invoked.at for call in state.causes(event)]
    if calls and not state.stamped(after.start_after, min(calls)):
        raise Broken(f"it goes on at {state.now}, and starts at {after.start_after}", job=after.id)


def _awaited_by(row: Image | None) -> UUID | None:
    return None if row is None or row.state in FINAL else row.waits_for


class _Waits:
    """The state of these properties: waiting jobs, observed ends, and children.

    Attributes:
        parents: the jobs that wait for a job, and since when.
        ended: when a job ended or was deleted.
        children: the children that a job sent in order to wait for them.
        went_on: since when the job of the latest change had waited for an ended job, if it has resumed.
    """

    def __init__(self) -> None:
        self.parents: dict[UUID, dict[UUID, float]] = {}
        self.ended: dict[UUID, float] = {}
        self.children: dict[UUID, dict[UUID, None]] = {}
        self.went_on: float | None = None
        self._latest: Event | None = None

    def see(self, event: Change | Invoked) -> None:
        """Record an event, on behalf of the first of these properties that is checked."""
        if self._latest is event:
            return
        self._latest, self.went_on = event, None
        if isinstance(event, Invoked):
            child = event.args["child"]
            self.children.setdefault(child.parent, {})[child.id] = None
        elif event.table == "job" and (row := event.after or event.before) is not None:
            self._change(row.id, event)

    def _change(self, job: UUID, event: Change) -> None:
        was, now = _awaited_by(event.before), _awaited_by(event.after)
        if was is not None and was != now:
            self.went_on = dict(self.in_vain(was)).get(job)
            self.parents.get(was, {}).pop(job, None)
        if now is not None and was != now:
            self.parents.setdefault(now, {})[job] = event.at
        if event.after is None or event.after.state in FINAL:
            self.ended.setdefault(job, event.at)
        else:
            self.ended.pop(job, None)

    def in_vain(self, child: UUID) -> Iterator[tuple[UUID, float]]:
        """Yield the jobs that wait for a job that has ended or was deleted, and since when."""
        ended = self.ended.get(child)
        if ended is not None:
            for parent, since in self.parents.get(child, {}).items():
                yield parent, max(since, ended)


_ENDING: Final = ("settle", "settle_unlocked", "suspend", "cancel", "commit")


@holds("the end of a job resumes those that wait for it", Change, Answered, verbs=_ENDING)
def the_end_of_a_job_resumes_those_that_wait_for_it(event: Change | Answered, state: RunState) -> None:
    """After the end of a job is acknowledged, no job waits for it.

    Exempt are waiting jobs that were skipped because another program has locked them, or may have because a
    transaction cancels them.
    """
    waits = state.of("waits", _Waits)
    if isinstance(event, Change):
        waits.see(event)
        return
    for row, at in _did(event, state):
        for parent, since in waits.in_vain(row.id) if row.state in FINAL else ():
            if _locked_until(parent, state) < min(since, at):
                raise Broken(f"it waits for a job that ended at {since:.3f} s", job=parent, since=since)


def _did(event: Answered, state: RunState) -> Iterator[tuple[Image, float]]:
    """Yield the rows that a call, or the transaction that it commits, has certainly changed.

    With each row comes the earliest time of its statement, which a commit may follow much later.
    """
    call = state.calls[event.call]
    if event.outcome != "ok" or (call.invoked.transaction is not None and event.verb != "commit"):
        return
    number = call.invoked.transaction
    for one in [call] if number is None else state.transactions[number]:
        for change in one.did:
            if change.after is not None:
                yield change.after, inf if number is None else state.transactions[number][0].invoked.at


def _locked_until(job: UUID, state: RunState) -> float:
    """Return until when a program, or transactions that cancel it or an ancestor, may have locked a job."""
    locks = [one.until or 0.0 for one in state.faults if one.kind == "foreign_lock" and one.row == job]
    until, family = max(locks, default=-1.0), {job, *state.ancestors(job)}
    for calls in state.transactions.values():
        if any(not family.isdisjoint(call.invoked.args.get("ids", ())) for call in calls):
            last = ending(calls)
            ended = state.at if last.answered is None else last.answered.at
            if last.invoked.verb not in ENDS:
                ended += ROLLED_BACK
            elif last.outcome not in {None, "ok"}:
                ended += LOST_FOR
            until = max(until, ended)
    return until


@holds("no job waits for an ended job", Change, End)
def no_job_waits_for_an_ended_job(event: Change | End, state: RunState) -> None:
    """After all faults have ended, a job that waits for an ended or deleted job resumes within a sweep."""
    waits = state.of("waits", _Waits)
    if isinstance(event, End):
        for child in list(waits.parents):
            for parent, since in waits.in_vain(child):
                _check_continued(parent, since, state)
        return
    waits.see(event)
    if waits.went_on is not None and event.before is not None:
        _check_continued(event.before.id, waits.went_on, state)


def _check_continued(job: UUID, since: float, state: RunState) -> None:
    swept = duty_since("resume_waiting", state)
    if swept is None:
        return
    rules = state.rules
    due = max(since, swept, _locked_until(job, state)) + rules.sweep * (1 + rules.drift) + rules.slack
    if state.at > due:
        raise Broken(
            f"it waits for a job that ended at {since:.3f} s, until {state.at:.3f} s, sweeps being"
            f" {rules.sweep} s apart",
            job=job,
            since=since,
        )


@holds("children end with their parent", Invoked, Answered, verbs=("insert_child", "cancel", "commit"))
def children_end_with_their_parent(event: Invoked | Answered, state: RunState) -> None:
    """When a cancellation is acknowledged, the children that the job had sent to wait for are cancelled too.

    This holds even if the job was not waiting for them yet. Children that had ended stay unchanged.
    """
    waits = state.of("waits", _Waits)
    if isinstance(event, Invoked):
        if event.verb == "insert_child":
            waits.see(event)
        return
    for row, _ in _did(event, state):
        if row.state is not _CANCELLED:
            continue
        at = (
            state.lives[row.id].since if state.live.get(row.id) == row else state.calls[event.call].invoked.at
        )
        for child in waits.children.get(row.id, ()):
            rows = list(state.lives[child].between(at, event.at))
            if all(one is not None and one.state not in FINAL for one in rows):
                raise Broken(f"its parent {row.id} was cancelled, and it was not", job=child, since=at)


@holds("children are resumed with their parent", Invoked, Answered, verbs=("insert_child", "resume"))
def children_are_resumed_with_their_parent(event: Invoked | Answered, state: RunState) -> None:
    """When a resumption is acknowledged, children that were cancelled with the job or later are resumed too.

    Exempt are children whose place another job occupies. A child that was cancelled before its parent stays
    cancelled, and so does one whose parent stays cancelled.
    """
    waits = state.of("waits", _Waits)
    if isinstance(event, Invoked):
        if event.verb == "insert_child":
            waits.see(event)
        return
    if event.verb != "resume" or event.outcome != "ok":
        return
    call = state.calls[event.call]
    back = {was.id: (was, change.at) for change in call.did if (was := change.before)}
    for job, (was, at) in back.items():
        for child in waits.children.get(job, ()):
            if child not in back and _stays_cancelled(child, was, (at, event.at), state):
                raise Broken(f"its parent {job} was resumed, and it was not", job=child, since=at)
        if job in call.invoked.args["ids"] or was.parent is None:
            continue
        if was.parent not in back:
            raise Broken(f"it was resumed, and its parent {was.parent} was not", job=job)
        if not _was_cancelled_along(was, back[was.parent][0]):
            raise Broken(f"it was resumed with {was.parent}, and had ended before that one", job=job)


def _was_cancelled_along(child: Image, parent: Image) -> bool:
    """Return whether a child was cancelled at or after its parent's end."""
    if child.state is not _CANCELLED or child.completed_on is None or parent.completed_on is None:
        return False
    return child.completed_on >= parent.completed_on


def _stays_cancelled(job: UUID, parent: Image, time: tuple[float, float], state: RunState) -> bool:
    """Return whether a child that was cancelled with its parent is still cancelled, with its place free."""
    for row in state.lives[job].between(*time):
        if row is None or row.archived_on is not None or not _was_cancelled_along(row, parent):
            return False
        place = place_of(row._replace(state=_CREATED))
        if place is not None and state.occupied(place, time[0]):
            return False
    return True


@holds("no held job is reported as lost", Ended)
def no_held_job_is_reported_as_lost(event: Ended, state: RunState) -> None:
    """A handler is refused operations of the job's holder only after the job was lost, or the lease ended."""
    if event.how != "raised" or not str(event.value).startswith("LeaseLostError:"):
        return
    life = state.lives[event.job]
    began = life.began[event.attempt][-1].at
    if lease_over(event, state, began, 1 / (1 + state.rules.drift)) is not None:
        return
    rows = list(life.between(began, event.at))
    if all(row is not None and row.state is _ACTIVE and row.attempt == event.attempt for row in rows):
        raise Broken(
            f"attempt {event.attempt} raised LeaseLostError, and holds its job since {began:.3f} s",
            job=event.job,
            since=began,
        )


@holds("a lost job has no more children", Change, steps=is_send)
def a_lost_job_has_no_more_children(event: Change, state: RunState) -> None:
    """A child to wait for is sent only while its parent is active in the requesting attempt."""
    row, causes = event.after, state.causes(event)
    if row is None or row.parent is None or not causes or causes[0].invoked.verb != "insert_child":
        return
    attempt, parent = causes[0].invoked.args["attempt"], state.live.get(row.parent)
    if parent is None or parent.state is not _ACTIVE or parent.attempt != attempt:
        stands = "gone" if parent is None else f"{parent.state}, attempt {parent.attempt}"
        raise Broken(f"sent by attempt {attempt} of {row.parent}, which is {stands}", job=row.id)
