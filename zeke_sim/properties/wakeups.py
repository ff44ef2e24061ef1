"""Wake-ups: idle workers poll as soon as there is work for them, and not all the time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.model import WAITING, Failed, Released, RowState, Waiting
from zeke_sim.history.events import Answered, Change, Fault, Invoked, QueueRow
from zeke_sim.history.state import Broken, End
from zeke_sim.properties.definition import holds
from zeke_sim.world.faults import WAKE

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_queue.model import Completed
    from zeke_sim.history.events import Image
    from zeke_sim.history.state import RunState

PROMPT: Final = 0.3
"""Seconds within which a woken worker polls."""

CLAIMS_MAX: Final = 200
"""Number of empty claims per second that is far more than wake-ups can cause."""

ASLEEP: Final = 0.5
"""Seconds without a job and a poll after which a worker is certainly asleep."""


class _Sleepers:
    """The state of these properties: the nodes that must poll soon, and when each last polled.

    Attributes:
        called: since when, and for which job, a node must poll, by node.
        polls: when a node invoked its last two claims.
        faulty: when a node's wait for work last had a fault; for the database, when it last stopped.
        queues: the settings of queues before the latest event.
    """

    def __init__(self) -> None:
        self.called: dict[str, tuple[float, UUID]] = {}
        self.polls: dict[str, tuple[float, float]] = {}
        self.faulty: dict[str, float] = {}
        self.queues: dict[str, QueueRow] = {}


@holds("idle workers are woken", Change, Invoked, QueueRow, Fault, End)
def idle_workers_are_woken(event: Change | Invoked | QueueRow | Fault | End, state: RunState) -> None:
    """An idle worker polls at once when a job is due by a statement, unless the wake-up is lost.

    It also polls when a job of a limited queue makes room, because it has ended or waits again, and when a
    queue with due jobs is resumed or its limit raised. Every worker that sleeps on the queue polls, since it
    cannot know whether another one is alive.
    """
    sleepers = state.of("sleepers", _Sleepers)
    if isinstance(event, Fault):
        if event.kind in WAKE or event.node == "db":
            until = event.at if event.until is None else event.until
            sleepers.faulty[event.node] = max(until, sleepers.faulty.get(event.node, until))
        return
    # Checked first, since a late poll is a violation even if no other event came before it.
    for node, (since, job) in list(sleepers.called.items()):
        if event.at > since + PROMPT:
            del sleepers.called[node]
            known = state.nodes[node]
            well = known.well_since(state.at, state.rules.late)
            if well is not None and well <= since:
                raise Broken(
                    f"{node} slept at {since:.3f} s, and has not polled by {event.at:.3f} s", job=job
                )
    if isinstance(event, Invoked):
        if event.verb == "claim":
            sleepers.called.pop(event.node, None)
            sleepers.polls[event.node] = (sleepers.polls.get(event.node, (0.0, 0.0))[1], event.at)
    elif isinstance(event, Change) and event.table == "job":
        _changed(event, sleepers, state)
    elif isinstance(event, QueueRow):
        _opened(event, sleepers, state)


def _changed(event: Change, sleepers: _Sleepers, state: RunState) -> None:
    """Expect polls if a job is due, or has made room."""
    row, before = event.after, event.before
    marked = before is not None and row is not None and before._replace(awaited=row.awaited) == row
    if row is not None and not marked and (_is_work(row, event, state) or _makes_room(row, event, state)):
        _call(row, event, sleepers, state)


def _opened(event: QueueRow, sleepers: _Sleepers, state: RunState) -> None:
    """Expect polls if a queue with due jobs admits more of them."""
    before, sleepers.queues[event.name] = sleepers.queues.get(event.name), event
    due = [row for row in state.waiting[event.name].values() if row.start_after <= event.now]
    if due and before is not None and _opens(before, event):
        _call(due[0], event, sleepers, state)


def _opens(before: QueueRow, after: QueueRow) -> bool:
    """Return whether a queue is resumed, or its limit raised or removed."""
    if before.paused_on is not None and after.paused_on is None:
        return True
    old, new = before.concurrency_limit, after.concurrency_limit
    return old is not None and (new is None or new > old)


def _is_work(row: Image, event: Change, state: RunState) -> bool:
    """Return whether a job was due as of its statement, not only when that had waited, or by the commit."""
    before = event.before
    if row.state not in WAITING or row.start_after > event.now:
        return False
    if before is None:
        return row.start_after <= row.created_on
    if before.state is not RowState.ACTIVE:
        return True  # due at once: it was resumed or retried, or what it waited for has ended
    outcomes = state.lives[row.id].outcomes.get(before.attempt, ())
    return row.start_after == event.now or not any(_may_pause(request.what) for request in outcomes)


def _may_pause(outcome: Completed | Failed | Released | Waiting) -> bool:
    """Return whether a job may be due later; one that waits for ended jobs is, if it does so in turn."""
    if isinstance(outcome, Failed):
        return bool(outcome.retry_in)
    return isinstance(outcome, Waiting) or (isinstance(outcome, Released) and outcome.delay > 0)


def _makes_room(row: Image, event: Change, state: RunState) -> bool:
    """Return whether a job of a limited queue no longer runs, even if it will run again soon."""
    queue = state.queues.get(row.name)
    has_limit = queue is not None and queue.concurrency_limit is not None
    was_active = event.before is not None and event.before.state is RowState.ACTIVE
    return has_limit and was_active and row.state is not RowState.ACTIVE


def _call(row: Image, event: Change | QueueRow, sleepers: _Sleepers, state: RunState) -> None:
    """Expect all workers that sleep on the row's queue to poll."""
    queue = state.queues.get(row.name)
    if queue is not None and queue.paused_on is not None:
        return
    if sleepers.faulty.get("db", -1.0) >= event.at - ASLEEP:
        return
    for activity in state.activity.values():
        node = state.nodes.get(activity.node)
        if node is None or row.name not in activity.queues or activity.holds or node.running or node.open:
            continue
        if not any(state.activity[worker] is activity for worker in node.workers):
            continue
        before, last = sleepers.polls.get(activity.node, (event.at, event.at))
        well = node.well_since(state.at, state.rules.late)
        # A worker backs off after a failure; a poll since then shows that it has recovered.
        idle = well is not None and well < last and max(activity.rested, node.rested) + ASLEEP < event.at
        if idle and last + ASLEEP < event.at and sleepers.faulty.get(activity.node, -1.0) < before:
            sleepers.called.setdefault(activity.node, (event.at, row.id))


@holds("a worker that finds nothing rests", Answered, verbs=("claim",))
def a_worker_that_finds_nothing_rests(event: Answered, state: RunState) -> None:
    """A worker that repeatedly finds no work pauses between its polls."""
    empty = state.of("empty claims", dict[str, list[float]])
    if event.outcome != "ok" or event.result:
        empty.pop(event.node, None)
        return
    found = empty.setdefault(event.node, [])
    found.append(event.at)
    if len(found) < CLAIMS_MAX:
        return
    if event.at - found[0] < 1.0:
        raise Broken(
            f"{event.node} asked {CLAIMS_MAX} times since {found[0]:.3f} s, and found nothing each time"
        )
    del found[: CLAIMS_MAX // 2]
