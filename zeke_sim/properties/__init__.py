"""The properties that every run must satisfy, by subject, and factories for those of an application."""

from __future__ import annotations

from typing import Final

from zeke_sim.properties import (
    answers,
    capacity,
    claims,
    cleanup,
    cron,
    declarations,
    expiry,
    interruptions,
    lines,
    liveness,
    locks,
    nodes,
    outcomes,
    parents,
    retention,
    schedule_edits,
    sends,
    settlements,
    shutdown,
    transitions,
    wakeups,
)
from zeke_sim.properties.definition import Property, holds
from zeke_sim.properties.user import always, eventually, sometimes, unique_effects

__all__ = ["ALL", "Property", "always", "eventually", "holds", "sometimes", "unique_effects"]

ALL: Final[tuple[Property, ...]] = tuple(
    value
    for module in (
        transitions,
        claims,
        settlements,
        outcomes,
        answers,
        sends,
        expiry,
        interruptions,
        nodes,
        shutdown,
        capacity,
        cleanup,
        lines,
        retention,
        cron,
        declarations,
        schedule_edits,
        liveness,
        wakeups,
        parents,
        locks,
    )
    for name, value in vars(module).items()
    if isinstance(value, Property) and not name.startswith("_")
)
"""All properties, in the order in which they are checked."""
