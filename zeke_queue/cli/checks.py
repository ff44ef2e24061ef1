"""The checks of ``zeke doctor``: each is a function from the survey to findings.

A finding states a fact and, unless it is good, the remedy.
"""

from __future__ import annotations

import enum
import shlex
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from zeke_queue.cli.render import length
from zeke_queue.core.cron import Cron
from zeke_queue.core.names import RESERVED_PREFIXES
from zeke_queue.errors import InvalidScheduleError
from zeke_queue.model import WAITING, RowState
from zeke_queue.storage.maintenance import PGBOSS_SILENCE
from zeke_queue.system.install_hints import on_same

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from zeke_queue.model import ExpiredJob, QueueSettings, Schedule, WorkerInfo
    from zeke_queue.storage.postgres.server_info import PgBoss

LATE_TICK: Final = timedelta(seconds=60)
"""Age of a due tick above which no scheduler seems to run; schedulers check every second."""

PGBOSS_GONE: Final = 3_600.0
"""Seconds without maintenance after which a pg-boss counts as gone; it runs it every minute or two."""


_SOON: Final = "within half a minute"
"""How soon jobs are rescued with the default lease; after a start or an outage workers wait for that long."""


class Grade(enum.StrEnum):
    """The severity: nothing wrong, something to check, or work that is not being done."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of a check in one sentence, and the remedy."""

    grade: Grade
    about: str
    found: str
    advice: str | None = None


class Pools(NamedTuple):
    """The connections that processes may open, by the settings of this command.

    Attributes:
        worker: those of each process with workers.
        api: those of one that serves the API.
        admitted: those that the server admits.
    """

    worker: int
    api: int
    admitted: int


@dataclass(frozen=True, slots=True)
class Survey:
    """The state of the system in the database at one moment, ``now``.

    Attributes:
        counts: live jobs by queue and state.
        overdue: active jobs past their deadline or without a living worker, at most 1000.
        pgboss: when a pg-boss last worked on the same tables.
        embedded: whether the database is the user's private Postgres.
        pools: how many connections are needed, and admitted; None behind a pooler, which shares them.
        uncounted: why there are no counts, if counting takes too long.
        invalid: what is wrong with settings of the API.
    """

    now: datetime
    workers: Sequence[WorkerInfo]
    queues: Sequence[QueueSettings]
    counts: Mapping[str, Mapping[RowState, int]]
    schedules: Sequence[Schedule]
    overdue: Sequence[ExpiredJob]
    pgboss: PgBoss
    embedded: bool = False
    pools: Pools | None = None
    uncounted: str | None = None
    invalid: str | None = None

    def living(self) -> list[WorkerInfo]:
        """Return the workers whose heartbeat is not older than their lease."""
        return [worker for worker in self.workers if worker.is_alive(self.now)]

    def served(self) -> set[str]:
        """Return the queues that a living worker serves."""
        return {name for worker in self.living() for name in worker.queues}

    def waiting(self, queue: str) -> int:
        """Return the number of waiting jobs of a queue."""
        return sum(self.counts.get(queue, {}).get(state, 0) for state in WAITING)

    def same(self, command: str) -> str:
        """Return a command for this database."""
        return on_same(command, embedded=self.embedded)

    def pgboss_fires(self) -> bool:
        """Return whether a pg-boss fires the schedules that it stored."""
        return self.pgboss.cron is not None and self.pgboss.cron < PGBOSS_SILENCE

    def fired_by_us(self) -> list[Schedule]:
        """Return the schedules that our schedulers fire."""
        fired = [one for one in self.schedules if not one.of_pgboss or not self.pgboss_fires()]
        return [one for one in fired if not one.paused]

    def beside_pgboss(self) -> bool:
        """Return whether a pg-boss uses these tables; its workers serve queues, but are not listed."""
        return self.pgboss.maintained is not None and self.pgboss.maintained < PGBOSS_GONE


def examine(survey: Survey) -> list[Finding]:
    """Run all checks."""
    checks = (
        _workers,
        _silent,
        _unmaintained,
        _unserved,
        _paused,
        _full,
        _overdue,
        _ticks,
        _crons,
        _unserved_schedules,
        _schedules_of_pgboss,
        _failed,
        _connections,
        _uncounted,
        _settings,
    )
    return [finding for check in checks for finding in check(survey)]


def _workers(survey: Survey) -> Iterator[Finding]:
    living = survey.living()
    if living:
        busy = sum(states.get(RowState.ACTIVE, 0) for states in survey.counts.values())
        running = "" if survey.uncounted else f", {_some(busy, 'job')} running"
        yield Finding(Grade.OK, "workers", f"{_some(len(living), 'worker')} alive{running}")
        return
    waiting = sum(survey.waiting(name) for name in survey.counts if _ours(name))
    needed = waiting or survey.uncounted is not None or survey.fired_by_us()
    backlog = f"; {_some(waiting, 'job')} {'waits' if waiting == 1 else 'wait'}" if waiting else ""
    if survey.uncounted is not None:
        backlog = "; jobs may wait, since they were not counted"
    yield Finding(
        Grade.PROBLEM if needed and not survey.beside_pgboss() else Grade.WARNING,
        "workers",
        f"no workers are running{backlog}",
        f"start one: {survey.same('zeke worker --app yourmodule:catalog')}",
    )


def _silent(survey: Survey) -> Iterator[Finding]:
    """Name the dead workers that still hold jobs; for the others only give their number."""
    living = survey.living()
    holding = {job.worker for job in survey.overdue}
    silent = [worker for worker in survey.workers if worker not in living]
    idle = sum(worker.id not in holding for worker in silent)
    if idle:
        found = f"{_some(idle, 'worker')} died earlier or can't reach the database, and hold no jobs"
        yield Finding(
            Grade.OK, "workers", found.replace("hold no jobs", "holds no jobs") if idle == 1 else found
        )
    for worker in silent:
        if worker.id in holding:
            since = f" for {length((survey.now - worker.beat_on).total_seconds())}" if worker.beat_on else ""
            yield Finding(
                Grade.WARNING,
                "workers",
                f"worker {worker.id} (pid {worker.pid} on {worker.host}) has been silent{since}",
                f"it died, or can't reach the database; {_rescue(survey)} its jobs {_SOON}",
            )


def _rescue(survey: Survey) -> str:
    maintained = any("maintenance" in worker.duties for worker in survey.living())
    return "maintenance rescues" if maintained else "start a worker: its maintenance rescues"


def _unmaintained(survey: Survey) -> Iterator[Finding]:
    living = survey.living()
    if living and not any("maintenance" in worker.duties for worker in living):
        yield Finding(
            Grade.WARNING,
            "workers",
            "no live worker runs maintenance, so jobs of lost workers are not retried, and none is archived",
            f"start one without --no-maintenance, for instance {survey.same('zeke worker --concurrency 0')}",
        )


def _unserved(survey: Survey) -> Iterator[Finding]:
    served = survey.served()
    for name in sorted(survey.counts):
        waiting = survey.waiting(name)
        if waiting and survey.living() and name not in served and _ours(name):
            yield Finding(
                Grade.WARNING if survey.beside_pgboss() else Grade.PROBLEM,
                "queues",
                f"{_some(waiting, 'job')} of {name!r} {'waits' if waiting == 1 else 'wait'},"
                " and no live worker serves that queue",
                "start a worker whose catalog has that task; each logs its tasks when it starts"
                + (" (a pg-boss may serve it: its workers are not listed)" if survey.beside_pgboss() else "")
                + _left_over(survey, name),
            )


def _left_over(survey: Survey, queue: str) -> str:
    """Return how to stop the schedules that send to a queue without a worker."""
    names = [one.name for one in survey.schedules if one.task == queue and not one.paused]
    commands = "; ".join(_removal(survey, name) for name in names)
    return f"; or, if the code no longer has that task, stop its schedules: {commands}" if names else ""


def _removal(survey: Survey, schedule: str) -> str:
    return survey.same(f"zeke schedule rm {shlex.quote(schedule)}")


def _paused(survey: Survey) -> Iterator[Finding]:
    for queue in survey.queues:
        if queue.paused_on is not None:
            since = length((survey.now - queue.paused_on).total_seconds())
            yield Finding(
                Grade.WARNING,
                "queues",
                f"{queue.name!r} has been paused for {since}; waiting jobs: {survey.waiting(queue.name)}",
                f"to start them: {survey.same(f'zeke queue resume {queue.name}')}",
            )


def _full(survey: Survey) -> Iterator[Finding]:
    for queue in survey.queues:
        counted = {queue.name, *queue.limited_with}
        active = sum(survey.counts.get(name, {}).get(RowState.ACTIVE, 0) for name in counted)
        waiting = survey.waiting(queue.name)
        if queue.concurrency_limit is not None and waiting and active >= queue.concurrency_limit:
            yield Finding(
                Grade.OK,
                "queues",
                f"{queue.name!r} is at its limit: {active} of at most {queue.concurrency_limit} jobs run,"
                f" {waiting} wait",
            )


def _overdue(survey: Survey) -> Iterator[Finding]:
    if survey.overdue:
        expired = sum(job.reason == "deadline" for job in survey.overdue)
        yield Finding(
            Grade.WARNING,
            "jobs",
            f"{_some(len(survey.overdue), 'job')} should no longer be active: {expired} past the deadline,"
            f" {len(survey.overdue) - expired} without a live worker",
            f"{_rescue(survey)} them {_SOON}",
        )


def _ticks(survey: Survey) -> Iterator[Finding]:
    due = survey.fired_by_us()
    late = [one for one in due if one.next_tick is not None and survey.now - one.next_tick > LATE_TICK]
    if late:
        names = ", ".join(repr(one.name) for one in late)
        yield Finding(
            Grade.PROBLEM,
            "schedules",
            f"ticks of {names} are overdue",
            "no worker serves schedules: start one without --no-schedules",
        )
    elif due:
        yield Finding(Grade.OK, "schedules", f"{_some(len(due), 'schedule')}, none late")


def _crons(survey: Survey) -> Iterator[Finding]:
    for one in survey.schedules:
        try:
            Cron.parse(one.cron, one.zone)
        except InvalidScheduleError as error:
            yield Finding(
                Grade.PROBLEM,
                "schedules",
                f"{one.name!r} never fires: {error}",
                f"edit it where it is declared, or remove it: {_removal(survey, one.name)}",
            )


def _unserved_schedules(survey: Survey) -> Iterator[Finding]:
    if not survey.living():
        return
    served = survey.served()
    lost = [one for one in survey.fired_by_us() if one.task not in served]
    for one in lost:
        if not survey.waiting(one.task) and _ours(one.task) and not survey.beside_pgboss():
            yield Finding(
                Grade.WARNING,
                "schedules",
                f"{one.name!r} sends {one.task!r}, which no live worker serves",
                "start a worker whose catalog has that task, or, if the code no longer has it, remove the"
                f" schedule: {_removal(survey, one.name)}",
            )


def _schedules_of_pgboss(survey: Survey) -> Iterator[Finding]:
    """Report whether pg-boss or our schedulers fire the schedules that a pg-boss 9 stored."""
    theirs = ", ".join(repr(one.name) for one in survey.schedules if one.of_pgboss)
    if theirs and survey.pgboss_fires():
        yield Finding(Grade.OK, "schedules", f"pg-boss 9 fires its own: {theirs}")
    elif theirs:
        yield Finding(
            Grade.OK,
            "schedules",
            f"pg-boss 9 stored {theirs}; its cron does not run, so Zeke's workers fire them",
        )
    if doubled := ", ".join(repr(name) for name in survey.pgboss.doubled):
        yield Finding(
            Grade.WARNING,
            "schedules",
            f"pg-boss 9 also stores and fires schedules whose names Zeke's schedules have too: {doubled}",
            "remove them in the Node program with unschedule(name)",
        )


def _failed(survey: Survey) -> Iterator[Finding]:
    failed = {
        name: ended
        for name, states in survey.counts.items()
        if (ended := states.get(RowState.FAILED, 0) + states.get(RowState.EXPIRED, 0))
    }
    if failed:
        listed = ", ".join(f"{number} of {name!r}" for name, number in sorted(failed.items()))
        yield Finding(
            Grade.WARNING,
            "jobs",
            f"failed or expired permanently: {listed}",
            f"see why: {survey.same('zeke jobs -s FAILED')}; {survey.same('zeke job show ID')};"
            f" then {survey.same('zeke job retry ID')}",
        )


def _connections(survey: Survey) -> Iterator[Finding]:
    """Compare the connections that all processes may open with those that the server admits."""
    if survey.pools is None:
        return
    worker, api, admitted = survey.pools
    processes = max(1, len({(one.host, one.pid) for one in survey.living()}))
    needed = processes * worker + api
    if needed > admitted:
        yield Finding(
            Grade.WARNING,
            "database",
            f"{_some(processes, 'process')} of workers with {worker} connections each and an API with {api}"
            f" may open {needed}, and the server admits {admitted} to this role and database",
            "lower JOBS_POOL_MAX or API_POOL_MAX, raise max_connections (or the limit of the role or of the"
            " database), or connect through a pooler",
        )


def _uncounted(survey: Survey) -> Iterator[Finding]:
    if survey.uncounted is not None:
        yield Finding(
            Grade.WARNING,
            "queues",
            f"live jobs were not counted, so queues without a worker and failed jobs are not listed:"
            f" {survey.uncounted}",
            "look at single queues: " + survey.same("zeke jobs --queue NAME -s FAILED"),
        )


def _settings(survey: Survey) -> Iterator[Finding]:
    if survey.invalid is not None:
        yield Finding(
            Grade.WARNING,
            "settings",
            f"the API can't start: {survey.invalid}",
            "correct it where the API runs",
        )


def _ours(name: str) -> bool:
    """Return whether a queue is not one of pg-boss's own, which its own processes serve."""
    return not name.startswith(RESERVED_PREFIXES)


def _some(number: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{number} {what if number == 1 else plural}"
