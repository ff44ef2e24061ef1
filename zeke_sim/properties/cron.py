"""Schedules: each occurrence is served once, according to the policy for missed ones."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from zeke_queue.core import jsonb
from zeke_queue.model import CatchUp
from zeke_sim.history.events import Answered, Invoked, ScheduleRow
from zeke_sim.history.state import MOMENT, Broken, End
from zeke_sim.properties.definition import holds
from zeke_sim.properties.liveness import duty_since, gave_up
from zeke_sim.properties.occurrences import between, fields_of, following

if TYPE_CHECKING:
    from zeke_queue.model import NewJob, Schedule
    from zeke_sim.history.state import Call, Node, RunState

GRACE: Final = timedelta(seconds=60)
"""Maximum age of an occurrence that a schedule with the policy ``skip`` still serves."""

PUT_OFF: Final = timedelta(seconds=60)
"""How long a schedule that cannot be served is postponed."""

EVERY: Final = 1.0
"""Seconds between a scheduler's polls."""


@lru_cache(maxsize=1024)
def _meta(meta: str | None) -> dict[str, Any]:
    value = None if meta is None else jsonb.loads(meta)
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def tick_of(sent: NewJob) -> tuple[str, datetime] | None:
    """Return a job's schedule and occurrence; None if it has none.

    Children of such a job inherit its meta, so they are excluded.
    """
    if sent.meta is None or sent.parent is not None:
        return None
    meta = _meta(sent.meta) if '"tick"' in sent.meta else {}
    return (meta["schedule"], datetime.fromisoformat(meta["tick"])) if "schedule" in meta else None


class _Blocked(NamedTuple):
    """A schedule that a process could not serve because another transaction kept a lock.

    Attributes:
        process: the process, which has not been started again since then if it is the current one.
        since: the storage's time of the first try; and of later ones that may count as the first.
        last_tick: what was decided by then.
        certain: whether each try since then found the schedule due.
    """

    process: Node
    since: tuple[datetime, ...]
    last_tick: datetime | None
    certain: bool


@holds("ticks are served by the policy", Invoked, Answered, verbs=("lock_due_schedules", "insert", "commit"))
def ticks_are_served_by_the_policy(event: Invoked | Answered, state: RunState) -> None:
    """A scheduler that decides on a schedule's occurrences sends their jobs in the same transaction.

    Of all occurrences since the last decision, the policy ``all`` serves each, ``once`` the latest, and
    ``skip`` the latest if it is at most a minute old; a new schedule serves none. For a schedule that a lock
    has kept from being served, that is decided as of the first try, and all later occurrences are served. The
    scheduler stores the last occurrence that it decided on, and the next one.
    """
    if isinstance(event, Answered):
        _try_answered(event, state)
        return
    if event.transaction is None or event.verb != "commit":
        return
    calls = state.transactions[event.transaction]
    served = [call for call in calls if call.invoked.verb == "record_tick"]
    if not served:
        return
    found: dict[str, tuple[datetime, Schedule]] = {}
    for call in calls:
        if call.invoked.verb == "lock_due_schedules" and call.outcome == "ok" and call.answered is not None:
            now, schedules = call.answered.result
            found.update({schedule.name: (now, schedule) for schedule in schedules})
    sent = _sent(calls)
    for call in served:
        args = call.invoked.args
        now, schedule = found[args["name"]]
        blocked = _blocked(state).get((event.node, schedule.name))
        if blocked is not None and blocked.last_tick != schedule.last_tick:
            blocked = None
        if blocked is not None and blocked.process is not state.nodes[event.node]:
            blocked = None
        _check_ticks(schedule, now, args, sent.pop(schedule.name, set()), blocked)
    for name, ticks in sent.items():
        raise Broken(f"{name!r} sends {_listed(ticks)}, and notes nothing of it")


def _blocked(state: RunState) -> dict[tuple[str, str], _Blocked]:
    return state.of("blocked schedules", dict[tuple[str, str], _Blocked])


def _try_answered(event: Answered, state: RunState) -> None:
    """Record what a try to serve one schedule by itself says about locks."""
    transaction = state.calls[event.call].invoked.transaction
    if transaction is None:
        return
    calls, blocked = state.transactions[transaction], _blocked(state)
    for call in calls:
        if call.invoked.verb == "lock_due_schedules" and call.outcome == "ok" and call.answered is not None:
            only, (now, found) = call.invoked.args.get("only"), call.answered.result
            break
    else:
        return
    if event.verb == "commit" and event.outcome == "ok":
        for schedule in found:
            blocked.pop((event.node, schedule.name), None)
    if only is None:
        return
    known = blocked.get((event.node, only))
    if event.verb == "insert" and gave_up(event):
        tried = _Blocked(state.nodes[event.node], (now,), found[0].last_tick, certain=True)
        blocked[event.node, only] = tried if known is None else _tried_again(known, tried)
    elif known is not None and not found:
        blocked[event.node, only] = known._replace(certain=False)


def _tried_again(known: _Blocked, tried: _Blocked) -> _Blocked:
    """Return what is known of a schedule after another try that met a lock."""
    if known.process is not tried.process or known.last_tick != tried.last_tick:
        return tried
    return known if known.certain else known._replace(since=(*known.since, *tried.since))


def _sent(calls: list[Call]) -> dict[str, set[datetime]]:
    """Return the occurrences, by schedule, for which a transaction sends jobs."""
    sent: dict[str, set[datetime]] = {}
    for call in calls:
        if call.invoked.verb == "insert":
            for job in call.invoked.args["jobs"]:
                if (tick := tick_of(job)) is not None:
                    sent.setdefault(tick[0], set()).add(tick[1])
    return sent


def _check_ticks(
    schedule: Schedule, now: datetime, args: Any, sent: set[datetime], blocked: _Blocked | None
) -> None:
    if fields_of(schedule.cron) is None:
        return
    last, noted, upcoming = schedule.last_tick, args["last_tick"], args["next_tick"]
    name = f"{schedule.name!r} ({schedule.cron} in {schedule.zone}, {schedule.catch_up.value})"
    put_off = upcoming is not None and upcoming <= now + PUT_OFF
    if last is None:
        if sent or noted != now:
            raise Broken(f"{name} is new at {now}, and sends {_listed(sent)}, and notes {noted}")
        due: set[datetime] = set()
    else:
        decided = list(between(schedule.cron, schedule.zone, last, noted))
        due = _due(schedule, decided, now)
        if blocked is not None:
            late = [_due_since(schedule, decided, since) for since in blocked.since]
            due = late[0] if blocked.certain else next((one for one in late if one == sent), due)
        if noted < last or (noted != last and noted not in decided):
            raise Broken(f"{name} notes {noted} after {last}, and has no occurrence then")
        if noted > now:
            raise Broken(f"{name} notes {noted}, and it is {now}")
    if sent != due:
        raise Broken(
            f"{name} should have sent {_listed(due)} of what is after {last} up to {noted} at {now}, and sent"
            f" {_listed(sent)}"
        )
    after = following(schedule.cron, schedule.zone, noted)
    full = schedule.catch_up is CatchUp.ALL and bool(sent)
    if after is not None and after <= now and not full and not (noted == last and put_off):
        raise Broken(f"{name} notes {noted} at {now}, and has an occurrence at {after}")
    # A new schedule sends no job, so it cannot be postponed because of one.
    if upcoming != after and (last is None or not put_off):
        raise Broken(f"{name} notes that it is next due at {upcoming}, and it is at {after}")


def _due(schedule: Schedule, decided: list[datetime], now: datetime) -> set[datetime]:
    if not decided:
        return set()
    if schedule.catch_up is CatchUp.ALL:
        return set(decided)
    if schedule.catch_up is CatchUp.SKIP and now - decided[-1] > GRACE:
        return set()
    return {decided[-1]}


def _due_since(schedule: Schedule, decided: list[datetime], since: datetime) -> set[datetime]:
    """Return the occurrences to serve of a schedule that a lock has kept from being served."""
    then = [tick for tick in decided if tick <= since]
    return _due(schedule, then, since) | {tick for tick in decided if tick > since}


def _listed(ticks: set[datetime]) -> str:
    if not ticks:
        return "nothing"
    shown = ", ".join(tick.isoformat() for tick in sorted(ticks)[:3])
    return shown if len(ticks) <= 3 else f"{shown} and {len(ticks) - 3} more"  # noqa: PLR2004


@holds("no tick is decided on twice", ScheduleRow)
def no_tick_is_decided_on_twice(event: ScheduleRow, _state: RunState) -> None:
    """A schedule's last tick never goes back, unless the schedule restarts.

    A schedule restarts when its times or its time zone change, or when a pause ends.
    """
    before, after = event.before, event.after
    if before is None or after is None or before.last_tick is None:
        return
    anew = (before.cron, before.zone) != (after.cron, after.zone) or (before.paused and not after.paused)
    if anew:
        if after.last_tick is not None:
            raise Broken(f"{event.name!r} starts anew, and keeps its last tick, {after.last_tick}")
    elif after.last_tick is None or after.last_tick < before.last_tick:
        raise Broken(f"{event.name!r} had decided up to {before.last_tick}, and has up to {after.last_tick}")


@holds("ticks are served in time", End)
def ticks_are_served_in_time(event: End, state: RunState) -> None:
    """After all faults have ended, a running scheduler decides on each occurrence in time.

    Exempt are occurrences that could not be served and were postponed to a stored time.
    """
    since = duty_since("lock_due_schedules", state)
    if since is None or state.now is None:
        return
    for schedule in state.schedules.values():
        if schedule.paused or fields_of(schedule.cron) is None or schedule.last_tick is None:
            continue
        tick = following(schedule.cron, schedule.zone, schedule.last_tick)
        if tick is None:
            continue
        due = max(state.instant(put_off(schedule) or tick), since)
        allowed = EVERY * (1 + state.rules.drift) + state.rules.slack + MOMENT.total_seconds()
        if event.at > due + allowed:
            raise Broken(f"{schedule.name!r} is not served up to {schedule.last_tick}, and was due at {tick}")


def put_off(schedule: Schedule) -> datetime | None:
    """Return until when a schedule is postponed: its stored next tick, if that is not an occurrence."""
    noted = schedule.next_tick
    if noted is None or following(schedule.cron, schedule.zone, noted - timedelta(seconds=1)) == noted:
        return None
    return noted
