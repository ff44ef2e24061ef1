"""One run of a worker with all its parts, from the first heartbeat to the last settlement."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from zeke_queue.client.parts import parts_of
from zeke_queue.errors import StorageError, StorageUnavailableError
from zeke_queue.model import WorkerInfo
from zeke_queue.system import logging as log
from zeke_queue.system.waiting import Waiter, first
from zeke_queue.worker.attempts import Attempts
from zeke_queue.worker.claims import ServedQueue
from zeke_queue.worker.coroutine_pool import CoroutinePool
from zeke_queue.worker.heartbeat import Heart
from zeke_queue.worker.job_context import ContextServices
from zeke_queue.worker.link import Link
from zeke_queue.worker.loops import ClaimLoop, Dispatcher, SettleLoop
from zeke_queue.worker.outcomes import Outcomes
from zeke_queue.worker.progress import Notes
from zeke_queue.worker.state import WorkerState
from zeke_queue.worker.watchdog import Watchdog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from zeke_queue.client.queue import Queue
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy
    from zeke_queue.task.task import Task
    from zeke_queue.worker.executors.executor import ProcessExecutor, SyncExecutor
    from zeke_queue.worker.state import LeasedJob

CANCEL_PATIENCE: Final = 2.0
"""Seconds for cancelled handlers to end when the worker shuts down."""

LAST_WORDS: Final = 5.0
"""Seconds for the last settlements when the worker shuts down."""

HURRY: Final = 1.0
"""Seconds for each of the two above when the worker aborts, counted from that request."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The configuration of a worker; durations in seconds, and tasks by every name that is served."""

    served: Mapping[str, Task[Any, Any]]
    concurrency: int
    poll: float
    lease: float
    beat: float
    grace: float
    watchdog: float | None


class Crew:
    """The parts of a running worker.

    Args:
        queue: the queue whose jobs are run.
        plan: the worker's configuration.
        clock: the clock of all parts.
        entropy: jitter, and the worker's identity.
        threads: runs sync handlers.
        processes: runs handlers that have a process of their own.
        resources: the value that the catalog's ``resources`` yielded.
        handler_clock: the clock of the deadlines that handlers see; by default ``clock``.
    """

    def __init__(
        self,
        queue: Queue,
        plan: Plan,
        *,
        clock: Clock,
        entropy: Entropy,
        threads: SyncExecutor,
        processes: ProcessExecutor,
        resources: Any,
        handler_clock: Clock | None = None,
    ) -> None:
        self.id = UUID(int=entropy.stream("worker").getrandbits(128), version=4)
        self._parts = parts_of(queue)
        self._plan = plan
        self._clock = clock
        self._storage = storage = self._parts.storage
        self._link = link = Link(clock, entropy)
        self._notes = Notes(storage, link)
        queues = {
            name: ServedQueue(name, task.name, task.kind, task.concurrency_limit)
            for name, task in plan.served.items()
        }
        self._state = state = WorkerState(
            queues, plan.concurrency, plan.poll, alive_until=clock.monotonic() + plan.lease
        )
        wake_claims = Waiter()
        self._settle = settle = SettleLoop(
            state, storage, clock, link=link, notes=self._notes, wake_claims=wake_claims
        )
        self._pool = pool = CoroutinePool(
            plan.concurrency, state, clock, settle_soon=settle.soon, wake_claims=wake_claims
        )
        self._dispatcher = dispatcher = Dispatcher(
            state, pool, clock, settle_soon=settle.soon, wake_claims=wake_claims
        )
        info = WorkerInfo(
            self.id, socket.gethostname(), os.getpid(), tuple(plan.served), plan.lease, clock.now()
        )
        self._heart = Heart(storage, info, plan.beat, clock, link, state, dispatcher)
        self.claims = ClaimLoop(
            self.id,
            storage,
            tuple(queues),
            state,
            wake_claims,
            dispatcher=dispatcher,
            recover=self._heart.release_unknown,
            link=link,
            clock=clock,
        )

        def lost(job: LeasedJob) -> None:
            dispatcher.interrupt(job, "lost")

        services = ContextServices(
            queue=queue,
            parts=self._parts,
            notes=self._notes,
            lost=lost,
            extended=dispatcher.extend,
            clock=clock,
            handler_clock=handler_clock or clock,
            resources=resources,
            loop=asyncio.get_running_loop(),
        )
        self._outcomes = Outcomes(entropy, queue.catalog.output_cap)
        self._attempts = Attempts(plan.served, self._outcomes, threads, processes, services)
        self._watchdog = None if plan.watchdog is None else Watchdog(plan.watchdog, pool)
        self._loops: dict[str, asyncio.Task[None]] = {}

    async def open(self, stopping: asyncio.Event) -> None:
        """Register the worker and start; wait while the storage is unavailable, until ``stopping`` is set."""
        if not stopping.is_set():
            await first(self._register(), stopping.wait())
        if stopping.is_set():
            return
        log.get_logger().info(
            "worker_started",
            workerId=str(self.id),
            tasks=sorted({task.name for task in self._plan.served.values()}),
            queues=list(self._plan.served),
            concurrency=self._plan.concurrency,
        )
        self._pool.open(self._attempts)
        if self._watchdog is not None:
            self._watchdog.start()
        self._start("pool", self._pool.failure())
        self._start("settle", self._settle.run())
        self._start("beat", self._heart.run())
        self._start("lease", self._heart.watch_lease())
        self._start("claim", self.claims.run())

    async def until(self, event: Awaitable[Any]) -> None:
        """Wait for an event while the worker runs.

        Raises:
            Exception: the error of a part that failed, which is a bug.
        """
        waiting = asyncio.ensure_future(event)
        parts = [*self._loops.values()]
        if not parts:  # it was stopped before it began
            waiting.cancel()
            return
        try:
            await asyncio.wait((waiting, *parts), return_when=asyncio.FIRST_COMPLETED)
            for part in parts:
                if part.done():
                    part.result()
        finally:
            waiting.cancel()

    async def close(self, grace: float, hurry: asyncio.Event) -> int:
        """Stop claiming, wait for running jobs, release the rest, and settle everything.

        Args:
            grace: seconds for running jobs.
            hurry: when set, ends the grace period and shortens the other timeouts.

        Returns:
            How many handlers did not end even when cancelled; their jobs are released all the same.
        """
        try:
            return await self._wind_down(grace, hurry)
        finally:
            self._scatter()

    async def _wind_down(self, grace: float, hurry: asyncio.Event) -> int:
        self.claims.stop()
        self._dispatcher.close()
        if self._state.running:
            log.get_logger().info("worker_stopping", jobs=len(self._state.running), grace=grace)
            if not hurry.is_set():
                await first(self._quiet(), self._clock.sleep(grace), hurry.wait())
        self._dispatcher.interrupt_all()
        await first(self._quiet(), self._patience(CANCEL_PATIENCE, hurry))
        # Meanwhile wait for a claim under way, whose jobs are released.
        await first(self._ended("claim"), self._patience(LAST_WORDS, hurry))
        stuck = self._dispatcher.abandon(self._outcomes.abandoned)
        self._settle.close()
        await first(self._last_words(), self._patience(LAST_WORDS, hurry))
        await first(self._end(*self._loops), self._patience(LAST_WORDS, hurry))
        await self._pool.close()
        log.get_logger().info("worker_stopped", workerId=str(self.id), stuck=stuck)
        return stuck

    def _scatter(self) -> None:
        """Cancel all remaining tasks, also when the shutdown itself is cancelled."""
        for loop in self._loops.values():
            loop.cancel()
        self._dispatcher.stop_timer()
        self._notes.close()
        if self._watchdog is not None:
            self._watchdog.stop()
        self._pool.disband()

    def _start(self, name: str, loop: Coroutine[Any, Any, None]) -> None:
        self._loops[name] = started = asyncio.create_task(loop, name=f"zeke-{name}")
        started.add_done_callback(_report)

    async def _ended(self, *names: str) -> None:
        loops = [self._loops[name] for name in names if name in self._loops]
        if loops:
            await asyncio.wait(loops)

    async def _end(self, *names: str) -> None:
        for name in names:
            if name in self._loops:
                self._loops[name].cancel()
        await self._ended(*names)

    async def _register(self) -> None:
        await self._patiently("declare", self._parts.declare)
        await self._patiently("beat", self._heart.beat)

    async def _patiently(self, what: str, call: Callable[[], Awaitable[Any]]) -> None:
        failures = 0
        while True:
            try:
                await call()
            except StorageUnavailableError as error:
                self._link.lost(what, error)
                await self._link.pause(failures)
                failures += 1
            else:
                self._link.found()
                return

    async def _quiet(self) -> None:
        """Wait until no job runs."""
        while self._state.running:
            await self._pool.quiet.wait()

    async def _patience(self, seconds: float, hurry: asyncio.Event) -> None:
        """Wait for so many seconds, or for one second once ``hurry`` is set."""
        if not hurry.is_set():
            await first(self._clock.sleep(seconds), hurry.wait())
        if hurry.is_set():
            await self._clock.sleep(HURRY)

    async def _last_words(self) -> None:
        """Settle what is left and deregister the worker; jobs that are not settled are then overdue."""
        await self._ended("settle", "claim")
        # A claim that was answered only now has added jobs after the settler had finished.
        await self._settle.run()
        await self._notes.flush()
        # A heartbeat that arrives after the deregistration would register the worker again.
        await self._end("beat", "lease")
        try:
            await self._storage.deregister(self.id)
        except StorageError as error:
            self._link.lost("deregister", error)


def _report(part: asyncio.Task[None]) -> None:
    """Log the error of a part of the worker, which is a bug, whether or not it is awaited."""
    if not part.cancelled() and (error := part.exception()) is not None:
        log.get_logger().error("worker_part_failed", part=part.get_name(), error=str(error), exc_info=error)
