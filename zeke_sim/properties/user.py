"""Factories for an application's own properties, which are checked in addition to the built-in ones.

A predicate is called with the ``RunState``, which contains all rows, calls, handlers and effects so far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_sim.history.events import EVENTS, Change, Effect
from zeke_sim.history.state import Broken, End
from zeke_sim.properties.definition import holds

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

    from zeke_sim.history.events import Event
    from zeke_sim.history.state import RunState
    from zeke_sim.properties.definition import Property

    Predicate = Callable[[RunState], bool]


def always(name: str, predicate: Predicate, *, on: tuple[type, ...] = (Change,)) -> Property:
    """Make a property that requires a predicate to be true after every event.

    Args:
        name: the property's name in reports.
        predicate: called with the run's state; an exception that it raises is a violation too.
        on: the types of events after which it is called; by default row changes.
    """

    @holds(name, *on)
    def check(_event: Event, state: RunState) -> None:
        if not _evaluate(predicate, state):
            raise Broken("it no longer holds")

    return check


def eventually(name: str, predicate: Predicate) -> Property:
    """Make a property that requires a predicate to be true at the end of the run."""

    @holds(name, End)
    def check(_event: End, state: RunState) -> None:
        if not _evaluate(predicate, state):
            raise Broken("it never came to hold")

    return check


def sometimes(
    name: str, predicate: Predicate, hits: Counter[str], *, on: tuple[type, ...] = EVENTS
) -> Property:
    """Make a property that is never violated, and counts the runs in which a predicate was ever true.

    Args:
        name: the name of the count.
        predicate: called with the run's state until it is true.
        hits: the counts by name; 0 if the predicate was never true.
        on: the types of events after which it is called; all by default.
    """
    hits.setdefault(name, 0)

    @holds(name, *on)
    def check(_event: Event, state: RunState) -> None:
        seen = state.of(f"sometimes {name}", list[bool])
        if not seen and predicate(state):
            seen.append(True)
            hits[name] += 1

    return check


def unique_effects(
    name: str = "no effect twice", *, key: Callable[[Effect], object] | None = None
) -> Property:
    """Make a property that requires every external effect to happen at most once.

    Args:
        name: the property's name in reports.
        key: returns the identity of an effect, or None to ignore it; by default the effect's key.

    A test of ``zeke_sim.test`` fails if the property ignored all effects of its runs, or there were none.
    """

    def first_effects(state: RunState) -> dict[object, Effect]:
        return state.of(f"effects {name}", dict[object, Effect])

    @holds(name, Effect)
    def check(event: Effect, state: RunState) -> None:
        which = event.key if key is None else key(event)
        if which is not None and (first := first_effects(state).setdefault(which, event)) is not event:
            raise Broken(
                f"{which!r} by attempt {event.attempt} on {event.node}, and by attempt {first.attempt} of job"
                f" {first.job} on {first.node} at {first.at:.3f} s",
                job=event.job,
                since=first.at,
            )

    def tested(state: RunState) -> bool:
        return bool(first_effects(state))

    return check._replace(tested=tested)


@holds("no call of a double has its effect twice", Effect)
def unique_calls(event: Effect, state: RunState) -> None:
    """A call of a double is made once, unless it has an idempotency key or its method may be repeated."""
    calls = state.of("calls of doubles", dict[str, Effect])
    if event.called and (first := calls.setdefault(event.key, event)) is not event:
        raise Broken(
            f"{event.key} by attempt {event.attempt} on {event.node}, and by attempt {first.attempt} of job"
            f" {first.job} on {first.node} at {first.at:.3f} s; if it may be repeated, name it in"
            " reads=, or its idempotency key in keys=",
            job=event.job,
            since=first.at,
        )


def _evaluate(predicate: Predicate, state: RunState) -> bool:
    try:
        return predicate(state)
    except AssertionError as error:
        raise Broken(str(error) or "an assertion failed") from error
