"""Scenarios of schedules, versions, transactions, watchers, and children: situations that occur."""

from __future__ import annotations

import functools
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from tests.cases import check_each
from tests.scenarios import load
from tests.scenarios.cron import NIGHTS
from tests.scenarios.watch import TRIES
from tests.sim.runs import answers, changes, inserted, of, outcomes
from zeke_queue.core import jsonb
from zeke_queue.errors import ResultTimeoutError
from zeke_queue.model import JobStatus, RowState
from zeke_queue.task.run import Run
from zeke_sim.experiment.run import run
from zeke_sim.history.events import (
    Answered,
    Began,
    Change,
    Effect,
    Ended,
    Invoked,
    Lived,
    Notified,
    QueueRow,
    ScheduleRow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from zeke_sim.history.events import Event, Image

pytestmark = pytest.mark.nightly


def histories(name: str) -> list[Sequence[Event]]:
    return [outcome.events for outcome in outcomes(name)]


# cron


class Served(NamedTuple):
    """What one transaction decided about a schedule: from its row, up to when, and the ticks with a job."""

    node: str
    before: Any
    last_tick: datetime
    sent: list[datetime]
    ids: list[Any]


def served(events: Sequence[Event]) -> Iterator[Served]:
    """Yield what schedulers decided, of the transactions that were begun."""
    answered = {event.call: event for event in of(events, Answered)}
    found: dict[int, dict[str, Any]] = {}
    decided: dict[int, list[Invoked]] = {}
    for event in of(events, Invoked):
        if event.transaction is None:
            continue
        if event.verb == "lock_due_schedules" and (one := answered.get(event.call)) and one.outcome == "ok":
            found[event.transaction] = {schedule.name: schedule for schedule in one.result[1]}
        elif event.verb == "record_tick":
            decided.setdefault(event.transaction, []).append(event)
        elif event.verb == "commit":
            yield from decisions(event, decided.pop(event.transaction, []), found, events, answered)


def decisions(
    commit: Invoked, calls: list[Invoked], found: Any, events: Sequence[Event], answered: Any
) -> Iterator[Served]:
    for call in calls:
        name, sent, ids = call.args["name"], [], []
        for insert in of(events, Invoked, verb="insert", transaction=commit.transaction):
            one = answered.get(insert.call)
            result = one.result if one and one.outcome == "ok" else [None] * len(insert.args["jobs"])
            for job, job_id in zip(insert.args["jobs"], result, strict=True):
                meta = jsonb.loads(job.meta)
                if meta["schedule"] == name:
                    sent.append(datetime.fromisoformat(meta["tick"]))
                    ids.append(job_id)
        yield Served(commit.node, found[commit.transaction][name], call.args["last_tick"], sent, ids)


@functools.cache
def all_served() -> list[list[Served]]:
    return [list(served(events)) for events in histories("cron")]


def somewhere(holds: Callable[[Served], bool]) -> bool:
    return any(holds(one) for run_ in all_served() for one in run_)


def ticks_fall_into_the_gap_of_clocks() -> None:
    gaps = {
        night.change: night
        for night in NIGHTS
        if night.change.astimezone(ZoneInfo(night.zone)).utcoffset()
        > (night.change - timedelta(seconds=1)).astimezone(ZoneInfo(night.zone)).utcoffset()  # type: ignore[operator]
    }
    assert somewhere(
        lambda one: any(
            tick in gaps and one.before.cron in gaps[tick].touched and one.before.zone == gaps[tick].zone
            for tick in one.sent
        )
    )


def times_that_clocks_show_twice_are_served_once() -> None:
    def passes(one: Served) -> set[int]:
        zone = ZoneInfo(one.before.zone)
        shown = [tick.astimezone(zone) for tick in one.sent]
        return {
            wall.fold
            for wall in shown
            if one.before.cron.split()[1].isdecimal()
            and wall.replace(fold=0).utcoffset() != wall.replace(fold=1).utcoffset()
        }

    found = [passes(one) for run_ in all_served() for one in run_]
    assert set().union(*found) == {0}


def every_catch_up_policy_applies() -> None:
    assert somewhere(lambda one: one.before.catch_up == "all" and len(one.sent) > 3)
    assert somewhere(
        lambda one: (
            one.before.catch_up == "once"
            and len(one.sent) == 1
            and one.before.next_tick is not None
            and one.sent[0] > one.before.next_tick
        )
    )
    assert somewhere(
        lambda one: (
            one.before.catch_up == "skip"
            and not one.sent
            and one.before.next_tick is not None
            and one.last_tick >= one.before.next_tick
        )
    )


def tick_is_refused_for_its_key() -> None:
    assert somewhere(lambda one: None in one.ids and one.before.options.get("singleton_key") is not None)


def two_schedulers_serve_one_schedule() -> None:
    assert any(
        len({one.node for one in run_ if one.sent and one.before.name == name}) == 2
        for run_ in all_served()
        for name in {one.before.name for one in run_}
    )


def schedules_are_edited_paused_and_recreated() -> None:
    def rows(events: Sequence[Event]) -> list[tuple[str, Any, Any]]:
        return [(row.name, row.before, row.after) for row in of(events, ScheduleRow)]

    changes = [row for events in histories("cron") for row in rows(events)]
    both = [(before, after) for _, before, after in changes if before is not None and after is not None]
    assert any(before.cron != after.cron and before.last_tick is not None for before, after in both)
    assert any(after.paused and not before.paused for before, after in both)
    assert any(before.paused and not after.paused for before, after in both)
    assert any(
        after is None
        and any(name == again and row is not None and was is None for again, was, row in run_[place:])
        for run_ in (rows(events) for events in histories("cron"))
        for place, (name, _, after) in enumerate(run_)
    )


def all_schedulers_are_killed_together() -> None:
    def away(events: Sequence[Event]) -> bool:
        lives = [life for life in of(events, Lived) if life.node.startswith("s")]
        killed = [life for life in lives if life.what == "killed"]
        return any(
            len({life.node for life in killed if life.at == at}) == len({life.node for life in lives})
            for at in {life.at for life in killed}
        )

    assert any(away(events) for events in histories("cron"))


# deploy


def each_version_runs_jobs_of_the_other() -> None:
    by_default, by_old = False, False
    for events in histories("deploy"):
        rows = inserted(events)
        for ended in of(events, Ended, task="resize", how="returned"):
            sent = jsonb.loads(rows[ended.job].data or "")
            by_default |= "colour" not in sent and "colour" in ended.value
            by_old |= "colour" in sent and "colour" not in ended.value
    assert by_default
    assert by_old


def job_of_old_name_runs_under_new_name() -> None:
    assert any(
        event.job in {row.after.id for row in of(events, Change) if row.after and row.after.name == "greet"}
        for events in histories("deploy")
        for event in of(events, Began, task="welcome")
    )


def process_restarts_as_the_new_version() -> None:
    assert any(
        events.index(stopping) < events.index(began)
        for events in histories("deploy")
        for stopping in of(events, Lived, node="o1", what="stopping")
        for began in of(events, Began, node="o1", task="thumb")
    )


def versions_change_limits_and_schedules() -> None:
    limits = [
        {row.concurrency_limit for row in of(events, QueueRow, name="resize")}
        for events in histories("deploy")
    ]
    assert max(map(len, limits)) > 1
    crons = [
        [row.after.cron for row in of(events, ScheduleRow, name="tidy") if row.after]
        for events in histories("deploy")
    ]
    assert any(sum(one != other for one, other in pairwise(run_)) > 1 for run_ in crons)


# transactions


def endings(events: Sequence[Event]) -> dict[int, str | None]:
    """Return how each transaction that sent something ended, as its client knows; None without a commit."""
    sent = {
        event.transaction for event in of(events, Invoked, verb="insert") if event.transaction is not None
    }
    commits = {event.transaction: event.call for event in of(events, Invoked, verb="commit")}
    heard = {event.call: event.outcome for event in of(events, Answered, verb="commit")}
    return {one: heard.get(commits[one], "unheard") if one in commits else None for one in sent}


def jobs_of(events: Sequence[Event], transaction: int) -> set[Any]:
    inserts = of(events, Invoked, verb="insert", transaction=transaction)
    return {job.id for insert in inserts for job in insert.args["jobs"]}


def transactions_commit_roll_back_and_get_lost() -> None:
    seen = [(events, inserted(events).keys(), endings(events)) for events in histories("transactions")]
    ended = {
        (how, bool(jobs_of(events, one) & rows)) for events, rows, ends in seen for one, how in ends.items()
    }
    # Rolled back; committed; committed, and the client does not know; not committed, likewise.
    assert {(None, False), ("ok", True), ("unknown", True), ("unknown", False)} <= ended


def rolled_back_orders_leave_no_row_and_no_job() -> None:
    for events in histories("transactions"):
        orders = {event.key.partition(" is ")[0] for event in of(events, Effect)}
        placed = {
            jsonb.loads(row.data or "")["order"] for row in inserted(events).values() if row.name == "ship"
        }
        assert orders == placed


def send_waits_for_transaction_with_its_key() -> None:
    def waits(events: Sequence[Event]) -> Iterator[float]:
        for call, answer in answers(events, "insert"):
            if call.transaction is not None and answer.outcome == "ok" and call.args["jobs"][0].singleton_key:
                yield answer.at - call.at

    assert max(wait for events in histories("transactions") for wait in waits(events)) > 1.0


def handler_repeats_lost_transaction_once() -> None:
    def notices(events: Sequence[Event]) -> Iterator[bool]:
        rows = inserted(events)
        for insert in of(events, Invoked, verb="insert"):
            for job in insert.args["jobs"]:
                if job.name == "notify" and job.id not in rows:
                    yield sum((row.name, row.parent) == ("notify", job.parent) for row in rows.values()) == 1

    assert any(one for events in histories("transactions") for one in notices(events))


def jobs_are_cancelled_in_transactions() -> None:
    assert any(
        row.after and row.after.state is RowState.CANCELLED
        for events in histories("transactions")
        for row in of(events, Change)
    )


# watch


def streams(events: Sequence[Event]) -> dict[int, list[tuple[JobStatus, int]]]:
    told: dict[int, list[tuple[JobStatus, int]]] = {}
    for event in of(events, Notified):
        told.setdefault(event.watch, []).append((event.status, event.attempt))
    return told


def watchers_see_retries_and_every_end() -> None:
    seen = [stream for events in histories("watch") for stream in streams(events).values()]
    assert any(
        (JobStatus.EXECUTING, 1) in stream and any(attempt > 1 for _, attempt in stream) for stream in seen
    )
    ends = {stream[-1][0] for stream in seen}
    assert {JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELLED} <= ends


def watchers_start_again_after_outage() -> None:
    assert any(watch % TRIES for events in histories("watch") for watch in streams(events))


def progress_is_read_while_jobs_run() -> None:
    assert any(
        answer.outcome == "ok" and answer.result
        for events in histories("watch")
        for _, answer in answers(events, "events")
    )


def waits_time_out() -> None:
    waits: list[str] = []
    result = Run.result

    async def counted(self: Run[Any], timeout: float | None = None) -> Any:
        try:
            got = await result(self, timeout)
        except ResultTimeoutError:
            waits.append("timed out")
            raise
        waits.append("got")
        return got

    scenario = load("watch")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "result", counted)
        for seed in range(10):
            run(scenario, scenario.plan(seed))
    assert {"timed out", "got"} <= set(waits)


# waiting


def woken(events: Sequence[Event]) -> Iterator[tuple[Image, str]]:
    """Yield the rows that stopped waiting for another job, each with the verb that did it."""
    verbs = {event.call: event.verb for event in events if isinstance(event, Invoked)}
    for event, before, after in changes(events):
        if before.waits_for is not None and after.waits_for is None and event.call is not None:
            yield after, verbs[event.call]


def parents_are_woken_by_every_end_and_by_sweeps() -> None:
    verbs = Counter(
        verb
        for events in histories("waiting")
        for row, verb in woken(events)
        if row.state is RowState.CREATED
    )
    assert set(verbs) >= {"settle", "resume_waiting"}
    assert not {"cancel", "commit"}.isdisjoint(verbs)
    assert verbs.total() > len(histories("waiting"))


def parents_see_children_end_in_every_state() -> None:
    seen: set[str] = set()
    most = 0
    for events in histories("waiting"):
        for event in of(events, Ended, how="returned"):
            states = [state for _, state in event.value["seen"]]
            seen.update(states)
            most = max(most, len(states))
    assert seen == {"completed", "failed", "expired", "cancelled"}
    assert most >= 3


def children_are_cancelled_with_waiting_and_active_parents() -> None:
    was = {
        (before.state, before.parent is not None)
        for events in histories("waiting")
        for _, before, after in changes(events)
        if after.state is RowState.CANCELLED and before.state is not after.state
    }
    assert was >= {(state, child) for state in (RowState.CREATED, RowState.ACTIVE) for child in (False, True)}


def resumed(events: Sequence[Event]) -> Iterator[tuple[Image, bool, list[Image]]]:
    """Yield each resumed job, whether it was requested, and its children cancelled before it."""
    named = {
        call.call: call.args["ids"] for call in events if isinstance(call, Invoked) and "ids" in call.args
    }
    rows: dict[UUID, Image] = {}
    for event in events:
        if not isinstance(event, Change) or (after := event.after) is None:
            continue
        before = event.before
        if before is not None and before.state is RowState.CANCELLED and after.state is RowState.CREATED:
            earlier = [
                row
                for row in rows.values()
                if (row.parent, row.awaited, row.state) == (after.id, True, RowState.CANCELLED)
                if row.completed_on and before.completed_on and row.completed_on < before.completed_on
            ]
            assert event.call is not None
            yield after, after.id in named[event.call], earlier
        rows[after.id] = after


def parents_are_resumed_with_children_cancelled_along() -> None:
    back = [found for events in histories("waiting") for found in resumed(events)]
    assert any(not by_name for _, by_name, _ in back)
    assert any(earlier for _, _, earlier in back)


def second_wait_for_an_end_is_refused() -> None:
    assert any(
        any(len(chain) == 1 and chain[0] != job for job, chain in event.result.refused.items())
        for events in histories("waiting")
        for event in of(events, Answered, verb="suspend", outcome="ok")
    )


def spawn_of_lost_job_is_refused() -> None:
    assert any(
        "no longer" in str(event.result)
        for events in histories("waiting")
        for event in of(events, Answered, verb="insert_child")
    )


SITUATIONS: dict[str, list[Callable[[], None]]] = {
    "cron": [
        ticks_fall_into_the_gap_of_clocks,
        times_that_clocks_show_twice_are_served_once,
        every_catch_up_policy_applies,
        tick_is_refused_for_its_key,
        two_schedulers_serve_one_schedule,
        schedules_are_edited_paused_and_recreated,
        all_schedulers_are_killed_together,
    ],
    "deploy": [
        each_version_runs_jobs_of_the_other,
        job_of_old_name_runs_under_new_name,
        process_restarts_as_the_new_version,
        versions_change_limits_and_schedules,
    ],
    "transactions": [
        transactions_commit_roll_back_and_get_lost,
        rolled_back_orders_leave_no_row_and_no_job,
        send_waits_for_transaction_with_its_key,
        handler_repeats_lost_transaction_once,
        jobs_are_cancelled_in_transactions,
    ],
    "watch": [
        watchers_see_retries_and_every_end,
        watchers_start_again_after_outage,
        progress_is_read_while_jobs_run,
        waits_time_out,
    ],
    "waiting": [
        parents_are_woken_by_every_end_and_by_sweeps,
        parents_see_children_end_in_every_state,
        children_are_cancelled_with_waiting_and_active_parents,
        parents_are_resumed_with_children_cancelled_along,
        second_wait_for_an_end_is_refused,
        spawn_of_lost_job_is_refused,
    ],
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_scenario_violates_no_property_and_its_situations_occur(name: str) -> None:
    assert [outcome.violation for outcome in outcomes(name) if outcome.violation] == []
    check_each({one.__name__: one for one in SITUATIONS[name]}, lambda check: check())
