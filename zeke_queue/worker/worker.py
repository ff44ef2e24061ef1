"""The worker: runs the jobs of a catalog, maintenance and cron."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypedDict
from uuid import UUID

from zeke_queue.client import open_transactions
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.client.sync_queue import SyncQueue, run_async
from zeke_queue.core.failure import shown
from zeke_queue.core.leases import outage_gap, validity
from zeke_queue.core.options import check_bytes, check_seconds
from zeke_queue.errors import InvalidOptionError, UsageError
from zeke_queue.maintenance.outage_monitor import OutageMonitor
from zeke_queue.model import WorkerInfo
from zeke_queue.storage.forwarding import forward
from zeke_queue.system import logging as log
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.settings import INTERVAL_MIN, PAYLOAD_BUDGET_MAX
from zeke_queue.system.waiting import Waiter, first
from zeke_queue.worker.attempts import Attempts
from zeke_queue.worker.claims import ServedQueue
from zeke_queue.worker.coroutine_pool import CoroutinePool
from zeke_queue.worker.declaration import Declaration
from zeke_queue.worker.duties import MAINTENANCE, SCHEDULES, Duties, sweep_interval
from zeke_queue.worker.executors.processes import Processes
from zeke_queue.worker.executors.threads import Threads
from zeke_queue.worker.heartbeat import Heartbeat
from zeke_queue.worker.job_context import ContextServices
from zeke_queue.worker.lifecycle import Lifecycle
from zeke_queue.worker.loops import ClaimLoop, Dispatcher, Shared
from zeke_queue.worker.outcomes import Outcomes
from zeke_queue.worker.progress import ProgressWriter
from zeke_queue.worker.settle_loop import SettleLoop
from zeke_queue.worker.state import Shutdown, WorkerState
from zeke_queue.worker.storage_health import StorageHealth
from zeke_queue.worker.watchdog import Watchdog

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Unpack

    from zeke_queue.core.options import Seconds
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy
    from zeke_queue.task.task import Task
    from zeke_queue.worker.executors.executor import ProcessExecutor, SyncExecutor

    # By task or name. A mapping's keys are invariant, so for mypy a dict of tasks is no Mapping[Task, int].
    TaskConcurrency = Mapping[Any, int]


class WorkerOptions(TypedDict, total=False):
    """Options of a worker; those left out are the settings of its queue (JOBS_CONCURRENCY and so on).

    Attributes:
        concurrency: how many jobs run concurrently; 10 by default. With 0 it runs maintenance and schedules
            alone.
        tasks: names, aliases or tasks to serve; all of the catalog by default. A task is always served under
            all its names.
        task_concurrency: how many jobs of a task run concurrently in this worker, by task or name; a task's
            ``concurrency_limit`` counts over all workers. Tasks left out share ``concurrency``.
        maintenance: whether it rescues expired and lost jobs, archives and purges; True by default.
        schedules: whether it serves schedules; True by default.
        poll_interval: seconds between claims without a wake-up; 2 by default.
        lease: seconds of the longest outage that cancels no handler; 15 by default.
        heartbeat_interval: seconds between heartbeats; at most half of the lease; 5 by default.
        shutdown_timeout: seconds for running jobs after a stop; 30 by default.
        payload_budget: bytes of payloads that it may hold, exceeded by one job at most; 64 MiB by default.
    """

    concurrency: int
    tasks: Sequence[str | Task[Any, Any]] | None
    task_concurrency: TaskConcurrency | None
    maintenance: bool
    schedules: bool
    poll_interval: Seconds
    lease: Seconds
    heartbeat_interval: Seconds
    shutdown_timeout: Seconds
    payload_budget: int


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The configuration of a worker; durations in seconds, tasks by every name that is served.

    Attributes:
        limits: how many jobs of a task this worker runs concurrently, by the task's name.
    """

    served: Mapping[str, Task[Any, Any]]
    limits: Mapping[str, int]
    duties: tuple[str, ...]
    concurrency: int
    poll_interval: float
    lease: float
    heartbeat_interval: float
    shutdown_timeout: float
    payload_budget: int
    watchdog: float | None


class Worker:
    """Runs jobs, maintenance and schedules until it is stopped.

    ::

        async with Queue.connect(catalog) as queue:
            await Worker(queue).run()

    Any number of workers may run maintenance and schedules. A worker that leaves one out logs a warning while
    no live worker has it.

    Its heartbeat keeps its lease in the storage. An outage of ``lease`` seconds cancels no handler. If no
    heartbeat is answered for longer than that, its interval and the time to reconnect together
    (``core/leases.py``), other workers may hold its jobs: it cancels their handlers, settles nothing of them,
    and starts over when the storage is back.

    Args:
        queue: the queue with the catalog and the storage.
        concurrency: how many jobs run concurrently; 0 for maintenance and schedules alone. This and the
            durations below are by default those of the queue's settings.
        tasks: names, aliases or tasks to serve, each under all its names; all of the catalog by default.
        task_concurrency: how many jobs of a task run concurrently in this worker, by task or name.
        maintenance: whether it rescues expired and lost jobs, archives and purges, for all tasks.
        schedules: whether it serves schedules, those of other catalogs included.
        poll_interval: seconds between claims without a wake-up.
        lease: seconds of the longest outage that cancels no handler.
        heartbeat_interval: seconds between heartbeats; at most half of the lease.
        shutdown_timeout: seconds for running jobs after a stop.
        payload_budget: bytes of payloads that it may hold, exceeded by one job at most.
        clock: the queue's by default.
        handler_clock: the clock of the deadlines that handlers see; by default ``clock``.
        entropy: the queue's by default.
        threads: runs sync handlers; by default ``Threads``.
        processes: runs handlers with ``process=True``; by default ``Processes``.
        watchdog: seconds after which a handler that blocks the loop is reported; None turns this off.

    Raises:
        InvalidOptionError: a number is out of range.
        UnknownTaskError: a task is not in the catalog.
        UsageError: the catalog has no tasks, or the options leave nothing to do.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        concurrency: int | None = None,
        tasks: Sequence[str | Task[Any, Any]] | None = None,
        task_concurrency: TaskConcurrency | None = None,
        maintenance: bool = True,
        schedules: bool = True,
        poll_interval: Seconds | None = None,
        lease: Seconds | None = None,
        heartbeat_interval: Seconds | None = None,
        shutdown_timeout: Seconds | None = None,
        payload_budget: int | None = None,
        clock: Clock | None = None,
        handler_clock: Clock | None = None,
        entropy: Entropy | None = None,
        threads: SyncExecutor | None = None,
        processes: ProcessExecutor | None = None,
        watchdog: float | None = 1.0,
    ) -> None:
        if not isinstance(queue, Queue):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
            raise UsageError(
                f"queue: must be an open Queue, got {shown(queue)}; open one with"
                " `async with Queue.connect(catalog) as queue:`"
            )
        settings = queue.settings
        concurrency = settings.jobs_concurrency if concurrency is None else concurrency
        poll = settings.jobs_poll_interval if poll_interval is None else poll_interval
        lease = settings.jobs_lease if lease is None else lease
        interval = settings.jobs_heartbeat_interval if heartbeat_interval is None else heartbeat_interval
        timeout = settings.jobs_shutdown_timeout if shutdown_timeout is None else shutdown_timeout
        budget = settings.jobs_payload_budget if payload_budget is None else payload_budget
        if type(concurrency) is not int or concurrency < 0:
            raise InvalidOptionError(f"concurrency: must be an integer of 0 or more, got {concurrency!r}")
        if not (concurrency or maintenance or schedules):
            raise UsageError("concurrency: must be above 0 where maintenance and schedules are off, got 0")
        if tasks is not None and not concurrency:
            raise UsageError("concurrency: must be above 0 where tasks are given, got 0")
        if task_concurrency and not concurrency:
            raise UsageError("concurrency: must be above 0 where task_concurrency is given, got 0")
        poll = check_seconds("poll_interval", poll, INTERVAL_MIN)
        lease = check_seconds("lease", lease, INTERVAL_MIN)
        interval = check_seconds("heartbeat_interval", interval, INTERVAL_MIN)
        timeout = check_seconds("shutdown_timeout", timeout)
        budget = check_bytes("payload_budget", budget, PAYLOAD_BUDGET_MAX)
        if interval * 2 > lease:
            raise InvalidOptionError(
                f"heartbeat_interval: must be at most half of the lease ({lease:g} s), got {interval:g} s;"
                " lower it, or raise the lease: an outage may take two intervals to be noticed"
            )
        served = _served(queue, tasks) if concurrency else {}
        limits = {} if task_concurrency is None else _limits(queue, served, task_concurrency)
        duties = tuple(name for name, on in ((MAINTENANCE, maintenance), (SCHEDULES, schedules)) if on)
        self._config = WorkerConfig(
            served, limits, duties, concurrency, poll, lease, interval, timeout, budget, watchdog
        )
        self._queue = queue
        self._clock = clock or queue.clock
        self._handler_clock = handler_clock or self._clock
        self._entropy = entropy or parts_of(queue).entropy
        self._threads: SyncExecutor = threads or Threads()
        self._processes: ProcessExecutor = processes or Processes()
        self._stop = asyncio.Event()
        self._aborting = False
        self._ended = False
        self._lifecycle: Lifecycle | None = None
        self._stack = AsyncExitStack()
        self.stuck = 0
        """After a stop: the number of handlers that did not end even when cancelled."""

    @property
    def id(self) -> UUID | None:
        """The worker's id in the storage, a new one at each start; None while it is not running."""
        return None if self._lifecycle is None else self._lifecycle.shared.info.id

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop.is_set()

    async def run(self, begun: asyncio.Event | None = None) -> None:
        """Work until ``stop`` is called; return when everything is settled or released.

        Args:
            begun: set once the catalog's resources are open and the worker is registered; until then it may
                still refuse to start.

        Raises:
            StorageError: the storage can't be used, for a reason other than a temporary outage.
            Exception: an error of the catalog's resources when they open.
        """
        async with self:
            if begun is not None:
                begun.set()
            await self._running().until(self._stop.wait())

    def stop(self, *, immediately: bool = False) -> None:
        """Stop claiming, give running jobs their time, then release them without using a retry.

        Args:
            immediately: whether to release running jobs at once, also after a first stop.
        """
        self._stop.set()
        if immediately:
            self._shorten_shutdown()

    async def drain(self) -> None:
        """Work until nothing is due and everything is settled; for tests and benchmarks.

        Jobs that are due later are not waited for. A worker that is not running is run for this time only,
        without maintenance and schedules.

        Raises:
            UsageError: the worker's concurrency is 0, or a transaction of its storage is open, for which
                handlers might wait forever.
        """
        if not self._config.concurrency:
            raise UsageError("concurrency: must be above 0 to drain, got 0")
        open_transactions.check_outside(parts_of(self._queue).storage, "worker.drain")
        if self._lifecycle is not None:
            await self._lifecycle.until(self._lifecycle.claims.drained())
            return
        await self._open(None)
        async with AsyncExitStack() as stack:
            stack.push_async_exit(self.__aexit__)
            await self._running().until(self._running().claims.drained())

    async def __aenter__(self) -> Self:
        """Start the worker in the background."""
        config = self._config
        interval = sweep_interval(config.heartbeat_interval)
        monitor = self._monitor()
        await self._open(Duties(parts_of(self._queue), config.duties, config.lease, interval, monitor))
        return self

    async def _open(self, duties: Duties | None) -> None:
        if self._lifecycle is not None:
            raise UsageError("This worker is already running; create another one")
        if self._ended:
            # A stop applies to the previous run, but one requested before the first start is kept.
            self._stop.clear()
            self._aborting = False
            self._ended = False
        async with AsyncExitStack() as stack:
            resources = self._queue.catalog.resources if self._config.concurrency else None
            given = None if resources is None else await stack.enter_async_context(resources())
            stack.push_async_callback(self._processes.close)
            stack.callback(self._threads.close)
            lifecycle = self._lifecycle = self._compose(given, duties)
            stack.push_async_callback(self._shut_down, lifecycle)
            try:
                # Wait for a storage that is unavailable, unless the worker was asked to stop.
                if not self._stop.is_set():
                    await first(lifecycle.register(), self._stop.wait())
                if not self._stop.is_set():
                    self._start(lifecycle)
            except BaseException:
                self._shorten_shutdown()
                raise
            self._stack = stack.pop_all()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop: gracefully, or at once if the block raised."""
        if kind is not None:
            self._shorten_shutdown()
        await self._stack.aclose()

    def _compose(self, resources: Any, duties: Duties | None) -> Lifecycle:
        """Make the parts of one run."""
        config, parts, clock = self._config, parts_of(self._queue), self._clock
        worker_id = UUID(int=self._entropy.stream("worker").getrandbits(128), version=4)
        health = StorageHealth(clock, self._entropy)
        queues = {
            name: ServedQueue(
                name,
                task.name,
                task.kind,
                min((n for n in (task.concurrency_limit, own) if n is not None), default=None),
                own is not None,
            )
            for name, task in config.served.items()
            for own in (config.limits.get(task.name),)
        }
        valid = validity(config.lease, config.heartbeat_interval)
        state = WorkerState(
            queues, config.concurrency, config.poll_interval, config.payload_budget, clock.monotonic() + valid
        )
        shared = Shared(
            WorkerInfo(
                worker_id,
                socket.gethostname(),
                os.getpid(),
                tuple(queues),
                valid,
                clock.now(),
                duties=() if duties is None else duties.names,
            ),
            forward(parts.storage, health.observe),
            health,
            state,
            clock,
            wake_claims=Waiter(),
        )
        progress_writer = ProgressWriter(shared.storage, worker_id)
        outcomes = Outcomes(self._entropy, self._queue.catalog.output_cap)
        settle = SettleLoop(shared, progress_writer, outcomes.refused_wait)
        pool = CoroutinePool(
            config.concurrency, state, clock, settle_soon=settle.soon, wake_claims=shared.wake_claims
        )
        dispatcher = Dispatcher(shared, pool, settle.soon)
        heartbeat = self._heartbeat(shared, dispatcher, self._monitor() if duties is None else duties.monitor)
        services = ContextServices(
            queue=self._queue,
            parts=parts,
            progress_writer=progress_writer,
            lost=dispatcher.lost,
            extended=dispatcher.extend,
            is_lease_over=state.is_lease_over,
            clock=clock,
            handler_clock=self._handler_clock,
            resources=resources,
            loop=asyncio.get_running_loop(),
        )
        return Lifecycle(
            shared,
            Shutdown(state, config.shutdown_timeout, outcomes.abandoned),
            pool,
            Attempts(config.served, outcomes, self._threads, self._processes, services, state=state),
            dispatcher,
            ClaimLoop(shared, dispatcher.carry_out, heartbeat.release_unknown),
            settle,
            heartbeat,
            progress_writer,
            None if config.watchdog is None else Watchdog(config.watchdog, state),
            duties,
            Declaration(parts, health),
        )

    def _monitor(self) -> OutageMonitor:
        interval = self._config.heartbeat_interval
        return OutageMonitor(self._clock, outage_gap(interval))

    def _heartbeat(self, shared: Shared, dispatcher: Dispatcher, monitor: OutageMonitor) -> Heartbeat:
        # A thread sleeps on the machine's clock; another clock may belong to this loop.
        alone = isinstance(shared.clock, SystemClock)
        connection = parts_of(self._queue).storage.heartbeat_connection() if alone else None
        interval = self._config.heartbeat_interval
        return Heartbeat(
            shared, interval, connection, monitor, entropy=self._entropy, carry_out=dispatcher.carry_out
        )

    def _start(self, lifecycle: Lifecycle) -> None:
        config = self._config
        log.get_logger().info(
            "worker_started",
            workerId=str(self.id),
            tasks=sorted({task.name for task in config.served.values()}),
            queues=list(config.served),
            concurrency=config.concurrency,
            **({"taskConcurrency": dict(config.limits)} if config.limits else {}),
            duties=list(lifecycle.shared.info.duties),
        )
        lifecycle.start()

    def _shorten_shutdown(self) -> None:
        self._aborting = True
        if self._lifecycle is not None:
            self._lifecycle.abort()

    async def _shut_down(self, lifecycle: Lifecycle) -> None:
        if self._aborting:
            lifecycle.abort()
        try:
            await lifecycle.close()
        finally:
            self.stuck = lifecycle.shutdown.stuck
            self._lifecycle = None
            self._ended = True

    def _running(self) -> Lifecycle:
        if self._lifecycle is None:
            raise UsageError("This worker is not running")
        return self._lifecycle


def _served(queue: Queue, chosen: Sequence[str | Task[Any, Any]] | None) -> dict[str, Task[Any, Any]]:
    catalog = queue.catalog
    if not catalog.tasks:
        raise UsageError("The catalog has no tasks, so there is nothing to run; define some by @catalog.task")
    if chosen is None:
        return dict(catalog.served)
    if isinstance(chosen, str) or not isinstance(chosen, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
        raise InvalidOptionError(
            f"tasks: must be a list of tasks or names, got {shown(chosen)}; pass one such as ['greet']"
        )
    if not chosen:
        raise InvalidOptionError(
            "tasks: must name a task, got none; leave it out to serve all, or pass concurrency=0"
        )
    tasks = [catalog.get(one) for one in chosen]
    return {queue: task for task in tasks for queue in task.queues}


def _limits(queue: Queue, served: Mapping[str, Task[Any, Any]], chosen: TaskConcurrency) -> dict[str, int]:
    """Return the worker's own limits, by the tasks' names."""
    if not isinstance(chosen, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
        raise InvalidOptionError(f"task_concurrency: must be a dict of numbers by task, got {shown(chosen)}")
    limits: dict[str, int] = {}
    for task_or_name, limit in chosen.items():
        try:
            task = queue.catalog.get(task_or_name)
        except UsageError as error:
            raise type(error)(f"task_concurrency: {str(error).removeprefix('task: ')}") from None
        if task.queue not in served:
            raise UsageError(
                f"task_concurrency: must name tasks that the worker serves, got {task.name!r}; add it to"
                " tasks, or leave it out"
            )
        if type(limit) is not int or limit < 1:
            raise InvalidOptionError(
                f"task_concurrency: must be an integer of 1 or more for {task.name!r}, got {shown(limit)}"
            )
        limits[task.name] = min(limit, limits.get(task.name, limit))
    return limits


def drain(queue: SyncQueue, **options: Unpack[WorkerOptions]) -> None:
    """Run the jobs of a synchronous queue in its thread until none is due, and block so long; for tests.

    Args:
        queue: the queue, in memory or on Postgres.
        options: those of the worker.

    Raises:
        UsageError: the queue is not a ``SyncQueue``; an event loop runs in this thread; or as for
            ``Worker.drain``.
    """
    if not isinstance(queue, SyncQueue):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
        raise UsageError(f"queue: must be a SyncQueue, got {shown(queue)}; await Worker(queue).drain()")

    async def run(inner: Queue) -> None:
        await Worker(inner, **options).drain()

    run_async(queue, run)
