"""Retention: ended jobs are archived and then purged, neither too early nor too late, and none is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.model import FINAL
from zeke_sim.history.events import Change
from zeke_sim.history.state import Broken, End
from zeke_sim.properties.definition import holds, is_move
from zeke_sim.properties.liveness import duty_since

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_sim.history.events import Image
    from zeke_sim.history.state import RunState

_MOVING: Final = "nothing is lost"


@holds("nothing is lost on the way to the archive", Change, End)
def nothing_is_lost(event: Change | End, state: RunState) -> None:
    """A job is in one table: one that leaves the job table enters the archive unchanged in the same commit.

    A job in the archive is not in the job table, and leaves the archive only by a purge.
    """
    moving = state.of(_MOVING, dict[int, list[Change]])
    if moving and not (isinstance(event, Change) and event.commit in moving):
        _landed(moving, state)
    if isinstance(event, Change) and (
        event.before is None if event.table == "archive" else event.after is None
    ):
        moving.setdefault(event.commit, []).append(event)


def _landed(moving: dict[int, list[Change]], state: RunState) -> None:
    """Check after a commit that moved jobs have arrived in the archive."""
    left: dict[UUID, Image] = {}
    for change in (change for changes in moving.values() for change in changes):
        row = change.before if change.table == "job" else change.after
        if row is None:
            continue
        other = left.pop(row.id, None)
        if other is None:
            left[row.id] = row
        elif row._replace(archived_on=None) != other._replace(archived_on=None):
            column = next(
                c for c in row._fields if c != "archived_on" and getattr(row, c) != getattr(other, c)
            )
            values = f"{getattr(other, column)!r} and {getattr(row, column)!r}"
            raise Broken(f"{column} is not the same before and after it was archived: {values}", job=row.id)
    moving.clear()
    for job, row in left.items():
        if job in state.live and job in state.archive:
            raise Broken(f"it is both live ({state.live[job].state}) and archived", job=job)
        if job not in state.archive and job not in state.live:
            raise Broken(f"it was {row.state}, and is neither live nor archived", job=job)


@holds("archived and purged not too early", Change, steps=is_move)
def not_too_early(event: Change, state: RunState) -> None:
    """Only ended jobs are archived, and only after their retention time.

    Only archived jobs are purged, and only after the archive's retention time; one whose parent may ask for
    its outcome only after the parent has left the job table.
    """
    before, after = event.before, event.after
    if event.table == "archive" and before is None and after is not None:
        kept = _kept(event, state, state.rules.archive_after)
        if after.state not in FINAL or after.completed_on is None or after.archived_on is None:
            raise Broken(f"archived on {after.archived_on}, and it is {after.state}", job=after.id)
        age = (after.archived_on - after.completed_on).total_seconds()
        if kept is not None and age < kept:
            raise Broken(f"archived {age} s after its end, and it is kept for {kept} s", job=after.id)
        call = state.calls.get(event.call) if event.call is not None else None
        if call is not None and not state.stamped(after.archived_on, call.invoked.at):
            raise Broken(f"archived_on is {after.archived_on}, and it is {state.now}", job=after.id)
    elif event.table == "archive" and before is not None and after is None:
        if before.awaited and before.parent in state.live:
            raise Broken(f"purged, and its parent {before.parent} is not archived", job=before.id)
        kept = _kept(event, state, state.rules.delete_after)
        if kept is None or before.archived_on is None:
            return
        age = (event.now - before.archived_on).total_seconds()
        if age < kept:
            raise Broken(f"purged {age} s after it was archived, and it is kept for {kept} s", job=before.id)


def _kept(event: Change, state: RunState, default: float | None) -> float | None:
    """Return the retention time in seconds, from the call that moved the job."""
    after = [call.invoked.args["after"] for call in state.causes(event) if "after" in call.invoked.args]
    return after[0] if after else default


@holds("archived and purged in time", Change, End, steps=is_move)
def in_time(event: Change | End, state: RunState) -> None:
    """After all faults have ended, jobs are archived and purged within a sweep of their retention time.

    A sweep ends at a batch of which a purge keeps each job, since a parent may ask for it.
    """
    rules = state.rules
    _note_kept(event, state)
    if rules.archive_after is None or rules.delete_after is None or "quiet" not in state.since:
        return
    if isinstance(event, End):
        for row in state.live.values():
            if row.state in FINAL and row.completed_on is not None:
                _late(row, state.instant(row.completed_on) + rules.archive_after, "archive", state)
        for row in state.archive.values():
            if row.archived_on is not None:
                _late(row, state.instant(row.archived_on) + rules.delete_after, "purge", state)
        return
    row = event.before
    if row is None or event.after is not None:
        return
    if event.table == "archive" and row.archived_on is not None:
        _late(row, state.instant(row.archived_on) + rules.delete_after, "purge", state)
    elif event.table == "job" and row.completed_on is not None:
        _late(row, state.instant(row.completed_on) + rules.archive_after, "archive", state)


def _note_kept(event: Change | End, state: RunState) -> None:
    """Note when a purge kept a row, which then counts as archived anew."""
    if isinstance(event, Change) and event.before is not None and event.after is not None:
        state.of("rows kept by purges", list[float])[:] = [event.at]


def _late(row: Image, due: float, verb: str, state: RunState) -> None:
    since = duty_since(verb, state)
    if since is None:
        return
    kept = state.of("rows kept by purges", list[float]) if verb == "purge" else []
    # A statement that waited for a lock, or whose commit was late, wrote a time before the row was there.
    stored = [change.at for change in state.lives[row.id].changes if change.after is not None][-1:]
    allowed = (
        max(due, since, *stored, *kept) + state.rules.sweep * (1 + state.rules.drift) + state.rules.slack
    )
    if state.at > allowed:
        raise Broken(
            f"due to {verb} at {due:.3f} s, and {'still not done' if state.lives[row.id].row else 'done'} at"
            f" {state.at:.3f} s, sweeps being {state.rules.sweep} s apart",
            job=row.id,
            since=due,
        )
