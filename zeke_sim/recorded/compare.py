"""Compares a history with its replay: how jobs ended, how often they were tried, and how long they waited."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from zeke_queue.model import FINAL, RowState
from zeke_sim.history.events import Change

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from zeke_sim.history.events import Event, Image
    from zeke_sim.recorded.format import RecordedJob

SHARES: Final = (("median", 0.5), ("95 %", 0.95), ("longest", 1.0))


@dataclass(slots=True)
class Totals:
    """The counts of jobs, recorded or replayed."""

    states: Counter[RowState] = field(default_factory=Counter[RowState])
    attempts: int = 0
    waits: list[float] = field(default_factory=list[float])

    def add(self, row: RecordedJob | Image) -> None:
        """Count a job."""
        self.states[row.state] += 1
        self.attempts += row.attempt
        if row.started_on is not None and row.state in _RAN:
            due: datetime = max(row.created_on, row.start_after)
            self.waits.append(max(0.0, (row.started_on - due).total_seconds()))


_RAN: Final = frozenset({RowState.COMPLETED, RowState.FAILED, RowState.EXPIRED})


@dataclass(slots=True)
class Comparison:
    """The history and its replay so far.

    Attributes:
        unsent: jobs of the history that a uniqueness rule refused in the replay.
        ended_otherwise: jobs that had ended and ended in another state in the replay, by both states.
    """

    recorded: Totals = field(default_factory=Totals)
    replayed: Totals = field(default_factory=Totals)
    unsent: int = 0
    ended_otherwise: Counter[tuple[RowState, RowState]] = field(
        default_factory=Counter[tuple[RowState, RowState]]
    )

    def add(
        self, jobs: Iterable[RecordedJob], events: Iterable[Event], children: Iterable[RecordedJob] = ()
    ) -> None:
        """Count the jobs of a run, and those of the history that its handlers send by themselves."""
        for job in children:
            self.recorded.add(job)
        rows: dict[UUID, Image] = {}
        for event in events:
            if isinstance(event, Change) and event.table == "job" and event.after is not None:
                rows[event.after.id] = event.after
        for job in jobs:
            self.recorded.add(job)
            row = rows.pop(job.id, None)
            if row is None:
                self.unsent += 1
                continue
            self.replayed.add(row)
            if job.state in FINAL and job.state is not row.state:
                self.ended_otherwise[job.state, row.state] += 1
        for row in rows.values():
            self.replayed.add(row)  # sent by a handler

    def table(self) -> str:
        """Return the comparison as lines."""
        lines = [f"  {'':<24}{'recorded':>12}{'replayed':>12}"]
        for state in RowState:
            one, other = self.recorded.states[state], self.replayed.states[state]
            if one or other:
                lines.append(f"  {state.value:<24}{one:>12}{other:>12}")
        lines.append(f"  {'attempts':<24}{self.recorded.attempts:>12}{self.replayed.attempts:>12}")
        for name, share in SHARES:
            one, other = (_share(totals.waits, share) for totals in (self.recorded, self.replayed))
            lines.append(f"  {f'wait, {name}':<24}{one:>12}{other:>12}")
        for (was, now), number in sorted(self.ended_otherwise.items()):
            lines.append(f"  {number} {was} in the history, and {now} in the replay")
        if self.unsent:
            lines.append(f"  {self.unsent} not sent again, since another job had the key or the slot")
        return "\n".join(lines)


def _share(waits: list[float], share: float) -> str:
    """Return a percentile, by the nearest rank."""
    if not waits:
        return "–"
    return f"{sorted(waits)[max(0, -int(-share * len(waits) // 1) - 1)]:.2f} s"
