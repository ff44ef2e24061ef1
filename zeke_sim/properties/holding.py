"""What a property is: a sentence about every run, and the small function that finds one that breaks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from zeke_queue.model import JobState

if TYPE_CHECKING:
    from collections.abc import Callable

    from zeke_sim.history.state import Past

    Check = Callable[[Any, Past], None]


class Step(NamedTuple):
    """From which state to which a row of a table goes; None is no row."""

    table: str
    was: JobState | None
    now: JobState | None


def is_send(step: Step) -> bool:
    """Return whether a job is new."""
    return step.table == "job" and step.was is None


def is_claim(step: Step) -> bool:
    """Return whether an attempt begins."""
    return step.table == "job" and step.now is JobState.ACTIVE and step.was is not JobState.ACTIVE


def is_end(step: Step) -> bool:
    """Return whether an attempt ends otherwise than by a cancellation."""
    others = {None, JobState.ACTIVE, JobState.CANCELLED}
    return step.table == "job" and step.was is JobState.ACTIVE and step.now not in others


def is_extension(step: Step) -> bool:
    """Return whether an attempt goes on."""
    return step.was is JobState.ACTIVE and step.now is JobState.ACTIVE


def is_move(step: Step) -> bool:
    """Return whether a row comes to the archive, or goes from it or from the others."""
    return step.table == "archive" or step.now is None


class Property(NamedTuple):
    """A sentence that holds of every event.

    Attributes:
        name: the words that people are shown.
        number: which property of SIMULATION.md's list it is part of; None for one of the user's own.
        events: the types of events by which it can break; ``past.End`` is for the end of the run.
        check: raises ``past.Broken`` where the event breaks it.
        verbs: of calls and answers, those of these verbs only; of all if there are none.
        steps: of changes of rows, those that take such a step only; of all if it is None.
    """

    name: str
    number: int | None
    events: tuple[type, ...]
    check: Check
    verbs: tuple[str, ...] = ()
    steps: Callable[[Step], bool] | None = None

    @property
    def sentence(self) -> str:
        """What it holds, in a sentence or a few."""
        return (self.check.__doc__ or "").strip()


def holds(
    name: str,
    *events: type,
    number: int | None = None,
    verbs: tuple[str, ...] = (),
    steps: Callable[[Step], bool] | None = None,
) -> Callable[[Check], Property]:
    """Make a property of a function that takes an event of these types, and the past with the event in it."""

    def make(check: Check) -> Property:
        return Property(name, number, events, check, verbs, steps)

    return make
