"""Changes of rows: inserting, settling, cancelling and requeueing, on the scope of the statement.

``core.states`` defines which state may follow which, and ``Row`` what each change does to the columns. No
function here waits or can fail half-way: callers check JSON and clear locks first.
"""

from __future__ import annotations

from datetime import timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Final, Literal

from zeke_queue.core import failure, jsonb, waits
from zeke_queue.core.leases import UPTIME_MAX
from zeke_queue.core.states import TRANSITIONS, Event
from zeke_queue.model import FINAL, WAITING, ExpiredJob, Released, RowState, Suspensions
from zeke_queue.storage.memory.rows import A_CENTURY, COUNTER_MAX
from zeke_queue.storage.memory.uniqueness import held_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.model import Completed, Extended, Failed, Waiting, WorkerInfo
    from zeke_queue.storage.memory.rows import Row
    from zeke_queue.storage.memory.unit_of_work import AutoCommit

SEEN_MAX: Final = timedelta(hours=87_600)
"""Age from which the end of a job is no longer recognised as one that a job has waited for before."""

IN_TURN_SECONDS: Final = 1.0
"""Seconds until a job is due that waits for ended jobs in turn."""


def insert(scope: AutoCommit, rows: Iterable[Row]) -> None:
    """Insert rows in this order, skipping those whose id exists or whose slot or key is held."""
    for row in rows:
        if not scope.known(row.id) and _conflict_of(scope, row, row.state) is None:
            scope.store(row, row.created_on)


def complete(
    scope: AutoCommit, now: datetime, settlements: Iterable[tuple[Completed, str | None]], *, repeated: bool
) -> set[UUID]:
    """Complete jobs, each with the JSON text of its output."""
    changed: set[UUID] = set()
    for outcome, output in settlements:
        row = scope.row(outcome.id)
        if row is None or row.attempt != outcome.attempt:
            continue
        state = TRANSITIONS.get((row.state, Event.COMPLETE))
        if state is not None:
            row = scope.change(row)
            row.end(state, now)
            row.output = output
            scope.store(row, now)
            changed.add(row.id)
        elif repeated and row.state is RowState.COMPLETED and row.output == output:
            changed.add(row.id)
    return changed


def fail_or_release(
    scope: AutoCommit,
    now: datetime,
    failures: Iterable[tuple[Failed, str]],
    released: Iterable[Released],
    *,
    repeated: bool,
) -> set[UUID]:
    """Apply failures, each with the JSON text of its error, and releases.

    They are applied in the order of ids: of two jobs that return to one slot the lower id gets it.
    """
    steps: list[tuple[Failed | Released, str]] = [*failures, *((outcome, "") for outcome in released)]
    steps.sort(key=lambda step: step[0].id)
    changed: set[UUID] = set()
    for outcome, error in steps:
        row = scope.row(outcome.id)
        if row is None or row.attempt != outcome.attempt:
            continue
        if row.state is not RowState.ACTIVE:
            if repeated and _was_released(row, outcome, error):
                changed.add(row.id)
            continue
        row = scope.change(row)
        if isinstance(outcome, Released):
            _release(scope, row, outcome, now)
        else:
            _fail(scope, row, outcome, error, now)
        scope.store(row, now)
        changed.add(row.id)
    return changed


def suspend(scope: AutoCommit, now: datetime, waiting: Iterable[Waiting], *, repeated: bool) -> Suspensions:
    """Suspend active jobs until others have ended, in the order of ids."""
    changed: set[UUID] = set()
    refused: dict[UUID, tuple[UUID, ...]] = {}
    for job_id, attempt, child_id in sorted(waiting):
        row = scope.row(job_id)
        if row is None or row.attempt != attempt:
            continue
        if row.state is not RowState.ACTIVE:
            released = Released(job_id, attempt)
            if repeated and _was_released(row, released, ""):
                changed.add(job_id)
            continue
        if not scope.known(child_id):
            refused[job_id] = ()
            continue
        chain = wait_chain(scope, child_id, job_id)
        if waits.is_endless(chain, job_id):
            refused[job_id] = chain
            continue
        child = scope.row(child_id)
        if child is not None and child.state not in FINAL:
            _suspend(scope, row, child, now)
        else:
            ended = child or scope.tables.archive[child_id]
            seen_until = _seen_until(ended, now)
            if row.keep_until == seen_until:
                refused[job_id] = (child_id,)
                continue
            pause = IN_TURN_SECONDS if _is_in_turn(row, ended, now) else 0.0
            row = scope.change(row)
            _release(scope, row, Released(job_id, attempt, pause), now)
            if row.waits:
                row.keep_until = seen_until or now + 2 * A_CENTURY
            scope.store(row, now)
        changed.add(job_id)
    return Suspensions(changed, refused)


def wait_chain(scope: AutoCommit, child: UUID, job_id: UUID) -> tuple[UUID, ...]:
    """Return a job, the one for which it waits, and so on, up to ``job_id``; see ``core.waits``."""
    chain = [child]
    while chain[-1] != job_id and len(chain) < waits.WAIT_CHAIN_MAX:
        row = scope.row(chain[-1])
        if row is None or row.waits_for is None or row.state not in WAITING:
            break
        chain.append(row.waits_for)
    return tuple(chain)


def _seen_until(child: Row, now: datetime) -> datetime | None:
    """Return until when a job is kept that is due because this one had ended; see ``sql/suspend.sql``."""
    end = child.completed_on
    if end is None or not now - SEEN_MAX <= end <= now:
        return None
    return end + 2 * A_CENTURY + timedelta(microseconds=child.id.int % 2**32)


def _is_in_turn(row: Row, ended: Row, now: datetime) -> bool:
    """Return whether a job that was due because of an end waits for another job that had ended before."""
    if row.keep_until <= now + 1.5 * A_CENTURY:
        return False
    end, began = ended.completed_on, row.started_on
    return end is None or began is None or end < began or not now - SEEN_MAX <= end <= now


def _suspend(scope: AutoCommit, row: Row, child: Row, now: datetime) -> None:
    state = TRANSITIONS[row.state, Event.RELEASE]
    row = scope.change(row)
    if (other := _conflict_of(scope, row, state)) is not None:
        _supersede(row, other, None, now)
    else:
        row.wait_for(child.id, state, now)
        if not child.awaited:
            await_end(scope, child)
    scope.store(row, now)


def await_end(scope: AutoCommit, row: Row) -> None:
    """Mark a row as one that another job waits for, without notifying workers or watchers."""
    scope.tables.take_out(row)
    row.awaited = True
    scope.tables.put_in(row)


def wake(scope: AutoCommit, now: datetime, ended: Iterable[UUID], passed: Callable[[UUID], bool]) -> None:
    """Resume jobs that wait for ended ones, except those locked by other transactions."""
    for job_id in ended:
        child = scope.row(job_id)
        if child is None or not child.awaited or child.state not in FINAL:
            continue
        for parent in scope.waiting_for(job_id):
            if not passed(parent.id):
                row = scope.change(parent)
                row.wake(now)
                scope.store(row, now)


def _fail(scope: AutoCommit, row: Row, outcome: Failed, error: str, now: datetime) -> None:
    if outcome.retry_in is None:
        row.remember(outcome.final, error, now)
        row.end(outcome.final, now)
    elif (other := _conflict_of(scope, row, RowState.RETRY)) is not None:
        _supersede(row, other, error, now)
    else:
        row.remember(RowState.RETRY, error, now)
        row.wait(RowState.RETRY, now, outcome.retry_in)


def _was_released(row: Row, outcome: Failed | Released, error: str) -> bool:
    """Return whether an ended or waiting row results from this very outcome."""
    if row.state is RowState.FAILED and _superseded(row):
        return isinstance(outcome, Released) or outcome.retry_in is not None
    if isinstance(outcome, Released):
        return row.state is RowState.CREATED
    state = outcome.final if outcome.retry_in is None else RowState.RETRY
    return row.state is state and row.output == error


def _release(scope: AutoCommit, row: Row, outcome: Released, now: datetime) -> None:
    state = TRANSITIONS[row.state, Event.RELEASE]
    if (other := _conflict_of(scope, row, state)) is not None:
        _supersede(row, other, None, now)
    else:
        row.wait(state, now, outcome.delay)


def _conflict_of(scope: AutoCommit, row: Row, state: RowState) -> UUID | None:
    """Return the job that prevents this row, new or taken out, from being in a state."""
    if row.hold is None or not held_in(row.hold, state):
        return None
    return scope.holder(row.hold)


def _supersede(row: Row, other: UUID, error: str | None, now: datetime) -> None:
    """Fail a job that cannot return to waiting, with the id of the job that took its place."""
    if error is None:
        error = failure.error_record("Superseded", "Another job waits in its place")
    output = jsonb.normalise(jsonb.dumps({**jsonb.loads(error), "superseded_by": str(other)}))
    state = TRANSITIONS[row.state, Event.SUPERSEDE]
    row.remember(state, output, now)
    row.end(state, now)


def _superseded(row: Row) -> bool:
    output = None if row.output is None else jsonb.loads(row.output)
    return isinstance(output, dict) and "superseded_by" in output


def cancel(scope: AutoCommit, now: datetime, ids: Iterable[UUID]) -> set[UUID]:
    """Cancel waiting or running jobs and the children they wait for; their output stays unchanged."""
    changed: set[UUID] = set()
    asked = list(ids)
    while asked:
        job_id = asked.pop()
        row = scope.row(job_id)
        if row is not None and (state := TRANSITIONS.get((row.state, Event.CANCEL))) is not None:
            row = scope.change(row)
            row.end(state, now)
            if row.waits_for is not None:
                row.wake(now)  # so that it is due once requeued, also by pg-boss
            scope.store(row, now)
            changed.add(job_id)
            asked += (child.id for child in scope.awaited_children(job_id) if child.state not in FINAL)
    return changed


def cancelled_along(scope: AutoCommit, ids: Iterable[UUID]) -> set[tuple[UUID, UUID | None]]:
    """Return cancelled jobs, with the children that they wait for and that were cancelled with or after them.

    A child that was cancelled before its parent was cancelled for itself, and the parent may have seen it.

    Returns:
        Each with the parent that brings it back; None for a requested job.
    """
    found: set[tuple[UUID, UUID | None]] = set()
    asked: list[tuple[UUID, UUID | None]] = [(job_id, None) for job_id in ids]
    while asked:
        job_id, parent = asked.pop()
        row = scope.row(job_id)
        if row is None or row.state is not RowState.CANCELLED or (job_id, parent) in found:
            continue
        if (since := row.completed_on) is None:
            continue
        found.add((job_id, parent))
        children = scope.awaited_children(job_id)
        asked += [(one.id, job_id) for one in children if one.completed_on and one.completed_on >= since]
    return found


def resume(scope: AutoCommit, now: datetime, ids: Iterable[UUID]) -> set[UUID]:
    """Requeue cancelled jobs, with the children that were cancelled with them."""
    family = cancelled_along(scope, ids)
    changed: set[UUID] = set()
    due = {job_id for job_id, parent in family if parent is None}
    while due:
        back = requeue(scope, now, due, Event.RESUME)
        changed |= back
        due = {job_id for job_id, parent in family if parent in back}
    return changed


def requeue(scope: AutoCommit, now: datetime, ids: Iterable[UUID], event: Event) -> set[UUID]:
    """Requeue ended jobs, due at once, unless another job holds their key."""
    changed: set[UUID] = set()
    for job_id in sorted(set(ids)):
        row = scope.row(job_id)
        state = None if row is None else TRANSITIONS.get((row.state, event))
        if row is None or state is None or _conflict_of(scope, row, state) is not None:
            continue
        row = scope.change(row)
        row.wait(state, now)
        if event is Event.REVIVE:
            row.retry_limit = max(row.retry_limit, row.retry_count + 1)
            row.retry_limit = min(row.retry_limit, COUNTER_MAX)
        scope.store(row, now)
        changed.add(job_id)
    return changed


def extend(scope: AutoCommit, now: datetime, extended: Sequence[Extended]) -> set[UUID]:
    """Move the deadlines of active jobs."""
    changed: set[UUID] = set()
    for job_id, attempt, seconds in extended:
        row = scope.row(job_id)
        if row is None or row.state is not RowState.ACTIVE or row.attempt != attempt:
            continue
        row = scope.change(row)
        row.extend(now, seconds)
        scope.store(row, now)
        changed.add(job_id)
    return changed


class DeadWorkers:
    """Decides which workers are dead: they have left, or were silent for longer than their lease.

    Args:
        uptime: seconds without an outage; a worker with a longer lease may be about to renew it.
    """

    def __init__(self, workers: Mapping[UUID, WorkerInfo], now: datetime, uptime: float) -> None:
        self._workers = workers
        self._now = now
        self._uptime = timedelta(seconds=min(uptime, UPTIME_MAX))
        # Workers of pg-boss 9 have no lease.
        self._dead: dict[UUID | None, bool] = {None: False}

    def __contains__(self, worker: UUID | None) -> bool:
        """Return whether a worker is dead."""
        if worker not in self._dead:
            info = None if worker is None else self._workers.get(worker)
            ended = is_dead(info, self._now)
            self._dead[worker] = ended and (info is None or timedelta(seconds=info.lease) < self._uptime)
        return self._dead[worker]


def expired(
    scope: AutoCommit,
    now: datetime,
    dead: DeadWorkers,
    limit: int,
    passed: Callable[[UUID], bool],
) -> list[ExpiredJob]:
    """Return active rows past their deadline, or whose worker is dead, oldest deadline first.

    A duration beyond the calendar counts as a century. ``sql/lock_expired.sql`` implements the same, and
    ``tests/model`` compares the two.
    """
    found: list[tuple[datetime, UUID, Literal["deadline", "lease"], Row]] = []
    for row in scope.active():
        if row.started_on is None:
            continue  # claims set it, and so does pg-boss's fetch
        deadline = row.started_on + min(max(row.expire_in, -A_CENTURY), A_CENTURY)
        if (deadline < now or row.worker in dead) and not passed(row.id):
            found.append((deadline, row.id, "deadline" if deadline < now else "lease", row))
    found.sort(key=lambda entry: entry[:2])
    return [ExpiredJob._make((*_of_row(row), reason, row.worker)) for _, _, reason, row in found[:limit]]


_of_row: Final = attrgetter(*ExpiredJob._fields[:-2])


def is_dead(worker: WorkerInfo | None, now: datetime) -> bool:
    """Return whether a worker has left, or was silent for longer than its lease at this instant."""
    return worker is None or not worker.is_alive(now)
