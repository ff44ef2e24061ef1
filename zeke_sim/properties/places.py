"""What workers do with their places: they begin what they claimed, and ask for what they have room for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_queue.model import JobState
from zeke_sim.history import Answered, Change, Invoked
from zeke_sim.past import Broken
from zeke_sim.properties.holding import holds
from zeke_sim.properties.liveness import WORKER_RECOVERS

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_sim.past import Past
    from zeke_sim.properties.holding import Step

PROMPT = 0.1
"""Seconds within which a worker begins what it has a free place for."""


@holds("who has a free place begins what it claimed", Invoked, Answered, number=16, verbs=("claim", "settle"))
def who_has_a_free_place_begins_what_it_claimed(event: Invoked | Answered, past: Past) -> None:
    """A worker gives no job back unbegun while a place for it is free, unless it ends.

    How many places it has, its first claim says, for which all are free.
    """
    places = past.of("places", dict["UUID", int])
    settled = past.of("settled", dict[str, float])
    if isinstance(event, Answered):
        if event.verb == "settle":
            settled[event.node] = event.at
        return
    if event.verb == "claim":
        places.setdefault(event.args["worker"], event.args["limit"])
    elif not event.args.get("again"):
        for released in event.args.get("released", ()):
            _was_begun(released.id, released.attempt, event, past)


def _was_begun(job: UUID, attempt: int, event: Invoked, past: Past) -> None:
    life, node = past.lives[job], past.nodes[event.node]
    claim = life.claims.get(attempt)
    call = past.calls.get(claim.call) if claim is not None and claim.call is not None else None
    if call is None or call.answered is None or call.outcome != "ok" or call.invoked.node != event.node:
        return
    size = past.of("places", dict["UUID", int]).get(call.invoked.args["worker"], 0)
    if attempt in life.began or len(node.running) >= size or node.state != "up":
        return
    since = max(node.rested, call.answered.at, node.changed, node.hampered)
    # While an outcome is stored the next ones wait, whatever was decided of them before.
    if (
        event.at > since + past.rules.slack + PROMPT
        and past.of("settled", dict[str, float]).get(event.node, 0.0) < since
    ):
        raise Broken(
            f"{event.node} gives attempt {attempt} back and has not begun it since {since:.3f} s, though it"
            f" runs {len(node.running)} jobs and has {size} places",
            job=job,
            since=since,
        )


def _leaves(step: Step) -> bool:
    return step.table == "job" and step.was is JobState.ACTIVE


@holds("who has room asks for work", Invoked, Change, number=8, verbs=("claim",), steps=_leaves)
def who_has_room_asks_for_work(event: Invoked | Change, past: Past) -> None:
    """A worker that holds nothing asks for jobs of each of its tasks.

    What it held of one counts for a while after, since it may hear late that it has lost it.
    """
    held = past.of("held of a queue", dict[tuple["UUID", str], float])
    if isinstance(event, Change):
        before = event.before
        if before is not None and before.worker is not None:
            held[before.worker, before.name] = event.at
        return
    worker, node = event.args["worker"], past.nodes[event.node]
    wanted = {want.name for want in event.args["wants"]}
    crew = past.crews[worker]
    missing = [name for name in sorted(crew.queues - wanted) if name in past.rules.limits]
    if not missing or node.running or crew.holds:
        return
    well = node.well_since(event.at, past.rules.slack)
    if well is None:
        return
    for name in missing:
        since = max(well, held.get((worker, name), 0.0))
        if event.at > since + past.rules.lease + WORKER_RECOVERS:
            raise Broken(
                f"{event.node} asks for no job of {name!r}, and has held none since {since:.3f} s",
                since=since,
            )
