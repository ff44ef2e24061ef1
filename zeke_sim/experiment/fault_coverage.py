"""Counts which tasks faults hit, and at which lines, over many runs."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from zeke_queue.model import RowState
from zeke_sim.history.events import Began, Change, Ended, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from uuid import UUID

    from zeke_sim.experiment.run import Outcome
    from zeke_sim.history.events import Line

GROUPS: Final[Mapping[str, tuple[str, ...]]] = {
    "kills": ("kill", "kill_handler", "kill_line", "kill_before", "kill_after"),
    "partitions": ("partition", "partition_out", "partition_in"),
    "outages": ("restart", "refused", "pool", "conflict"),
    "late answers": ("lost", "hung", "late", "abandoned"),
    "pauses": ("pause", "freeze", "block"),
    "shutdowns": ("sigterm",),
}
"""Fault kinds by their name in reports; all other kinds are ``other faults``."""

OTHER: Final = "other faults"
EXPIRIES: Final = "expiries"

TASKS_SHOWN: Final = 5
"""Maximum number of tasks without a fault that a summary names."""

LINES_SHOWN: Final = 4
"""Maximum number of lines without a fault that a report names for each task."""

_NOT_EXPIRED: Final = frozenset({RowState.ACTIVE, RowState.CANCELLED})
_GROUP_OF: Final = {kind: group for group, kinds in GROUPS.items() for kind in kinds}


class FaultCoverage:
    """The faults that hit tasks in any number of runs.

    A fault hits a task if it affects an attempt whose handler runs, a call of its handler, or the storing of
    its outcome. ``expiries`` are attempts that maintenance ended, since their deadline or lease had passed.

    Attributes:
        ran: the attempts of each task.
        tasks: faults by task and group.
        lines: faults by task, line and group.
        passed: the lines that each task passed.
    """

    def __init__(self) -> None:
        self.ran: Counter[str] = Counter()
        self.tasks: Counter[tuple[str, str]] = Counter()
        self.lines: Counter[tuple[str, Line, str]] = Counter()
        self.passed: dict[str, set[Line]] = {}

    def take(self, outcome: Outcome) -> None:
        """Count the faults of a run."""
        running: dict[tuple[UUID, int], str] = {}
        for event in outcome.events:
            if isinstance(event, Began):
                self.ran[event.task] += 1
                running[event.job, event.attempt] = event.task
            elif isinstance(event, Ended):
                running.pop((event.job, event.attempt), None)
            elif isinstance(event, Fault):
                self._take_fault(event)
            elif isinstance(event, Change) and event.before is not None and event.after is not None:
                before, after = event.before, event.after
                ended = before.state is RowState.ACTIVE and after.state not in _NOT_EXPIRED
                if ended and (task := running.pop((before.id, before.attempt), None)) is not None:
                    self.tasks[task, EXPIRIES] += 1
        for task, lines in outcome.lines.items():
            self.passed.setdefault(task, set()).update(lines)

    def _take_fault(self, event: Fault) -> None:
        group = _GROUP_OF.get(event.kind, OTHER)
        for one in event.affected:
            self.tasks[one.task, group] += 1
            if one.line is not None and not one.returned:
                self.lines[one.task, one.line, group] += 1

    def merge(self, other: FaultCoverage) -> None:
        """Add other counts."""
        self.ran += other.ran
        self.tasks += other.tasks
        self.lines += other.lines
        for task, lines in other.passed.items():
            self.passed.setdefault(task, set()).update(lines)

    def never(self) -> list[str]:
        """Return the tasks that ran without a fault."""
        affected = {task for task, _ in self.tasks}
        return sorted(task for task in self.ran if task not in affected)

    def spared(self, task: str) -> list[Line]:
        """Return the lines that a task passed and no fault hit."""
        affected = {line for name, line, _ in self.lines if name == task}
        return sorted(self.passed.get(task, set()) - affected)

    def summary(self) -> str:
        """Return how many of the tasks were hit, and which were not, in one line."""
        never = self.never()
        shown = f"{', '.join(never[:TASKS_SHOWN])}{' …' if len(never) > TASKS_SHOWN else ''}"
        missed = f"; none hit {shown}" if never else ""
        return f"faults hit {len(self.ran) - len(never)} of {len(self.ran)} tasks{missed}"

    def table(self) -> Iterator[str]:
        """Yield lines of text: the faults of each task, and lines that none hit."""
        for task in sorted(self.ran):
            counts = [(group, self.tasks[task, group]) for group in (*GROUPS, EXPIRIES, OTHER)]
            faults = ", ".join(f"{number} {noun(group, number)}" for group, number in counts if number)
            lines = self.passed.get(task, set())
            spared = self.spared(task)
            at = f"; lines hit: {len(lines) - len(spared)} of {len(lines)}" if lines else ""
            ran = self.ran[task]
            yield f"{task}: {faults or 'no faults'}, in {ran} {noun('attempts', ran)}{at}"
            for line in spared[:LINES_SHOWN]:
                yield f"  no fault at {'the end of ' if line.after else ''}{line}"
            if (left := len(spared) - LINES_SHOWN) > 0:
                yield f"  no fault at {left} other {noun('lines', left)}"


def noun(words: str, number: int) -> str:
    """Return a plural, or its singular for one."""
    if number != 1:
        return words
    return f"{words[:-3]}y" if words.endswith("ies") else words[:-1]
