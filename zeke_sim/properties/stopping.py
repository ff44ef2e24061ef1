"""What workers do that were told to stop: they begin nothing more, and end in time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_sim.history import Began, Lived
from zeke_sim.past import Broken, End
from zeke_sim.properties.holding import holds

if TYPE_CHECKING:
    from zeke_sim.past import Past

PROMPT: Final = 0.1
"""Seconds within which a worker that runs does what it is told."""

LAST_WORDS: Final = 18.0
"""Seconds beyond the grace: two for handlers that are interrupted, and five each for a claim that is under
way, for the last settlements, and for what hangs; with one to spare.
"""


def _stops(past: Past) -> dict[str, float]:
    return past.of("told to stop", dict[str, float])


@holds("who ends begins nothing", Lived, Began, number=17)
def who_ends_begins_nothing(event: Lived | Began, past: Past) -> None:
    """A worker that was told to stop begins no handler any more."""
    stops = _stops(past)
    if isinstance(event, Began):
        since = stops.get(event.node)
        if since is not None and event.at > since + PROMPT:
            raise Broken(
                f"{event.node} was told to stop at {since:.3f} s, and began attempt {event.attempt} at"
                f" {event.at:.3f} s",
                job=event.job,
                since=since,
            )
    elif event.what == "stopping":
        stops.setdefault(event.node, event.at)
    elif event.what in {"started", "killed"}:
        stops.pop(event.node, None)
    elif event.what == "resumed" and event.node in stops:
        stops[event.node] = max(stops[event.node], event.at)  # it hears of it now only


@holds("who is told to stop ends in time", Lived, End, number=17)
def who_is_told_to_stop_ends_in_time(event: Lived | End, past: Past) -> None:
    """A worker that was told to stop ends soon after the grace, whatever its handlers and the database do.

    A process that stands still meanwhile has that much longer.
    """
    known = past.of("ending", dict[str, float])
    if isinstance(event, Lived):
        _ends(event, known, past)
    else:
        for node, due in known.items():
            if due < event.at and not past.nodes[node].paused:
                raise Broken(f"{node} was to end at {due:.3f} s, and has not at {event.at:.3f} s", since=due)


def _ends(event: Lived, known: dict[str, float], past: Past) -> None:
    node = past.nodes[event.node]
    if event.what == "stopping" and node.workers:
        allowed = (past.rules.grace + LAST_WORDS) * (1 + past.rules.drift)
        known.setdefault(event.node, event.at + allowed)
    elif event.what == "resumed" and event.node in known:
        allowed = (past.rules.grace + LAST_WORDS) * (1 + past.rules.drift)
        known[event.node] = event.at + allowed
    elif event.what in {"started", "killed"}:
        known.pop(event.node, None)
    elif event.what == "stopped":
        due = known.pop(event.node, event.at)
        if event.at > due:
            raise Broken(f"{event.node} was to end at {due:.3f} s, and ended at {event.at:.3f} s", since=due)
