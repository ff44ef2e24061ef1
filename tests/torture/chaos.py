"""The schedule of faults: kinds, times and targets, drawn from a seed before the run begins."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from zeke_queue.system.entropy import SeededEntropy

if TYPE_CHECKING:
    import random  # noqa: TID251 - its type
    from collections.abc import Mapping, Sequence
    from pathlib import Path

KINDS: Final[Mapping[str, str]] = {
    "kill": "kill -9 of a process, which is started again later",
    "pause": "SIGSTOP of a process, for shorter or longer than the lease, then SIGCONT",
    "drain": "SIGTERM to a process, which is started again when it has ended",
    "restart-fast": "the server is restarted in good order",
    "restart-immediate": "the server crashes, and recovers",
    "kill-backend": "kill -9 of a server process, at which the server restarts all the others",
    "end-backend": "the server ends a connection",
    "cancel-statement": "the server cuts a statement short",
    "cut": "a process and the server can't reach each other; what was under way arrives afterwards",
    "cut-up": "what a process sends does not arrive until afterwards",
    "cut-down": "what the server answers does not arrive until afterwards",
    "drop": "the connections of a process break",
    "refuse": "the connections of a process break, and new ones too, for a time",
    "lose-answer": "what a process asked for is done, but its connection breaks in place of the answer",
    "lose-rows": "the same, in place of an answer that has rows: a claim's that took something, a send's",
    "half-close-up": "the server sees the end of a process's connections, the process does not",
    "half-close-down": "a process sees the end of its connections, the server does not",
    "delay": "everything between a process and the server is late",
    "delay-all": "everything between all processes and the server is late",
}
"""The kinds of faults, and their effects."""

_WEIGHTS: Final[Mapping[str, int]] = {
    "kill": 8,
    "pause": 7,
    "drain": 4,
    "restart-fast": 1,
    "restart-immediate": 1,
    "kill-backend": 1,
    "lose-answer": 5,
    "lose-rows": 9,
}
_WEIGHT: Final = 3
_OF_THE_SERVER: Final = (
    "restart-fast",
    "restart-immediate",
    "kill-backend",
    "end-backend",
    "cancel-statement",
)
_INSTANT: Final = ("drain", "drop", "lose-answer", "lose-rows", *_OF_THE_SERVER)
ALL: Final = "all"
"""Stands for all processes where a fault hits more than one."""


@dataclass(frozen=True)
class Planned:
    """One fault of the schedule.

    Attributes:
        number: its position in the schedule.
        at: seconds since the fault phase began.
        kind: of ``KINDS``.
        node: its target; ``server``, or ``all``.
        length: seconds that it lasts, or until a killed process is restarted; 0 for instant faults.
        size: how bad it is: answers that are lost, the median of a delay in seconds.
    """

    number: int
    at: float
    kind: str
    node: str
    length: float
    size: float

    @property
    def address(self) -> str:
        return f"{self.node}/{self.kind}/{self.number}"


def schedule(
    seed: int, seconds: float, nodes: Sequence[str], lease: float, every: float = 0.9
) -> list[Planned]:
    """Draw the faults of a run; nothing lasts beyond its end, and some stops are shorter than the lease."""
    draw = SeededEntropy(seed).stream("chaos")
    kinds = list(KINDS)
    weights = [_WEIGHTS.get(kind, _WEIGHT) for kind in kinds]
    # Each once, so that a short run has many kinds, and then at random.
    first = draw.sample(kinds, len(kinds))
    planned: list[Planned] = []
    at = draw.expovariate(1 / every)
    while at < seconds:
        kind = first.pop() if first else draw.choices(kinds, weights)[0]
        node = "server" if kind in _OF_THE_SERVER else ALL if kind == "delay-all" else draw.choice(nodes)
        length = min(_length(draw, kind, lease), seconds - at)
        planned.append(Planned(len(planned), at, kind, node, length, _size(draw, kind)))
        at += draw.expovariate(1 / every)
    return planned


def _length(draw: random.Random, kind: str, lease: float) -> float:
    if kind in _INSTANT:
        return 0.0
    if kind == "kill":
        return draw.choice([0.0, 0.5, 2.0, lease + 2])
    if kind in ("pause", "cut", "cut-up", "cut-down"):
        return draw.choice([0.3, 1.0, lease * 0.8, lease + 1, lease + 3, lease + 6])
    return draw.choice([0.3, 1.0, 2.0, 4.0])


def _size(draw: random.Random, kind: str) -> float:
    if kind.startswith("lose"):
        return draw.choice([1, 1, 1, 2, 5])
    return draw.choice([0.003, 0.02, 0.2]) if kind.startswith("delay") else 0.0


def write(planned: Sequence[Planned], path: Path) -> None:
    path.write_text("".join(json.dumps(asdict(one)) + "\n" for one in planned), encoding="utf-8")
