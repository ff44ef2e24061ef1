"""What ``zeke doctor`` looks for: each check is a function from what was surveyed to findings.

A finding says what is so and, unless all is well, what to do about it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from zeke_queue.core.cron import Cron
from zeke_queue.errors import BadSchedule
from zeke_queue.model import WAITING, JobState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from zeke_queue.model import Overdue, QueueSettings, Schedule, WorkerInfo

LATE_TICK: Final = timedelta(seconds=60)
"""How long a due tick may wait before it is plain that no scheduler runs; they look every second."""

FOREIGN_CRON_AGE: Final = 120.0
"""Seconds after which pg-boss 9's cron counts as gone; the scheduler stands back as long."""


class Grade(enum.StrEnum):
    """How bad it is: nothing wrong, something to look at, or work that is not being done."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found, in one sentence, and what to do about it."""

    grade: Grade
    about: str
    found: str
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class Survey:
    """What the database says of the system at one moment, ``now``.

    Attributes:
        counts: live jobs by queue and state.
        overdue: active jobs past their deadline or without a living worker, at most 1000.
        foreign_cron_age: seconds since pg-boss's cron last ran, None if it never did.
    """

    now: datetime
    workers: Sequence[WorkerInfo]
    queues: Sequence[QueueSettings]
    counts: Mapping[str, Mapping[JobState, int]]
    schedules: Sequence[Schedule]
    overdue: Sequence[Overdue]
    foreign_cron_age: float | None

    def living(self) -> list[WorkerInfo]:
        """Return the workers whose heartbeat is not older than their lease."""
        return [
            worker
            for worker in self.workers
            if worker.beat_on is not None and self.now - worker.beat_on <= timedelta(seconds=worker.lease)
        ]

    def waiting(self, queue: str) -> int:
        """Return how many jobs of a queue wait."""
        return sum(self.counts.get(queue, {}).get(state, 0) for state in WAITING)


def examine(survey: Survey) -> list[Finding]:
    """Make all checks."""
    checks = (_workers, _unserved, _paused, _full, _overdue, _ticks, _crons, _foreign_cron, _failed)
    return [finding for check in checks for finding in check(survey)]


def _workers(survey: Survey) -> Iterator[Finding]:
    living = survey.living()
    if living:
        busy = sum(states.get(JobState.ACTIVE, 0) for states in survey.counts.values())
        yield Finding(
            Grade.OK, "workers", f"{_some(len(living), 'worker')} alive; {_some(busy, 'job')} running"
        )
    else:
        yield Finding(
            Grade.PROBLEM,
            "workers",
            "no worker is alive",
            "start one: zeke worker --app yourmodule:catalog",
        )
    for worker in survey.workers:
        if worker not in living:
            yield Finding(
                Grade.WARNING,
                "workers",
                f"worker {worker.id} on {worker.host} (pid {worker.pid}) is silent",
                "its jobs are given to others by the next sweep of a worker that runs a supervisor",
            )


def _unserved(survey: Survey) -> Iterator[Finding]:
    served = {name for worker in survey.living() for name in worker.queues}
    for name in sorted(survey.counts):
        if (waiting := survey.waiting(name)) and served and name not in served:
            yield Finding(
                Grade.PROBLEM,
                "queues",
                f"{_some(waiting, 'job')} of {name!r} wait, and no living worker serves that queue",
                "check that the task is in the catalog that the worker was started with (it logs its tasks)",
            )


def _paused(survey: Survey) -> Iterator[Finding]:
    for queue in survey.queues:
        if queue.paused_on is not None:
            yield Finding(
                Grade.WARNING,
                "queues",
                f"{queue.name!r} is paused; jobs that wait: {survey.waiting(queue.name)}",
                f"zeke queue resume {queue.name}",
            )


def _full(survey: Survey) -> Iterator[Finding]:
    for queue in survey.queues:
        active = survey.counts.get(queue.name, {}).get(JobState.ACTIVE, 0)
        waiting = survey.waiting(queue.name)
        if queue.concurrency_limit is not None and waiting and active >= queue.concurrency_limit:
            yield Finding(
                Grade.OK,
                "queues",
                f"{queue.name!r} runs {active} of at most {queue.concurrency_limit} jobs; {waiting} wait",
            )


def _overdue(survey: Survey) -> Iterator[Finding]:
    if survey.overdue:
        expired = sum(job.reason == "deadline" for job in survey.overdue)
        yield Finding(
            Grade.WARNING,
            "jobs",
            f"{_some(len(survey.overdue), 'job')} should no longer be active: {expired} past the deadline,"
            f" {len(survey.overdue) - expired} without a living worker",
            "a supervisor gives them back within seconds; if this stays, no worker runs one (--no-supervisor?)",
        )


def _ticks(survey: Survey) -> Iterator[Finding]:
    due = [one for one in survey.schedules if not one.paused]
    late = [one for one in due if one.next_tick is not None and survey.now - one.next_tick > LATE_TICK]
    if late:
        names = ", ".join(repr(one.name) for one in late)
        yield Finding(
            Grade.PROBLEM,
            "schedules",
            f"ticks of {names} are overdue",
            "no scheduler runs: start a worker without --no-scheduler",
        )
    elif due:
        yield Finding(Grade.OK, "schedules", f"{_some(len(due), 'schedule')}, none late")


def _crons(survey: Survey) -> Iterator[Finding]:
    for one in survey.schedules:
        try:
            Cron.parse(one.cron, one.zone)
        except BadSchedule as error:
            yield Finding(
                Grade.PROBLEM, "schedules", f"{one.name!r} can't be read: {error}", "edit it, or delete it"
            )


def _foreign_cron(survey: Survey) -> Iterator[Finding]:
    if survey.foreign_cron_age is not None and survey.foreign_cron_age < FOREIGN_CRON_AGE:
        yield Finding(
            Grade.WARNING,
            "schedules",
            f"a pg-boss 9 served schedules {survey.foreign_cron_age:.0f} s ago, so ours stands back",
            "start pg-boss with noScheduling: true to let this scheduler serve them",
        )


def _failed(survey: Survey) -> Iterator[Finding]:
    failed = {
        name: ended
        for name, states in survey.counts.items()
        if (ended := states.get(JobState.FAILED, 0) + states.get(JobState.EXPIRED, 0))
    }
    if failed:
        listed = ", ".join(f"{name!r} {number}" for name, number in sorted(failed.items()))
        yield Finding(
            Grade.WARNING,
            "jobs",
            f"failed or expired for good, and not yet archived: {listed}",
            "zeke jobs --state failed; zeke job show ID; zeke job retry ID",
        )


def _some(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
