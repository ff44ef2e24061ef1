"""The test interface: the fixtures ``zeke`` (async tests) and ``zeke_sync`` (sync tests)."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, overload
from uuid import UUID

from zeke_queue.errors import InvalidOptionError, UsageError
from zeke_queue.model import WAITING, JobQuery
from zeke_queue.task.run import Run
from zeke_sim.testing import run_task
from zeke_sim.testing.backends import Memory
from zeke_sim.testing.environment import Options, TestEnvironment
from zeke_sim.testing.expectations import ExpectedJobs, complaint, statuses
from zeke_sim.testing.pending import PendingSender
from zeke_sim.world.setup import EPOCH

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping
    from datetime import datetime
    from typing import Unpack

    from zeke_queue.core.options import SendOptions
    from zeke_queue.model import Job
    from zeke_queue.task.catalog import Catalog
    from zeke_queue.task.task import Send, Task
    from zeke_sim.testing.pending import Pending
    from zeke_sim.testing.queue import DrivenQueue
    from zeke_sim.testing.run_task import TaskRun

__tracebackhide__ = True  # pytest then shows the test's own lines

R = TypeVar("R")
T = TypeVar("T")

PAGE: Final = 1000


class Looking:
    """The synchronous part of the test interface, shared by async and sync tests.

    Args:
        environment: the test's environment.
        task_runs: a list to which each ``run_task`` call appends its record.
    """

    def __init__(self, environment: TestEnvironment, task_runs: list[TaskRun] | None = None) -> None:
        self._environment = environment
        self._task_runs: list[TaskRun] = [] if task_runs is None else task_runs

    @property
    def catalog(self) -> Catalog[Any]:
        """The application's catalog."""
        return self._environment.catalog

    @property
    def queue(self) -> DrivenQueue:
        """A queue for the code under test: its jobs are visible here and follow the test's virtual time."""
        return self._environment.queue

    @property
    def dsn(self) -> str | None:
        """The connection string of the test's database; None in memory."""
        return self._environment.dsn

    @property
    def now(self) -> datetime:
        """The time in this test, aware, in UTC."""
        return self._environment.now()

    @property
    def last_run(self) -> TaskRun:
        """The record of the last handler run by ``run_task``: children, progress, log lines.

        Raises:
            UsageError: no task has been run.
        """
        if not self._task_runs:
            raise UsageError("last_run: no task has run yet; call zeke.run_task(task, payload) first")
        return self._task_runs[-1]

    def jobs(
        self,
        task: str | Task[Any, Any] | None = None,
        *,
        status: Any = None,
        parent: UUID | Run[Any] | Job | None = None,
    ) -> list[Job]:
        """Return jobs with their current status, including archived ones, in the order they were sent.

        Args:
            task: a task or its name; any by default.
            status: one status or several: QUEUED, EXECUTING, COMPLETED, FAILED, CANCELLED.
            parent: the job that sent them.
        """
        name = None if task is None else self.catalog.get(task).name
        query = JobQuery(() if name is None else (name,), statuses(status), _id(parent), limit=PAGE)
        return self._environment.drive(_all(self.queue, query))

    def job(self, which: Run[Any] | Job | UUID) -> Job:
        """Return a job in its current state.

        Raises:
            JobNotFoundError: no job has this id.
        """
        return self._environment.drive(_job(self.queue, _id(which)))

    def enqueued(
        self,
        task: str | Task[Any, Any] | None = None,
        payload: Any = None,
        *,
        delay: timedelta | float | None = None,
        **criteria: Any,
    ) -> list[Job]:
        """Return the waiting jobs, in the order they were sent.

        Args:
            task: a task or its name; any by default.
            payload: a mapping of fields that the payload must contain, or a whole payload.
            delay: the time until they may start, in seconds or as a timedelta.
            **criteria: values of attributes of a ``Job``, such as ``priority`` or ``singleton_key``.

        Raises:
            UnknownTaskError: the catalog has no such task.
            InvalidOptionError: ``Job`` has no such attribute.
        """
        wanted = ExpectedJobs(self.catalog, task, payload, delay, criteria)
        return [job for job in self.jobs() if job.row_state in WAITING and wanted.matches(job, self.now)]

    def assert_enqueued(
        self,
        task: str | Task[Any, Any] | None = None,
        payload: Any = None,
        *,
        count: int | None = None,
        delay: timedelta | float | None = None,
        **criteria: Any,
    ) -> list[Job]:
        """Assert that matching jobs are waiting, and return them.

        Args:
            task, payload, delay, **criteria: see ``enqueued``.
            count: the exact number of jobs; by default at least one. 0 asserts that there are none.

        Raises:
            AssertionError: the number differs; the message lists the jobs that exist.
        """
        __tracebackhide__ = True
        wanted = ExpectedJobs(self.catalog, task, payload, delay, criteria)
        jobs, now = self.jobs(), self.now
        found = [job for job in jobs if job.row_state in WAITING and wanted.matches(job, now)]
        if len(found) != count if count is not None else not found:
            raise AssertionError(complaint(wanted, count, len(found), jobs, now))
        return found

    def _run_task(self, task: str | Task[Any, Any], payload: Any, options: Mapping[str, Any]) -> Any:
        environment = self._environment
        return environment.drive(
            run_task.run_task(
                self._task_runs, environment.catalog, task, payload, clock=environment.clock, **options
            )
        )

    def _advance(self, span: Mapping[str, float], to: datetime | None) -> None:
        environment = self._environment
        if to is not None:
            if any(span.values()):
                raise InvalidOptionError("advance: must have either `to` or a span of time")
            environment.advance(to)
            return
        length = timedelta(**span)
        if length < timedelta():
            raise InvalidOptionError(
                f"advance: must be 0 or more, got {length.total_seconds():g} s; time only moves forward"
            )
        environment.advance(environment.clock.now() + length)

    def _next_tick(self, name: str | None) -> datetime:
        environment = self._environment
        known = [one.name for one in environment.drive(self.queue.schedules.list())]
        if name is not None and name not in known:
            listed = ", ".join(known) or "none"
            raise UsageError(f"next_tick: must be the name of a schedule ({listed}), got {name!r}")
        environment.advance(environment.clock.now())  # sets the first tick of new schedules
        ticks = [
            one.next_tick
            for one in environment.drive(self.queue.schedules.list())
            if name in (None, one.name) and not one.paused and one.next_tick is not None
        ]
        if not ticks:
            raise UsageError(
                "next_tick: no schedule has a future tick; declare one with catalog.schedule(name, cron)"
            )
        environment.advance(min(ticks))
        environment.drain()
        return min(ticks)


async def _all(queue: DrivenQueue, query: JobQuery) -> list[Job]:
    found: list[Job] = []
    for archived in (False, True):
        page = await queue.find(replace(query, archived=archived))
        found += page.jobs
        while page.has_more:
            page = await queue.find(replace(query, archived=archived, before=found[-1].id))
            found += page.jobs
    return sorted(found, key=lambda job: (job.created_on, job.id))


async def _job(queue: DrivenQueue, job_id: UUID) -> Job:
    return await (await queue.get_run(job_id)).job()


async def _result(queue: DrivenQueue, which: Run[Any] | Job | UUID, timeout: float | None) -> Any:
    run = which if isinstance(which, Run) else await queue.get_run(_id(which))
    return await run.result(timeout)


class BlockingZeke(Looking):
    """The fixture ``zeke_sync``, for sync tests: each call has run when it returns."""

    def run_task(
        self,
        task: str | Task[Any, Any],
        payload: Any = None,
        *,
        attempt: int = 1,
        meta: Mapping[str, Any] | None = None,
        results: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run a task's handler without a queue; see ``Zeke.run_task``."""
        return self._run_task(task, payload, {"attempt": attempt, "meta": meta, "results": results})

    @overload
    def send(self, task: Task[Any, R], payload: object = None, **options: Unpack[SendOptions]) -> Run[R]: ...
    @overload
    def send(self, task: str, payload: object = None, **options: Unpack[SendOptions]) -> Run[Any]: ...

    def send(
        self, task: str | Task[Any, Any], payload: object = None, **options: Unpack[SendOptions]
    ) -> Run[Any]:
        """Send a job and return its run; see ``zeke_queue.Queue.send``."""
        return self._environment.drive(self.queue.send(cast("str", task), payload, **options))

    def send_many(self, jobs: Iterable[Send]) -> list[Run[Any]]:
        """Send jobs; see ``zeke_queue.Queue.send_many``."""
        return self._environment.drive(self.queue.send_many(jobs))

    @overload
    def trigger(
        self, task: Task[Any, R], payload: object = None, **options: Unpack[SendOptions]
    ) -> Run[R]: ...
    @overload
    def trigger(self, task: str, payload: object = None, **options: Unpack[SendOptions]) -> Run[Any]: ...

    def trigger(
        self, task: str | Task[Any, Any], payload: object = None, **options: Unpack[SendOptions]
    ) -> Run[Any]:
        """Send a job, which must be a new one, and return its run; see ``zeke_queue.Queue.trigger``."""
        return self._environment.drive(self.queue.trigger(cast("str", task), payload, **options))

    @overload
    def result(self, which: Run[R], timeout: float | None = None) -> R: ...
    @overload
    def result(self, which: Job | UUID, timeout: float | None = None) -> Any: ...

    def result(self, which: Run[Any] | Job | UUID, timeout: float | None = None) -> Any:
        """Advance time until a job has ended and return its output; see ``zeke_queue.Run.result``."""
        return self._environment.drive_working(_result(self.queue, which, timeout))

    def cancel(self, which: Run[Any] | Job | UUID) -> bool:
        """Cancel a job; see ``zeke_queue.Queue.cancel``."""
        return self._environment.drive(self.queue.cancel(_id(which)))

    def advance(
        self,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        to: datetime | None = None,
    ) -> None:
        """Advance time and run jobs that become due; see ``Zeke.advance``."""
        self._advance({"days": days, "hours": hours, "minutes": minutes, "seconds": seconds}, to)

    def drain(self) -> None:
        """Run jobs until none is due; see ``Zeke.drain``."""
        self._environment.drain()

    def next_tick(self, schedule: str | None = None) -> datetime:
        """Advance to the next tick of a schedule and run its job; see ``Zeke.next_tick``."""
        return self._next_tick(schedule)


@contextmanager
def virtual_time(
    catalog: Catalog, *, resources: Any = None, start: datetime = EPOCH, concurrency: int = 10
) -> Generator[BlockingZeke]:
    """Open a queue in virtual time, as the fixture ``zeke_sync`` does, where pytest has no fixtures.

    ::

        class Orders(RuleBasedStateMachine):
            def __init__(self):
                super().__init__()
                self.opened = ExitStack()
                self.zeke = self.opened.enter_context(zeke_sim.virtual_time(catalog))

            def teardown(self):
                self.opened.close()

    Args:
        catalog: the application's catalog.
        resources: the handlers' ``job.resources``; None for those of the catalog.
        start: the virtual start time, aware.
        concurrency: the number of jobs that run concurrently.

    Raises:
        UsageError: freezegun or time-machine shows another time.
    """
    environment = TestEnvironment(
        catalog, Memory(), Options(start=start, concurrency=concurrency), resources=resources
    )
    try:
        yield BlockingZeke(environment)
    finally:
        environment.close()


class Zeke(Looking, PendingSender):
    """The fixture ``zeke``: an application's tasks, queue and time, controlled by an async test."""

    def __init__(self, environment: TestEnvironment) -> None:
        Looking.__init__(self, environment)
        PendingSender.__init__(self)
        self._blocking = BlockingZeke(environment, self._task_runs)

    def run_task(
        self,
        task: str | Task[Any, Any],
        payload: Any = None,
        *,
        attempt: int = 1,
        meta: Mapping[str, Any] | None = None,
        results: Mapping[str, Any] | None = None,
    ) -> Pending[Any]:
        """Run a task's handler without a queue and return its result; ``last_run`` records what it did.

        Args:
            task: a task of the catalog, or its name.
            payload: a payload for the task's model; it is converted to JSON and back, as on a queue.
            attempt: the attempt number that the handler sees.
            meta: the job's metadata.
            results: results of children that the handler waits for, by task name; with an exception, the
                child has failed, and waiting for it raises JobFailedError.

        Raises:
            PayloadValidationError: the payload does not match the task's model.
            SerializationError: the result cannot be stored.
            Exception: any exception that the handler raises.
        """
        options = {"attempt": attempt, "meta": meta, "results": results}
        return self._call("run_task", lambda: self._run_task(task, payload, options))

    def send_many(self, jobs: Iterable[Send]) -> Pending[list[Run[Any]]]:
        """Send jobs; see ``zeke_queue.Queue.send_many``."""
        return self._call("send_many", lambda: self._blocking.send_many(jobs))

    @overload
    def result(self, which: Run[R], timeout: float | None = None) -> Pending[R]: ...
    @overload
    def result(self, which: Job | UUID, timeout: float | None = None) -> Pending[Any]: ...

    def result(self, which: Run[Any] | Job | UUID, timeout: float | None = None) -> Pending[Any]:
        """Advance time until a job has ended and return its output; see ``zeke_queue.Run.result``."""
        return self._call("result", lambda: self._blocking.result(cast("UUID", which), timeout))

    def cancel(self, which: Run[Any] | Job | UUID) -> Pending[bool]:
        """Cancel a job; see ``zeke_queue.Queue.cancel``."""
        return self._call("cancel", lambda: self._blocking.cancel(which))

    def advance(
        self,
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        to: datetime | None = None,
    ) -> Pending[None]:
        """Advance time by a duration or to an instant, and run jobs that become due meanwhile.

        A handler that needs more time than that is still running afterwards.
        """
        span = {"days": days, "hours": hours, "minutes": minutes, "seconds": seconds}
        return self._call("advance", lambda: self._advance(span, to))

    def drain(self) -> Pending[None]:
        """Run jobs until none is due; later jobs stay. Time advances only while handlers wait."""
        return self._call("drain", self._blocking.drain)

    def next_tick(self, schedule: str | None = None) -> Pending[datetime]:
        """Advance to the next tick of a schedule (by default of any), run its job, and return its time.

        Raises:
            UsageError: the schedule does not exist, or no schedule has a future tick.
        """
        return self._call("next_tick", lambda: self._next_tick(schedule))

    def _sent(
        self, call: str, task: str | Task[Any, Any], payload: object, options: SendOptions
    ) -> Pending[Run[Any]]:
        send = getattr(self._blocking, call)
        return self._call(call, lambda: send(task, payload, **options))

    def _call(self, name: str, call: Callable[[], T]) -> Pending[T]:
        return self._pending(name, _at_once(call))


async def _at_once(call: Callable[[], T]) -> T:
    """Run a call that takes no time of the loop that awaits it."""
    return call()


@overload
def _id(which: Run[Any] | Job | UUID) -> UUID: ...


@overload
def _id(which: None) -> None: ...


def _id(which: Run[Any] | Job | UUID | None) -> UUID | None:
    return which if which is None or isinstance(which, UUID) else which.id
