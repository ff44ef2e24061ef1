"""Liveness: after all faults have ended, due work is started, and jobs that hang are released."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from zeke_queue.model import RowState, Settled, Suspensions
from zeke_sim.history.events import Answered, Change
from zeke_sim.history.state import Broken, End
from zeke_sim.properties.definition import holds, is_claim

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_sim.history.events import Image
    from zeke_sim.history.state import RunState, WorkerActivity

WORKER_RECOVERS: Final = 6.0
"""Maximum seconds until a worker repeats a failed call after the storage has recovered."""

DUTY_RECOVERS: Final = 31.0
"""Maximum seconds until maintenance or a scheduler repeats a failed call after the storage has recovered."""

POLLS: Final = 4
"""Number of polls that a worker may need if claims may skip rows at random."""


def duty_since(verb: str, state: RunState) -> float | None:
    """Return since when a process with this duty has run undisturbed; None if no process does."""
    quiet = state.since.get("quiet")
    if quiet is None:
        return None
    well = [
        node.well_since(state.at, state.rules.late) for node in state.nodes.values() if verb in node.duties
    ]
    since = [one for one in well if one is not None]
    return max(quiet, min(since)) + DUTY_RECOVERS if since else None


def gave_up(event: Answered) -> bool:
    """Return whether a call failed because another transaction kept a lock."""
    return event.outcome == "failed" and str(event.result).startswith("Another transaction keeps")


def found_locked(event: object, state: RunState) -> dict[UUID, float]:
    """Return when settlements last found a job locked since its claim, with this event's answer."""
    locked = state.of("found locked", dict["UUID", float])
    if isinstance(event, Answered) and isinstance(event.result, Settled | Suspensions):
        locked.update(dict.fromkeys(event.result.locked, event.at))
    elif isinstance(event, Answered) and event.verb == "claim" and event.outcome == "ok":
        for job in event.result:
            locked.pop(job.id, None)
    return locked


@holds("every process performs its duty", End)
def every_process_performs_its_duty(_event: End, state: RunState) -> None:
    """After all faults have ended, each worker claims, a scheduler polls for ticks, and maintenance sweeps.

    A process that never did so would violate no other liveness property.
    """
    for name, verbs in state.rules.duties.items():
        _begun(name, verbs, state)


def _begun(name: str, verbs: tuple[str, ...], state: RunState) -> None:
    node = state.nodes[name]
    well, quiet = node.well_since(state.at, state.rules.late), state.since.get("quiet")
    if well is None or quiet is None or node.hampered:
        return  # processes whose first calls failed may still be backing off, since time was skipped
    since = max(well, quiet)
    allowed = DUTY_RECOVERS + state.rules.sweep * (1 + state.rules.drift) + state.rules.slack
    for verb in verbs:
        does = bool(node.workers) if verb == "claim" else verb in node.duties
        if not does and state.at > since + allowed:
            raise Broken(f"{name} is well since {since:.3f} s, and never called {verb}", since=since)


@holds("due jobs are picked up", Change, End, steps=is_claim)
def due_jobs_are_picked_up(event: Change | End, state: RunState) -> None:
    """After all faults have ended, an idle worker claims due jobs within its poll interval.

    This holds without a wake-up too. Jobs that cannot be claimed (paused, at the limit, locked) are not due.
    """
    quiet = state.since.get("quiet")
    if quiet is None:
        return
    if isinstance(event, End):
        for queue in state.waiting.values():
            for row in queue.values():
                _in_time(row, state.lives[row.id].since, quiet, state)
    elif event.before is not None:
        _in_time(event.before, state.lives[event.before.id].earlier, quiet, state)


def _in_time(row: Image, since: float, quiet: float, state: RunState) -> None:
    rules = state.rules
    free = open_since(row.name, state)
    if free is None:
        return
    due = max(since, state.instant(row.start_after), quiet + WORKER_RECOVERS, free)
    polls = 1 if rules.strict_order else POLLS
    most = polls * rules.poll * (1 + rules.drift) + rules.slack
    if state.at <= due + most or state.at <= (due := max(due, _locked_until(row.id, state))) + most:
        return
    for activity in state.activity.values():
        idle = _idle_since(activity, row, state)
        if idle is not None and state.at > max(due, idle) + most:
            raise Broken(
                f"due since {due:.3f} s, and a worker on {activity.node} was idle since {idle:.3f} s; at"
                f" {state.at:.3f} s more than {most:.3f} s have passed",
                job=row.id,
                since=due,
            )


def _locked_until(job: UUID, state: RunState) -> float:
    """Return until when transactions that change a job may have locked it; 0 if none did."""
    until, family = 0.0, {job, *state.ancestors(job)}
    for calls in state.transactions.values():
        if any(not family.isdisjoint(call.invoked.args.get("ids", ())) for call in calls):
            ended = [state.at if call.answered is None else call.answered.at for call in calls]
            until = max(until, *ended)
    return until


def open_since(name: str, state: RunState) -> float | None:
    """Return since when a queue has admitted claims; None if it does not."""
    queue = state.queues.get(name)
    if queue is None:
        return 0.0
    limit = queue.concurrency_limit
    if queue.paused_on is not None or limit == 0:
        return None
    if limit is None:
        return queue.at
    # Without the jobs that were claimed at this instant.
    running = [row for row in state.active[name].values() if state.lives[row.id].since < state.at]
    return state.at if len(running) >= limit else max(queue.at, state.made_room.get(name, 0.0))


def _idle_since(activity: WorkerActivity, row: Image, state: RunState) -> float | None:
    """Return since when a worker was idle and could have claimed a job; None if it could not."""
    node = state.nodes.get(activity.node)
    if node is None or row.name not in activity.queues or node.running:
        return None
    well = node.well_since(state.at, state.rules.late)
    runs = any(state.activity[worker] is activity for worker in node.workers)
    if well is None or (activity.holds and activity.busy < state.at) or not runs:
        return None
    return max(activity.rested, node.rested, well + WORKER_RECOVERS)


@holds("abandoned jobs are released", Change, End)
def abandoned_jobs_are_released(event: Change | End, state: RunState) -> None:
    """After all faults have ended, no job stays active without a valid deadline, lease and handler.

    A job is released if its deadline has passed, if its worker is gone, or if its worker runs no handler for
    it. A worker counts as gone when there has been no outage for as long as its lease.
    """
    quiet = state.since.get("quiet")
    if quiet is None:
        return
    if isinstance(event, End):
        for queue in state.active.values():
            for row in queue.values():
                _check_released(row, quiet, state)
    elif _is_active(event.before) and not _is_active(event.after) and event.before is not None:
        _check_released(event.before, quiet, state)


def _is_active(row: Image | None) -> bool:
    return row is not None and row.state is RowState.ACTIVE


def _check_released(row: Image, quiet: float, state: RunState) -> None:
    if row.started_on is None:
        return
    rules = state.rules
    swept = duty_since("lock_expired", state)
    if swept is not None:
        gone = max(_lease_ends(row.worker, state), swept + rules.lease)
        ends = min(state.instant(row.started_on) + row.expire_in, gone)
        allowed = max(ends, swept) + rules.sweep * (1 + rules.drift) + rules.slack
        if state.at > allowed:
            raise Broken(
                f"overdue at {ends:.3f} s, and attempt {row.attempt} was active until {state.at:.3f} s,"
                f" sweeps being {rules.sweep} s apart",
                job=row.id,
                since=ends,
            )
    _still_run(row, quiet, state)


def _lease_ends(worker: UUID | None, state: RunState) -> float:
    """Return when a worker counts as dead without another heartbeat."""
    heartbeats = state.heartbeats.get(worker) if worker is not None else None
    if not heartbeats:
        return math.inf
    last = heartbeats[-1]
    if last.gone or last.beat_on is None:
        return last.at
    return state.instant(last.beat_on) + last.lease


def _still_run(row: Image, quiet: float, state: RunState) -> None:
    activity = state.activity.get(row.worker) if row.worker is not None else None
    if activity is None or activity.node not in state.nodes:
        return
    node = state.nodes[activity.node]
    well = node.well_since(state.at, state.rules.late)
    if well is None or row.worker not in node.workers or node.running:
        return
    claim = state.lives[row.id].claims.get(row.attempt)
    since = max(0.0 if claim is None else claim.at, quiet, well, node.rested)
    allowed = since + state.rules.lease + DUTY_RECOVERS
    if state.at > allowed:
        raise Broken(
            f"{activity.node} has run no handler of attempt {row.attempt} since {since:.3f} s, and it was"
            f" active until {state.at:.3f} s",
            job=row.id,
            since=since,
        )
