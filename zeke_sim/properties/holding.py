"""What a property is: a sentence about every run, and the small function that finds one that breaks it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from zeke_sim.past import Past

    Check = Callable[[Any, Past], None]


class Property(NamedTuple):
    """A sentence that holds of every event.

    Attributes:
        name: the words that people are shown.
        number: which property of SIMULATION.md's list it is part of; None for one of the user's own.
        events: the types of events by which it can break; ``past.End`` is for the end of the run.
        check: raises ``past.Broken`` where the event breaks it.
        verbs: of calls and answers, those of these verbs only; of all if there are none.
    """

    name: str
    number: int | None
    events: tuple[type, ...]
    check: Check
    verbs: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What it holds, in a sentence or a few."""
        return (self.check.__doc__ or "").strip()


def holds(
    name: str, *events: type, number: int | None = None, verbs: tuple[str, ...] = ()
) -> Callable[[Check], Property]:
    """Make a property of a function that takes an event of these types, and the past with the event in it."""

    def make(check: Check) -> Property:
        return Property(name, number, events, check, verbs)

    return make
