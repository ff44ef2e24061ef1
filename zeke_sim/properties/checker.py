"""Judges a run while it goes on: each event is taken into the past, and what it may break is asked."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zeke_sim.history.events import Answered, Change, Invoked, Violation
from zeke_sim.history.state import Broken, End, Past
from zeke_sim.properties import ALL
from zeke_sim.properties.holding import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zeke_sim.history.events import Event, Rules
    from zeke_sim.properties import Property

_CALLS: Final = (Answered, Invoked)


class Judge:
    """Judges one run.

    Args:
        rules: what the run was set up with.
        properties: what must hold; all that are known by default.

    Attributes:
        past: what is known of the run so far.
    """

    def __init__(self, rules: Rules, *, properties: Sequence[Property] = ALL) -> None:
        self.past = Past(rules)
        self._properties = tuple(properties)
        self._asked = _asked_by(self._properties)
        self._plans: dict[object, _Plan] = {}

    def see(self, event: Event) -> None:
        """Take an event in, and judge it.

        Raises:
            Violation: a property does not hold; the first one that was found.
        """
        if isinstance(event, _CALLS):
            self._see(event, (type(event), event.verb))
        elif isinstance(event, Change):
            self._see(event, _step(event))
        else:
            self._see(event, type(event))

    def finish(self, at: float) -> None:
        """Judge what can be judged at the end only, after the last event.

        Raises:
            Violation: a property does not hold.
        """
        self._see(End(at), End)

    def _see(self, event: Event | End, kind: object) -> None:
        past = self.past
        plan = self._plans.get(kind)
        if plan is None:
            asked = self._asked.get(kind)
            if asked is None:
                asked = tuple(one for one in self._properties if _asks(one, event))
                self._asked[kind] = asked
            plan = self._plans[kind] = _Plan(past.taking(type(event)), asked)
        past.at = event.at
        if plan.take is not None:
            plan.take(event)
        one = None
        try:
            for one in plan.asked:
                one.check(event, past)
        except Broken as broken:
            rule = "" if one is None else one.name
            raise Violation(rule, broken.text, job=broken.job, since=broken.since, at=event.at) from None
        except Exception as error:
            # Who made the event would take it for an error of its own.
            rule = "" if one is None else one.name
            text = f"the property itself failed: {type(error).__name__}: {error}"
            raise Violation(rule, text, at=event.at) from error


class _Plan(NamedTuple):
    """What is done about events of one kind: how the past takes them in, and which properties are asked."""

    take: Callable[[Any], None] | None
    asked: tuple[Property, ...]


@lru_cache(maxsize=16)
def _asked_by(_properties: tuple[Property, ...], /) -> dict[object, tuple[Property, ...]]:
    """Return which properties are asked, by kind of event: it is the same for all runs, which fill it."""
    return {}


def _asks(one: Property, event: Event | End) -> bool:
    """Return whether a property asks for events like this one."""
    if type(event) not in one.events:
        return False
    if isinstance(event, Change):
        return one.steps is None or one.steps(_step(event))
    return not one.verbs or not isinstance(event, _CALLS) or event.verb in one.verbs


def _step(event: Change) -> Step:
    _, _, table, before, after, _, _ = event
    return Step(table, None if before is None else before.state, None if after is None else after.state)
