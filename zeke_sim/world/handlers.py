"""Wraps the handlers of a catalog to record their actions in the history; their behaviour is unchanged."""

from __future__ import annotations

import asyncio
import copy
import functools
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.signals import Retry, Snooze
from zeke_queue.task.task import Task
from zeke_queue.worker.job_context import WorkerJobContext
from zeke_sim.history.events import Affected, Began, Effect, Ended, Wrote
from zeke_sim.history.rows import text_of
from zeke_sim.loop.event_loop import HANDLER, RUN_QUEUE
from zeke_sim.world import lines
from zeke_sim.world.context import Passed

__tracebackhide__ = True  # of a failed job: the traceback begins with the application's handler

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Self
    from uuid import UUID

    from zeke_queue.task.context import JobContext
    from zeke_queue.worker.progress import ProgressWriter
    from zeke_sim.world.node import Node


def observed(catalog: Catalog, nodes: Mapping[str, Node]) -> Catalog:
    """Return a copy of a catalog whose handlers, on these nodes, record their actions in the history."""
    watched = _Watched(
        resources=catalog.resources,
        defaults=catalog.defaults,
        payload_cap=catalog.payload_cap,
        output_cap=catalog.output_cap,
    )
    watched.include(catalog)
    tasks = watched._tasks  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    aliases = watched._aliases  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
    copies = {name: _observed(task, nodes) for name, task in tasks.items()}
    watched.copies = {task: copies[name] for name, task in tasks.items()}
    aliases.update({alias: copies[task.name] for alias, task in aliases.items()})
    tasks.update(copies)
    return watched


class _Watched(Catalog):
    """A catalog of wrapped tasks, which also finds them by the original tasks, which handlers use to send."""

    copies: Mapping[Task[Any, Any], Task[Any, Any]]

    def get(self, task: str | Task[Any, Any]) -> Task[Any, Any]:
        """Return a task; see ``Catalog.get``."""
        return super().get(self.copies.get(task, task) if isinstance(task, Task) else task)


REFUSED_MAX: Final = 1000
"""Maximum number of points that cancelled code may reach after its run, before it is abandoned."""

TRACE_MAX: Final = 100_000
"""Maximum number of points of a run that are recorded."""

_OUTSIDE_DEPTH: Final = 2
"""The resources themselves, and the objects in their attributes."""


def outside_of(resources: Any, known: dict[frozenset[type], frozenset[int]]) -> frozenset[int]:
    """Return the points in the code of the resources, which stand for the world outside of the process.

    These are the methods of the resources, of the objects in their attributes, and of their items if they
    are a dict or a tuple. A kill does not interrupt them, since it could leave a bank, for example, with half
    of a transfer.

    Args:
        known: the points by classes; one dict for each run, since a double has a class of its own in each.
    """
    kinds = frozenset(_kinds(resources, _OUTSIDE_DEPTH))
    if kinds not in known:
        known[kinds] = frozenset(line for kind in kinds for line in lines.lines_of_class(kind))
    return known[kinds]


def _kinds(value: Any, depth: int) -> Iterator[type]:
    kind = cast("type[Any]", type(value))
    yield kind
    if depth > 1:
        slots = [getattr(value, name, None) for name in getattr(kind, "__slots__", ())]
        items: Any = value if issubclass(kind, tuple) else ()
        items = value.values() if issubclass(kind, dict) else items
        for part in (*items, *slots, *getattr(value, "__dict__", {}).values()):
            yield from _kinds(part, depth - 1)


def effect(key: str) -> None:
    """Record that the running handler has an external effect, such as a payment or a message.

    Outside of a simulation it does nothing, so applications and test doubles can call it anywhere.

    Args:
        key: identifies the effect; ``unique_effects`` allows each key once.
    """
    watch = HANDLER.get()
    if watch is not None:
        watch.effect(key)


def current_node(nodes: Mapping[str, Node]) -> Node:
    """Return the node to which the running code belongs."""
    run_queue = RUN_QUEUE.get()
    return nodes[run_queue.name if run_queue is not None else ""]


def _observed(task: Task[Any, Any], nodes: Mapping[str, Node]) -> Task[Any, Any]:
    watched = copy.copy(task)
    watched.takes_job = True
    handler, takes_job, is_async = task.handler, task.takes_job, task.kind == "async"

    @functools.wraps(handler)
    async def run_async(*arguments: Any) -> Any:
        with Watch(current_node(nodes), task, arguments[-1]) as watch:
            watch.result = await handler(*(arguments if takes_job else arguments[:-1]))
            watch.pass_end()
        return watch.result

    @functools.wraps(handler)
    def run_sync(*arguments: Any) -> Any:
        with Watch(current_node(nodes), task, arguments[-1]) as watch:
            watch.result = handler(*(arguments if takes_job else arguments[:-1]))
            watch.pass_end()
        return watch.result

    watched.handler = run_async if is_async else run_sync
    return watched


def _requested_delay(error: BaseException) -> float | None:
    """Return the delay in seconds that a handler requested by its exception, or None."""
    if isinstance(error, Snooze):
        return error.seconds
    return error.after if isinstance(error, Retry) else None


class _RecordingWriter:
    """Records the progress and log lines of a handler on their way to its worker's writer."""

    def __init__(self, node: Node, writer: ProgressWriter) -> None:
        self._node = node
        self._writer = writer
        self.end = writer.end

    def progress(self, job_id: UUID, attempt: int, value: float, message: str | None) -> None:
        """Record progress; see ``ProgressWriter.progress``."""
        self._record(job_id, attempt, "progress", {"value": value, "message": message})
        self._writer.progress(job_id, attempt, value, message)

    def line(self, job_id: UUID, attempt: int, level: str, message: str, *rest: Any) -> None:
        """Record a log line; see ``ProgressWriter.line``."""
        self._record(job_id, attempt, "log", {"message": message})
        self._writer.line(job_id, attempt, level, message, *rest)

    def _record(
        self, job_id: UUID, attempt: int, kind: Literal["progress", "log"], data: Mapping[str, Any]
    ) -> None:
        world = self._node.world
        text = text_of(kind, data)
        world.recorder.add(Wrote(world.time(), self._node.name, job_id, attempt, kind, text))


class Watch:
    """The recording of one attempt, around its handler.

    Attributes:
        node, task, job, attempt: where it runs, and what.
        calls: number of calls of each method of doubles so far.
        result: the handler's return value.
    """

    __slots__ = (
        *(
            "_address",
            "_fatal",
            "_is_async",
            "_line",
            "_lines",
            "_outside",
            "_passed",
            "_refused",
            "_returned",
            "_token",
        ),
        *("attempt", "calls", "job", "node", "result", "task"),
    )

    def __init__(self, node: Node, task: Task[Any, Any], job: JobContext) -> None:
        world = node.world
        self.node = node
        self.task = task.name
        self.job = job.id
        self.attempt = job.attempt
        self.calls: Counter[str] = Counter()
        self._is_async = task.kind == "async"
        self._line: int | None = None
        self._lines = world.passed.setdefault(task.name, set())
        self._passed = 0
        self._refused = 0
        self._returned = False
        self._outside = outside_of(job.resources, world.outside)
        self.result: Any = None
        world.running[job.id, job.attempt] = self
        world.recorder.add(Began(world.time(), node.name, task.name, job.id, job.attempt))
        node.handler_began(task.name, job.id, job.attempt)
        if isinstance(job, WorkerJobContext):
            services = job._services  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
            writer = cast("ProgressWriter", _RecordingWriter(node, services.progress_writer))
            job._services = services._replace(progress_writer=writer)  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
        points = lines.count_in(task.handler)
        self._address, self._fatal = node.fatal_point(task.name, job.id, job.attempt, points)

    def __enter__(self) -> Self:
        self._token = HANDLER.set(self)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        HANDLER.reset(self._token)
        if error is None:
            self._ended("returned", self.result)
        elif self._is_async and isinstance(error, asyncio.CancelledError):
            # A handler can also raise CancelledError itself, or get it from a task that it awaits; neither is
            # an interruption.
            current = asyncio.current_task()
            interrupted = current is not None and current.cancelling() > 0
            self._ended("cancelled" if interrupted else "raised", None if interrupted else "CancelledError: ")
        else:
            self._ended("raised", f"{type(error).__name__}: {error}", _requested_delay(error))

    def _ended(self, how: Any, value: Any, asked: float | None = None) -> None:
        world, node = self.node.world, self.node.name
        world.running.pop((self.job, self.attempt), None)
        world.recorder.add(Ended(world.time(), node, self.task, self.job, self.attempt, how, value, asked))

    def effect(self, key: str) -> None:
        """Record an effect of the running handler."""
        self.record_effect(key, alive=not self.node.dead)

    def record_effect(self, key: str, *, alive: bool = True, called: bool = False) -> None:
        """Record an effect; see ``Effect``."""
        world, node = self.node.world, self.node
        line = self.affected().line
        world.recorder.add(Effect(world.time(), node.name, self.job, self.attempt, key, alive, called, line))

    def affected(self) -> Affected:
        """Return the record of a fault that affects the attempt now."""
        line = None if self._line is None else lines.LINES[self._line]
        return Affected(self.task, self.job, self.attempt, line, self._returned)

    def pass_line(self, line: int) -> None:
        """Record that a point is reached, and kill the process if this is the chosen one."""
        if line in self._outside or line not in self.node.world.points:
            return
        self._line = line
        self._lines.add(line)
        self._pass()

    def pass_end(self) -> None:
        """Reach the point after the handler has returned, before its result is stored."""
        self._returned = True
        self._pass()

    def _pass(self) -> None:
        world = self.node.world
        if world.over:
            self._refused += 1
            if self._refused > REFUSED_MAX and world.loop.breakable:
                world.loop.abandon()
            # Code that is unwound after the run has no effect. A generator that is collected is closed.
            closing = isinstance(sys.exception(), GeneratorExit)
            raise GeneratorExit if closing else asyncio.CancelledError
        self._passed += 1
        if not world.faulty:
            return
        if world.trace is not None and self._address and len(world.trace) < TRACE_MAX:
            world.trace.append(Passed(self._address, self._passed, self.affected()))
        if self._passed == self._fatal:
            self.node.kill_here(self._address, self.affected())
