"""Job expectations of a test, and the message when they are not met."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from zeke_queue.core import jsonb
from zeke_queue.errors import InvalidOptionError
from zeke_queue.model import WAITING, Job, JobStatus, RowState
from zeke_sim.report.as_json import short

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from zeke_queue.task.catalog import Catalog
    from zeke_queue.task.task import Task

ATTRIBUTES: Final = frozenset(one.name for one in fields(Job)) - {"name", "data", "row_state"}
SHOWN: Final = 12
"""Maximum number of jobs that a message lists."""


class ExpectedJobs:
    """The criteria of the expected jobs.

    Args:
        task: a task or its name; None for any.
        payload: a mapping of fields that the payload must contain, or a whole payload.
        delay: the time from now until they may start, in seconds or as a timedelta.
        criteria: values of attributes of ``zeke_queue.Job``.

    Raises:
        UnknownTaskError: the catalog has no such task.
        InvalidOptionError: ``Job`` has no such attribute.
    """

    def __init__(
        self,
        catalog: Catalog,
        task: str | Task[Any, Any] | None,
        payload: Any,
        delay: timedelta | float | None,
        criteria: Mapping[str, Any],
    ) -> None:
        self.name = None if task is None else catalog.get(task).name
        for name in criteria:
            if name not in ATTRIBUTES:
                raise InvalidOptionError(
                    f"{name}: no job has it; there are payload, delay, {', '.join(sorted(ATTRIBUTES))}"
                )
        self._payload = payload
        self._whole = payload is not None and not isinstance(payload, Mapping)
        if self._whole and task is not None:
            data = catalog.get(task).dump(payload)
            self._payload = None if data is None else jsonb.loads(data)
        elif payload is not None:
            self._payload = jsonb.loads(jsonb.dumps(payload))
        self._delay = delay if delay is None or isinstance(delay, timedelta) else timedelta(seconds=delay)
        self._criteria = {**criteria}
        if "parent" in criteria:  # a Run or a Job is accepted too
            self._criteria["parent"] = getattr(criteria["parent"], "id", criteria["parent"])

    def matches(self, job: Job, now: datetime) -> bool:
        """Return whether a job meets the criteria."""
        if self.name is not None and job.name != self.name:
            return False
        if self._payload is not None and not self._fits(job.data):
            return False
        if self._delay is not None and job.start_after - now != self._delay:
            return False
        return all(getattr(job, name) == value for name, value in self._criteria.items())

    def _fits(self, data: Any) -> bool:
        if self._whole or not isinstance(data, Mapping):
            return data == self._payload
        has, wanted = cast("Mapping[str, Any]", data), cast("Mapping[str, Any]", self._payload)
        return all(name in has and has[name] == value for name, value in wanted.items())

    def __str__(self) -> str:
        said = [f"of task {self.name!r}" if self.name is not None else "of any task"]
        if self._payload is not None:
            said.append(
                f"{'with the payload' if self._whole else 'whose payload has'} {jsonb.dumps(self._payload)}"
            )
        if self._delay is not None:
            said.append(f"due in {_span(self._delay)}")
        said += [f"{name}={value!r}" for name, value in self._criteria.items()]
        return ", ".join(said)


def statuses(given: Any) -> tuple[JobStatus, ...]:
    """Return the statuses given as one status, its name, or several of them.

    Raises:
        InvalidOptionError: a name is not a job's status.
    """
    if given is None:
        return ()
    several: Sequence[Any] = (given,) if isinstance(given, str) else tuple(given)
    try:
        return tuple(JobStatus(str(one).upper()) for one in several)
    except ValueError:
        raise InvalidOptionError(
            f"status: must be of {', '.join(JobStatus)}, got {given!r}; pass status='FAILED'"
        ) from None


def complaint(wanted: ExpectedJobs, count: int | None, found: int, jobs: Sequence[Job], now: datetime) -> str:
    """Return the message for a wrong number of waiting jobs, with a list of the jobs that exist."""
    number = "a waiting job" if count is None else f"{count} waiting job{'' if count == 1 else 's'}"
    instead = f"found {found or 'none'}"
    lines = [f"expected {number} {wanted}; {instead}."]
    waiting = [job for job in jobs if job.row_state in WAITING]
    ended = [job for job in jobs if job.row_state not in WAITING and wanted.name in (None, job.name)]
    lines += _listed("Waiting", waiting, now) or ["No job is waiting."]
    lines += _listed("Of that task, not waiting" if wanted.name else "Not waiting", ended, now)
    if not ended and wanted.name and not any(job.name == wanted.name for job in waiting):
        lines.append(f"No job of task {wanted.name!r} was sent in this test.")
    return "\n".join(lines)


def _listed(title: str, jobs: Sequence[Job], now: datetime) -> list[str]:
    if not jobs:
        return []
    lines = [f"{title} ({len(jobs)}):"]
    for job in jobs[:SHOWN]:
        data = "no payload" if job.data is None else jsonb.dumps(job.data)
        state = _due(job, now) if job.row_state in WAITING else str(job.status)
        lines.append(f"  {job.name}  {data}  {state}  (job {short(job.id)})")
    if len(jobs) > SHOWN:
        lines.append(f"  and {len(jobs) - SHOWN} more")
    return lines


def _due(job: Job, now: datetime) -> str:
    wait = job.start_after - now
    due = "due" if wait <= timedelta() else f"due in {_span(wait)}"
    return f"{due}, after attempt {job.attempt} failed" if job.row_state is RowState.RETRY else due


def _span(span: timedelta) -> str:
    return f"{span.total_seconds():g} s" if abs(span) < timedelta(minutes=2) else str(span)
