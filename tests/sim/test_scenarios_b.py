"""The scenarios of schedules, versions, transactions, watchers and the web: green, and not for nothing."""

from __future__ import annotations

import functools
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest

from zeke_queue.core import jsonb
from zeke_queue.errors import ResultTimeout
from zeke_queue.model import JobState, RunStatus
from zeke_queue.queue import Queue
from zeke_sim.history import (
    Answered,
    Began,
    Change,
    Effect,
    Ended,
    Fault,
    Invoked,
    Lived,
    QueueRow,
    ScheduleRow,
    Told,
)
from zeke_sim.run import run
from zeke_sim.scenario import load
from zeke_sim.scenarios.cron import NIGHTS
from zeke_sim.scenarios.watch import TRIES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from zeke_sim.history import Event
    from zeke_sim.run import Outcome

SEEDS = range(40)


@functools.cache
def outcomes(name: str) -> list[Outcome]:
    scenario = load(name)
    return [run(scenario, scenario.plan(seed)) for seed in SEEDS]


def histories(name: str) -> list[Sequence[Event]]:
    return [outcome.events for outcome in outcomes(name)]


def of(events: Sequence[Event], kind: type, **wanted: Any) -> list[Any]:
    return [
        event
        for event in events
        if type(event) is kind and all(getattr(event, name) == value for name, value in wanted.items())
    ]


def answers(events: Sequence[Event], verb: str) -> Iterator[tuple[Invoked, Answered]]:
    """Yield the calls of a verb that were answered, with their answers."""
    calls = {event.call: event for event in of(events, Invoked, verb=verb)}
    for event in of(events, Answered, verb=verb):
        if event.call in calls:
            yield calls[event.call], event


@pytest.mark.parametrize("name", ["cron", "deploy", "slice", "transactions", "watch"])
def test_all_is_well(name: str) -> None:
    assert [outcome.violation for outcome in outcomes(name) if outcome.violation] == []


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
        if event.verb == "due_schedules" and (one := answered.get(event.call)) and one.outcome == "ok":
            found[event.transaction] = {schedule.name: schedule for schedule in one.result[1]}
        elif event.verb == "serve_ticks":
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


def test_appointments_fall_into_the_gap() -> None:
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


def test_appointments_that_clocks_show_twice_are_kept_the_first_time_only() -> None:
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


def test_many_ticks_are_caught_up_on_one_for_many_and_none() -> None:
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


def test_a_rule_refuses_a_tick() -> None:
    assert somewhere(lambda one: None in one.ids and one.before.options.get("singleton_key") is not None)


def test_two_schedulers_serve_one_schedule() -> None:
    assert any(
        len({one.node for one in run_ if one.sent and one.before.name == name}) == 2
        for run_ in all_served()
        for name in {one.before.name for one in run_}
    )


def test_schedules_are_edited_paused_dropped_and_made_again_while_they_fire() -> None:
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


def test_all_schedulers_are_away_for_many_ticks() -> None:
    def away(events: Sequence[Event]) -> bool:
        lives = [life for life in of(events, Lived) if life.node.startswith("s")]
        killed = [life for life in lives if life.what == "killed"]
        return any(
            len({life.node for life in killed if life.at == at}) == len({life.node for life in lives})
            for at in {life.at for life in killed}
        )

    assert any(away(events) for events in histories("cron"))


# deploy


def test_each_version_does_what_the_other_sent() -> None:
    by_default, by_old = False, False
    for events in histories("deploy"):
        data = {
            row.after.id: row.after.data for row in of(events, Change) if row.after and row.before is None
        }
        for ended in of(events, Ended, task="resize", how="returned"):
            sent = jsonb.loads(data[ended.job])
            by_default |= "colour" not in sent and "colour" in ended.value
            by_old |= "colour" in sent and "colour" not in ended.value
    assert by_default
    assert by_old


def test_what_is_sent_under_the_old_name_is_done_under_the_new_one() -> None:
    assert any(
        event.job in {row.after.id for row in of(events, Change) if row.after and row.after.name == "greet"}
        for events in histories("deploy")
        for event in of(events, Began, task="welcome")
    )


def test_processes_come_back_as_the_new_version() -> None:
    assert any(
        events.index(stopping) < events.index(began)
        for events in histories("deploy")
        for stopping in of(events, Lived, node="o1", what="stopping")
        for began in of(events, Began, node="o1", task="thumb")
    )


def test_versions_change_limits_and_schedules_back_and_forth() -> None:
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


def born(events: Sequence[Event]) -> set[Any]:
    return {row.after.id for row in of(events, Change, table="job", before=None) if row.after}


def test_transactions_commit_roll_back_and_are_lost() -> None:
    seen = [(events, born(events), endings(events)) for events in histories("transactions")]
    ended = {
        (how, bool(jobs_of(events, one) & rows)) for events, rows, ends in seen for one, how in ends.items()
    }
    # Rolled back; committed; committed, and the client does not know; not committed, likewise.
    assert {(None, False), ("ok", True), ("unknown", True), ("unknown", False)} <= ended


def test_an_order_whose_shop_changed_its_mind_is_neither_a_row_nor_a_job() -> None:
    for events in histories("transactions"):
        orders = {event.key.partition(" is ")[0] for event in of(events, Effect)}
        placed = {
            jsonb.loads(row.after.data)["order"]
            for row in of(events, Change, table="job", before=None)
            if row.after and row.after.name == "ship"
        }
        assert orders == placed


def test_a_send_waits_for_the_transaction_that_holds_its_key() -> None:
    def waits(events: Sequence[Event]) -> Iterator[float]:
        for call, answer in answers(events, "insert"):
            if call.transaction is not None and answer.outcome == "ok" and call.args["jobs"][0].singleton_key:
                yield answer.at - call.at

    assert max(wait for events in histories("transactions") for wait in waits(events)) > 1.0


def test_a_handler_loses_its_transaction_and_sends_its_child_once_in_the_end() -> None:
    def notices(events: Sequence[Event]) -> Iterator[bool]:
        rows = born(events)
        for insert in of(events, Invoked, verb="insert"):
            for job in insert.args["jobs"]:
                if job.name == "notify" and job.id not in rows:
                    siblings = [
                        row.after
                        for row in of(events, Change, table="job", before=None)
                        if row.after and row.after.name == "notify" and row.after.parent == job.parent
                    ]
                    yield len(siblings) == 1

    assert any(one for events in histories("transactions") for one in notices(events))


def test_jobs_are_cancelled_in_transactions() -> None:
    assert any(
        row.after and row.after.state is JobState.CANCELLED
        for events in histories("transactions")
        for row in of(events, Change)
    )


# watch


def streams(events: Sequence[Event]) -> dict[int, list[tuple[RunStatus, int]]]:
    told: dict[int, list[tuple[RunStatus, int]]] = {}
    for event in of(events, Told):
        told.setdefault(event.watch, []).append((event.status, event.attempt))
    return told


def test_watchers_see_retries_cancellations_failures_and_ends() -> None:
    seen = [stream for events in histories("watch") for stream in streams(events).values()]
    assert any(
        (RunStatus.EXECUTING, 1) in stream and any(attempt > 1 for _, attempt in stream) for stream in seen
    )
    ends = {stream[-1][0] for stream in seen}
    assert {RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED} <= ends


def test_watchers_begin_anew_after_an_outage() -> None:
    assert any(watch % TRIES for events in histories("watch") for watch in streams(events))


def test_progress_is_read_while_jobs_run() -> None:
    assert any(
        answer.outcome == "ok" and answer.result
        for events in histories("watch")
        for _, answer in answers(events, "events")
    )


def test_waits_time_out(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[str] = []
    result = Queue.result

    async def counted(self: Queue, job_id: Any, timeout: float | None = None) -> Any:
        try:
            got = await result(self, job_id, timeout)
        except ResultTimeout:
            waits.append("timed out")
            raise
        waits.append("got")
        return got

    monkeypatch.setattr(Queue, "result", counted)
    scenario = load("watch")
    for seed in range(10):
        run(scenario, scenario.plan(seed))
    assert {"timed out", "got"} <= set(waits)


# slice


def test_the_web_makes_jobs_wait_and_fail() -> None:
    told = {
        jsonb.loads(row.after.output)["type"]
        for events in histories("slice")
        for row in of(events, Change, table="job")
        if row.after and row.after.output and row.after.state in {JobState.RETRY, JobState.FAILED}
    }
    assert {"Retry", "Fail"} <= told


def test_a_tick_pulls_and_so_do_people_and_what_is_read_already_is_left_alone() -> None:
    reasons: set[Any] = set()
    unchanged = False
    for events in histories("slice"):
        for ended in of(events, Ended, task="ingest-source", how="returned"):
            unchanged |= bool(ended.value.get("notModified"))
        for row in of(events, Change, table="job", before=None):
            if row.after and row.after.name == "ingest-pull":
                reasons.add(jsonb.loads(row.after.data)["reason"])
    assert reasons == {"schedule", "manual"}
    assert unchanged


def test_workers_die_while_they_read_pages_and_people_retry_what_failed() -> None:
    died = any(
        life.at == fault.at and life.node == fault.node
        for events in histories("slice")
        for fault in of(events, Fault)
        if "fetch-content" in fault.address
        for life in of(events, Lived, what="killed")
    )
    assert died
    assert any(
        answer.outcome == "ok" and answer.result
        for events in histories("slice")
        for _, answer in answers(events, "retry")
    )
