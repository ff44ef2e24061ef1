"""Edits, pauses and redeployments of schedules: what they preserve, and how soon an edit takes effect."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from zeke_queue.core import jsonb
from zeke_sim.history.events import Invoked, ScheduleRow
from zeke_sim.history.state import Broken, End
from zeke_sim.properties.cron import EVERY, tick_of
from zeke_sim.properties.definition import holds
from zeke_sim.properties.liveness import duty_since

if TYPE_CHECKING:
    from zeke_queue.model import Schedule
    from zeke_sim.history.state import RunState


@holds("a paused schedule serves nothing", ScheduleRow)
def a_paused_schedule_serves_nothing(event: ScheduleRow, _state: RunState) -> None:
    """A scheduler decides on no occurrence of a paused schedule."""
    before, after = event.before, event.after
    if before is None or after is None or not before.paused or not after.paused:
        return
    if after.last_tick is not None and after.last_tick != before.last_tick:
        raise Broken(
            f"{event.name!r} is paused, and had decided up to {before.last_tick}, and has up to"
            f" {after.last_tick}"
        )


@holds("an edit survives a deploy", ScheduleRow, Invoked, verbs=("put_schedule",))
def an_edit_survives_a_deploy(event: ScheduleRow | Invoked, state: RunState) -> None:
    """As long as its declaration in code stays the same, a schedule changes only by run-time edits."""
    asked = state.of("asked schedules", dict[str, list[Any]])
    if isinstance(event, Invoked):
        schedule = event.args["schedule"]
        asked.setdefault(schedule.name, []).append(_definition(schedule))
        return
    before, after = event.before, event.after
    if before is None or after is None or event.declared is None or _definition(before) == _definition(after):
        return
    if event.declared == event.declared_before and _definition(after) not in asked.get(event.name, []):
        raise Broken(
            f"{event.name!r} was {before.cron} in {before.zone}{_paused(before)}, and is {after.cron} in"
            f" {after.zone}{_paused(after)}, without a request or a changed declaration"
        )


def _definition(schedule: Schedule) -> tuple[object, ...]:
    data = None if schedule.data is None else jsonb.normalise(schedule.data)
    return schedule.cron, schedule.zone, schedule.task, data, schedule.catch_up, schedule.paused


def _paused(schedule: Schedule) -> str:
    return " (paused)" if schedule.paused else ""


@holds("one occurrence has one id", Invoked, verbs=("insert",))
def one_occurrence_has_one_id(event: Invoked, state: RunState) -> None:
    """All sends of a schedule's occurrence, by any scheduler, use the same id.

    So an occurrence has only one job, even if it is sent again after a lost answer.
    """
    known = state.of("ids of occurrences", dict[tuple[str, datetime], UUID])
    for job in event.args["jobs"]:
        tick = tick_of(job)
        if tick is not None and known.setdefault(tick, job.id) != job.id:
            raise Broken(f"{tick[0]!r} of {tick[1]} is sent as {job.id}, and was sent as {known[tick]}")


@holds("an edit takes effect soon", ScheduleRow, End)
def an_edit_takes_effect_soon(event: ScheduleRow | End, state: RunState) -> None:
    """After all faults have ended, a scheduler decides on a restarted schedule within one poll."""
    anew = state.of("schedules that start anew", dict[str, float])
    if isinstance(event, End):
        for name, written in anew.items():
            _in_time(name, written, state)
        return
    written = anew.pop(event.name, None)
    if event.after is None or event.after.paused:
        return
    if event.after.last_tick is None:
        anew[event.name] = event.at if written is None or event.before is None else written
        if event.before is not None and _definition(event.before) != _definition(event.after):
            anew[event.name] = event.at
    elif written is not None:
        _in_time(event.name, written, state)


def _in_time(name: str, written: float, state: RunState) -> None:
    since = duty_since("lock_due_schedules", state)
    if since is None:
        return
    most = max(written, since) + EVERY * (1 + state.rules.drift) + state.rules.slack
    if state.at > most:
        raise Broken(
            f"{name!r} was written at {written:.3f} s, and was not checked by {state.at:.3f} s", since=written
        )
