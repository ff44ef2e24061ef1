"""Judges a run while it goes on: each event is taken into the past, and what it may break is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_sim.history import Violation
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
        self._asked: dict[type, list[Property]] = {}
        for one in properties:
            for kind in one.events:
                self._asked.setdefault(kind, []).append(one)

    def see(self, event: Event) -> None:
        """Take an event in, and judge it.

        Raises:
            Violation: a property does not hold; the first one that was found.
        """
        self._see(event)

    def finish(self, at: float) -> None:
        """Judge what can be judged at the end only, after the last event.

        Raises:
            Violation: a property does not hold.
        """
        self._see(End(at))

    def _see(self, event: Event | End) -> None:
        past = self.past
        past.take(event)
        for one in self._asked.get(type(event), ()):
            try:
                one.check(event, past)
            except Broken as broken:
                raise Violation(
                    one.name, broken.text, job=broken.job, since=broken.since, at=event.at
                ) from None
