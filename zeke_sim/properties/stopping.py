"""What processes do that were told to stop: they begin nothing more, and end in time."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

from zeke_sim.history.events import Answered, Began, Invoked, Lived
from zeke_sim.history.state import Broken, End
from zeke_sim.properties.holding import holds

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_sim.history.state import Past

PROMPT: Final = 0.1
"""Seconds within which a worker that runs does what it is told."""

PATIENCE: Final = 5.0
"""Seconds for which a worker that ends tries what the storage does not answer, at least."""

DUTIES: Final = ("due_schedules", "overdue", "wake_parents", "archive", "purge")
"""What schedulers and supervisors are there for."""

_HOLDING: Final = ("claim", "settle", "suspend", "beat", "leave")

LAST_WORDS: Final = 18.0
"""Seconds beyond the grace: two for handlers that are interrupted, and five each for a claim that is under
way, for the last settlements, and for what hangs; with one to spare.
"""


def _stops(past: Past) -> dict[str, float]:
    return past.of("told to stop", dict[str, float])


@holds("who ends begins nothing", Lived, Began, Invoked, number=17, verbs=DUTIES)
def who_ends_begins_nothing(event: Lived | Began | Invoked, past: Past) -> None:
    """A process that was told to stop begins no handler any more, and does what it is there for once at most.

    Unless a call of its fails: it may be about to try the parts of it one by one.
    """
    stops, known = _stops(past), past.of("done at the end", set[tuple[str, str]])
    if isinstance(event, Began):
        _begins(event, stops)
    elif isinstance(event, Invoked):
        since, done = stops.get(event.node), (event.node, event.verb)
        if since is None or past.nodes[event.node].hampered >= since:
            return
        if done in known:
            raise Broken(
                f"{event.node} was told to stop at {since:.3f} s, and asks for {event.verb} again",
                since=since,
            )
        known.add(done)
    elif event.what == "stopping":
        stops.setdefault(event.node, event.at)
    elif event.what in {"started", "killed"}:
        stops.pop(event.node, None)
        known.difference_update([done for done in known if done[0] == event.node])
    elif event.what == "resumed" and event.node in stops:
        stops[event.node] = max(stops[event.node], event.at)  # it hears of it now only


def _begins(event: Began, stops: dict[str, float]) -> None:
    since = stops.get(event.node)
    if since is not None and event.at > since + PROMPT:
        raise Broken(
            f"{event.node} was told to stop at {since:.3f} s, and began attempt {event.attempt} at"
            f" {event.at:.3f} s",
            job=event.job,
            since=since,
        )


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


@holds("nobody ends unasked", Lived, number=17)
def nobody_ends_unasked(event: Lived, past: Past) -> None:
    """A worker, a scheduler or a supervisor ends when it is told to, and goes on whatever fails around it."""
    asked = past.of("asked to end", set[str])
    if event.what == "stopping":
        asked.add(event.node)
    elif event.what == "started":
        asked.discard(event.node)
    elif event.what == "stopped" and event.node not in asked:
        node = past.nodes[event.node]
        if node.workers or node.duties or event.node in past.rules.duties:
            raise Broken(f"{event.node} ended by itself, and nobody had told it to stop")


@holds("who leaves holds nothing", Answered, Invoked, number=17, verbs=_HOLDING)
def who_leaves_holds_nothing(event: Answered | Invoked, past: Past) -> None:
    """A worker that says goodbye has settled or given back all that it held.

    Unless it could not, since the storage has not answered for as long as it has patience at its end; or its
    lease was over while it ended, so that its jobs were no longer its to settle.
    """
    failing = past.of("failing", dict[str, float])
    if isinstance(event, Answered):
        _beaten(event, past)
        if event.outcome != "ok":
            failing.setdefault(event.node, past.calls[event.call].invoked.at)
        elif event.verb != "claim":
            failing.pop(event.node, None)
        return
    node = past.nodes[event.node]
    if event.verb != "leave":
        return
    held = past.crews[event.args["worker"]].holds
    since = min([failing.get(event.node, event.at), *node.open.values()])
    stood_still = any(
        fault.node == event.node and fault.kind in {"pause", "stall"} and fault.at > event.at - LAST_WORDS
        for fault in past.faults
    )
    late = 1 + past.rules.drift
    if _lapsed(event, past) > event.at - (LAST_WORDS + past.rules.grace) * late:
        return
    if held and event.at - since < PATIENCE / late and not stood_still:
        raise Broken(
            f"{event.node} leaves, and still holds {len(held)}; the storage was not away for long",
            job=min(held),
            since=since,
        )


def _beaten(event: Answered, past: Past) -> None:
    """Note when each worker last had a heartbeat answered, and when one came after the end of its lease."""
    if event.verb != "beat" or event.outcome != "ok":
        return
    call = past.calls[event.call].invoked
    asked, lapsed = past.of("asked and lapsed", _leases)
    worker = call.args["worker"].id
    if event.at - asked.get(worker, call.at) > past.rules.lease / (1 + past.rules.drift):
        lapsed[worker] = event.at
    asked[worker] = max(asked.get(worker, 0.0), call.at)


def _lapsed(event: Invoked, past: Past) -> float:
    """Return when a worker's lease was last seen to be over, perhaps now; long ago if it never was."""
    asked, lapsed = past.of("asked and lapsed", _leases)
    worker = event.args["worker"]
    over = asked.get(worker, event.at) + past.rules.lease / (1 + past.rules.drift)
    return event.at if event.at > over else lapsed.get(worker, -inf)


def _leases() -> tuple[dict[UUID, float], dict[UUID, float]]:
    return {}, {}
