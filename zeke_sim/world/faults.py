"""The faults of a simulated world, and their rates.

Each fault is a decision at an address that names its target: ``w1/settle/3`` is the third settlement of node
w1, ``node/w1/0`` the first fault of node w1, ``db/0`` the first of the database. Removing an address from a
plan removes that fault and nothing else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.core.timeouts import LOCK_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zeke_sim.loop.decisions import RandomStream

STATEMENT: Final[Mapping[str, str]] = {
    "refused": "the statement fails before it is executed",
    "lost": "the statement commits, but its answer is lost",
    "hung": "the statement fails after a long time, and may have been executed",
    "late": "the statement is executed late, and then answered",
    "abandoned": "the client times out, and the server executes the statement later",
    "pool": "no connection is free for a long time, so the statement is not sent",
    "conflict": "the database aborts the statement repeatedly, as for a deadlock",
    "kill_before": "the process is killed as it sends the statement, which does not arrive",
    "kill_after": "the process is killed after the statement was executed, before it gets the answer",
}
"""Faults of one statement, by kind."""

WAKE: Final[Mapping[str, str]] = {
    "lost_wakeup": "a wake-up is lost",
    "late_wakeup": "a wake-up arrives late",
    "spurious": "a wake-up arrives although no job is due",
}
"""Faults of one wait for work."""

NODE: Final[Mapping[str, str]] = {
    "kill": "the process is killed, and another one is started in its place",
    "pause": "the process is suspended for half of its lease up to three times its lease",
    "block": "the event loop of the process is blocked for as long as in a pause, but its other threads run",
    "freeze": "the process is suspended for at most half of its lease",
    "sigterm": "the process receives SIGTERM, and another one is started in its place",
    "partition": "the process and the database cannot reach each other",
    "partition_out": "messages of the process do not reach the database",
    "partition_in": "messages of the process are executed, but no answers come back",
    "clock": "the wall clock of the process jumps",
    "drift": "the clocks of the process run too fast or too slow",
}
"""Faults of a node."""

DATABASE: Final[Mapping[str, str]] = {
    "restart": (
        "the database is unavailable for a time: connections break, and open transactions are rolled back"
    ),
    "db_clock": "the clock of the database jumps",
    "foreign_lock": "another program locks a job, the row of a queue with a limit, or a key for a time",
    "notify_full": "the notification queue is full: writes succeed, but all wake-ups are lost for a time",
}
"""Faults of the database."""

HANDLER: Final[Mapping[str, str]] = {
    "kill_handler": "the process is killed while a handler waits",
    "kill_line": "the process is killed between two statements of a handler or of a function that it calls",
}
"""Faults of one attempt."""

CALL: Final[Mapping[str, str]] = {
    "call_refused": "a call of a double fails before it has an effect",
    "call_lost": "a call of a double has its effect, but its answer is lost",
    "call_late": "a call of a double, or its answer, is late",
}
"""Faults of one call of a double, by kind."""

KINDS: Final[Mapping[str, str]] = {**STATEMENT, **WAKE, **NODE, **DATABASE, **HANDLER, **CALL}
"""All fault kinds with their meaning."""

PARTITIONS: Final = frozenset({"partition", "partition_out", "partition_in"})
"""Node faults of the connection."""

OF_CLIENTS: Final = PARTITIONS | {"freeze", "clock"}
"""Node faults of clients, which run once and so are not killed."""

AIMED: Final = PARTITIONS | {"kill", "pause", "sigterm"}
"""Node faults that can be delayed until a critical moment."""

AIMS: Final[Mapping[str, tuple[str, ...]]] = {
    "worker": ("claim", "settle", "heartbeat", "handler", "handler"),
    "scheduler": ("lock_due_schedules", "insert", "commit"),
    "maintenance": ("lock_expired", "settle", "commit"),
    "client": ("insert",),
}
"""The critical moments of each role: statements in transit, and (``handler``) the start of an attempt."""


@dataclass(frozen=True, slots=True)
class Knobs:
    """The fault rates of a run; drawn from the seed by its strategy unless given.

    Attributes:
        statement: the probability of a fault per statement.
        wake: the probability of a fault per wait for work.
        handler: the probability of a fault per attempt.
        node: faults per node and minute of the fault phase.
        database: faults of the database per minute of the fault phase.
        call: the probability of a fault per call of a double.
        slow: the probability that a statement takes longer than the shortest time.
        latency: the median latency of a slow statement in each direction, in seconds.
        skip: the probability that a claim skips a due row, as if another transaction had locked it.
        order: how the next of several runnable nodes is chosen: ``turns``, ``permuted`` or ``priorities``.
        skip_time: whether idle time is skipped.
        until_drained: whether the fault phase ends as soon as all jobs and programs have ended.
    """

    kinds: tuple[str, ...] = tuple(KINDS)
    statement: float = 0.0
    wake: float = 0.0
    handler: float = 0.0
    node: float = 0.0
    database: float = 0.0
    call: float = 0.0
    slow: float = 0.0
    latency: float = 0.01
    skip: float = 0.0
    order: str = "turns"
    skip_time: bool = True
    until_drained: bool = False

    def but(self, **changes: Any) -> Knobs:
        """Return a copy of these knobs with changes."""
        return replace(self, **changes)

    def as_json(self) -> dict[str, Any]:
        """Return the knobs as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Knobs:
        """Create knobs from JSON values."""
        values: dict[str, Any] = {**given, "kinds": tuple(given.get("kinds", KINDS))}
        return cls(**values)


NONE: Final = Knobs(kinds=())
"""No faults and no delays."""


def statement_fault(draws: RandomStream, knobs: Knobs) -> dict[str, Any] | None:
    """Draw a fault or a delay of a statement, or None."""
    decision: dict[str, Any] = {}
    if knobs.statement and draws.chance(knobs.statement):
        kinds = [kind for kind in knobs.kinds if kind in STATEMENT]
        if kinds:
            decision["fault"] = kind = draws.pick(kinds)
            if kind in {"hung", "pool", "conflict"}:
                decision["for"] = round(draws.tail(2.0, 30.0), 3)
            if kind == "late":
                decision["wait"] = round(draws.tail(2.0, 30.0), 3)
            if kind == "abandoned":
                decision["for"] = round(draws.tail(0.5, 10.0), 3)
                decision["wait"] = round(decision["for"] + draws.tail(3.0, 30.0), 3)
            if kind == "hung":
                decision["applied"] = draws.chance(0.5)
    if knobs.slow and draws.chance(knobs.slow):
        there, back = (
            draws.tail(knobs.latency, 50 * knobs.latency),
            draws.tail(knobs.latency, 50 * knobs.latency),
        )
        decision.setdefault("wait", round(there, 6))
        decision["back"] = round(back, 6)
    return decision or None


def wake_fault(draws: RandomStream, knobs: Knobs) -> dict[str, Any] | None:
    """Draw a fault of a wait for work, or None."""
    if not knobs.wake or not draws.chance(knobs.wake):
        return None
    kinds = [kind for kind in knobs.kinds if kind in WAKE]
    if not kinds:
        return None
    kind = draws.pick(kinds)
    if kind == "late_wakeup":
        return {"fault": kind, "for": round(draws.tail(0.2, 5.0), 3)}
    if kind == "spurious":
        return {"fault": kind, "after": round(draws.uniform(0.0, 2.0), 3)}
    return {"fault": kind}


def feed_fault(draws: RandomStream, knobs: Knobs) -> dict[str, Any] | None:
    """Draw the loss of a change notification, or None if it arrives."""
    if not knobs.wake or "lost_wakeup" not in knobs.kinds or not draws.chance(knobs.wake):
        return None
    return {"fault": "lost_wakeup"}


def handler_fault(draws: RandomStream, knobs: Knobs) -> dict[str, Any] | None:
    """Draw a fault of an attempt, or None."""
    if not draws.chance(knobs.handler):
        return None
    return {"fault": "kill_handler", "after": round(draws.tail(0.3, 10.0), 3)}


def line_fault(draws: RandomStream, knobs: Knobs, points: int) -> dict[str, Any] | None:
    """Draw the point of an attempt at which its process is killed, or None.

    Args:
        points: number of points in the handler itself; with the functions that it calls, it passes more.
    """
    if not draws.chance(knobs.handler):
        return None
    return {"fault": "kill_line", "point": 1 + draws.below(draws.pick((1, 1, 2, 4)) * (points + 1))}


def call_fault(draws: RandomStream, knobs: Knobs, errors: int, *, waits: bool) -> dict[str, Any] | None:
    """Draw a fault or a delay of a double's call, or None.

    Args:
        errors: number of errors that the call can raise.
        waits: whether the call can take time, as calls of sync methods cannot.
    """
    decision: dict[str, Any] = {}
    if waits and knobs.slow and draws.chance(0.5):
        decision = {"wait": round(draws.tail(0.2, 10.0), 3), "back": round(draws.tail(0.2, 10.0), 3)}
    kinds = [kind for kind in knobs.kinds if kind in CALL and (waits if kind == "call_late" else errors)]
    if kinds and draws.chance(knobs.call):
        decision["fault"] = kind = draws.pick(kinds)
        if kind == "call_late":
            decision[draws.pick(("wait", "back"))] = decision["for"] = round(draws.tail(10.0, 120.0), 3)
        else:
            decision["error"] = draws.below(errors)
    return decision or None


def faults_over_time(
    draws: RandomStream, kinds: Sequence[str], rate: float, phase: float, lease: float, *, role: str = ""
) -> list[dict[str, Any]]:
    """Draw the faults of a node or of the database over the fault phase.

    Args:
        rate: average number of faults per minute.
        phase: length of the fault phase in seconds.
        lease: length of a lease in seconds, which scales the length of pauses.

    Returns:
        Decisions: the ``fault``, ``at`` which second, and ``for`` how many seconds or ``by`` how much. A
        fault with ``on`` is delayed until the node's next statement of that method is in transit.
    """
    drawn: list[dict[str, Any]] = []
    at = 0.0
    while rate and kinds:
        at += draws.uniform(0.0, 2.0) * 60.0 / rate
        if at >= phase:
            break
        kind = draws.pick(kinds)
        one: dict[str, Any] = {"fault": kind, "at": round(at, 3), **_extent(draws, kind, lease)}
        if kind in AIMED and draws.chance(0.4):
            one["on"] = draws.pick(AIMS[role])
        drawn.append(one)
    return drawn


def _extent(draws: RandomStream, kind: str, lease: float) -> dict[str, float]:
    """Draw the duration or the amount of a fault."""
    if kind in {"kill", "sigterm"}:
        return {"for": round(draws.tail(1.0, 30.0), 3)}
    if kind in {"pause", "block"}:
        return {"for": round(lease * draws.uniform(0.5, 3.0), 3)}
    if kind == "freeze":
        return {"for": round(draws.tail(1.0, lease / 2), 3)}
    if kind in {"clock", "db_clock"}:
        return {"by": round(draws.uniform(-120.0, 120.0) if kind == "clock" else draws.uniform(-2.0, 8.0), 3)}
    if kind == "drift":
        return {"rate": round(draws.uniform(0.98, 1.02), 4)}
    median = 3 * LOCK_SECONDS if kind == "foreign_lock" else 3.0
    extent = {"for": round(draws.tail(median, 3 * lease), 3)}
    if kind == "foreign_lock":
        extent |= {"which": round(draws.random(), 6), "shared": float(draws.chance(0.5))}
    return extent
