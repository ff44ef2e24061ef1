"""What the past is made of: jobs' lives, calls, processes, workers, and what only one job may have."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from zeke_queue.model import JobState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from uuid import UUID

    from zeke_sim.history.events import Answered, Began, Change, Ended, Image, Invoked

MOMENT: Final = timedelta(milliseconds=1)
"""How much less than this two looks at one clock may differ from the time between them."""

_QUEUE_OF_ONE: Final = "__pgboss__singleton_queue"
_ENDED_BADLY: Final = frozenset({JobState.EXPIRED, JobState.CANCELLED, JobState.FAILED})
_CREATED, _RETRY, _ACTIVE = JobState.CREATED, JobState.RETRY, JobState.ACTIVE


class End(NamedTuple):
    """The run is over: the event that comes last, when nothing more will happen."""

    at: float


class Broken(Exception):
    """A property does not hold; the judge adds which, and when.

    Attributes:
        text: what broke it, with the values that contradict each other.
        job: the job that it is about, if it is about one.
        since: when what is to be looked at began, in seconds since the run began.
    """

    def __init__(self, text: str, *, job: UUID | None = None, since: float | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.job = job
        self.since = since


class Place(NamedTuple):
    """What only one job may have: a slot of time, or a key (of a slot, or by itself), in a queue."""

    queue: str
    slot: datetime | None
    key: str | None


def place_of(row: Image) -> Place | None:
    """Return what a live row keeps others from having, or None.

    A slot is taken by a job until it ends badly; so it stays taken when the job has completed. A key alone is
    taken while the job waits or runs; one of pg-boss's singleton queues only while it waits.
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
    """A call of a storage, from when it was made to its answer and what it did.

    Attributes:
        did: the changes of rows that it made.
        outcome: as ``Answered`` says; None while there is no answer.
        settled: of a settlement, what it asks by job.
    """

    __slots__ = ("answered", "did", "invoked", "outcome")

    def __init__(self, invoked: Invoked) -> None:
        self.invoked = invoked
        self.answered: Answered | None = None
        self.outcome: str | None = None
        self.did: list[Change] = []


def ids_answered(call: Call) -> list[UUID]:
    """Return the ids of the jobs that a send was told are there; none before its answer."""
    result = None if call.answered is None else call.answered.result
    told = [result] if call.invoked.verb == "spawn" else result or []
    return [job for job in told if job is not None]


def is_of_waiting(change: Change) -> bool:
    """Return whether all that a change did is that a job is waited for, or waits for another no more."""
    before, after = change.before, change.after
    if before is None or after is None or before.state is not after.state:
        return False
    return before.awaited is not after.awaited or before.waits_for != after.waits_for


class Ask(NamedTuple):
    """Somebody asked for something to be done to a job: ``what`` is a NewJob, an outcome, or an extension."""

    call: Call
    what: Any


class Life:
    """What is known of one job.

    Attributes:
        row: how it stands; None where there is no row (not yet, or not any more).
        table: where that row is.
        changes: everything that happened to its rows.
        sends: every insert that named it.
        outcomes: every settlement of an attempt, by its number.
        extensions: every extension of an attempt, by its number.
        claims: the change that began each attempt, by its number.
        began, ended: what its handlers did, by attempt.
        acknowledged: when the first send of it was acknowledged.
        retries: how many retries it was sent with.
        failures, pardons: attempts that failed; and how often the job was given a retry that its policy does
            not count: revived, or cancelled while it waited for one.
        since: when the row came to its present state; ``earlier``: and to the one before that.
    """

    __slots__ = (
        "acknowledged",
        "began",
        "changes",
        "claims",
        "earlier",
        "ended",
        "extensions",
        "failures",
        "outcomes",
        "pardons",
        "retries",
        "row",
        "sends",
        "since",
        "table",
    )

    def __init__(self) -> None:
        self.row: Image | None = None
        self.table = ""
        self.changes: list[Change] = []
        self.sends: list[Ask] = []
        self.outcomes: dict[int, list[Ask]] = {}
        self.extensions: dict[int, list[Ask]] = {}
        self.claims: dict[int, Change] = {}
        self.began: dict[int, list[Began]] = {}
        self.ended: dict[int, list[Ended]] = {}
        self.acknowledged: float | None = None
        self.retries = 0
        self.failures = 0
        self.pardons = 0
        self.since = 0.0
        self.earlier = 0.0

    def between(self, since: float, until: float) -> Iterator[Image | None]:
        """Yield how the job's row stood at any time from ``since`` on, the latest first; None is no row.

        A move to the archive is two changes, and between them there was no moment without a row.
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


class Node:
    """A process: whether it lives, runs, reaches the storage, and what it does.

    Attributes:
        state: ``up``, ``stopping``, ``stopped`` or ``killed``.
        changed: when any of this changed last.
        running: the handlers that run in it; ``rested``: when the last of them ended.
        duties: the verbs of a supervisor or a scheduler that it has called.
        open: when each of its calls that has no answer was made.
        hampered: when the last call ended that took longer than it should, or failed.
    """

    __slots__ = (
        "changed",
        "cut",
        "duties",
        "hampered",
        "open",
        "paused",
        "rested",
        "running",
        "state",
        "workers",
    )

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Begin anew, as a process that was just started."""
        self.state = "up"
        self.paused = False
        self.cut = False
        self.changed = 0.0
        self.rested = 0.0
        self.running: set[tuple[UUID, int]] = set()
        self.workers: set[UUID] = set()
        self.duties: set[str] = set()
        self.open: dict[int, float] = {}
        self.hampered = 0.0

    @property
    def healthy(self) -> bool:
        """Whether it runs, and reaches the storage."""
        return self.state == "up" and not self.paused and not self.cut

    def well_since(self, at: float, slack: float) -> float | None:
        """Return since when nothing has come in its way; None if something does now, or a call hangs."""
        if not self.healthy or any(at - made > slack for made in self.open.values()):
            return None
        return max(self.changed, self.hampered)


class Crew:
    """A worker, as its calls and its jobs show it.

    Attributes:
        node: the process that it is in.
        queues: those that it has claimed from, when it wanted jobs of the most.
        holds: the active rows that are its.
        rested, busy: when it last had no such row any more, and when it last began to have some.
    """

    __slots__ = ("busy", "holds", "node", "queues", "rested", "widest")

    def __init__(self) -> None:
        self.node = ""
        self.queues: set[str] = set()
        self.widest = 0
        self.holds: set[UUID] = set()
        self.rested = 0.0
        self.busy = 0.0
