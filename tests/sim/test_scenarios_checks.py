"""What scenarios check themselves: each check fails where something is wrong, in a history or in a world."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest

from tests.sim.histories import COMPLETED, FAILED, History
from zeke_queue import events
from zeke_queue.errors import ResultTimeout
from zeke_queue.model import Completed, Failed, JobState
from zeke_queue.queue import Queue
from zeke_queue.storage.memory.waking import MemoryWatch
from zeke_queue.worker import Worker
from zeke_sim import calls
from zeke_sim.faults import NONE
from zeke_sim.history import Answered, Effect, Fault, Invoked, Lived
from zeke_sim.run import run
from zeke_sim.scenario import load
from zeke_sim.scenarios.deploy import no_job_fails_for_its_version, what_was_not_sent_has_its_default
from zeke_sim.scenarios.retries import a_sends_word_counts
from zeke_sim.scenarios.transactions import an_order_and_its_job_are_one, what_was_kept_was_told
from zeke_sim.scenarios.unique import a_debounced_send_goes_into_the_next_slot
from zeke_sim.scenarios.watch import _troubles as troubles
from zeke_tasks.store.memory import MemoryRows

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from uuid import UUID

    from zeke_sim.history import Event
    from zeke_sim.node import Node
    from zeke_sim.properties import Property
    from zeke_tasks.store.model import NewStory

SEEDS = range(60)


def broken(h: History, rule: Property) -> str:
    violation = h.verdict(rule)
    assert violation is not None, f"{rule.name!r} holds"
    assert violation.rule == rule.name
    return violation.text


def holds(h: History, rule: Property) -> bool:
    return h.verdict(rule) is None


def finds(scenario: str, *rules: str, seeds: Iterable[int] = SEEDS) -> bool:
    """Tell whether one of a scenario's first seeds breaks one of its rules."""
    loaded = load(scenario)
    violations = (run(loaded, loaded.plan(seed)).violation for seed in seeds)
    return any(violation is not None and violation.rule in rules for violation in violations)


def asked(at: float) -> Invoked:
    return Invoked(at, "c2", 1, "get", {}, None)


def answered(at: float, outcome: Literal["ok", "failed", "unknown"] = "ok", said: object = None) -> Answered:
    return Answered(at, "c2", 1, "get", outcome, said, None)


# retries


@pytest.mark.parametrize(
    ("asked", "limit", "right"), [(0, 3, False), (2, 3, False), (3, 3, True), (None, 3, True)]
)
def test_a_sends_word_counts(asked: int | None, limit: int, *, right: bool) -> None:
    h = History()
    h.send(data=f'{{"retries": {"null" if asked is None else asked}}}', retry_limit=limit)
    assert holds(h, a_sends_word_counts) is right


# deploy


def test_no_job_fails_for_its_version() -> None:
    for kind, right in (("PayloadInvalid", False), ("RuntimeError", True)):
        h = History()
        job = h.send()
        h.claim(job)
        error = f'{{"type": "{kind}"}}'
        h.settle(job, Failed(job, 1, None, error), output=error)
        assert holds(h, no_job_fails_for_its_version) is right


def resized(data: str, done: dict[str, Any]) -> History:
    h = History()
    job = h.send("resize", data=data)
    h.claim(job)
    h.run(job, value=done)
    return h


def test_what_was_not_sent_has_its_default() -> None:
    rule = what_was_not_sent_has_its_default
    assert holds(resized('{"picture": 1}', {"picture": 1, "colour": "plain"}), rule)
    assert holds(resized('{"picture": 1, "colour": "red"}', {"picture": 1}), rule), "the old one knows none"
    assert "red" in broken(resized('{"picture": 1}', {"picture": 1, "colour": "red"}), rule)
    assert "red" in broken(
        resized('{"picture": 1, "colour": "red"}', {"picture": 1, "colour": "plain"}), rule
    )
    assert "'picture': 2" in broken(resized('{"picture": 1}', {"picture": 2}), rule)


# transactions


def written(h: History, state: str, order: str = "o") -> None:
    h.events.append(Effect(h.at, "db", None, 0, f"{order} is {state}", alive=True))


def ordered(h: History, task: str = "ship", order: str = "o") -> UUID:
    """Send a job about an order, and be in the instant in which its row was written."""
    job = h.new(task, data=f'{{"order": "{order}"}}')
    return h.insert(job, h.invoke("insert", jobs=(job,)))


def test_an_order_and_its_job_are_one() -> None:
    rule = an_order_and_its_job_are_one
    right, row_alone, job_alone, later, twice, unmarked = (History() for _ in range(6))
    for state, task in (("placed", "ship"), ("shipped", "notify")):
        ordered(right, task)
        written(right, state)
    written(row_alone, "placed")
    ordered(job_alone)
    ordered(later)
    later.wait(0.5)
    written(later, "placed")
    for _ in range(2):
        ordered(twice)
        written(twice, "placed")
    ordered(unmarked)
    written(unmarked, "placed")
    ordered(unmarked, "notify")
    assert holds(right, rule)
    for wrong in (row_alone, job_alone, later, twice):
        assert "its shipment" in broken(wrong, rule)
    assert "its notice" in broken(unmarked, rule)


@pytest.mark.parametrize("archived", [False, True])
def test_what_was_kept_was_told(*, archived: bool) -> None:
    def shipped(state: JobState, *, marked: bool) -> History:
        h = History()
        job = ordered(h)
        h.claim(job)
        h.run(job)
        if marked:
            written(h, "shipped")
        ended = Completed(job, 1, None) if state is COMPLETED else Failed(job, 1, None, "{}")
        h.settle(job, ended)
        if archived:
            h.archive(job)
            h.purge(job)
        return h

    assert holds(shipped(COMPLETED, marked=True), what_was_kept_was_told)
    assert holds(shipped(FAILED, marked=False), what_was_kept_was_told)
    assert "shipped, and not marked" in broken(shipped(COMPLETED, marked=False), what_was_kept_was_told)


# unique


@pytest.mark.parametrize(
    ("following", "right"), [(5.0, True), (10.0, False), (None, False)], ids=["next", "another", "none"]
)
def test_a_debounced_send_goes_into_the_next_slot(following: float | None, *, right: bool) -> None:
    h = History()
    first = h.new(slot_seconds=5, slot_offset=0, data="1")
    h.answer(h.invoke("insert", jobs=(first,)), [None])
    if following is not None:
        second = replace(first, slot_offset=following)
        h.answer(h.invoke("insert", jobs=(second,)), [None])
    assert holds(h, a_debounced_send_goes_into_the_next_slot) is right


# What programs of a world see


NOTHING: dict[str, Any] = {"put_items": [], "finish_item": False, "record_success": None, "move_source": True}


@pytest.mark.parametrize("verb", [*NOTHING, "ensure_story"])
def test_each_article_becomes_one_story(monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    ensure = MemoryRows.ensure_story

    async def do_nothing(*_: Any, **__: Any) -> Any:
        return NOTHING[verb]

    async def tell_each_by_itself(rows: MemoryRows, story: NewStory) -> tuple[UUID, bool]:
        return await ensure(rows, replace(story, content_hash=str(story.content_id)))

    monkeypatch.setattr(MemoryRows, verb, do_nothing if verb in NOTHING else tell_each_by_itself)
    assert finds("slice", "each article becomes one story", "work comes to rest")


def test_a_result_is_what_the_handler_returned(monkeypatch: pytest.MonkeyPatch) -> None:
    result = Queue.result

    async def other(self: Queue, job_id: Any, timeout: float | None = None) -> Any:
        return [await result(self, job_id, timeout)]

    monkeypatch.setattr(Queue, "result", other)
    assert finds("watch", "a result is what the handler returned")


def test_a_time_out_is_not_early(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(*_: Any, **__: Any) -> Any:
        raise ResultTimeout

    monkeypatch.setattr(Queue, "result", at_once)
    assert finds("watch", "a time-out is not early")


def test_who_waits_is_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PATIENCE", 1.0)
    assert finds("watch", "who waits is patient")


def test_who_comes_to_watch_while_others_do_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    add = MemoryWatch.add

    async def first_alone(watch: MemoryWatch, ids: Collection[UUID]) -> None:
        await add(watch, [] if watch._ids else ids)

    monkeypatch.setattr(MemoryWatch, "add", first_alone)
    assert finds("watch", "who watches is told at once", seeds=range(400))


def test_nobody_is_late_in_a_world_without_faults_where_each_statement_just_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "SHORTEST", 0.049)  # each way
    watch = load("watch")
    for seed in range(30):
        plan = watch.plan(seed)
        outcome = run(watch, replace(plan, knobs=NONE.but(order=plan.knobs.order)))
        assert outcome.violation is None, (seed, outcome.violation)


@pytest.mark.parametrize(
    ("happened", "excused"),
    [
        ([Lived(20.0, "c2", "started")], False),
        ([Lived(20.0, "c2", "killed")], True),
        ([Lived(20.0, "c3", "killed")], False),
        ([Lived(1.0, "c2", "killed")], False),
        ([Fault(20.0, "c2", "address", "late", None)], True),
        ([Fault(1.0, "db", "address", "down", 20.0)], True),
        ([asked(19.0), answered(19.01)], False),
        ([asked(19.0), answered(19.01, "unknown", "the connection broke")], True),
        ([asked(19.0), answered(19.01, "unknown", "cancelled")], False),
        ([asked(19.0), answered(19.2)], True),
        ([asked(2.0)], True),
        ([asked(2.0), Lived(2.05, "c2", "killed"), Lived(3.0, "c2", "started")], False),
    ],
)
def test_what_may_have_held_up_a_watcher(happened: list[Event], *, excused: bool) -> None:
    node = SimpleNamespace(name="c2", world=SimpleNamespace(recorder=SimpleNamespace(events=happened)))
    assert any(troubles(cast("Node", node), 10.0)) is excused


def test_who_has_drained_runs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def soon(worker: Worker) -> None:
        await worker._queue.clock.sleep(0.5)

    monkeypatch.setattr(Worker, "drain", soon)
    assert finds("shutdown", "who has drained runs nothing")
