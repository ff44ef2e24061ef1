"""Runs of the built-in scenarios, which several tests of one module share, and queries of their events."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from tests.scenarios import load
from zeke_sim.experiment.run import run
from zeke_sim.history.events import Answered, Change, Invoked

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from uuid import UUID

    from zeke_sim.experiment.run import Outcome
    from zeke_sim.history.events import Event, Image


SEEDS = {"cancel": 40, "catalog": 4, "limits": 40, "waiting": 130}
"""Number of seeds of scenarios whose number is not 20."""


@functools.lru_cache(maxsize=2)
def outcomes(name: str) -> list[Outcome]:
    """Return the runs of a scenario's first seeds."""
    scenario = load(name)
    return [run(scenario, scenario.plan(seed)) for seed in range(SEEDS.get(name, 20))]


def of(events: Iterable[Event], kind: type, **fields: Any) -> list[Any]:
    """Return the events of a kind whose fields have these values."""
    return [
        event
        for event in events
        if type(event) is kind and all(getattr(event, name) == value for name, value in fields.items())
    ]


def answers(events: Sequence[Event], verb: str) -> Iterator[tuple[Invoked, Answered]]:
    """Yield the calls of a verb that were answered, with their answers."""
    calls = {event.call: event for event in of(events, Invoked, verb=verb)}
    for event in of(events, Answered, verb=verb):
        if event.call in calls:
            yield calls[event.call], event


def changes(events: Iterable[Event]) -> Iterator[tuple[Change, Image, Image]]:
    """Yield the changes of rows that were there before and after, with both images."""
    for event in events:
        if isinstance(event, Change) and event.before is not None and event.after is not None:
            yield event, event.before, event.after


def inserted(events: Iterable[Event]) -> dict[UUID, Image]:
    """Return the rows as they were inserted."""
    rows = of(events, Change, table="job", before=None)
    return {row.after.id: row.after for row in rows if row.after}
