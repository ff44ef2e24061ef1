"""What schedules keep through edits, pauses and redeployments: histories that hold or break it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from tests.cases import check_each
from tests.sim.histories import EPOCH, History
from zeke_queue.model import CatchUp, NewJob, Schedule
from zeke_sim.history.events import Phase, ScheduleRow

PAUSED = "a paused schedule serves nothing"
EDITED = "an edit survives a deploy"
ONE_ID = "one occurrence has one id"
HEEDED = "an edit takes effect soon"

NEXT = EPOCH + timedelta(hours=1)
HOURLY = Schedule("s", "0 * * * *", "a", last_tick=EPOCH, next_tick=NEXT)
DAILY = replace(HOURLY, cron="0 9 * * *", last_tick=None, next_tick=None)
NEW = replace(HOURLY, last_tick=None, next_tick=None)
STOPPED = replace(HOURLY, paused=True)


# Pauses.


def test_paused_schedule_is_not_served(h: History) -> None:
    h.schedule(HOURLY, STOPPED)
    h.schedule(STOPPED, replace(STOPPED, last_tick=NEXT))
    assert h.breaks(PAUSED) == f"'s' is paused, and had decided up to {EPOCH}, and has up to {NEXT}"
    h = History()
    h.schedule(replace(NEW, paused=True), STOPPED)
    assert h.breaks(PAUSED) == f"'s' is paused, and had decided up to None, and has up to {EPOCH}"


def test_paused_schedule_may_change_otherwise() -> None:
    def check(before: Schedule | None, after: Schedule | None) -> None:
        h = History()
        h.schedule(before, after)
        assert h.holds(PAUSED)

    cases = {
        "served": (HOURLY, replace(HOURLY, last_tick=NEXT)),
        "served and paused": (HOURLY, replace(STOPPED, last_tick=NEXT)),
        "resumed": (STOPPED, NEW),
        "moved": (STOPPED, replace(STOPPED, cron="5 * * * *", last_tick=None, next_tick=None)),
        "other payload": (STOPPED, replace(STOPPED, data='{"n":1}')),
        "created": (None, STOPPED),
        "dropped": (STOPPED, None),
    }
    check_each(cases, check)


# Redeployments.


def _written(
    h: History, before: Schedule | None, after: Schedule | None, *declared: Schedule | None
) -> History:
    """Write a row, and what code declares: before this, and now."""
    earlier, now = declared
    h.events.append(ScheduleRow(h.at, h.now, "s", before, after, now, earlier))
    return h


def _ask(h: History, schedule: Schedule, outcome: Any = "ok") -> None:
    h.answer(h.invoke("put_schedule", schedule=schedule), outcome=outcome)


def test_redeploy_keeps_edit_and_pause(h: History) -> None:
    _ask(h, DAILY)
    _written(h, HOURLY, DAILY, HOURLY, HOURLY)
    _written(h, DAILY, NEW, HOURLY, HOURLY)
    assert h.breaks(EDITED) == (
        "'s' was 0 9 * * * in UTC, and is 0 * * * * in UTC, without a request or a changed declaration"
    )
    h = History()
    _ask(h, STOPPED)
    _written(h, HOURLY, STOPPED, HOURLY, HOURLY)
    _written(h, STOPPED, NEW, HOURLY, HOURLY)
    assert h.breaks(EDITED).startswith("'s' was 0 * * * * in UTC (paused), and is 0 * * * * in UTC, without")


def test_every_change_was_requested() -> None:
    def check(change: dict[str, Any]) -> None:
        after = replace(HOURLY, **change)
        told = "without a request or a changed declaration"
        unasked, elsewhere, asked = History(), History(), History()
        _ask(elsewhere, replace(after, name="another"))
        _ask(asked, after)
        for h in (unasked, elsewhere, asked):
            _written(h, HOURLY, after, HOURLY, HOURLY)
        assert unasked.breaks(EDITED).endswith(told)
        assert not elsewhere.holds(EDITED)
        assert asked.holds(EDITED)

    changes = [
        {"cron": "5 * * * *"},
        {"zone": "Europe/Berlin"},
        {"task": "b"},
        {"data": '{"n":2}'},
        {"catch_up": CatchUp.ALL},
        {"paused": True},
    ]
    check_each(changes, check)


def test_edit_may_be_formatted_otherwise_or_unanswered(h: History) -> None:
    _ask(h, replace(HOURLY, data='{"n":1.50,"b":[]}'))
    _written(h, HOURLY, replace(HOURLY, data='{"b": [], "n": 1.50}'), HOURLY, HOURLY)
    assert h.holds(EDITED)
    h = History()
    call = h.invoke("put_schedule", schedule=DAILY)
    _written(h, HOURLY, DAILY, HOURLY, HOURLY)
    h.answer(call, outcome="unknown")
    assert h.holds(EDITED)


def test_changes_that_need_no_edit() -> None:
    def check(before: Schedule | None, after: Schedule | None, *declared: Schedule | None) -> None:
        assert _written(History(), before, after, *declared or (HOURLY, HOURLY)).holds(EDITED)

    served = replace(HOURLY, last_tick=NEXT, next_tick=NEXT + timedelta(hours=1))
    cases = {
        "code declares it": (HOURLY, DAILY, HOURLY, DAILY),
        "code declares it for the first time": (HOURLY, DAILY, None, DAILY),
        "code declares it no longer": (HOURLY, DAILY, HOURLY, None),
        "code never declared it": (HOURLY, DAILY, None, None),
        "created": (None, HOURLY),
        "dropped": (HOURLY, None),
        "served": (HOURLY, served),
        "described": (HOURLY, replace(HOURLY, description="every hour")),
    }
    check_each(cases, check)


# Occurrences.


def _job(tick: datetime, number: int, name: str = "s", **columns: Any) -> NewJob:
    meta = f'{{"schedule":"{name}","tick":"{tick.isoformat()}"}}'
    return NewJob(UUID(int=number), "a", meta=meta, **columns)


def _sent(*jobs: NewJob) -> History:
    """Each is sent by its own scheduler, without an answer."""
    h = History()
    for number, job in enumerate(jobs):
        h.answer(h.invoke("insert", f"s{number}", jobs=(job,)), outcome="unknown")
    return h


def test_occurrence_has_one_job(h: History) -> None:
    told = f"'s' of {NEXT} is sent as {UUID(int=2)}"
    text = _sent(_job(NEXT, 1), _job(NEXT, 2)).breaks(ONE_ID)
    assert text == f"{told}, and was sent as {UUID(int=1)}"
    h.invoke("insert", "s1", jobs=(_job(NEXT, 1), _job(NEXT, 2)))
    assert h.breaks(ONE_ID).startswith(told)


def test_jobs_that_may_follow_an_occurrence() -> None:
    def check(second: NewJob) -> None:
        assert _sent(_job(NEXT, 1), second).holds(ONE_ID)

    cases = {
        "the same": _job(NEXT, 1),
        "the next tick": _job(NEXT + timedelta(hours=1), 2),
        "another schedule": _job(NEXT, 2, "another"),
        "a child": _job(NEXT, 2, parent=UUID(int=1)),
        "no tick": NewJob(UUID(int=2), "a"),
        "a tick that is no time": NewJob(UUID(int=2), "a", meta='{"tick":"never"}'),
    }
    check_each(cases, check)


# Schedules that were changed.


def _scheduler() -> History:
    """Return a history in which a scheduler polls, and all faults ended long ago."""
    h = History()
    h.lived("s1", "started")
    h.answer(h.invoke("lock_due_schedules", "s1", 1, limit=50), (h.now, []))
    h.phase("quiet")
    h.wait(100.0)
    return h


def _unheeded(h: History, before: Schedule | None, after: Schedule | None, seconds: float = 10.0) -> History:
    h.schedule(before, after)
    h.wait(seconds)
    return h


def _decided(h: History, before: Schedule) -> None:
    h.schedule(before, replace(before, last_tick=h.now, next_tick=NEXT))


def test_changed_schedule_is_looked_at_soon() -> None:
    told = "'s' was written at 100.002 s, and was not checked by 110.002 s"

    def check(before: Schedule | None, after: Schedule) -> None:
        assert _unheeded(_scheduler(), before, after).breaks(HEEDED) == told

    check_each({"created": (None, NEW), "edited": (HOURLY, DAILY), "resumed": (STOPPED, NEW)}, check)
    h = _unheeded(_scheduler(), HOURLY, DAILY)
    _decided(h, DAILY)
    assert h.breaks(HEEDED) == told, "it was looked at too late"
    h = _unheeded(_scheduler(), HOURLY, DAILY, 1.0)
    assert h.holds(HEEDED), "the run ended soon"
    _decided(h, DAILY)
    h.wait(10.0)
    assert h.verdict() is None


def test_each_change_has_its_own_time() -> None:
    h = _unheeded(_scheduler(), HOURLY, DAILY, 1.8)
    h.schedule(DAILY, NEW)
    h.wait(1.8)
    assert h.holds(HEEDED), "it was edited again"
    h.wait(1.0)
    assert h.breaks(HEEDED).startswith("'s' was written at 101.802 s")
    h = _unheeded(_scheduler(), None, NEW, 1.8)
    h.schedule(NEW, None)
    h.schedule(None, NEW)
    h.wait(1.8)
    assert h.holds(HEEDED), "it was created again"
    h = _unheeded(_scheduler(), HOURLY, DAILY, 1.8)
    h.schedule(DAILY, replace(DAILY, description="every day"))
    h.wait(1.8)
    assert h.breaks(HEEDED).startswith("'s' was written at 100.002 s"), "only its description changed"


def test_changes_without_a_preceding_read() -> None:
    def check(*written: Schedule | None) -> None:
        h = _scheduler()
        before: Schedule | None = HOURLY
        for after in written:
            _unheeded(h, before, after, 1.0)
            before = after
        h.wait(10.0)
        assert h.holds(HEEDED)

    cases = {
        "dropped": (None,),
        "paused": (replace(NEW, paused=True),),
        "other payload": (replace(HOURLY, data="1"),),
        "edited and dropped": (DAILY, None),
        "edited and paused": (DAILY, replace(DAILY, paused=True)),
    }
    check_each(cases, check)


def _without_quiet_phase(h: History) -> None:
    h.events = [event for event in h.events if not isinstance(event, Phase)]


def test_scheduler_that_can_not_look_is_excused() -> None:
    def check(happens: Callable[[History], object]) -> None:
        h = _scheduler()
        happens(h)
        assert _unheeded(h, HOURLY, DAILY).holds(HEEDED)

    lives = ("killed", "paused", "partitioned", "stopping")
    cases: dict[str, Callable[[History], object]] = {
        **{what: lambda h, what=what: h.lived("s1", what) for what in lives},
        "its look hangs": lambda h: h.invoke("lock_due_schedules", "s1", 2, limit=50),
        "faults go on": _without_quiet_phase,
    }
    check_each(cases, check)
    h = History()
    h.phase("quiet")
    h.wait(100.0)
    assert _unheeded(h, HOURLY, DAILY).holds(HEEDED), "there is no scheduler"


def test_scheduler_looks_soon_after_it_recovered() -> None:
    for waited, holds in ((20.0, True), (40.0, False)):
        h = _scheduler()
        h.answer(h.invoke("lock_due_schedules", "s1", 2, limit=50), "refused", outcome="failed")
        assert _unheeded(h, HOURLY, DAILY, waited).holds(HEEDED) is holds
