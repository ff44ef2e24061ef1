"""Judges a run while it goes on: each event is taken into the past, and what it may break is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_sim.history import Answered, Invoked, Violation
from zeke_sim.past import Broken, End, Past
from zeke_sim.properties import ALL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_sim.history import Event, Rules
    from zeke_sim.properties import Property


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
        self._take = self.past.take
        self._properties = tuple(properties)
        self._asked: dict[object, tuple[Property, ...]] = {}

    def see(self, event: Event) -> None:
        """Take an event in, and judge it.

        Raises:
            Violation: a property does not hold; the first one that was found.
        """
        if isinstance(event, Answered | Invoked):
            self._see(event, (type(event), event.verb))
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
        self._take(event)
        asked = self._asked.get(kind)
        if asked is None:
            asked = self._asked[kind] = tuple(one for one in self._properties if _asks(one, event))
        for one in asked:
            try:
                one.check(event, past)
            except Broken as broken:
                raise Violation(
                    one.name, broken.text, job=broken.job, since=broken.since, at=event.at
                ) from None


def _asks(one: Property, event: Event | End) -> bool:
    """Tell whether a property asks for events like this one."""
    if type(event) not in one.events:
        return False
    return not one.verbs or not isinstance(event, Answered | Invoked) or event.verb in one.verbs
