"""Checks a run while it is in progress: each event updates the state, then its properties are checked."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zeke_sim.history.events import Answered, Change, Invoked, Violation
from zeke_sim.history.state import Broken, End, RunState
from zeke_sim.properties import ALL
from zeke_sim.properties.definition import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zeke_sim.history.events import Event, Rules
    from zeke_sim.properties import Property

_CALLS: Final = (Answered, Invoked)


class Checker:
    """Checks one run.

    Args:
        properties: the properties to check; all by default.

    Attributes:
        state: the state of the run so far.
    """

    def __init__(self, rules: Rules, *, properties: Sequence[Property] = ALL) -> None:
        self.state = RunState(rules)
        self._properties = tuple(properties)
        self._asked = _asked_by(self._properties)
        self._plans: dict[object, _Plan] = {}

    def see(self, event: Event) -> None:
        """Update the state with an event and check it.

        Raises:
            Violation: a property was violated; the first one found.
        """
        if isinstance(event, _CALLS):
            self._check(event, (type(event), event.verb))
        elif isinstance(event, Change):
            self._check(event, _step(event))
        else:
            self._check(event, type(event))

    def finish(self, at: float) -> None:
        """Check the properties of the end of the run, after the last event.

        Raises:
            Violation: a property was violated.
        """
        self._check(End(at), End)

    def _check(self, event: Event | End, kind: object) -> None:
        state = self.state
        plan = self._plans.get(kind)
        if plan is None:
            asked = self._asked.get(kind)
            if asked is None:
                asked = tuple(one for one in self._properties if _asks(one, event))
                self._asked[kind] = asked
            plan = self._plans[kind] = _Plan(state.taking(type(event)), asked)
        state.at = event.at
        if plan.take is not None:
            plan.take(event)
        one = None
        try:
            for one in plan.asked:
                one.check(event, state)
        except Broken as broken:
            rule = "" if one is None else one.name
            raise Violation(rule, broken.text, job=broken.job, since=broken.since, at=event.at) from None
        except Exception as error:
            # The code that produced the event would treat another exception as its own error.
            rule = "" if one is None else one.name
            text = f"the property itself failed: {type(error).__name__}: {error}"
            raise Violation(rule, text, at=event.at) from error


class _Plan(NamedTuple):
    """The processing of events of one kind: the update of the state, and the properties to check."""

    take: Callable[[Any], None] | None
    asked: tuple[Property, ...]


@lru_cache(maxsize=16)
def _asked_by(_properties: tuple[Property, ...], /) -> dict[object, tuple[Property, ...]]:
    """Return the cache of properties by kind of event, which all runs share and fill."""
    return {}


def _asks(one: Property, event: Event | End) -> bool:
    """Return whether a property is checked for an event like this."""
    if type(event) not in one.events:
        return False
    if isinstance(event, Change):
        return one.steps is None or one.steps(_step(event))
    return not one.verbs or not isinstance(event, _CALLS) or event.verb in one.verbs


def _step(event: Change) -> Step:
    _, _, table, before, after, _, _ = event
    return Step(table, None if before is None else before.state, None if after is None else after.state)
