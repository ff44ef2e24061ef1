"""Worker capacity: workers start the jobs that they claim, and claim as many as they can run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_queue.model import RowState
from zeke_sim.history.events import Answered, Began, Change, Ended, Invoked, WorkerRow
from zeke_sim.history.state import Broken, End
from zeke_sim.properties.definition import holds
from zeke_sim.properties.interruptions import known_of, lease_over, remember
from zeke_sim.properties.liveness import WORKER_RECOVERS, found_locked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from zeke_sim.history.events import Image
    from zeke_sim.history.state import RunState
    from zeke_sim.properties.definition import Step

_RELEASING = ("settle_unlocked",)

PROMPT = 0.1
"""Seconds within which a worker starts a job for which it has a free slot."""


@holds(
    "a worker with a free slot starts what it claimed",
    Invoked,
    Answered,
    WorkerRow,
    verbs=("claim", "settle", "settle_unlocked", "suspend", "heartbeat"),
)
def a_worker_with_a_free_slot_starts_what_it_claimed(
    event: Invoked | Answered | WorkerRow, state: RunState
) -> None:
    """A worker releases an unstarted job only if it has no free place, is stopping, or lost its lease.

    The number of its places is known from its first claim, when all are free.
    """
    places = state.of("places", dict["UUID", int])
    settled = state.of("settled", dict[str, float])
    if isinstance(event, WorkerRow) or (isinstance(event, Answered) and event.verb == "heartbeat"):
        remember(event, state)
    elif isinstance(event, Answered):
        if event.verb in {"settle", "settle_unlocked", "suspend"}:
            settled[event.node] = event.at
    elif event.verb == "claim":
        places.setdefault(event.args["worker"], event.args["limit"])
    elif event.verb in {"settle", "settle_unlocked"} and not event.args.get("repeated"):
        for released in event.args.get("released", ()):
            _was_begun(released.id, released.attempt, event, state)


def _was_begun(job: UUID, attempt: int, event: Invoked, state: RunState) -> None:
    life, node = state.lives[job], state.nodes[event.node]
    claim = life.claims.get(attempt)
    call = state.calls.get(claim.call) if claim is not None and claim.call is not None else None
    if call is None or call.answered is None or call.outcome != "ok" or call.invoked.node != event.node:
        return
    size = state.of("places", dict["UUID", int]).get(call.invoked.args["worker"], 0)
    if attempt in life.began or len(node.running) >= size or node.state != "up":
        return
    now, early = Ended(event.at, event.node, "", job, attempt, "cancelled", None), 1 / (1 + state.rules.drift)
    if lease_over(now, state, call.answered.at, early) is not None:
        return
    heartbeats = known_of(state).heartbeats.get(call.invoked.args["worker"], [])
    # An answer that arrives at the same time may be compared with the jobs after the claim's.
    asked = max((one.asked for one in heartbeats if one.answered < call.answered.at), default=event.at)
    if asked + state.rules.lease * early <= call.answered.at:
        return  # the lease had ended before the claim was answered
    since = max(node.rested, call.answered.at, node.changed, node.hampered)
    # While one settlement is in progress, later outcomes wait, so a release may have been decided earlier.
    if (
        event.at > since + state.rules.slack + PROMPT
        and state.of("settled", dict[str, float]).get(event.node, 0.0) < since
    ):
        raise Broken(
            f"{event.node} gives attempt {attempt} back and has not begun it since {since:.3f} s, though it"
            f" runs {len(node.running)} jobs and has {size} places",
            job=job,
            since=since,
        )


@holds("a worker whose lease ended starts no job", Began, Answered, WorkerRow, verbs=("heartbeat",))
def a_worker_whose_lease_ended_starts_no_job(event: Began | Answered | WorkerRow, state: RunState) -> None:
    """A worker starts no job after its lease has ended, until another heartbeat is answered.

    Another worker may hold the job by then.
    """
    if not isinstance(event, Began):
        remember(event, state)
        return
    claim = state.lives[event.job].claims.get(event.attempt)
    worker = None if claim is None or claim.after is None else claim.after.worker
    asked = None if worker is None else known_of(state).asked.get(worker)
    if asked is None or claim is None:
        return
    over = asked + state.rules.lease * (1 + state.rules.drift)
    if event.at > over + PROMPT:
        raise Broken(
            f"{event.node} began attempt {event.attempt} at {event.at:.3f} s, and its lease was over at"
            f" {over:.3f} s",
            job=event.job,
            since=over,
        )


def _leaves(step: Step) -> bool:
    return step.table == "job" and step.was is RowState.ACTIVE


@holds("a worker with a free slot claims jobs", Invoked, Change, verbs=("claim",), steps=_leaves)
def a_worker_with_a_free_slot_claims_jobs(event: Invoked | Change, state: RunState) -> None:
    """A worker that holds no job claims jobs of all its tasks.

    A lost job counts as held for a while, since the worker may learn of the loss late; until then, it may
    claim only what it can run besides that job.
    """
    held = state.of("held of a queue", dict[tuple["UUID", str], float])
    lost = state.of("lost by a worker", dict["UUID", float])
    if isinstance(event, Change):
        before = event.before
        if before is not None and before.worker is not None:
            held[before.worker, before.name] = event.at
            activity = state.activity.get(before.worker)
            if activity is None or all(call.invoked.node != activity.node for call in state.causes(event)):
                lost[before.worker] = event.at
        return
    worker, node = event.args["worker"], state.nodes[event.node]
    wanted = {want.name for want in event.args["capacity"]}
    activity = state.activity[worker]
    missing = [name for name in sorted(activity.queues - wanted) if name in state.rules.limits]
    if not missing or node.running or activity.holds:
        return
    well = node.well_since(event.at, state.rules.late)
    if well is None:
        return
    for name in missing:
        # The names of a task share its limit, so a job of one takes a place of the others.
        names = next((names for names in state.rules.shared if name in names), (name,))
        left = max(held.get((worker, one), 0.0) for one in names)
        since = max(well, left, lost.get(worker, 0.0))
        if event.at > since + state.rules.lease + WORKER_RECOVERS:
            raise Broken(
                f"{event.node} asks for no job of {name!r}, and has held none since {since:.3f} s",
                since=since,
            )


@holds("claimed jobs are started or released", Change, Answered, End, verbs=_RELEASING, steps=_leaves)
def claimed_jobs_are_started_or_released(event: Change | Answered | End, state: RunState) -> None:
    """A live worker that reaches the storage soon starts or releases each job that it claimed.

    This holds even if the answer of the claim was lost, and for any expire_in. The time counts from when the
    worker last found the job locked by another transaction.
    """
    locked = found_locked(event, state)
    if isinstance(event, Answered):
        return
    if isinstance(event, Change):
        if event.before is not None:
            _not_kept(event.before, locked, state)
        return
    for rows in state.active.values():
        for row in rows.values():
            _not_kept(row, locked, state)


def _not_kept(row: Image, locked: Mapping[UUID, float], state: RunState) -> None:
    life = state.lives[row.id]
    activity = state.activity.get(row.worker) if row.worker is not None else None
    claim = life.claims.get(row.attempt)
    if activity is None or claim is None or row.attempt in life.began or activity.node not in state.nodes:
        return
    node = state.nodes[activity.node]
    well = node.well_since(state.at, state.rules.late)
    if well is None or row.worker not in node.workers:
        return
    since = max(claim.at, well, locked.get(row.id, 0.0))
    allowed = state.rules.lease + WORKER_RECOVERS
    if state.at > since + allowed:
        raise Broken(
            f"{activity.node} has neither begun attempt {row.attempt} nor given it back from {since:.3f} s to"
            f" {state.at:.3f} s",
            job=row.id,
            since=since,
        )
