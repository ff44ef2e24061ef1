"""The state machine is the table of its docstring."""

from __future__ import annotations

from zeke_queue.core import states
from zeke_queue.core.states import TRANSITIONS, Event
from zeke_queue.model import RowState


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
