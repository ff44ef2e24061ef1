"""What can go wrong in a simulated world, and how often.

Each fault is a decision at an address, which says what it hits: ``w1/settle/3`` is the third settlement of
node w1, ``node/w1/0`` the first misfortune in the life of w1, ``db/0`` that of the database. A plan that
leaves the address out leaves the fault out, and nothing else.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zeke_sim.loop.decisions import Draws

STATEMENT: Final[Mapping[str, str]] = {
    "refused": "the statement fails before it applies",
    "lost": "the statement commits, but its answer is lost",
    "hung": "there is no answer for a long time, then an error; the statement may have been applied",
    "late": "the statement is applied late, and answered",
    "pool": "no connection is free for a long time, so that nothing is sent",
    "conflict": "the database aborts the statement again and again, as for a deadlock",
    "kill_before": "the node is killed as it sends the statement, which does not arrive",
    "kill_after": "the node is killed when the statement has been applied, before it hears so",
}
"""Faults of one statement, by kind."""

WAKE: Final[Mapping[str, str]] = {
    "deaf": "a wake-up is lost",
    "drowsy": "a wake-up comes late",
    "spurious": "a wake-up comes for nothing",
}
"""Faults of one wait for work."""

NODE: Final[Mapping[str, str]] = {
    "kill": "the process is killed, and another one started in its place",
    "pause": "the process stands still, for about its lease or longer, and goes on",
    "stall": "the process stands still for a moment",
    "drain": "the process is told to stop (SIGTERM), and another one started in its place",
    "cut": "the node can't reach the database, nor the database the node",
    "cut_out": "what the node sends does not arrive",
    "cut_in": "what the node sends arrives and is done, but no answer comes",
    "clock": "the node's wall clock jumps",
    "drift": "the node's clocks run too fast or too slow",
}
"""Misfortunes of a node."""

DATABASE: Final[Mapping[str, str]] = {
    "restart": "the database goes away for a time: every connection breaks, open transactions roll back",
    "db_clock": "the database's clock jumps",
}
"""Misfortunes of the database."""

HANDLER: Final[Mapping[str, str]] = {"kill_handler": "the process is killed in the middle of a handler"}
"""What can happen to one attempt."""

KINDS: Final[Mapping[str, str]] = {**STATEMENT, **WAKE, **NODE, **DATABASE, **HANDLER}
"""Every kind of fault, with what it means."""

AIMED: Final = frozenset({"kill", "pause", "cut", "cut_out", "cut_in", "drain"})
"""Misfortunes that may wait for a moment at which they hurt."""

AIMS: Final[Mapping[str, tuple[str, ...]]] = {
    "worker": ("claim", "settle", "beat", "handler", "handler"),
    "scheduler": ("due_schedules", "insert", "commit"),
    "supervisor": ("overdue", "settle", "commit"),
    "client": ("insert",),
}
"""Statements of each role on whose way such a moment is, and (``handler``) the beginning of an attempt."""


@dataclass(frozen=True, slots=True)
class Knobs:
    """How often things go wrong in a run, and how; drawn from the seed by its strategy, unless given.

    Attributes:
        kinds: the kinds of faults that happen at all.
        statement: the chance that a statement meets one of its faults.
        wake: the chance that a wait for work does.
        handler: the chance that an attempt does.
        node: how many misfortunes a node has in a minute of the fault phase.
        database: how many the database has.
        slow: the chance that a statement takes longer than the shortest time.
        latency: median of the seconds that a slow statement takes each way.
        skip: the chance that a claim passes a due row over, as if another had it locked.
        order: which node goes first of several that could: ``turns``, ``permuted`` or ``priorities``.
        elide: whether calm stretches of time are skipped.
    """

    kinds: tuple[str, ...] = tuple(KINDS)
    statement: float = 0.0
    wake: float = 0.0
    handler: float = 0.0
    node: float = 0.0
    database: float = 0.0
    slow: float = 0.0
    latency: float = 0.01
    skip: float = 0.0
    order: str = "turns"
    elide: bool = True

    def but(self, **changes: Any) -> Knobs:
        """Return these knobs with some changed."""
        return replace(self, **changes)

    def as_json(self) -> dict[str, Any]:
        """Return the knobs as JSON has them."""
        return asdict(self)

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Knobs:
        """Return knobs from JSON."""
        values: dict[str, Any] = {**given, "kinds": tuple(given.get("kinds", KINDS))}
        return cls(**values)


NONE: Final = Knobs(kinds=())
"""Nothing goes wrong, and nothing is slow."""


def statement_fault(draws: Draws, knobs: Knobs) -> dict[str, Any] | None:
    """Draw what happens to a statement: a fault, a delay, or (None) nothing."""
    decision: dict[str, Any] = {}
    if knobs.statement and draws.chance(knobs.statement):
        kinds = [kind for kind in knobs.kinds if kind in STATEMENT]
        if kinds:
            decision["fault"] = kind = draws.pick(kinds)
            if kind in {"hung", "pool", "conflict"}:
                decision["for"] = round(draws.tail(2.0, 30.0), 3)
            if kind == "late":
                decision["wait"] = round(draws.tail(2.0, 30.0), 3)
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


def wake_fault(draws: Draws, knobs: Knobs) -> dict[str, Any] | None:
    """Draw what happens to a wait for work, or None."""
    if not knobs.wake or not draws.chance(knobs.wake):
        return None
    kinds = [kind for kind in knobs.kinds if kind in WAKE]
    if not kinds:
        return None
    kind = draws.pick(kinds)
    if kind == "drowsy":
        return {"fault": kind, "for": round(draws.tail(0.2, 5.0), 3)}
    if kind == "spurious":
        return {"fault": kind, "after": round(draws.uniform(0.0, 2.0), 3)}
    return {"fault": kind}


def told_fault(draws: Draws, knobs: Knobs) -> dict[str, Any] | None:
    """Draw what happens to a notification of a change: it is lost, or (None) arrives."""
    if not knobs.wake or "deaf" not in knobs.kinds or not draws.chance(knobs.wake):
        return None
    return {"fault": "deaf"}


def misfortunes(
    draws: Draws, kinds: Sequence[str], rate: float, phase: float, lease: float, *, role: str = ""
) -> list[dict[str, Any]]:
    """Draw the misfortunes of a node, or of the database, over the fault phase.

    Args:
        draws: of the node.
        kinds: which may happen.
        rate: how many in a minute, on the average.
        phase: seconds of the fault phase.
        lease: seconds, which a pause outlives.
        role: of the node.

    Returns:
        Decisions: the ``fault``, ``at`` which second, ``for`` how many or ``by`` how much; with ``on`` it
        waits from then for the node's next statement of that verb, and strikes while that is on its way.
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


def _extent(draws: Draws, kind: str, lease: float) -> dict[str, float]:
    """Draw how long a misfortune lasts, or how far it goes."""
    if kind in {"kill", "drain"}:
        return {"for": round(draws.tail(1.0, 30.0), 3)}
    if kind == "pause":
        return {"for": round(lease * draws.uniform(0.5, 3.0), 3)}
    if kind == "stall":
        return {"for": round(draws.tail(1.0, lease / 2), 3)}
    if kind in {"clock", "db_clock"}:
        return {"by": round(draws.uniform(-120.0, 120.0) if kind == "clock" else draws.uniform(-2.0, 8.0), 3)}
    if kind == "drift":
        return {"rate": round(draws.uniform(0.98, 1.02), 4)}
    return {"for": round(draws.tail(3.0, 3 * lease), 3)}
