"""The state machine is the table of its docstring."""

from __future__ import annotations

from zeke_queue.core import states
from zeke_queue.core.states import TRANSITIONS, Event
from zeke_queue.model import FINAL, WAITING, RowState


def documented() -> dict[tuple[RowState, Event], RowState]:
    lines = (states.__doc__ or "").splitlines()
    header = next(n for n, line in enumerate(lines) if line.strip().startswith("state "))
    events = [Event[name] for name in lines[header].split("|")[1].split()]
    edges: dict[tuple[RowState, Event], RowState] = {}
    for line in lines[header + 2 : header + 2 + len(RowState)]:
        state, cells = line.split("|")
        targets = cells.split()
        assert len(targets) == len(events)
        edges |= {
            (RowState(state.strip()), event): RowState(target)
            for event, target in zip(events, targets, strict=True)
            if target != "."
        }
    assert set(events) == set(Event)
    return edges


def test_transition_table_equals_the_docstring() -> None:
    assert documented() == TRANSITIONS


def test_only_an_active_job_can_be_settled() -> None:
    settling = {Event.COMPLETE, Event.RETRY, Event.FAIL, Event.EXPIRE, Event.RELEASE, Event.SUPERSEDE}
    assert {state for state, event in TRANSITIONS if event in settling} == {RowState.ACTIVE}


def test_only_a_waiting_job_can_be_claimed() -> None:
    assert {state for state, event in TRANSITIONS if event is Event.CLAIM} == WAITING


def test_completed_job_stays_completed() -> None:
    assert not [event for state, event in TRANSITIONS if state is RowState.COMPLETED]


def test_other_ended_jobs_can_only_return_to_waiting() -> None:
    ended = FINAL - {RowState.COMPLETED}
    assert {state for state, _ in TRANSITIONS if state in ended} == ended
    assert {after for (state, _), after in TRANSITIONS.items() if state in ended} == WAITING


def test_release_does_not_lead_to_retry() -> None:
    assert TRANSITIONS[RowState.ACTIVE, Event.RELEASE] is RowState.CREATED
