"""Merging of a history: the call of each change, and the bounds of its time."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID

import pytest

from tests.cases import check_each
from tests.torture import merged_history
from tests.torture.attributing import attributed
from tests.torture.bounding import SEEN_AT_LAST, bounded
from tests.torture.merged_history import LEFT_OUT
from tests.torture.process import Part
from tests.torture.running import RULES
from tests.torture.tasks import options
from zeke_queue.model import (
    STATUS_OF,
    Completed,
    ExpiredJob,
    Failed,
    NewJob,
    QueueCapacity,
    RowState,
    Schedule,
    Suspensions,
    Waiting,
    WorkerInfo,
)
from zeke_sim.history.events import (
    Answered,
    Change,
    Event,
    Image,
    Invoked,
    Lived,
    Rules,
    ScheduleRow,
    Violation,
)
from zeke_sim.properties import ALL
from zeke_sim.properties.checker import Checker
from zeke_sim.properties.transitions import STEPS

BEGAN = datetime(2026, 1, 2, tzinfo=UTC)
JOB, OTHER, WORKER = UUID(int=1), UUID(int=2), UUID(int=3)
ROW = Image(
    *(JOB, "a", RowState.CREATED, 0, 0, 0, 3, 1),
    *(False, None, BEGAN, None, 60.0, BEGAN, None, None, None, None, None, None, None, None),
    *(False, 0),
)
ACTIVE = ROW._replace(state=RowState.ACTIVE, attempt=1, worker=WORKER, started_on=BEGAN)
DONE = ACTIVE._replace(state=RowState.COMPLETED)
CANCELLED = DONE._replace(state=RowState.CANCELLED)
RETRY = ACTIVE._replace(state=RowState.RETRY, start_after=BEGAN + timedelta(seconds=2.5), output="{}")
COMPLETED, FAILED = Completed(JOB, 1, None), Failed(JOB, 1, 1.0, "{}")


def change(at: float, before: Image | None, after: Image | None, call: int | None = None) -> Change:
    return Change(at, BEGAN + timedelta(seconds=at), "job", before, after, call, 1)


def call(
    number: int,
    verb: str,
    args: dict[str, Any],
    times: tuple[float, float | None],
    *,
    outcome: Any = "ok",
    result: Any = None,
    transaction: int | None = None,
) -> list[Event]:
    made, ended = times
    invoked = Invoked(made, "w1", number, verb, args, transaction)
    if ended is None:
        return [invoked]
    return [invoked, Answered(ended, "w1", number, verb, outcome, result, BEGAN + timedelta(seconds=made))]


def settle(number: int, times: tuple[float, float | None], *asked: Any, **more: Any) -> list[Event]:
    args = {"completed": (), "failed": (), "released": (), "repeated": False}
    for outcome in asked:
        args["completed" if isinstance(outcome, Completed) else "failed"] += (outcome,)
    return call(number, "settle", args, times, **more)


def whose(made: Change, *calls: list[Event]) -> int | None:
    events = sorted([made, *(event for some in calls for event in some)], key=lambda event: event.at)
    return next(event.call for event in attributed(events) if isinstance(event, Change))


def test_insert_belongs_to_the_call_that_named_the_job() -> None:
    jobs = {"jobs": (NewJob(JOB, "a"),)}
    others = {"jobs": (NewJob(OTHER, "a"),)}
    made = change(2, None, ROW)
    assert whose(made, call(1, "insert", others, (1, 3)), call(2, "insert", jobs, (1, 3))) == 2
    assert whose(made, call(1, "insert", jobs, (2.5, 3))) is None
    assert whose(made, call(1, "insert", jobs, (1, 1.5), result=[JOB])) is None
    assert whose(made, call(1, "insert", jobs, (1, 1.5), outcome="unknown")) == 1
    assert whose(made, call(1, "insert", jobs, (1, None))) == 1
    assert whose(made, call(1, "insert", jobs, (1, 3), outcome="failed")) is None


def test_calls_of_a_transaction_count_only_up_to_its_commit() -> None:
    sent = call(1, "insert", {"jobs": (NewJob(JOB, "a"),)}, (1, 1.5), transaction=7)
    made = change(3, None, ROW)
    assert whose(made, sent, call(2, "commit", {}, (2, 4), transaction=7)) == 1
    assert whose(made, sent, call(2, "commit", {}, (2, 2.5), transaction=7)) is None
    assert whose(made, sent, call(2, "commit", {}, (2, 2.5), transaction=7, outcome="unknown")) == 1
    assert whose(made, sent) is None


def test_claim_belongs_to_the_call_that_received_the_attempt() -> None:
    args = {"worker": WORKER, "capacity": (QueueCapacity("a", 1),), "limit": 1}
    made = change(2, ROW, ACTIVE)
    given = cast("Any", ACTIVE)
    assert (
        whose(made, call(1, "claim", args, (1, 3), result=[]), call(2, "claim", args, (1, 3), result=[given]))
        == 2
    )
    assert whose(made, call(1, "claim", args, (1, 3), outcome="unknown")) == 1
    unknown = [call(number, "claim", args, (1, 3), outcome="unknown") for number in (1, 2)]
    assert whose(made, *unknown) is None
    stranger = {**args, "worker": OTHER}
    assert whose(made, call(1, "claim", stranger, (1, None))) is None


def test_settlement_belongs_to_a_call_that_requested_it() -> None:
    made = change(2, ACTIVE, DONE)
    failing, completing = settle(1, (1, None), FAILED), settle(2, (1, None), COMPLETED)
    assert whose(made, failing, completing) == 2
    assert whose(change(2, ACTIVE, RETRY), failing, completing) == 1
    assert whose(made, settle(1, (1, 3), COMPLETED, result=set())) is None
    answered = settle(3, (1, 3), COMPLETED, result={JOB})
    assert whose(made, completing, answered) == 3


def test_answered_settlement_precedes_an_unanswered_one() -> None:
    verdict = Failed(JOB, 1, 1.0, '{"by": "k1"}')
    maintenance = settle(1, (1, 1.5), verdict, result={JOB}, transaction=7)
    commit = call(2, "commit", {}, (1.6, 9), transaction=7, outcome="unknown")
    workers = settle(3, (1, 3), verdict._replace(retry_in=2.0), result={JOB})
    after = RETRY._replace(output='{"by": "k1"}', start_after=BEGAN + timedelta(seconds=3.9))
    assert whose(change(2, ACTIVE, after), maintenance, commit, workers) == 3


def test_certain_settlement_precedes_a_possible_one() -> None:
    maybe = settle(1, (1, 3), FAILED, outcome="unknown")
    surely = settle(2, (1, 3), FAILED._replace(retry_in=1.2), result={JOB})
    after = RETRY._replace(start_after=BEGAN + timedelta(seconds=3))
    assert whose(change(2, ACTIVE, after), maybe, surely) == 2


def test_settlement_belongs_to_the_call_with_its_output_and_delay() -> None:
    def check(output: str, waits: float, due: float) -> None:
        others = settle(1, (1, None), Failed(JOB, 1, 1.0, "1"))
        mine = settle(2, (1, None), Failed(JOB, 1, waits, output))
        after = RETRY._replace(output=output, start_after=BEGAN + timedelta(seconds=due))
        assert whose(change(2, ACTIVE, after), others, mine) == 2

    check_each([("2", 1.0, 2.9), ("1", 5.0, 6.9)], check)


def test_suspension_belongs_to_a_call_that_changed_the_job() -> None:
    waiting = {"waiting": [Waiting(JOB, 1, OTHER)], "repeated": False}
    made = change(2, ACTIVE, ACTIVE._replace(state=RowState.CREATED, waits_for=OTHER))
    done, refused = Suspensions({JOB}, {}), Suspensions(set(), {JOB: ()})
    assert whose(made, call(1, "suspend", waiting, (1, 3), result=done)) == 1
    assert whose(made, call(1, "suspend", waiting, (1, 3), result=refused)) is None
    assert whose(made, call(1, "suspend", waiting, (1, 3), outcome="unknown")) == 1


def test_repeated_settlement_belongs_to_the_first_try_if_that_came_first() -> None:
    first = settle(1, (1, 3), COMPLETED, outcome="unknown")
    again = settle(2, (4, 5), COMPLETED, result={JOB})
    assert whose(change(2, ACTIVE, DONE), first, again) == 1


def test_change_requested_by_users_belongs_to_its_call() -> None:
    def check(before: Image, after: Image, verb: str) -> None:
        others = [
            call(number, other, {"ids": (JOB,)}, (1, 3), result={JOB})
            for number, other in enumerate(("cancel", "resume", "retry"))
            if other != verb
        ]
        mine = call(9, verb, {"ids": (JOB,)}, (1, 3), result={JOB})
        assert whose(change(2, before, after), *others, mine) == 9
        assert whose(change(2, before, after), call(9, verb, {"ids": (JOB,)}, (1, 3), result=set())) is None

    check_each(
        [
            (ROW, ROW._replace(state=RowState.CANCELLED), "cancel"),
            (CANCELLED, ROW, "resume"),
            (DONE._replace(state=RowState.FAILED), RETRY, "retry"),
        ],
        check,
    )


def test_concurrent_calls_have_one_change_each() -> None:
    times = [(1, 5), (1, 9), (1, 3)]
    retries = [
        call(number, "retry", {"ids": (JOB,)}, when, result={JOB}) for number, when in enumerate(times)
    ]
    failed = DONE._replace(state=RowState.FAILED)
    made = [change(at, failed, RETRY) for at in (2, 4, 8)]
    events: list[Event] = sorted([*made, *(e for some in retries for e in some)], key=lambda e: e.at)
    assert [e.call for e in attributed(events) if isinstance(e, Change)] == [2, 0, 1]


def test_sweep_moves_jobs_only_if_it_reports_them_in_one_commit() -> None:
    args = {"after": 1.0, "limit": 9}
    sweeps = [call(n, "archive", args, (1, 3 + n), result=n) for n in range(3)]
    commits = [change(2, DONE, None), change(2, DONE, None), change(3, DONE, None)._replace(commit=2)]
    events: list[Event] = sorted([*commits, *(e for some in sweeps for e in some)], key=lambda e: e.at)
    assert [e.call for e in attributed(events) if isinstance(e, Change)] == [1, 1, 2]


# Bounds


def looks(events: list[Event], verb: str) -> float:
    return next(
        event.at for event in bounded(events, BEGAN) if isinstance(event, Invoked) and event.verb == verb
    )


def test_read_may_miss_a_commit_until_its_call_is_answered() -> None:
    insert = call(1, "insert", {"jobs": (NewJob(JOB, "a"),)}, (1, 3), result=[JOB])
    events = [insert[0], change(2, None, ROW, 1), insert[1]]
    asked = {"ids": (JOB,)}
    assert looks([*events, *call(2, "get", asked, (2.5, 2.7), result={})], "get") == 2
    assert looks([*events, *call(2, "get", asked, (3.5, 3.7), result={})], "get") == 3.5
    assert looks([*events, *call(2, "get", {"ids": (OTHER,)}, (2.5, 2.7), result={})], "get") == 2.5


def test_commit_without_an_answer_must_become_visible() -> None:
    events: list[Event] = [change(2, None, ROW)]
    for at, seen in ((2.5, 2), (3 + SEEN_AT_LAST, 3 + SEEN_AT_LAST)):
        assert looks([*events, *call(2, "get", {"ids": (JOB,)}, (at, 99), result={})], "get") == seen


def test_call_is_not_placed_before_its_process_continued() -> None:
    events: list[Event] = [change(2, None, ROW), Lived(2.2, "w1", "resumed")]
    assert looks([*events, *call(2, "cancel", {"ids": (JOB,)}, (2.5, 3), result=set())], "cancel") == 2.2


def test_pending_heartbeat_may_be_missed() -> None:
    beat = call(1, "heartbeat", {"worker": WorkerInfo(WORKER, "here", 1, (), 3.0)}, (1, 3), result={})
    overdue = ExpiredJob(JOB, "a", 1, 0, 3, 1, False, None, "lease", WORKER)  # noqa: FBT003 - as the row has it
    assert (
        looks([*beat, *call(2, "lock_expired", {"limit": 9}, (2, 4), result=[overdue])], "lock_expired") == 1
    )


def issued(verb: str, args: dict[str, Any], times: tuple[float, float], result: Any) -> datetime | None:
    events = bounded(call(1, verb, args, times, result=result), BEGAN)
    return next(event.issued for event in events if isinstance(event, Answered))


def test_job_is_expired_at_the_answer_at_the_latest() -> None:
    assert issued("lock_expired", {"limit": 9}, (1, 4), []) == BEGAN + timedelta(seconds=4)
    assert issued("claim", {"worker": WORKER}, (1, 4), []) == BEGAN + timedelta(seconds=1)


def test_send_whose_slot_may_have_passed_has_no_time() -> None:
    jobs = {"jobs": (NewJob(JOB, "a", slot_seconds=3), NewJob(OTHER, "a"))}
    assert issued("insert", jobs, (1, 2), [None, OTHER]) == BEGAN + timedelta(seconds=1)
    assert issued("insert", jobs, (1, 4), [None, OTHER]) is None


def test_transitions_never_taken_are_named() -> None:
    told = merged_history.never([change(1, None, ROW), change(2, ROW, ACTIVE), change(3, ACTIVE, DONE)])
    assert "active to completed" not in told
    assert {"active to retry", "cancelled to created"} <= set(told)
    assert len(told) == len(STEPS) - 3


def test_history_that_breaks_a_property_is_rejected() -> None:
    rules = Rules()
    assert merged_history.judge([change(1, None, ROW), change(2, ROW, DONE)], rules) is not None
    assert (
        str(merged_history.judge([], rules))
        == "history: has no change of any job, so there is nothing to judge"
    )


def test_send_that_stored_two_jobs_breaks_a_property() -> None:
    rows = [ROW._replace(id=job, data='{"send": 5}') for job in (JOB, OTHER)]
    sends = [
        call(n, "insert", {"jobs": (NewJob(row.id, "a", data=row.data),)}, (n, n + 0.5), result=[row.id])
        for n, row in enumerate(rows, 1)
    ]
    made = [change(n + 0.1, None, row) for n, row in enumerate(rows, 1)]
    events: list[Event] = sorted([*made, *(e for some in sends for e in some)], key=lambda e: e.at)
    checker = Checker(Rules(), properties=[merged_history.a_send_is_one_job])
    with pytest.raises(Violation, match="of send 5"):
        judge_all(checker, events)


def over_http(verb: str, *answers: tuple[float, Any]) -> list[Event]:
    asked, _ = call(7, verb, {"ids": (JOB,)}, (2.5, 9))
    return [asked, *(Answered(at, "c1", 7, verb, "ok", told, None) for at, told in answers)]


def test_answers_over_http_must_be_true() -> None:
    life: list[Event] = [change(1, None, ROW), change(2, ROW, ACTIVE), change(3, ACTIVE, CANCELLED)]
    again = [change(4, CANCELLED, RETRY), change(5, RETRY, DONE)]
    status = STATUS_OF[RowState.ACTIVE], STATUS_OF[RowState.CANCELLED]

    def check(verb: str, told: list[tuple[float, Any]], text: str | None) -> None:
        events = [*life, *again, *over_http(verb, *((at, {JOB: one} if one else {}) for at, one in told))]
        checker = Checker(Rules(), properties=merged_history.PROPERTIES[-2:])
        with pytest.raises(Violation, match=text) if text else nullcontext():
            judge_all(checker, sorted(events, key=lambda event: event.at))

    check_each(
        [
            ("http_get", [(2.7, (RowState.ACTIVE, 1))], None),
            ("http_get", [(2.7, (RowState.CREATED, 0))], "answered"),
            ("http_get", [(2.7, None)], "answered None"),
            ("http_cancel", [(3.5, (RowState.CANCELLED, 1))], None),
            ("http_cancel", [(2.7, (RowState.ACTIVE, 1))], "its cancellation was acknowledged"),
            ("http_watch", [(2.7, status[0]), (3.5, status[1])], None),
            ("http_watch", [(3.5, status[1]), (3.7, status[0])], "its stream shows"),
            ("http_watch", [(2.7, STATUS_OF[RowState.CREATED])], "its stream shows"),
        ],
        check,
    )


def test_records_of_handlers_are_checked() -> None:
    every = Schedule("every-2", "* * * * * */2", "ticking")
    meta = '{"schedule": "every-2", "tick": "2026-01-02T00:00:02+00:00"}'
    job = NewJob(JOB, "ticking", meta=meta, retry_limit=9, retry_delay=1)
    sent = call(1, "insert", {"jobs": (job,)}, (2, 3), result=[JOB])
    checker = Checker(Rules(options=options()), properties=merged_history.PROPERTIES)
    with pytest.raises(Violation, match="retry_limit 9, and its task says 2"):
        judge_all(checker, [ScheduleRow(1, BEGAN, "every-2", None, every), *sent])


def judge_all(checker: Checker, events: list[Event]) -> None:
    for event in events:
        checker.see(event)


def test_excluded_names_are_properties_with_reasons() -> None:
    assert set(LEFT_OUT) <= {one.name for one in ALL}
    assert all(LEFT_OUT.values())


def test_options_that_a_history_is_judged_by_are_rules() -> None:
    assert set(RULES) <= set(Rules._fields)
    assert set(RULES) <= {field.name for field in fields(Part)}
