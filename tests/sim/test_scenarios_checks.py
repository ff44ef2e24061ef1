"""What scenarios check themselves: each check fails where something is wrong, in a history or in a world."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, cast

import pytest

from tests.cases import check_each
from tests.scenarios import load
from tests.scenarios.deploy import no_job_fails_for_its_version, what_was_not_sent_has_its_default
from tests.scenarios.payments import what_is_paid_has_been_charged
from tests.scenarios.retries import a_sends_word_counts
from tests.scenarios.transactions import an_order_and_its_job_are_one, what_was_kept_was_told
from tests.scenarios.unique import a_debounced_send_goes_into_the_next_slot
from tests.scenarios.waiting import Part, a_child_is_sent_once, who_goes_on_sees_that_its_children_have_ended
from tests.scenarios.watch import _troubles as troubles
from tests.sim.histories import COMPLETED, FAILED, History
from zeke_queue.errors import ResultTimeoutError
from zeke_queue.model import Completed, Failed, RowState
from zeke_queue.storage.notifier import NotifiedFeed
from zeke_queue.task.run import Run
from zeke_queue.watch import job_watcher
from zeke_queue.worker import Worker
from zeke_sim.experiment.run import run
from zeke_sim.history.events import Answered, Effect, Fault, Invoked, Lived
from zeke_sim.world import network
from zeke_sim.world.faults import NONE
from zeke_tasks.store.memory import MemoryRows

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from uuid import UUID

    from zeke_sim.history.events import Event
    from zeke_sim.world.node import Node
    from zeke_tasks.store.model import NewStory

pytestmark = pytest.mark.nightly

SEEDS = range(60)


def finds(scenario: str, *rules: str, seeds: Iterable[int] = SEEDS) -> bool:
    """Return whether one of a scenario's first seeds breaks one of its rules."""
    loaded = load(scenario)
    violations = (run(loaded, loaded.plan(seed)).violation for seed in seeds)
    return any(violation is not None and violation.rule in rules for violation in violations)


def asked(at: float) -> Invoked:
    return Invoked(at, "c2", 1, "get", {}, None)


def answered(at: float, outcome: Literal["ok", "failed", "unknown"] = "ok", said: object = None) -> Answered:
    return Answered(at, "c2", 1, "get", outcome, said, None)


# retries


def test_retry_limit_of_send_is_checked() -> None:
    def check(asked: str, right: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History()
        h.send(data=f'{{"retries": {asked}}}', retry_limit=3)
        assert h.holds(a_sends_word_counts) is right

    check_each([("0", False), ("2", False), ("3", True), ("null", True)], check)


# payments


def test_payment_without_a_charge_is_found() -> None:
    def check(charged: int, right: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History()
        job = h.send(data='{"number": 1, "cents": 100}')
        h.claim(job)
        h.effect(job, f"Bank.charge(order={charged}, cents=100, key='order-{charged}')")
        h.run(job)
        h.settle(job, Completed(job, 1, "1"))
        assert h.holds(what_is_paid_has_been_charged) is right

    check_each([(1, True), (11, False)], check)


# deploy


def test_failure_for_invalid_payload_is_found() -> None:
    def check(kind: str, right: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History()
        job = h.send()
        h.claim(job)
        error = f'{{"type": "{kind}"}}'
        h.settle(job, Failed(job, 1, None, error), output=error)
        assert h.holds(no_job_fails_for_its_version) is right

    check_each([("PayloadValidationError", False), ("RuntimeError", True)], check)


def resized(data: str, done: dict[str, Any]) -> History:
    h = History()
    job = h.send("resize", data=data)
    h.claim(job)
    h.run(job, value=done)
    return h


def test_field_that_was_not_sent_has_its_default() -> None:
    rule = what_was_not_sent_has_its_default
    assert resized('{"picture": 1}', {"picture": 1, "colour": "plain"}).holds(rule)
    assert resized('{"picture": 1, "colour": "red"}', {"picture": 1}).holds(rule), "the old one knows none"
    assert "red" in resized('{"picture": 1}', {"picture": 1, "colour": "red"}).breaks(rule)
    assert "red" in resized('{"picture": 1, "colour": "red"}', {"picture": 1, "colour": "plain"}).breaks(rule)
    assert "'picture': 2" in resized('{"picture": 1}', {"picture": 2}).breaks(rule)


# transactions


def written(h: History, state: str, order: str = "o") -> None:
    h.events.append(Effect(h.at, "db", None, 0, f"{order} is {state}", alive=True))


def ordered(h: History, task: str = "ship", order: str = "o") -> UUID:
    """Send a job about an order, and be in the instant in which its row was written."""
    job = h.new(task, data=f'{{"order": "{order}"}}')
    return h.insert(job, h.invoke("insert", jobs=(job,)))


def test_order_and_job_of_one_transaction_are_matched() -> None:
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
    assert right.holds(rule)
    for wrong in (row_alone, job_alone, later, twice):
        assert "its shipment" in wrong.breaks(rule)
    assert "its notice" in unmarked.breaks(rule)


def test_shipped_order_that_is_not_marked_is_found() -> None:
    def shipped(state: RowState, *, marked: bool, archived: bool) -> History:
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

    for archived in (False, True):
        assert shipped(COMPLETED, marked=True, archived=archived).holds(what_was_kept_was_told)
        assert shipped(FAILED, marked=False, archived=archived).holds(what_was_kept_was_told)
        unmarked = shipped(COMPLETED, marked=False, archived=archived)
        assert "shipped, and not marked" in unmarked.breaks(what_was_kept_was_told)


# unique


def test_debounced_send_goes_into_the_next_slot() -> None:
    def check(following: float | None, right: bool) -> None:  # noqa: FBT001 - a column of the table
        h = History()
        first = h.new(slot_seconds=5, slot_offset=0, data="1")
        h.answer(h.invoke("insert", jobs=(first,)), [None])
        if following is not None:
            second = replace(first, slot_offset=following)
            h.answer(h.invoke("insert", jobs=(second,)), [None])
        assert h.holds(a_debounced_send_goes_into_the_next_slot) is right

    check_each({"next": (5.0, True), "another": (10.0, False), "none": (None, False)}, check)


# waiting


def _parent(h: History, *parts: Part) -> UUID:
    return h.send("branch", data=Part(parts=parts).model_dump_json())


def test_second_child_of_a_key_is_found() -> None:
    h = History()
    part = Part(key=0)
    parent = _parent(h, part)
    h.claim(parent)
    first = h.insert_child(parent, data=part.model_dump_json())
    h.insert_child(parent, data=Part(key=1).model_dump_json())
    assert h.holds(a_child_is_sent_once)
    h.insert_child(parent, data=part.model_dump_json())
    assert h.breaks(a_child_is_sent_once) == f"child 0 of {parent} is there already, as {first}"


def test_parent_that_misses_the_end_of_a_child_is_found() -> None:
    def told(*seen: str) -> str:
        h = History()
        part = Part(key=0)
        parent = _parent(h, part)
        h.claim(parent)
        child = h.insert_child(parent, data=part.model_dump_json())
        h.claim(child)
        h.run(parent, "returned", {"seen": [(str(child), state) for state in seen]})
        return h.breaks(who_goes_on_sees_that_its_children_have_ended).replace(str(child), "x")

    assert told() == "it has 1 children, and saw 0"
    assert told("active") == "it was told that child x is active"
    assert told("completed") == "it was told that child x is completed"


# Observations of the programs of a world


NOTHING: dict[str, Any] = {"put_items": [], "finish_item": False, "record_success": None, "move_source": True}


def test_lost_write_of_newsroom_is_found() -> None:
    ensure = MemoryRows.ensure_story

    async def ensure_for_each_item(rows: MemoryRows, story: NewStory) -> tuple[UUID, bool]:
        return await ensure(rows, replace(story, content_hash=str(story.content_id)))

    def check(verb: str) -> None:
        async def do_nothing(*_: Any, **__: Any) -> Any:
            return NOTHING[verb]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MemoryRows, verb, do_nothing if verb in NOTHING else ensure_for_each_item)
            assert finds("slice", "each article becomes one story", "work comes to rest")

    check_each([*NOTHING, "ensure_story"], check)


async def _drains_soon(worker: Worker) -> None:
    await worker._queue.clock.sleep(0.5)


async def _times_out_at_once(*_: Any, **__: Any) -> Any:
    raise ResultTimeoutError


result, add = Run.result, NotifiedFeed.add


async def _other_result(run: Run[Any], timeout: float | None = None) -> Any:
    return [await result(run, timeout)]


async def _adds_first_ids_only(watch: NotifiedFeed, ids: Collection[UUID]) -> None:
    await add(watch, [] if watch._ids else ids)


PATCHES: dict[str, tuple[str, tuple[Any, str, Any], int]] = {
    "a result is what the handler returned": ("watch", (Run, "result", _other_result), 60),
    "a time-out is not early": ("watch", (Run, "result", _times_out_at_once), 60),
    "who waits is patient": ("watch", (job_watcher, "OUTAGE_TIMEOUT", 1.0), 60),
    "who watches is told at once": ("watch", (NotifiedFeed, "add", _adds_first_ids_only), 400),
    "who has drained runs nothing": ("shutdown", (Worker, "drain", _drains_soon), 60),
}
"""For each rule: the scenario that violates it, the patch, and the number of seeds."""


def test_patched_runtime_breaks_rule_of_scenario() -> None:
    def check(rule: str) -> None:
        scenario, patched, seeds = PATCHES[rule]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(*patched)
            assert finds(scenario, rule, seeds=range(seeds))

    check_each(PATCHES.keys(), check)


def test_watch_may_fail_while_only_the_events_of_its_job_can_not_be_read() -> None:
    watch = load("watch")
    hung = {"fault": "hung", "for": 4.748, "applied": False}
    plan = watch.plan(1238).with_decisions(
        {"c2/events/2": hung, "action/c1/3": True, "action/c1/4": True}  # c1 cuts c2 off for two minutes
    )
    assert run(watch, plan).violation is None


def test_extension_of_a_purged_job_does_not_count_for_another_of_its_id() -> None:
    waiting = load("waiting")
    killed = {"action/c3/0": True, "action/c2/1": True, "w2/heartbeat/13": {"fault": "kill_after"}}
    assert run(waiting, waiting.plan(1371).with_decisions(killed)).violation is None


def test_watch_scenario_tolerates_the_slowest_statements_without_faults(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(network, "SHORTEST", 0.049)  # each way
    watch = load("watch")
    for seed in range(30):
        plan = watch.plan(seed)
        outcome = run(watch, replace(plan, knobs=NONE.but(order=plan.knobs.order)))
        assert outcome.violation is None, (seed, outcome.violation)


HELD_UP: list[tuple[list[Event], bool]] = [
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
]
"""What happens, and whether it may have held up a watcher since 10 s."""


def test_only_its_own_faults_may_delay_a_watcher() -> None:
    def check(happened: list[Event], excused: bool) -> None:  # noqa: FBT001 - a column of the table
        node = SimpleNamespace(name="c2", world=SimpleNamespace(recorder=SimpleNamespace(events=happened)))
        assert any(troubles(cast("Node", node), 10.0)) is excused

    check_each(HELD_UP, check)
