"""The errors of a run's failed jobs, which explain a violation that concerns no single job."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from zeke_queue.model import FINAL, RowState
from zeke_sim.history import events
from zeke_sim.report.as_json import short

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_sim.report.failure import Failure

_RETRY, _BAD_ENDS = RowState.RETRY, frozenset({RowState.FAILED, RowState.EXPIRED})
_FAILING: Final = _BAD_ENDS | {_RETRY}


ASSERTED: Final = "what the test asserts"
"""The rule of a workload's assertions."""


class Error(NamedTuple):
    """The last error of a job.

    Attributes:
        said: the error's type, and the first line of its message.
        for_good: whether the job failed permanently and was not requeued since.
    """

    job: UUID
    task: str
    attempt: int
    said: str
    at: float
    for_good: bool

    def __str__(self) -> str:
        return f"{self.task} {short(self.job)}, attempt {self.attempt}: {self.said}"


def errors(failure: Failure) -> list[Error]:
    """List the jobs that failed before the violation: permanent failures first, then the latest.

    Jobs that have completed since are left out. If the violation concerns a single job, the list is empty,
    since the timeline shows that job.
    """
    if failure.violation.job is not None:
        return []
    found: dict[UUID, Error] = {}
    for event in failure.outcome.events:
        if not isinstance(event, events.Change) or (row := event.after) is None or event.before is None:
            continue
        if row.state is RowState.COMPLETED:
            found.pop(row.id, None)
        elif event.before.state in _BAD_ENDS:
            # A requeued job did not fail again, although its row may still contain the old error.
            if row.state not in FINAL and row.id in found:
                found[row.id] = found[row.id]._replace(for_good=False)
        elif event.before.state is not row.state and row.state in _FAILING and row.output is not None:
            for_good = row.state in _BAD_ENDS
            found[row.id] = Error(row.id, row.name, row.attempt, _one_line(row.output), event.at, for_good)
    return sorted(found.values(), key=lambda error: (not error.for_good, -error.at))


def unended(failure: Failure) -> list[str]:
    """Describe the jobs that had not ended when an assertion of the workload failed, which may wait for them.

    Those of ``errors`` are left out.
    """
    if failure.violation.rule != ASSERTED:
        return []
    rows: dict[UUID, events.Image] = {}
    for event in failure.outcome.events:
        if isinstance(event, events.Change) and event.table == "job" and event.after is not None:
            rows[event.after.id] = event.after
    failed = {error.job for error in errors(failure)}
    return [
        f"{row.name} {short(row.id)} had not ended: {row.state}, attempt {row.attempt}"
        for row in rows.values()
        if row.state not in FINAL and row.id not in failed
    ]


def _one_line(output: str) -> str:
    """Format a stored JSON error in one line; return other output unchanged."""
    kept: object = json.loads(output)
    error = cast("dict[str, object]", kept) if isinstance(kept, dict) else {}
    if "message" not in error:
        return output
    lines = str(error["message"]).strip().splitlines()
    return ": ".join(part for part in (str(error.get("type", "")), lines[0] if lines else "") if part)
