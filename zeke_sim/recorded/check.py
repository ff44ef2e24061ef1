"""Checks properties on the rows of a recorded history.

A table contains the last version of a row. Events are made only of what this version proves: of a job that
ran, its last attempt, from its claim to its end, and its move to the archive; of a job that waits, that it
waits. A property is checked only if missing events cannot make it fail falsely. The others need each change
of a row, the calls of processes or the actions of handlers, which no table contains; a replay checks them.

The time of an outcome is that of its statement, which precedes its commit. So attempts end, and rows are
archived, ``TOLERANCE`` earlier here, and shorter overlaps do not count.
"""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import timedelta
from itertools import pairwise
from shlex import quote
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from zeke_queue.core import jsonb
from zeke_queue.model import FINAL, WAITING, RowState
from zeke_sim.errors import SimulationError
from zeke_sim.history.events import (
    Answered,
    Began,
    Change,
    Effect,
    Ended,
    Image,
    Invoked,
    Lived,
    Notified,
    QueueRow,
    Received,
    Rules,
    ScheduleRow,
    Violation,
    WorkerRow,
    Wrote,
)
from zeke_sim.properties import ALL
from zeke_sim.properties.checker import Checker
from zeke_sim.recorded.format import at_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime

    from zeke_sim.properties import Property
    from zeke_sim.recorded.format import RecordedJob, Recording

INVOLVED: Final = 4
"""Maximum number of jobs that are shown of a violation, and of failed attempts of each."""

TOLERANCE: Final = 5.0
"""Seconds by which the times of two rows may be out of order, since a statement begins before its commit."""

OF_ROWS: Final = (
    "nothing starts before its time",
    "retries within the limit",
    "no retry is skipped",
    "each state has its columns",
    "active jobs within the limit",
    "one job per key and slot",
    "a waiting job holds nothing",
    "no job waits in a cycle",
)
"""The properties of simulated runs that can be checked on rows."""

_CALLS: Final = frozenset({Invoked, Answered})
_HANDLERS: Final = frozenset({Began, Ended, Effect, Wrote, Notified, Received, Lived})
_SETTINGS: Final = frozenset({QueueRow, ScheduleRow, WorkerRow})


class Checked(NamedTuple):
    """The result.

    Attributes:
        violation: the first one found, or None.
        sentence: the violated property as a sentence.
        checked: the names of the properties that were checked.
        unchecked: the others, by what they need.
    """

    violation: Violation | None
    sentence: str
    checked: Sequence[str]
    unchecked: Mapping[str, Sequence[str]]

    def summary(self) -> str:
        """Return the checked and the unchecked properties as lines."""
        lines = [f"checked on the rows ({len(self.checked)} properties): {', '.join(self.checked)}"]
        lines += [
            f"not checked on the rows, {need} ({len(names)}): {', '.join(names)}"
            for need, names in self.unchecked.items()
        ]
        return "\n".join(lines)


def check(recording: Recording) -> Checked:
    """Check a history."""
    properties = [one for one in ALL if one.name in OF_ROWS]
    unchecked: defaultdict[str, list[str]] = defaultdict(list)
    for one in ALL:
        if one.name not in OF_ROWS:
            unchecked[_needed(one)].append(one.name)
    names = [*OF_ROWS, *_OF_A_JOB]
    violation = _of_jobs(recording)
    if violation is not None:
        return Checked(violation, _OF_A_JOB[violation.rule][0], names, unchecked)
    violation = _of_rows(recording, properties)
    rule = None if violation is None else next(one for one in properties if one.name == violation.rule)
    return Checked(violation, "" if rule is None else rule.sentence, names, unchecked)


def _needed(one: Property) -> str:
    """Return why a property cannot be checked on tables."""
    events = frozenset(one.events)
    if events & _HANDLERS:
        return "since this needs the actions of processes and handlers"
    if events & _CALLS:
        return "since this needs the calls of processes"
    if events & _SETTINGS:
        return "since this needs each change of a worker, queue or schedule"
    return "since this needs each change of a row, or the calls that made it"


# Properties of one row.


def _failures_are_in_order(job: RecordedJob) -> str | None:
    """Describe failed attempts out of order."""
    numbers = [one.attempt for one in job.failures]
    if all(one < other for one, other in pairwise(numbers)) and all(one <= job.attempt for one in numbers):
        return None
    return f"attempts {', '.join(map(str, numbers))} failed, and its last attempt is {job.attempt}"


def _times_are_in_order(job: RecordedJob) -> str | None:
    """Describe times out of order."""
    times = [("created", job.created_on)]
    if job.started_on is not None:
        times.append(("started", job.started_on))
    if job.completed_on is not None:
        times.append(("ended", job.completed_on))
    for (what, one), (next_one, other) in pairwise(times):
        if one > other + timedelta(seconds=TOLERANCE):
            return f"{next_one} at {other.isoformat()}, and {what} at {one.isoformat()}"
    return None


def _retries_wait(job: RecordedJob) -> str | None:
    """Describe a retry before its time; the time of a retry that a handler requested is unknown."""
    last = job.failures[-2:] if job.state not in WAITING else ()
    # The attempt that failed before the last one, whose number is its own.
    before = next((one for one in last if one.attempt == job.attempt - 1), None)
    if before is None or before.state is not RowState.RETRY or job.started_on is None:
        return None
    if before.error == "Retry":
        return None
    low = float(job.retry_delay)
    if job.retry_backoff:
        window = job.retry_delay * 2.0 ** min(16, max(1, job.retry_count))
        low = window / 2 if job.retry_delay_max is None else min(job.retry_delay_max, window / 2)
    waited = (job.started_on - before.at) / timedelta(seconds=1)
    if waited >= low - _MOMENT:
        return None
    return f"attempt {job.attempt} began {waited:.3f} s after the failure before it, and the least is {low} s"


_MOMENT: Final = 0.001
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OF_A_JOB: Final[Mapping[str, tuple[str, Callable[[RecordedJob], str | None]]]] = {
    "failed attempts are in order": (
        "The failed attempts of a job are numbered in their order, and none is after its last one.",
        _failures_are_in_order,
    ),
    "times of a row are in order": (
        "A job is created before its last attempt begins, which begins before the job ends.",
        _times_are_in_order,
    ),
    "a retry waits as long as its policy says": (
        "A failed attempt is retried no earlier than the job's policy says, unless its handler requests it.",
        _retries_wait,
    ),
}


def _of_jobs(recording: Recording) -> Violation | None:
    for job in recording.jobs:
        for name, (_, described_by) in _OF_A_JOB.items():
            if (text := described_by(job)) is not None:
                moment = job.completed_on or job.started_on or job.created_on
                return Violation(name, text, job=job.id, at=at_of(moment, recording.header.since))
    return None


# Properties of all rows.


def _of_rows(recording: Recording, properties: Sequence[Property]) -> Violation | None:
    checker = Checker(Rules(), properties=properties)
    try:
        for event in events(recording):
            checker.see(event)
    except Violation as violation:
        return violation
    return None


def events(recording: Recording) -> Iterator[Change | QueueRow]:
    """Yield the events that rows prove, in the order of time."""
    header = recording.header
    for queue in recording.queues:
        limit, paused_on, shared = queue.concurrency_limit, queue.paused_on, queue.limited_with
        yield QueueRow(0.0, header.since, queue.name, limit, paused_on, shared)
    steps: list[tuple[float, int, Change]] = []
    for number, job in enumerate(recording.jobs):
        steps += ((change.at, number, change) for change in _proven(job, header.since, header.recorded_on))
    steps.sort(key=lambda step: step[:2])
    yield from (change for _, _, change in steps)


def _proven(job: RecordedJob, since: datetime, now: datetime) -> Iterator[Change]:
    started, ended = job.started_on, job.completed_on
    if (job.state is RowState.ACTIVE and job.worker is None) or (job.state in FINAL and ended is None):
        return  # of another program, which sets no worker, or no time of its end
    row = _image(job)
    # Of a cancelled job, it is not known whether it ran or waited.
    ran = job.state is not RowState.CANCELLED and not job.superseded and job.state not in WAITING
    begun = started if ran and started is not None and job.attempt > 0 else ended or now
    at = at_of(begun, since)
    waiting = (
        RowState.RETRY if any(one.attempt == job.attempt - 1 for one in job.failures) else RowState.CREATED
    )
    first = row if job.state in WAITING else _waiting(row, waiting)
    yield Change(at, begun, "job", None, first, None, 0)
    if job.state in WAITING:
        return
    last = first
    if begun is started:
        last = row._replace(
            state=RowState.ACTIVE,
            completed_on=None,
            output=None,
            superseded=False,
            worker=row.worker or UUID(int=0),
        )
        yield Change(at, begun, "job", first, last, None, 0)
    if ended is None:
        return
    at = max(at, at_of(ended, since) - TOLERANCE)
    yield Change(at, ended, "job", last, row, None, 0)
    if job.archived_on is not None and job.state in FINAL:
        at = max(at, at_of(job.archived_on, since) - TOLERANCE)
        yield Change(at, job.archived_on, "job", row, None, None, 0)
        yield Change(at, job.archived_on, "archive", None, row._replace(archived_on=job.archived_on), None, 0)


def _waiting(row: Image, state: RowState) -> Image:
    return row._replace(
        state=state,
        attempt=max(0, row.attempt - 1),
        started_on=None,
        completed_on=None,
        worker=None,
        output=None,
        superseded=False,
        waits_for=None,
    )


def _image(job: RecordedJob) -> Image:
    output = None
    if job.error is not None or job.while_storing:
        extra = {"while_storing": None} if job.while_storing else {}
        output = jsonb.dumps({"type": job.error, "message": "", **extra})
    return Image(
        id=job.id,
        name=job.name,
        state=job.state,
        priority=job.priority,
        attempt=job.attempt,
        retry_count=job.retry_count,
        retry_limit=job.retry_limit,
        retry_delay=job.retry_delay,
        retry_backoff=job.retry_backoff,
        retry_delay_max=job.retry_delay_max,
        start_after=job.start_after,
        started_on=job.started_on,
        expire_in=job.expire_in,
        created_on=job.created_on,
        completed_on=job.completed_on,
        singleton_key=job.singleton_key,
        singleton_on=job.singleton_on,
        worker=None if job.worker is None else UUID(int=job.worker),
        parent=job.parent,
        data=None,
        output=output,
        archived_on=None,
        superseded=job.superseded,
        failures=len(job.failures),
        waits_for=job.waits_for,
        awaited=job.awaited,
    )


def described(checked: Checked, recording: Recording, file: str) -> str:
    """Return a violation as lines for the terminal: what the rows say, first, and where to find them.

    Raises:
        SimulationError: nothing was violated.
    """
    broken = checked.violation
    if broken is None:
        raise SimulationError("check: no property was violated")
    jobs = _involved(broken, recording)
    lines = [f"✗ {broken.rule}", *(f"  {_life(job)}" for job in jobs)]
    lines += [f"  {' '.join(checked.sentence.split())}", f"  broken  {broken.text}"]
    if jobs:
        ids = "|".join(str(job.id) for job in jobs)
        lines.append(f'  rows    gzip -cdf {quote(file)} | grep -E \'"id": ?"({ids})\'')
    lines.append(
        "  page    none, and no plan, since nothing was run: the rows are all there is of these jobs"
    )
    if broken.rule == "active jobs within the limit":
        lines.append(
            "  note    the limit is that at the time of recording, and may have been lowered since then"
        )
    return "\n".join(lines)


def _involved(broken: Violation, recording: Recording) -> list[RecordedJob]:
    """Return the violation's job after those that its text names, or that were active beside it."""
    named = set(_ID.findall(broken.text)) | {str(broken.job)}
    jobs = [one for one in recording.jobs if str(one.id) in named]
    job = next((one for one in jobs if one.id == broken.job), None)
    if job is not None and broken.rule == "active jobs within the limit":
        began = job.started_on
        jobs = [
            one
            for one in recording.jobs
            if one.name == job.name
            and began is not None
            and one.started_on is not None
            and one.started_on <= began
            and (one.completed_on is None or one.completed_on > began)
        ]
    jobs.sort(key=lambda one: one.id == broken.job)
    return jobs[-INVOLVED:]


def _life(job: RecordedJob) -> str:
    """Return what a row says of a job's life, in a sentence."""
    parts = [f"was created at {job.created_on.isoformat()}"]
    parts += [
        f"failed in attempt {one.attempt} at {one.at.isoformat()} ({one.error or 'unknown error'})"
        for one in job.failures[-INVOLVED:]
        if one.attempt != job.attempt or job.state in WAITING
    ]
    if job.started_on is not None:
        worker = "" if job.worker is None else f" on worker {job.worker}"
        parts.append(f"began attempt {job.attempt} at {job.started_on.isoformat()}{worker}")
    ended = "" if job.completed_on is None else f" at {job.completed_on.isoformat()}"
    parts.append(f"is {job.state.value}{ended}")
    return f"{job.name} {job.id} {', '.join(parts[:-1])}, and {parts[-1]}."
