"""Changes of a job's row: an independent copy of the state machine, and the effects of each transition."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Final

from zeke_queue.core.names import task_of
from zeke_queue.model import FINAL, RowState
from zeke_sim.history.events import Change, Image
from zeke_sim.history.state import Broken, is_moved, is_of_waiting
from zeke_sim.properties.definition import holds, is_extension

if TYPE_CHECKING:
    from zeke_sim.history.state import RunState

_CREATED, _RETRY, _ACTIVE = RowState.CREATED, RowState.RETRY, RowState.ACTIVE
_COMPLETED, _EXPIRED = RowState.COMPLETED, RowState.EXPIRED
_CANCELLED, _FAILED = RowState.CANCELLED, RowState.FAILED

STEPS: Final = frozenset(
    {
        (None, _CREATED),
        (_CREATED, _ACTIVE),
        (_RETRY, _ACTIVE),
        (_ACTIVE, _ACTIVE),
        (_ACTIVE, _COMPLETED),
        (_ACTIVE, _RETRY),
        (_ACTIVE, _FAILED),
        (_ACTIVE, _EXPIRED),
        (_ACTIVE, _CREATED),
        (_CREATED, _CANCELLED),
        (_RETRY, _CANCELLED),
        (_ACTIVE, _CANCELLED),
        (_CANCELLED, _CREATED),
        (_FAILED, _RETRY),
        (_EXPIRED, _RETRY),
    }
)
"""The legal state transitions; active to active is an extension."""

_identity = attrgetter(
    "id",
    "name",
    "priority",
    "retry_delay",
    "retry_backoff",
    "retry_delay_max",
    "created_on",
    "singleton_key",
    "singleton_on",
    "parent",
    "data",
)


def _one_commit(change: Change, state: RunState) -> bool:
    """Return whether several statements of one commit may have changed the row."""
    return any(call.invoked.transaction is not None for call in state.causes(change))


@holds("only legal transitions", Change)
def only_legal_transitions(event: Change, state: RunState) -> None:
    """A job's state changes only by transitions of the state machine, and a completed job stays completed.

    A transaction may insert a job and cancel it. Marking a job as awaited, ending its wait, and moving it to
    another queue are no transitions.
    """
    before, after = event.before, event.after
    if after is None or event.table != "job":
        return
    was = None if before is None else before.state
    if (was, after.state) in STEPS or is_of_waiting(event) or (was is after.state and is_moved(event)):
        return
    if was is None and after.state is _CANCELLED and _one_commit(event, state):
        return
    since = state.lives[after.id].earlier
    raise Broken(f"{was or 'no row'} became {after.state}", job=after.id, since=since)


@holds("no two leases overlap", Change, steps=is_extension)
def no_two_leases_overlap(event: Change, state: RunState) -> None:
    """A job that a worker holds is not claimed by another: one attempt ends before the next begins."""
    before, after = event.before, event.after
    if before is None or after is None or before.state is not _ACTIVE or after.state is not _ACTIVE:
        return
    if (
        before.attempt != after.attempt
        or before.worker != after.worker
        or before.started_on != after.started_on
    ):
        raise Broken(
            f"attempt {before.attempt} of worker {before.worker} was not over when attempt {after.attempt} of"
            f" worker {after.worker} began",
            job=after.id,
            since=state.lives[after.id].claims[before.attempt].at
            if before.attempt in state.lives[after.id].claims
            else None,
        )


@holds("what was sent never changes", Change)
def what_was_sent_never_changes(event: Change, state: RunState) -> None:
    """A job's queue, payload, keys, priority and policy never change after it is sent.

    Only a private queue may become that of its task, when jobs of ended processes are moved.

    Of a row in the archive nothing changes but its archived_on. Exempt is a job that is archived again; that
    it was sent again, another property notices.
    """
    before, after = event.before, event.after
    if before is None or after is None:
        return
    if event.table == "archive":
        if all(call.invoked.verb != "archive" for call in state.causes(event)):
            _unchanged_in_the_archive(before, after)
        return
    if before.name != after.name and after.name == task_of(before.name):
        before = before._replace(name=after.name)
    was, now = _identity(before), _identity(after)
    if was != now:
        told = next((old, new) for old, new in zip(was, now, strict=True) if old != new)
        raise Broken(f"{told[0]!r} became {told[1]!r}", job=after.id)
    if after.retry_limit != before.retry_limit:
        revived = before.state in {_FAILED, _EXPIRED} and after.state is _RETRY
        if not revived or after.retry_limit != max(before.retry_limit, before.retry_count + 1):
            raise Broken(
                f"retry_limit was {before.retry_limit} and became {after.retry_limit} after"
                f" {before.retry_count} retries",
                job=after.id,
            )


def _unchanged_in_the_archive(before: Image, after: Image) -> None:
    for column, was, now in zip(Image._fields, before, after, strict=True):
        if was != now and column != "archived_on":
            raise Broken(f"{column} was {was!r} in the archive and became {now!r}", job=after.id)


@holds("attempts are numbered by claims", Change)
def attempts_are_numbered_by_claims(event: Change, _state: RunState) -> None:
    """Each claim increments the job's attempt number by one, and nothing else changes it.

    So a settlement that names an attempt cannot affect another one.
    """
    before, after = event.before, event.after
    if after is None or event.table != "job":
        return
    had = 0 if before is None else before.attempt
    due = had + (after.state is _ACTIVE and (before is None or before.state is not _ACTIVE))
    if after.attempt != due:
        raise Broken(f"attempt is {after.attempt}, and should be {due}", job=after.id)


@holds("only failures use retries", Change)
def only_failures_use_retries(event: Change, _state: RunState) -> None:
    """A retry is used up when a failed job is claimed again.

    A snooze, a release, a cancellation or a resumption uses none.
    """
    before, after = event.before, event.after
    if after is None or event.table != "job":
        return
    had = 0 if before is None else before.retry_count
    due = had + (before is not None and before.state is _RETRY and after.state is _ACTIVE)
    if after.retry_count != due:
        was = "no row" if before is None else before.state
        raise Broken(
            f"{was} became {after.state} with {after.retry_count} retries used, and should with {due}",
            job=after.id,
        )


@holds("each failed attempt is kept", Change)
def each_failed_attempt_is_kept(event: Change, state: RunState) -> None:
    """A job's history contains its failed attempts and no others, at most 25."""
    before, after = event.before, event.after
    if after is None or event.table != "job":
        return
    had = 0 if before is None else before.failures
    failed = before is not None and before.state is _ACTIVE and after.state in {_RETRY, _FAILED, _EXPIRED}
    due = min(had + failed, 25) if failed else had
    if after.failures == due:
        return
    if after.failures == min(had + 1, 25) and after.state is _CANCELLED and _one_commit(event, state):
        return  # failed and cancelled in one transaction
    raise Broken(f"its history has {after.failures} attempts, and should have {due}", job=after.id)


@holds("each state has its columns", Change)
def each_state_has_its_columns(event: Change, _state: RunState) -> None:
    """Each state has its columns: an ended job has an end time, an active one a start time and a worker."""
    after = event.after
    if after is None:
        return
    if (after.completed_on is not None) is not (after.state in FINAL):
        raise Broken(f"{after.state}, and completed_on is {after.completed_on}", job=after.id)
    if after.state is _ACTIVE and (after.started_on is None or after.worker is None):
        raise Broken(f"active, and started_on is {after.started_on} by {after.worker}", job=after.id)
    if after.state not in FINAL and after.archived_on is not None:
        raise Broken(f"{after.state}, and archived_on is {after.archived_on}", job=after.id)
