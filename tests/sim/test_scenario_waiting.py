"""The scenario of jobs that wait for others: green, and not for nothing."""

from __future__ import annotations

import functools
from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

from tests.sim.histories import History
from zeke_queue.model import JobState
from zeke_sim.history import Answered, Change, Ended, Invoked
from zeke_sim.run import run
from zeke_sim.scenario import load
from zeke_sim.scenarios.waiting import (
    Part,
    a_child_is_sent_once,
    who_goes_on_sees_that_its_children_have_ended,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from zeke_sim.history import Event, Image
    from zeke_sim.run import Outcome

SEEDS = range(60)


@functools.cache
def outcomes() -> list[Outcome]:
    scenario = load("waiting")
    return [run(scenario, scenario.plan(seed)) for seed in SEEDS]


def woken(events: Sequence[Event]) -> Iterator[tuple[Image, str]]:
    """Yield the rows that stopped waiting for another job, each with the verb that did it."""
    verbs = {event.call: event.verb for event in events if isinstance(event, Invoked)}
    for event in events:
        if isinstance(event, Change) and event.before is not None and event.before.waits_for is not None:
            after = event.after
            if after is not None and after.waits_for is None and event.call is not None:
                yield after, verbs[event.call]


def test_it_is_green() -> None:
    assert [outcome.violation for outcome in outcomes() if outcome.violation is not None] == []


def test_jobs_go_on_by_every_end_that_there_is_and_by_the_sweep() -> None:
    verbs = Counter(
        verb for outcome in outcomes() for row, verb in woken(outcome.events) if row.state is JobState.CREATED
    )
    assert set(verbs) >= {"settle", "wake_parents"}
    assert not {"cancel", "commit"}.isdisjoint(verbs)
    assert verbs.total() > len(SEEDS)


def test_children_end_in_every_way_and_parents_see_it() -> None:
    seen: set[str] = set()
    most = 0
    for outcome in outcomes():
        for event in outcome.events:
            if isinstance(event, Ended) and event.how == "returned":
                states = [state for _, state in event.value["seen"]]
                seen.update(states)
                most = max(most, len(states))
    assert seen == {"completed", "failed", "expired", "cancelled"}
    assert most >= 3


def test_children_are_cancelled_with_parents_that_wait_and_with_parents_that_run() -> None:
    was: Counter[tuple[JobState, bool]] = Counter()
    for outcome in outcomes():
        for event in outcome.events:
            before, after = (event.before, event.after) if isinstance(event, Change) else (None, None)
            if before and after and after.state is JobState.CANCELLED and before.state is not after.state:
                was[before.state, before.parent is not None] += 1
    assert was[JobState.CREATED, False] > 0
    assert was[JobState.ACTIVE, False] > 0
    assert was[JobState.CREATED, True] > 0
    assert was[JobState.ACTIVE, True] > 0


def resumed(events: Sequence[Event]) -> Iterator[tuple[Image, bool, list[Image]]]:
    """Yield who was resumed, whether by name, and which of its children were cancelled before it by then."""
    named = {
        call.call: call.args["ids"] for call in events if isinstance(call, Invoked) and "ids" in call.args
    }
    rows: dict[UUID, Image] = {}
    for event in events:
        if not isinstance(event, Change) or (after := event.after) is None:
            continue
        before = event.before
        if before is not None and before.state is JobState.CANCELLED and after.state is JobState.CREATED:
            earlier = [
                row
                for row in rows.values()
                if (row.parent, row.awaited, row.state) == (after.id, True, JobState.CANCELLED)
                if row.completed_on and before.completed_on and row.completed_on < before.completed_on
            ]
            assert event.call is not None
            yield after, after.id in named[event.call], earlier
        rows[after.id] = after


def test_parents_are_resumed_with_their_children_and_without_those_cancelled_before() -> None:
    back = [found for outcome in outcomes() for found in resumed(outcome.events)]
    assert any(not by_name for _, by_name, _ in back)
    assert any(earlier for _, _, earlier in back)


def test_handlers_that_have_lost_their_job_are_refused_a_child() -> None:
    refused = [
        event
        for outcome in outcomes()
        for event in outcome.events
        if isinstance(event, Answered) and event.verb == "spawn" and "no longer" in str(event.result)
    ]
    assert refused


def _parent(h: History, *parts: Part) -> UUID:
    return h.send("branch", data=Part(parts=parts).model_dump_json())


def test_a_second_child_under_a_key_is_told() -> None:
    h = History()
    part = Part(key=0)
    parent = _parent(h, part)
    h.claim(parent)
    first = h.spawn(parent, data=part.model_dump_json())
    h.spawn(parent, data=Part(key=1).model_dump_json())
    assert h.verdict(a_child_is_sent_once) is None
    h.spawn(parent, data=part.model_dump_json())
    broken = h.verdict(a_child_is_sent_once)
    assert broken is not None
    assert broken.text == f"child 0 of {parent} is there already, as {first}"


def test_a_parent_that_saw_too_little_or_what_never_was_is_told() -> None:
    def told(*seen: str) -> str | None:
        h = History()
        part = Part(key=0)
        parent = _parent(h, part)
        h.claim(parent)
        child = h.spawn(parent, data=part.model_dump_json())
        h.claim(child)
        h.run(parent, "returned", {"seen": [(str(child), state) for state in seen]})
        broken = h.verdict(who_goes_on_sees_that_its_children_have_ended)
        return None if broken is None else broken.text.replace(str(child), "x")

    assert told() == "it has 1 children, and saw 0"
    assert told("active") == "it was told that child x is active"
    assert told("completed") == "it was told that child x is completed"
