"""Properties of an application's own: factories, whose properties stand beside the runtime's.

A predicate is asked with the past, which has all rows, calls, handlers and effects so far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_sim.history.events import EVENTS, Change, Effect
from zeke_sim.history.state import Broken, End
from zeke_sim.properties.holding import holds

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from zeke_sim.history.events import Event
    from zeke_sim.history.state import Past
    from zeke_sim.properties.holding import Property

    Predicate = Callable[[Past], bool]


def always(name: str, predicate: Predicate, *, on: tuple[type, ...] = (Change,)) -> Property:
    """Make a property that a predicate is true after every event.

    Args:
        name: what it says when it breaks.
        predicate: asked with the past; what it raises breaks the property, too.
        on: after which events it is asked; after every change of a row by default.
    """

    @holds(name, *on)
    def check(_event: Event, past: Past) -> None:
        if not _asked(predicate, past):
            raise Broken("it is not so any more")

    return check


def eventually(name: str, predicate: Predicate) -> Property:
    """Make a property that a predicate is true at the end of the run."""

    @holds(name, End)
    def check(_event: End, past: Past) -> None:
        if not _asked(predicate, past):
            raise Broken("it never came to be so")

    return check


def sometimes(
    name: str, predicate: Predicate, hits: Counter[str], *, on: tuple[type, ...] = EVENTS
) -> Property:
    """Make a mark that counts in how many runs a predicate was true at some time; it breaks in none.

    Args:
        name: what is counted.
        predicate: asked with the past until it is true.
        hits: where runs are counted; 0 stands for one that never was.
        on: after which events it is asked; after each by default.
    """
    hits.setdefault(name, 0)

    @holds(name, *on)
    def check(_event: Event, past: Past) -> None:
        seen = past.of(f"sometimes {name}", list[bool])
        if not seen and predicate(past):
            seen.append(True)
            hits[name] += 1

    return check


def unique_effects(
    name: str = "no effect twice", *, key: Callable[[Effect], object] | None = None
) -> Property:
    """Make a property that no effect on the world outside happens twice.

    Args:
        name: what it is called.
        key: what is the same of two that are one, or None for an effect that does not count; the effect's
            own key by default.
    """

    @holds(name, Effect)
    def check(event: Effect, past: Past) -> None:
        which = event.key if key is None else key(event)
        first = past.of(f"effects {name}", dict[object, Effect]).setdefault(which, event)
        if which is not None and first is not event:
            raise Broken(
                f"{which!r} by attempt {event.attempt} on {event.node}, and by attempt {first.attempt} of job"
                f" {first.job} on {first.node} at {first.at:.3f} s",
                job=event.job,
                since=first.at,
            )

    return check


def _asked(predicate: Predicate, past: Past) -> bool:
    try:
        return predicate(past)
    except AssertionError as error:
        raise Broken(str(error) or "an assertion failed") from error
