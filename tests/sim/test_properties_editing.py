"""What schedules keep through edits, pauses and redeployments: histories that hold, and such as break it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.sim.histories import EPOCH, History
from zeke_queue.model import CatchUp, NewJob, Schedule
from zeke_sim.history import ScheduleRow
from zeke_sim.properties import by_name

PAUSED = "a paused schedule serves nothing"
EDITED = "an edit outlives a redeploy"
ONE_ID = "one occurrence has one id"
HEEDED = "an edit is heeded soon"

NEXT = EPOCH + timedelta(hours=1)
HOURLY = Schedule("s", "0 * * * *", "a", last_tick=EPOCH, next_tick=NEXT)
DAILY = replace(HOURLY, cron="0 9 * * *", last_tick=None, next_tick=None)
NEW = replace(HOURLY, last_tick=None, next_tick=None)
STOPPED = replace(HOURLY, paused=True)


def _holds(h: History, name: str) -> bool:
    return h.verdict(by_name(name)) is None


# Pauses.


def test_a_schedule_that_is_served_while_it_is_paused() -> None:
    h = History()
    h.schedule(HOURLY, STOPPED)
    h.schedule(STOPPED, replace(STOPPED, last_tick=NEXT))
    assert h.breaks(PAUSED) == f"'s' is paused, and had decided up to {EPOCH}, and has up to {NEXT}"


def test_a_schedule_that_is_new_and_served_while_it_is_paused() -> None:
    h = History()
    h.schedule(replace(NEW, paused=True), STOPPED)
    assert h.breaks(PAUSED) == f"'s' is paused, and had decided up to None, and has up to {EPOCH}"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (HOURLY, replace(HOURLY, last_tick=NEXT)),
        (HOURLY, replace(STOPPED, last_tick=NEXT)),
        (STOPPED, NEW),
        (STOPPED, replace(STOPPED, cron="5 * * * *", last_tick=None, next_tick=None)),
        (STOPPED, replace(STOPPED, data='{"n":1}')),
        (None, STOPPED),
        (STOPPED, None),
    ],
)
def test_what_else_happens_to_a_schedule_and_its_pauses(
    before: Schedule | None, after: Schedule | None
) -> None:
    h = History()
    h.schedule(before, after)
    assert _holds(h, PAUSED)


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


def test_a_redeploy_that_undoes_an_edit() -> None:
    h = History()
    _ask(h, DAILY)
    _written(h, HOURLY, DAILY, HOURLY, HOURLY)
    _written(h, DAILY, NEW, HOURLY, HOURLY)
    assert h.breaks(EDITED) == (
        "'s' was 0 9 * * * in UTC, and is 0 * * * * in UTC, which nobody asked for; and code declares what it"
        " did"
    )


def test_a_redeploy_that_undoes_a_pause() -> None:
    h = History()
    _ask(h, STOPPED)
    _written(h, HOURLY, STOPPED, HOURLY, HOURLY)
    _written(h, STOPPED, NEW, HOURLY, HOURLY)
    assert h.breaks(EDITED).startswith("'s' was 0 * * * * in UTC (paused), and is 0 * * * * in UTC, which")


@pytest.mark.parametrize(
    "change",
    [
        {"cron": "5 * * * *"},
        {"zone": "Europe/Berlin"},
        {"task": "b"},
        {"data": '{"n":2}'},
        {"catch_up": CatchUp.ALL},
        {"paused": True},
    ],
)
def test_a_change_that_nobody_asked_for(change: dict[str, Any]) -> None:
    after = replace(HOURLY, **change)
    h = _written(History(), HOURLY, after, HOURLY, HOURLY)
    assert h.breaks(EDITED).endswith("which nobody asked for; and code declares what it did")
    h = History()
    _ask(h, replace(after, name="another"))
    assert not _holds(_written(h, HOURLY, after, HOURLY, HOURLY), EDITED)
    h = History()
    _ask(h, after)
    assert _holds(_written(h, HOURLY, after, HOURLY, HOURLY), EDITED)


def test_an_edit_whose_payload_is_stored_in_other_words() -> None:
    h = History()
    _ask(h, replace(HOURLY, data='{"n":1.50,"b":[]}'))
    _written(h, HOURLY, replace(HOURLY, data='{"b": [], "n": 1.50}'), HOURLY, HOURLY)
    assert _holds(h, EDITED)


def test_an_edit_whose_answer_was_lost() -> None:
    h = History()
    call = h.invoke("put_schedule", schedule=DAILY)
    _written(h, HOURLY, DAILY, HOURLY, HOURLY)
    h.answer(call, outcome="unknown")
    assert _holds(h, EDITED)


@pytest.mark.parametrize("declared", [(HOURLY, DAILY), (None, DAILY), (HOURLY, None), (None, None)])
def test_code_that_declares_something_new_or_nothing(declared: tuple[Schedule | None, ...]) -> None:
    assert _holds(_written(History(), HOURLY, DAILY, *declared), EDITED)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, HOURLY),
        (HOURLY, None),
        (HOURLY, replace(HOURLY, last_tick=NEXT, next_tick=NEXT + timedelta(hours=1))),
        (HOURLY, replace(HOURLY, description="every hour")),
    ],
)
def test_what_is_no_edit(before: Schedule | None, after: Schedule | None) -> None:
    assert _holds(_written(History(), before, after, HOURLY, HOURLY), EDITED)


# Occurrences.


def _job(tick: datetime, number: int, name: str = "s", **columns: Any) -> NewJob:
    meta = f'{{"schedule":"{name}","tick":"{tick.isoformat()}"}}'
    return NewJob(UUID(int=number), "a", meta=meta, **columns)


def _sent(*jobs: NewJob) -> History:
    """Each is sent by a scheduler of its own, and no answer comes."""
    h = History()
    for number, job in enumerate(jobs):
        h.answer(h.invoke("insert", f"s{number}", jobs=(job,)), outcome="unknown")
    return h


def test_an_occurrence_that_is_sent_as_two_jobs() -> None:
    text = _sent(_job(NEXT, 1), _job(NEXT, 2)).breaks(ONE_ID)
    assert text == f"'s' of {NEXT} is sent as {UUID(int=2)}, and was sent as {UUID(int=1)}"


def test_two_jobs_for_an_occurrence_in_one_send() -> None:
    h = History()
    h.invoke("insert", "s1", jobs=(_job(NEXT, 1), _job(NEXT, 2)))
    assert h.breaks(ONE_ID).startswith(f"'s' of {NEXT} is sent as {UUID(int=2)}")


@pytest.mark.parametrize(
    "second",
    [
        _job(NEXT, 1),
        _job(NEXT + timedelta(hours=1), 2),
        _job(NEXT, 2, "another"),
        _job(NEXT, 2, parent=UUID(int=1)),
        NewJob(UUID(int=2), "a"),
        NewJob(UUID(int=2), "a", meta='{"tick":"never"}'),
    ],
)
def test_what_may_be_sent_after_an_occurrence(second: NewJob) -> None:
    assert _holds(_sent(_job(NEXT, 1), second), ONE_ID)


# Schedules that start anew.


def _scheduler(*, quiet: bool = True) -> History:
    """A scheduler looks, and has recovered from whatever there was long ago."""
    h = History()
    h.lived("s1", "started")
    h.answer(h.invoke("due_schedules", "s1", 1, limit=50), (h.now, []))
    if quiet:
        h.phase("quiet")
    h.wait(100.0)
    return h


def _unheeded(h: History, before: Schedule | None, after: Schedule | None, seconds: float = 10.0) -> History:
    h.schedule(before, after)
    h.wait(seconds)
    return h


def _decided(h: History, before: Schedule) -> None:
    h.schedule(before, replace(before, last_tick=h.now, next_tick=NEXT))


@pytest.mark.parametrize(("before", "after"), [(None, NEW), (HOURLY, DAILY), (STOPPED, NEW)])
def test_a_schedule_at_which_nobody_looks(before: Schedule | None, after: Schedule) -> None:
    text = _unheeded(_scheduler(), before, after).breaks(HEEDED)
    assert text == "'s' was written at 100.002 s, and nobody has looked at it by 110.002 s"


def test_a_schedule_at_which_somebody_looks_late() -> None:
    h = _unheeded(_scheduler(), HOURLY, DAILY)
    _decided(h, DAILY)
    assert h.breaks(HEEDED) == "'s' was written at 100.002 s, and nobody has looked at it by 110.002 s"


def test_a_schedule_that_is_decided_on_soon() -> None:
    h = _unheeded(_scheduler(), HOURLY, DAILY, 1.0)
    _decided(h, DAILY)
    h.wait(10.0)
    assert h.verdict() is None


def test_a_run_that_ends_just_after_an_edit() -> None:
    assert _holds(_unheeded(_scheduler(), HOURLY, DAILY, 1.0), HEEDED)


def test_an_edit_of_an_edit_is_heeded_after_its_own_time() -> None:
    h = _unheeded(_scheduler(), HOURLY, DAILY, 1.8)
    h.schedule(DAILY, NEW)
    h.wait(1.8)
    assert _holds(h, HEEDED)
    h.wait(1.0)
    assert h.breaks(HEEDED).startswith("'s' was written at 101.802 s")


def test_a_schedule_that_is_made_again_is_heeded_after_its_own_time() -> None:
    h = _unheeded(_scheduler(), None, NEW, 1.8)
    h.schedule(NEW, None)
    h.schedule(None, NEW)
    h.wait(1.8)
    assert _holds(h, HEEDED)


def test_the_same_said_again_gives_no_more_time() -> None:
    h = _unheeded(_scheduler(), HOURLY, DAILY, 1.8)
    h.schedule(DAILY, replace(DAILY, description="every day"))
    h.wait(1.8)
    assert h.breaks(HEEDED).startswith("'s' was written at 100.002 s")


@pytest.mark.parametrize("after", [None, replace(NEW, paused=True), replace(HOURLY, data="1")])
def test_a_schedule_for_which_nothing_is_to_be_done(after: Schedule | None) -> None:
    assert _holds(_unheeded(_scheduler(), HOURLY, after), HEEDED)


@pytest.mark.parametrize("after", [None, replace(DAILY, paused=True)])
def test_a_schedule_that_is_dropped_or_paused_before_anybody_looks(after: Schedule | None) -> None:
    h = _unheeded(_scheduler(), HOURLY, DAILY, 1.0)
    h.schedule(DAILY, after)
    h.wait(10.0)
    assert _holds(h, HEEDED)


@pytest.mark.parametrize("what", ["killed", "paused", "cut", "stopping"])
def test_a_scheduler_that_is_not_well(what: str) -> None:
    h = _scheduler()
    h.lived("s1", what)
    assert _holds(_unheeded(h, HOURLY, DAILY), HEEDED)


def test_a_scheduler_whose_look_hangs() -> None:
    h = _scheduler()
    h.invoke("due_schedules", "s1", 2, limit=50)
    assert _holds(_unheeded(h, HOURLY, DAILY), HEEDED)


def test_a_scheduler_that_recovers() -> None:
    for waited, holds in ((20.0, True), (40.0, False)):
        h = _scheduler()
        h.answer(h.invoke("due_schedules", "s1", 2, limit=50), "refused", outcome="failed")
        assert _holds(_unheeded(h, HOURLY, DAILY, waited), HEEDED) is holds


def test_a_run_in_which_faults_go_on() -> None:
    assert _holds(_unheeded(_scheduler(quiet=False), HOURLY, DAILY), HEEDED)


def test_a_run_without_a_scheduler() -> None:
    h = History()
    h.phase("quiet")
    h.wait(100.0)
    assert _holds(_unheeded(h, HOURLY, DAILY), HEEDED)
