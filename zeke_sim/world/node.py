"""Nodes: the processes of a simulated world, each with its own run queue, clocks and storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

from zeke_queue.client.queue import Queue
from zeke_queue.system.entropy import SeededEntropy
from zeke_sim.errors import SimulationError
from zeke_sim.history.events import Lived, Violation
from zeke_sim.loop.clock import VirtualClock
from zeke_sim.loop.event_loop import RunQueue
from zeke_sim.world.faults import PARTITIONS, handler_fault, line_fault

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Mapping
    from contextvars import Context
    from uuid import UUID

    from zeke_queue.storage import Storage
    from zeke_queue.task.catalog import Catalog
    from zeke_sim.history.events import Affected
    from zeke_sim.world.context import WorldContext

Link: TypeAlias = Literal["partition", "partition_out", "partition_in"]
Main: TypeAlias = "Callable[[Node], Awaitable[None]]"

ON_THE_WAY: Final = 0.0003
"""Seconds after sending at which a statement is certainly in transit and has not arrived."""

RESTART: Final = 1.0
"""Default delay, in seconds, before a process that has ended is replaced."""

DUTIES: Final = {
    "worker": ("claim",),
    "scheduler": ("lock_due_schedules",),
    "maintenance": ("lock_expired", "resume_waiting", "archive", "purge"),
}
"""The storage methods that the processes of each role are meant to call."""


class NodeCalls(Protocol):
    """The storage calls of a process.

    Attributes:
        storage: the process's own view of the storage.
        asleep: number of coroutines that wait for work.
        failing: whether the last call failed.
        owing: the background calls whose last attempt failed.
    """

    storage: Storage
    asleep: int
    failing: bool
    owing: set[str]


class Node:
    """A process and its replacements after it has died.

    Args:
        connect: opens the storage of a process; the counts of calls are those of all its processes.

    Attributes:
        nodes: all nodes of the world, by name.
        name: its name in plans and histories.
        role: worker, scheduler, maintenance or client.
        incarnation: number of processes started under this name.
        dead: whether no process is running under this name.
        link: the network fault between it and the database; None for a working connection.
        clock: the clock of its programs and handlers.
        resting_clock: the clock of the runtime. It equals ``clock``, except that a worker's monotonic time is
            suspended while idle time is skipped, like its timers and its lease. The deadlines that handlers
            see follow ``clock``.
        thread: the run queue and the context of its second thread, which sends a worker's heartbeats.
        queue: the process's queue, with its own storage, clock and entropy.
        awaits: delayed faults by the storage method whose next statement triggers them.
        back: seconds before it is replaced after it has stopped.
        stop: asks the process to stop, as SIGTERM does; None if the process does not support it.
    """

    calls: NodeCalls
    storage: Storage
    queue: Queue
    context: Context
    run_queue: RunQueue
    thread: tuple[RunQueue, Context]

    def __init__(
        self,
        world: WorldContext,
        name: str,
        role: str,
        main: Main,
        catalog: Catalog[Any],
        *,
        nodes: Mapping[str, Node],
        connect: Callable[[Node, dict[str, int]], NodeCalls],
    ) -> None:
        self.world = world
        self.nodes = nodes
        self.name = name
        self.role = role
        self.catalog = catalog
        self.clock = VirtualClock(world.loop, world.epoch)
        self.resting_clock = VirtualClock(world.loop, world.epoch)
        self.incarnation = 0
        self.dead = True
        self.done = False
        self.back = RESTART
        self.paused = False
        self.link: Link | None = None
        self.partitioned_until = 0.0
        self.stop: Callable[[], None] | None = None
        self.awaits: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        self._main = main
        self._connect = connect
        self._storage_counts: dict[str, int] = {}

    def start(self) -> None:
        """Start a process under this name."""
        if not self.dead or self.world.over:
            return
        world = self.world
        self.incarnation += 1
        self.dead = False
        self.stop = None
        self.back = RESTART
        self.run_queue = RunQueue(self.name)
        self.context = world.loop.context(self.run_queue)
        second = RunQueue(self.name)
        self.thread = second, world.loop.context(second)
        self.clock.suspended = self.resting_clock.suspended = 0.0
        entropy = SeededEntropy(world.seed_of(f"{self.name}/{self.incarnation}"))
        self.calls = self._connect(self, self._storage_counts)
        self.storage = self.calls.storage
        self.queue = self.context.run(
            lambda: Queue(
                self.catalog, self.storage, clock=self.resting_clock, entropy=entropy, settings=world.settings
            )
        )
        self._lived("started")
        task = world.loop.create_task(self._run(), name=f"{self.name}-main", context=self.context)
        task.add_done_callback(self._ended, context=world.context)

    def set_clocks(self, *, offset: float | None = None, rate: float | None = None) -> None:
        """Set the errors of its clocks: the wall clock's offset in seconds, the monotonic clock's rate."""
        for clock in (self.clock, self.resting_clock):
            if offset is not None:
                clock.offset = offset
            if rate is not None:
                clock.set_rate(rate)

    def _applies(self, kind: str) -> bool:
        """Return whether a fault applies to the node's current state; a dead process cannot be stopped."""
        if kind == "kill":
            return not self.dead
        return kind not in {"pause", "freeze", "block", "sigterm"} or not (self.dead or self.paused)

    async def _run(self) -> None:
        try:
            await self._main(self)
        except SystemExit as error:
            raise SimulationError(f"it called sys.exit({error.code!r})") from error

    def _ended(self, task: asyncio.Task[None]) -> None:
        world = self.world
        if world.over or self.dead:
            return
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._crashed(error)
            return
        self._end_threads()
        self.dead = True
        self._lived("stopped")
        world.progress.set()
        if self.role == "client":
            self.done = True
        else:
            world.later(self.back, self.start)

    def _crashed(self, error: BaseException) -> None:
        """Report a crash as a violation, since processes must survive external faults."""
        if isinstance(error, Violation):
            self.world.recorder.fail(error)
            return
        rule = "a client's program ends" if self.role == "client" else "no part of the runtime crashes"
        self.world.fail(rule, f"{self.name}: {type(error).__name__}: {error}", error)

    def _lived(self, what: Any) -> None:
        self.world.recorder.add(Lived(self.world.time(), self.name, what))

    # Faults.

    def kill(self, back: float = RESTART) -> None:
        """Kill the process at once; a replacement starts after ``back`` seconds."""
        world = self.world
        if self.dead or world.over:
            return
        self._end_threads()
        self.dead = True
        self.paused = False
        self._lived("killed")
        world.locks.release()
        world.server.end_of(self)
        for key, handler in list(world.running.items()):
            if handler.node is self:
                del world.running[key]
        world.later(back, self.start)

    def _end_threads(self) -> None:
        self.world.loop.kill(self.run_queue)
        self.world.loop.kill(self.thread[0])

    def pause(self, seconds: float, *, all_threads: bool = True) -> None:
        """Freeze the process, or only its event loop, for ``seconds``."""
        if self.dead or self.paused:
            return
        self.paused = True
        self.world.loop.pause(self.run_queue)
        if all_threads:
            self.world.loop.pause(self.thread[0])
        self._lived("paused")
        self.world.later(seconds, self._resume, self.incarnation)

    def _resume(self, incarnation: int) -> None:
        if self.paused and not self.dead and self.incarnation == incarnation:
            self.paused = False
            self.world.loop.resume(self.run_queue)
            self.world.loop.resume(self.thread[0])
            self._lived("resumed")

    def terminate(self, back: float = RESTART) -> None:
        """Stop the process as SIGTERM does; a replacement starts ``back`` seconds after it has ended."""
        if not self.dead and not self.paused and self.stop is not None:
            self.back = back
            self._lived("stopping")
            self.context.run(self.stop)

    def partition(self, how: Link | None) -> None:
        """Partition the node from the database, or (None) reconnect it."""
        if self.link != how:
            self.link = how
            self._lived("reconnected" if how is None else "partitioned")

    def _reconnect(self) -> None:
        if self.world.time() >= self.partitioned_until:
            self.partition(None)

    def heal(self) -> None:
        """End all faults."""
        self.partition(None)
        if self.paused:
            self._resume(self.incarnation)
        if self.dead and not self.done:
            self.start()
        self.set_clocks(offset=0.0, rate=1.0)

    def schedule(self, address: str, fault: Mapping[str, Any]) -> None:
        """Inject a fault now, or, if it has ``on``, when the node's next such statement is in transit."""
        if "on" in fault:
            self.awaits.setdefault(fault["on"], []).append((address, fault))
        else:
            self.inject(address, fault)

    def inject(self, address: str, fault: Mapping[str, Any]) -> None:
        """Inject a fault now, unless the quiet phase has begun."""
        kind = fault["fault"]
        if not self.world.faulty or not self._applies(kind):
            return
        self.world.record_fault(self, address, kind, fault.get("for"))
        if kind == "kill":
            self.kill(fault["for"])
        elif kind in {"pause", "freeze"}:
            self.pause(fault["for"])
        elif kind == "block":
            self.pause(fault["for"], all_threads=False)
        elif kind == "sigterm":
            self.terminate(fault["for"])
        elif kind in PARTITIONS:
            self.partition(kind)
            self.partitioned_until = max(self.partitioned_until, self.world.time() + fault["for"])
            self.world.later(fault["for"], self._reconnect)
        elif kind == "clock":
            self.set_clocks(offset=self.clock.offset + fault["by"])
        elif kind == "drift":
            self.set_clocks(rate=fault["rate"])

    def handler_began(self, task: str, job: UUID, attempt: int) -> None:
        """Inject the faults that are due for an attempt, and decide whether the process dies during it."""
        world = self.world
        for address, fault in self.awaits.pop("handler", ()):
            world.later(ON_THE_WAY, self.inject, address, fault)
        if not world.faulty or not world.knobs.handler or "kill_handler" not in world.knobs.kinds:
            return
        address = f"handler/{task}/{world.job_number(job)}/{attempt}"
        decision = world.decisions.at(address, lambda draws: handler_fault(draws, world.knobs))
        if decision is not None:
            world.later(decision["after"], self._kill_handler, address, (job, attempt))

    def _kill_handler(self, address: str, which: tuple[UUID, int]) -> None:
        handler = self.world.running.get(which)
        if self.world.faulty and handler is not None and handler.node is self:
            self.world.record_fault(self, address, "kill_handler")
            self.kill()

    def fatal_point(self, task: str, job: UUID, attempt: int, points: int) -> tuple[str, int]:
        """Decide at which point of an attempt the process is killed.

        Args:
            points: number of points in the handler itself.

        Returns:
            The address of the decision, and the number of the point from 1; 0 for none.
        """
        world = self.world
        if not world.faulty or not world.knobs.handler or "kill_line" not in world.knobs.kinds:
            return "", 0
        address = f"line/{task}/{world.job_number(job)}/{attempt}"
        decision = world.decisions.at(address, lambda draws: line_fault(draws, world.knobs, points))
        return address, 0 if decision is None else decision["point"]

    def kill_here(self, address: str, affected: Affected) -> None:
        """Kill the process while its code runs, without executing anything more of it."""
        self.world.record_fault(self, address, "kill_line", first=affected)
        self.kill()
        self.world.loop.break_off()
