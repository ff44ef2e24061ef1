"""Properties: each is a sentence about every run, and a small function that detects a violation."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from zeke_queue.model import RowState

if TYPE_CHECKING:
    from collections.abc import Callable

    from zeke_sim.history.state import RunState

    Check = Callable[[Any, RunState], None]


class Step(NamedTuple):
    """A transition of a row of a table between two states; None is no row."""

    table: str
    was: RowState | None
    now: RowState | None


def is_send(step: Step) -> bool:
    """Return whether a job is inserted."""
    return step.table == "job" and step.was is None


def is_claim(step: Step) -> bool:
    """Return whether an attempt begins."""
    return step.table == "job" and step.now is RowState.ACTIVE and step.was is not RowState.ACTIVE


def is_end(step: Step) -> bool:
    """Return whether an attempt ends other than by a cancellation."""
    others = {None, RowState.ACTIVE, RowState.CANCELLED}
    return step.table == "job" and step.was is RowState.ACTIVE and step.now not in others


def is_extension(step: Step) -> bool:
    """Return whether an attempt continues."""
    return step.was is RowState.ACTIVE and step.now is RowState.ACTIVE


def is_move(step: Step) -> bool:
    """Return whether a row is added to or removed from the archive, or removed from the job table."""
    return step.table == "archive" or step.now is None


class Property(NamedTuple):
    """A sentence that must be true at every event.

    Attributes:
        name: the name that users see.
        events: the event types that can violate it; ``End`` stands for the end of the run.
        check: raises ``Broken`` if the event violates it.
        verbs: limits calls and answers to these storage methods; empty for all.
        steps: limits row changes to these transitions; None for all.
        tested: returns whether a run has tested the property so far; a test fails if none did. None if no run
            has to.
    """

    name: str
    events: tuple[type, ...]
    check: Check
    verbs: tuple[str, ...] = ()
    steps: Callable[[Step], bool] | None = None
    tested: Callable[[RunState], bool] | None = None

    @property
    def sentence(self) -> str:
        """The property as one or a few sentences: the docstring of ``check``."""
        return inspect.getdoc(self.check) or ""


def holds(
    name: str, *events: type, verbs: tuple[str, ...] = (), steps: Callable[[Step], bool] | None = None
) -> Callable[[Check], Property]:
    """Make a property of a function that takes an event of these types and the state after it."""

    def make(check: Check) -> Property:
        return Property(name, events, check, verbs, steps)

    return make
