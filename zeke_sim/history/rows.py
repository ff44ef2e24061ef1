"""The records of ``RunState``: jobs, calls, processes, workers, and exclusive keys and slots."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zeke_queue.model import RowState
from zeke_sim.history.events import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

    from zeke_sim.history.events import Answered, Began, Change, Ended, Image, Invoked

MOMENT: Final = timedelta(milliseconds=1)
"""Tolerance when the difference of two readings of a clock is compared with the time between them."""

ENDS: Final = frozenset({"commit", "rollback"})
"""The verbs that end a transaction."""

LOST_FOR: Final = 60.0
"""Seconds after a commit without an answer for which the server may keep the transaction."""

_QUEUE_OF_ONE: Final = "__pgboss__singleton_queue"
_ENDED_BADLY: Final = frozenset({RowState.EXPIRED, RowState.CANCELLED, RowState.FAILED})
_CREATED, _RETRY, _ACTIVE = RowState.CREATED, RowState.RETRY, RowState.ACTIVE


class End(NamedTuple):
    """The end of the run: the last event."""

    at: float


class Broken(Exception):
    """A property was violated; the checker adds its name and the time.

    Attributes:
        text: the reason, with the contradictory values.
        since: the start of the relevant interval, in seconds since the run began.
    """

    def __init__(self, text: str, *, job: UUID | None = None, since: float | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.job = job
        self.since = since


def text_of(kind: str, data: Mapping[str, Any]) -> str:
    """Return the text that distinguishes progress and log lines of a handler, from the fields of one."""
    message = data.get("message")
    return f"{data.get('value')}: {message}" if kind == "progress" else str(message)


def place_of(row: Image) -> Place | None:
    """Return the place that a live row occupies, or None.

    A job occupies its slot until it fails or is cancelled, so a completed job still occupies it. It occupies
    a key without a slot while it waits or runs; in a singleton queue of pg-boss only while it waits.
    """
    key, slot, state = row.singleton_key, row.singleton_on, row.state
    if key is None and slot is None:
        return None
    if slot is not None:
        taken = state not in _ENDED_BADLY
    elif key is not None and key.startswith(_QUEUE_OF_ONE):
        taken = state is _CREATED or state is _RETRY
    else:
        taken = state is _CREATED or state is _RETRY or state is _ACTIVE
    return Place(row.name, slot, key) if taken else None


class Call:
    """A storage call with its answer and its changes.

    Attributes:
        did: the row changes that it made.
        outcome: the outcome of ``Answered``; None before the answer.
    """

    __slots__ = ("answered", "did", "invoked", "outcome")

    def __init__(self, invoked: Invoked) -> None:
        self.invoked = invoked
        self.answered: Answered | None = None
        self.outcome: str | None = None
        self.did: list[Change] = []


def ending(calls: Sequence[Call]) -> Call:
    """Return the call of a transaction that may have ended it: its rollback if it has one, else its last.

    A client that has not heard of the server's rollback calls once more, and is refused.
    """
    return next((call for call in reversed(calls) if call.invoked.verb == "rollback"), calls[-1])


def ids_answered(call: Call) -> Sequence[UUID | None]:
    """Return the job ids in the answer of a send, None for a refused job; none before the answer."""
    result = None if call.answered is None else call.answered.result
    return (result,) if call.invoked.verb == "insert_child" else result or ()


def is_moved(change: Change) -> bool:
    """Return whether a job is moved to another queue, as those of private queues of ended processes are."""
    before, after = change.before, change.after
    return before is not None and after is not None and before.name != after.name


def is_of_waiting(change: Change) -> bool:
    """Return whether a change only marks a job as awaited, or ends its wait for another."""
    before, after = change.before, change.after
    if before is None or after is None or before.state is not after.state:
        return False
    return before.awaited is not after.awaited or before.waits_for != after.waits_for


class Request(NamedTuple):
    """A request concerning a job: ``what`` is a NewJob, an outcome, or an extension."""

    call: Call
    what: Any


@dataclass(slots=True, eq=False)
class Life:
    """The history of one job.

    Attributes:
        row: its current row; None before the insertion and after the deletion.
        sends: every insert that named it.
        outcomes: every settlement, by attempt number.
        extensions: every extension, by attempt number; this and the next three since the last insertion.
        claims: the claiming change, by attempt number.
        began, ended: the starts and ends of its handlers, by attempt number.
        acknowledged: when its first send was acknowledged.
        failures: number of failed attempts.
        since, earlier: when the row entered its current state, and the state before that.
    """

    row: Image | None = None
    table: str = ""
    changes: list[Change] = field(default_factory=list["Change"])
    sends: list[Request] = field(default_factory=list["Request"])
    outcomes: dict[int, list[Request]] = field(default_factory=dict[int, "list[Request]"])
    extensions: dict[int, list[Request]] = field(default_factory=dict[int, "list[Request]"])
    claims: dict[int, Change] = field(default_factory=dict[int, "Change"])
    began: dict[int, list[Began]] = field(default_factory=dict[int, "list[Began]"])
    ended: dict[int, list[Ended]] = field(default_factory=dict[int, "list[Ended]"])
    acknowledged: float | None = None
    failures: int = 0
    since: float = 0.0
    earlier: float = 0.0

    def between(self, since: float, until: float) -> Iterator[Image | None]:
        """Yield each version of the job's row from ``since`` on, the latest first; None for no row.

        A move to the archive is two changes of one commit, so no version without a row lies between them.
        """
        changes = self.changes
        for place in range(len(changes) - 1, -1, -1):
            change = changes[place]
            if change.at > until:
                continue
            after = changes[place + 1] if place + 1 < len(changes) else None
            if change.after is not None or after is None or after.commit != change.commit:
                yield change.after
            if change.at < since:
                return
        yield None


@dataclass(slots=True, eq=False)
class Node:
    """The state and the activity of a process.

    Attributes:
        state: ``up``, ``stopping``, ``stopped`` or ``killed``.
        changed: when its state or its connection last changed.
        rested: when the last handler ended.
        duties: the storage methods for maintenance and schedules that it has called.
        open: the start times of its unanswered calls, by number.
        hampered: when a call last failed or took too long.
    """

    state: str = "up"
    paused: bool = False
    partitioned: bool = False
    changed: float = 0.0
    rested: float = 0.0
    running: set[tuple[UUID, int]] = field(default_factory=set[tuple["UUID", int]])
    workers: set[UUID] = field(default_factory=set["UUID"])
    duties: set[str] = field(default_factory=set[str])
    open: dict[int, float] = field(default_factory=dict[int, float])
    hampered: float = 0.0

    @property
    def healthy(self) -> bool:
        """Whether the process runs and can reach the storage."""
        return self.state == "up" and not self.paused and not self.partitioned

    def well_since(self, at: float, late: float) -> float | None:
        """Return since when the process is undisturbed; None if it is disturbed or a call hangs."""
        if not self.healthy or any(at - made > late for made in self.open.values()):
            return None
        return max(self.changed, self.hampered)


@dataclass(slots=True, eq=False)
class WorkerActivity:
    """A worker, derived from its calls and jobs.

    Attributes:
        queues: the queues of its widest claim so far.
        holds: the active rows that it holds.
        rested, busy: when it last came to hold no row, and when it last began to hold some.
    """

    node: str = ""
    queues: set[str] = field(default_factory=set[str])
    widest: int = 0
    holds: set[UUID] = field(default_factory=set["UUID"])
    rested: float = 0.0
    busy: float = 0.0
