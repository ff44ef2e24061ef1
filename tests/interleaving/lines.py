"""Scripts of log lines, and whether each reader that asks for those after its last one sees all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tests.interleaving.scripts import job_id
from tests.interleaving.steps import Do, Script
from zeke_queue.model import JobEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from tests.interleaving.history import Op

VERBS: Final = frozenset({"append_events", "events"})
"""What memory need not explain by an order: lines of several jobs have numbers of one sequence."""


def missed_lines(ops: Sequence[Op], stored: Sequence[JobEvent]) -> str | None:
    """Return what a reader missed, or lines of one writer in another order than it gave them, or None."""
    for op in ops:
        if op.verb == "append_events" and not isinstance(op.answer, type):
            for job in {line.job_id for line in op.arguments[0]}:
                given = [line.data for line in _of(job, op.arguments[0])]
                found = [line.data for line in _of(job, stored) if line.data in given]
                if found != given:
                    return f"of {given}, which {op} gave, {found} are stored"
    for op in ops:
        for job in {line.job_id for line in op.answer} if op.verb == "events" else ():
            told = _of(job, op.answer)
            # The reader does not ask again for lines before the last one.
            before = [line for line in _of(job, stored) if line.seq <= told[-1].seq]
            passed = [replace(line, number=None) for line in before]  # which readers do not get
            if told != passed:
                return f"{op}\n  and stored up to that number are {passed}"
    return None


def _of(job: UUID, lines: Iterable[JobEvent]) -> list[JobEvent]:
    return [line for line in lines if line.job_id == job]


def _write(*lines: tuple[int, str], attempt: int = 1, first: int | None = None) -> Do:
    """Write lines of jobs, with numbers from the first one on, if there is one."""
    events = [
        JobEvent(job_id(job), attempt, "log", f'{{"message": "{said}"}}', number=first and first + place)
        for place, (job, said) in enumerate(lines)
    ]
    return Do("append_events", events)


def _read(*numbers: int) -> Do:
    return Do("events", {job_id(number): 0 for number in numbers})


OF_LINES: Final = (
    Script(
        "lines of two attempts of a job, and a reader",
        (),
        ((_write((1, "a"), (1, "b")),), (_write((1, "c"), attempt=2),), (_read(1),)),
    ),
    Script(
        "lines of two jobs against one of them, and a reader",
        (),
        (
            (_write((1, "a"), (2, "b"), (1, "c")),),
            (_write((2, "d")),),
            (_read(1, 2),),
        ),
    ),
    Script(
        "lines that are written again while they are written, and a reader",
        (),
        (
            (_write((1, "a"), (2, "b"), first=1),),
            (_write((1, "a"), (2, "b"), (1, "c"), first=1),),
            (_read(1),),
        ),
    ),
    Script(
        "lines behind another of the same job, of two jobs in other orders",
        (),
        ((_write((1, "a")),), (_write((1, "b"), (2, "c")),), (_write((2, "d"), (1, "e")),)),
    ),
    Script(
        "lines of two jobs against the other one of them, and a reader",
        (),
        (
            (_write((1, "a"), (2, "b"), (1, "c")),),
            (_write((1, "d")),),
            (_read(1, 2),),
        ),
    ),
)
