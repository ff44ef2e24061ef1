"""One run of a worker: starts its parts, and ends them step by step, as ``state.Shutdown`` decides."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zeke_queue.client import open_transactions
from zeke_queue.errors import StorageError, StorageUnavailableError
from zeke_queue.storage.forwarding import Call
from zeke_queue.system import logging as log
from zeke_queue.system.waiting import end
from zeke_queue.worker.state import Finish, StopParts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from zeke_queue.worker.attempts import Attempts
    from zeke_queue.worker.coroutine_pool import CoroutinePool
    from zeke_queue.worker.declaration import Declaration
    from zeke_queue.worker.duties import Duties
    from zeke_queue.worker.heartbeat import Heartbeat
    from zeke_queue.worker.loops import ClaimLoop, Dispatcher, Shared
    from zeke_queue.worker.progress import ProgressWriter
    from zeke_queue.worker.settle_loop import SettleLoop
    from zeke_queue.worker.state import Shutdown
    from zeke_queue.worker.watchdog import Watchdog


@dataclass(slots=True)
class Lifecycle:
    """Starts the parts of a worker, watches them, and ends them."""

    shared: Shared
    shutdown: Shutdown
    pool: CoroutinePool
    attempts: Attempts
    dispatcher: Dispatcher
    claims: ClaimLoop
    settle: SettleLoop
    heartbeat: Heartbeat
    progress_writer: ProgressWriter
    watchdog: Watchdog | None
    duties: Duties | None
    declaration: Declaration
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict[str, "asyncio.Task[None]"])

    async def register(self) -> None:
        """Store the queues and schedules, and the worker; wait while the storage is unavailable."""
        health, call, unavailable = self.shared.health, Call("declare", {}), StorageUnavailableError
        store = self.declaration.store
        await health.retry("declare", lambda _: health.observe(call, store), on=unavailable)
        await health.retry("heartbeat", lambda _: self.heartbeat.send(), on=unavailable)

    def start(self) -> None:
        """Start all parts.

        The loops and the handlers keep the caller's context variables; what handlers start on behalf of all
        (progress writes, deadlines) has none. But a worker that starts inside a transaction's block outlives
        it, and its handlers are not part of it.
        """
        with open_transactions.outside():
            self.pool.open(self.attempts)
            if self.watchdog is not None:
                self.watchdog.start()
            self._start("pool", self.pool.failure())
            self._start("settle", self.settle.run())
            self._start("heartbeat", self.heartbeat.run())
            self._start("lease", self.heartbeat.watch_lease())
            self._start("tend", self.heartbeat.tend())
            self._start("reconcile", self.heartbeat.reconcile())
            if self.declaration.left:
                self._start("declaration", self.declaration.run())
            if self.shared.info.queues:
                self._start("claim", self.claims.run())
            for name, loop in self.duties or ():
                self._start(name, loop.run())

    async def until(self, event: Awaitable[Any]) -> None:
        """Wait for an event while the worker runs.

        Raises:
            Exception: the error of a part that failed, which is a bug.
        """
        waiting = asyncio.ensure_future(event)
        parts = [*self._running.values()]
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

    def abort(self) -> None:
        """Shorten the shutdown, whether it has begun or not."""
        self.shutdown.abort(self.shared.clock.monotonic())
        self.pool.quiet.notify()

    async def close(self) -> None:
        """Stop claiming, wait for running jobs, release the rest, and settle everything."""
        clock = self.shared.clock
        try:
            self.claims.stop()
            if jobs := len(self.shared.state.running):
                log.get_logger().info("worker_stopping", jobs=jobs, shutdownTimeout=self.shutdown.timeout)
            while (step := self.shutdown.next(self._alive(), clock.monotonic())) is not None:
                actions, until = step
                for action in actions:
                    if isinstance(action, Finish):
                        self._start("finish", self._finish())
                    elif isinstance(action, StopParts):
                        self._cancel_all()
                    else:
                        self.dispatcher.carry_out([action])
                if self.duties is not None and not self.shared.state.running:
                    self.duties.stop()
                # It is also notified by the end of a part, and by `abort`.
                await self.pool.quiet.wait_for(until - clock.monotonic(), clock)
            await self.pool.close()
            finish = self._running["finish"]
            if finish.done() and not finish.cancelled():
                finish.result()
            stuck = self.shutdown.stuck
            log.get_logger().info("worker_stopped", workerId=str(self.shared.info.id), stuck=stuck)
        finally:
            # Also when the shutdown itself is cancelled, or a part has failed.
            self.settle.report_left()
            self._cancel_all()
            self.dispatcher.close()
            self.progress_writer.close()
            if self.watchdog is not None:
                self.watchdog.stop()
            self.pool.disband()

    def _start(self, name: str, part: Coroutine[Any, Any, None]) -> None:
        self._running[name] = started = asyncio.create_task(part, name=f"zeke-{name}")
        started.add_done_callback(self._ended)

    def _ended(self, part: asyncio.Task[None]) -> None:
        """Log the error of a part, which is a bug, whether or not it is awaited."""
        if not part.cancelled() and (error := part.exception()) is not None:
            log.get_logger().error(
                "worker_part_failed", part=part.get_name(), error=str(error), exc_info=error
            )
        self.pool.quiet.notify()

    def _alive(self) -> set[str]:
        return {name for name, part in self._running.items() if not part.done()}

    def _cancel_all(self) -> None:
        for part in self._running.values():
            part.cancel()

    async def _finish(self) -> None:
        """Store the remaining outcomes and deregister the worker.

        Jobs that are not settled are then overdue.
        """
        self.settle.close()
        if self.duties is not None:
            self.duties.stop()
        parts = self._running
        for name in ("settle", "claim"):
            if name in parts:
                await asyncio.wait([parts[name]])
            # Claims repeat refused heartbeats without a limit, so what is done is stored before they end.
            await self.settle.finish()
        await self.progress_writer.flush(last=True)
        # A heartbeat that arrives after the deregistration would register the worker again.
        await end(*(parts[name] for name in ("heartbeat", "lease") if name in parts))
        with suppress(StorageError):
            await self.shared.storage.deregister(self.shared.info.id)
        # A duty that does not end in time is cancelled; its transaction is rolled back, as after a crash.
        if ending := [parts[name] for name, _ in self.duties or () if name in parts]:
            await asyncio.wait(ending)
