"""The state machine is the table of its docstring."""

from __future__ import annotations

from itertools import product

import pytest

from tests.cases import check_each
from zeke_queue.core import states
from zeke_queue.core.states import TRANSITIONS, Event, IllegalTransition, follow
from zeke_queue.model import FINAL, WAITING, JobState


def documented() -> dict[tuple[JobState, Event], JobState]:
    """Read the table of the module's docstring."""
    lines = (states.__doc__ or "").splitlines()
    header = next(n for n, line in enumerate(lines) if line.strip().startswith("state "))
    events = [Event[name] for name in lines[header].split("|")[1].split()]
    edges: dict[tuple[JobState, Event], JobState] = {}
    for line in lines[header + 2 : header + 2 + len(JobState)]:
        state, cells = line.split("|")
        targets = cells.split()
        assert len(targets) == len(events)
        edges |= {
            (JobState(state.strip()), event): JobState(target)
            for event, target in zip(events, targets, strict=True)
            if target != "."
        }
    assert set(events) == set(Event)
    return edges


def test_the_table_is_the_one_in_the_docstring() -> None:
    assert documented() == TRANSITIONS


def test_transition_outside_the_table_is_illegal() -> None:
    def check(state: JobState, event: Event) -> None:
        if (state, event) in TRANSITIONS:
            assert follow(state, event) is TRANSITIONS[state, event]
        else:
            with pytest.raises(IllegalTransition, match=state.value):
                follow(state, event)

    check_each(product(JobState, Event), check)


def test_only_an_active_job_can_be_settled() -> None:
    settling = {Event.COMPLETE, Event.RETRY, Event.FAIL, Event.EXPIRE, Event.RELEASE, Event.SUPERSEDE}
    assert {state for state, event in TRANSITIONS if event in settling} == {JobState.ACTIVE}


def test_a_job_is_claimed_from_waiting_alone() -> None:
    assert {state for state, event in TRANSITIONS if event is Event.CLAIM} == WAITING


def test_a_completed_job_stays_completed() -> None:
    assert not [event for state, event in TRANSITIONS if state is JobState.COMPLETED]


def test_what_ended_otherwise_can_only_return_to_waiting() -> None:
    ended = FINAL - {JobState.COMPLETED}
    assert {state for state, _ in TRANSITIONS if state in ended} == ended
    assert {after for (state, _), after in TRANSITIONS.items() if state in ended} == WAITING


def test_giving_a_job_back_does_not_lead_to_retry() -> None:
    assert follow(JobState.ACTIVE, Event.RELEASE) is JobState.CREATED


def test_an_illegal_event_is_told_with_what_would_be_legal() -> None:
    with pytest.raises(IllegalTransition, match="cancelled can't take 'claim'; it can take: resume"):
        follow(JobState.CANCELLED, Event.CLAIM)
    with pytest.raises(IllegalTransition, match="nothing"):
        follow(JobState.COMPLETED, Event.RESUME)
