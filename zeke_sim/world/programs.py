"""Programs: what the processes of a simulated world run, as in production but for clocks and threads."""

from __future__ import annotations

import asyncio
import inspect
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from zeke_queue.client.parts import parts_of
from zeke_queue.core.leases import outage_gap
from zeke_queue.errors import StorageError
from zeke_queue.maintenance.outage_monitor import OutageMonitor
from zeke_queue.maintenance.runner import Maintenance
from zeke_queue.maintenance.scheduler import Scheduler
from zeke_queue.worker import Worker
from zeke_queue.worker.heartbeat import Heartbeat
from zeke_queue.worker.heartbeat_sender import HeartbeatSender
from zeke_queue.worker.heartbeat_thread import HeartbeatThread

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from uuid import UUID

    from zeke_queue.client.queue import Queue
    from zeke_queue.model import Claimed, WorkerInfo
    from zeke_queue.storage import Storage
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy
    from zeke_queue.task.task import Task
    from zeke_queue.worker.executors.executor import Reporter
    from zeke_queue.worker.loops import Dispatcher, Shared
    from zeke_sim.world.node import Main, Node


class InlineThreads:
    """Runs sync handlers inline, which takes no virtual time."""

    async def run(self, function: Callable[[], Any]) -> Any:
        """Run a function."""
        return function()

    def close(self) -> None:
        """Do nothing."""


class InlineProcesses:
    """Runs handlers that want a process inline, which takes no virtual time."""

    async def run(self, task: Task[Any, Any], claimed: Claimed, job: Reporter) -> Any:
        """Run a task's handler."""
        payload = task.validate_json(claimed.data)
        arguments: list[Any] = [payload] if task.takes_payload else []
        if task.takes_job:
            arguments.append(job)
        result = task.handler(*arguments)
        return await result if inspect.isawaitable(result) else result

    async def close(self) -> None:
        """Do nothing."""


class NodeHeartbeats:
    """Sends heartbeats of a node through its storage, from its second thread."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def heartbeat(self, worker: WorkerInfo) -> dict[UUID, int]:
        """Send a heartbeat."""
        return await self._storage.heartbeat(worker)

    async def close(self) -> None:
        """Do nothing."""


class NodeHeartbeatThread(HeartbeatThread):
    """Sends heartbeats from the second thread of a node, which goes on while its event loop is blocked.

    Args:
        context: that of the second thread.
        *arguments: those of ``HeartbeatThread``.
    """

    def __init__(self, context: Context, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._thread_context = context
        self._loop_context = copy_context()

    @override
    async def run(self, interval: float, entropy: Entropy) -> None:
        sender = HeartbeatSender(self._send, self._post_error, interval, self._clock, entropy)
        task = asyncio.get_running_loop().create_task(sender.run(), context=self._thread_context)
        try:
            await task
        finally:
            task.cancel()

    @override
    def _call(self, function: Callable[[], None]) -> None:
        self._loop.call_soon(function, context=self._loop_context)


class SimWorker(Worker):
    """A worker whose monotonic clock is suspended while idle time is skipped, unlike its handlers' clock.

    Job deadlines are converted to the handlers' clock. The difference between the two clocks is constant
    while a job runs, since no time is skipped then.

    Args:
        queue: see ``Worker``.
        clock: the clock of handlers.
        resting_clock: the clock of the worker.
        thread: the context of its thread for heartbeats.
        **options: options of ``Worker``, without maintenance and schedules by default.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        clock: Clock,
        resting_clock: Clock,
        thread: Context | None = None,
        **options: Any,
    ) -> None:
        self._thread = thread
        known: dict[str, Any] = {"maintenance": False, "schedules": False, **options}
        super().__init__(
            queue,
            clock=resting_clock,
            handler_clock=clock,
            threads=InlineThreads(),
            processes=InlineProcesses(),
            watchdog=None,
            **known,
        )

    @override
    def _heartbeat(self, shared: Shared, dispatcher: Dispatcher, monitor: OutageMonitor) -> Heartbeat:
        if self._thread is None:
            return super()._heartbeat(shared, dispatcher, monitor)
        return Heartbeat(
            shared,
            self._config.heartbeat_interval,
            NodeHeartbeats(parts_of(self._queue).storage),
            monitor,
            entropy=self._entropy,
            carry_out=dispatcher.carry_out,
            thread=partial(NodeHeartbeatThread, self._thread),
        )


def worker(**options: Any) -> Main:
    """Return the main function of a worker process, with options of ``zeke_queue.Worker``."""
    return _program(
        lambda node: SimWorker(
            node.queue,
            clock=node.clock,
            resting_clock=node.resting_clock,
            thread=node.thread[1],
            **options,
        )
    )


def scheduler() -> Main:
    """Return the main function of a scheduler process."""
    return _program(lambda node: Scheduler(parts_of(node.queue)))


def maintenance(every: float, batch: int) -> Main:
    """Return the main function of a maintenance process, with options of ``Maintenance``.

    It observes outages as often as it sweeps. A worker does so by its heartbeats.
    """

    async def main(node: Node) -> None:
        clock, parts = node.resting_clock, parts_of(node.queue)
        monitor = OutageMonitor(clock, outage_gap(every))

        async def ask() -> None:
            sent = clock.monotonic()
            await parts.storage.now()
            monitor.answered(sent)

        async def observe() -> None:
            with suppress(StorageError):
                await ask()
            await HeartbeatSender(ask, lambda _: None, every, clock, parts.entropy).run()

        running = Maintenance(parts, every=every, batch=batch, monitor=monitor)
        node.stop = running.stop
        observing = asyncio.create_task(observe())
        observing.add_done_callback(lambda _: running.stop())
        await running.run()
        observing.cancel()
        await asyncio.wait([observing])
        if not observing.cancelled():
            observing.result()  # raises what is a bug

    return main


def _program(make: Callable[[Node], Worker | Scheduler]) -> Main:
    async def main(node: Node) -> None:
        running = make(node)
        node.stop = running.stop
        await running.run()

    return main
