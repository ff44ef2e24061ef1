"""The catalog: an application's tasks, the resources of their handlers, and the schedules it declares."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, Protocol, Unpack, cast, overload
from uuid import UUID

from typing_extensions import TypeVar

from zeke_queue.core.cron import Cron
from zeke_queue.core.failure import shown
from zeke_queue.core.names import did_you_mean, private_queue, queue_name, task_of
from zeke_queue.core.options import DEFAULTS, OPTIONS_OF_A_TASK, OptionLayer, layer, merge, new_job
from zeke_queue.core.validation import catch_up_policy
from zeke_queue.errors import (
    DuplicateTaskError,
    InvalidOptionError,
    InvalidScheduleError,
    UnknownTaskError,
    UsageError,
)
from zeke_queue.model import CatchUp, QueueSettings, Schedule
from zeke_queue.task.task import PAYLOAD_CAP, HandlerTask, Task, check_description

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager

    from zeke_queue.core.options import JobOptions, TaskOptions
    from zeke_queue.task.context import JobContext

P = TypeVar("P")
R = TypeVar("R")
Res = TypeVar("Res", default=Any)

_NAMED_AT_MOST: Final = 12

_NIL: Final = UUID(int=0)

OUTPUT_CAP: Final = 1_048_576
"""Bytes of an output's JSON at most, by default."""


class TaskDecorator(Protocol[Res]):
    """The decorator that ``Catalog.task`` returns: keeps the types of handler, payload and result.

    The order of the overloads matters: the first that fits is taken, and a ``JobContext`` would also fit a
    payload.
    """

    @overload
    def __call__(
        self, handler: Callable[[P, JobContext[Res]], Coroutine[Any, Any, R]], /
    ) -> HandlerTask[P, R, [P, JobContext[Res]], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, handler: Callable[[JobContext[Res]], Coroutine[Any, Any, R]], /
    ) -> HandlerTask[None, R, [JobContext[Res]], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, handler: Callable[[P], Coroutine[Any, Any, R]], /
    ) -> HandlerTask[P, R, [P], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, handler: Callable[[], Coroutine[Any, Any, R]], /
    ) -> HandlerTask[None, R, [], Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(
        self, handler: Callable[[P, JobContext[Res]], R], /
    ) -> HandlerTask[P, R, [P, JobContext[Res]], R]: ...
    @overload
    def __call__(
        self, handler: Callable[[JobContext[Res]], R], /
    ) -> HandlerTask[None, R, [JobContext[Res]], R]: ...
    @overload
    def __call__(self, handler: Callable[[P], R], /) -> HandlerTask[P, R, [P], R]: ...
    @overload
    def __call__(self, handler: Callable[[], R], /) -> HandlerTask[None, R, [], R]: ...


@dataclass(frozen=True, slots=True)
class Declared:
    """A schedule declared in code; ``timezone`` None stands for the deployment's (``JOBS_CRON_TZ``)."""

    name: str
    cron: str
    task: str
    payload: Any = None
    timezone: str | None = None
    catch_up: CatchUp = CatchUp.ONCE
    description: str | None = None


class Catalog(Generic[Res]):
    """The tasks of an application.

    Args:
        resources: context manager factory for what handlers need (repository, clients), entered once per
            worker, read as ``job.resources``.
        defaults: options of all tasks that do not set their own, such as ``{"retry_limit": 5}``.
        payload_cap: bytes of a payload's JSON at most, as Postgres writes it.
        output_cap: bytes of an output's JSON at most, as Postgres writes it.
        private_to: identifies the process to whose private queues all jobs go, also those that handlers send
            there, so that they run in this process alone. Then limits apply within the process, and neither
            queues nor schedules are declared; ``maintenance.private_queues`` moves the jobs that it leaves.

    Raises:
        InvalidOptionError: a default or a cap is out of range.
    """

    def __init__(
        self,
        *,
        resources: Callable[[], AbstractAsyncContextManager[Res]] | None = None,
        defaults: JobOptions | None = None,
        payload_cap: int = PAYLOAD_CAP,
        output_cap: int = OUTPUT_CAP,
        private_to: UUID | None = None,
    ) -> None:
        if resources is not None and not callable(resources):
            raise InvalidOptionError(
                f"resources: must be a function that returns an async context manager, got {shown(resources)}"
            )
        self.resources = resources
        self.layer = _defaults(defaults)
        self.payload_cap = _cap("payload_cap", payload_cap)
        self.output_cap = _cap("output_cap", output_cap)
        self._tasks: dict[str, Task[Any, Any]] = {}
        self._aliases: dict[str, Task[Any, Any]] = {}
        self._schedules: dict[str, Declared] = {}
        self._private_to = private_to

    @property
    def defaults(self) -> JobOptions:
        """The options of all tasks that do not set their own."""
        return cast("JobOptions", self.layer.given())

    @property
    def tasks(self) -> Mapping[str, Task[Any, Any]]:
        """The tasks by name."""
        return MappingProxyType(self._tasks)

    @property
    def served(self) -> Mapping[str, Task[Any, Any]]:
        """The tasks by every name that their jobs may have: the task's own and its aliases."""
        return MappingProxyType({queue: task for task in self._tasks.values() for queue in task.queues})

    @property
    def schedules(self) -> tuple[Declared, ...]:
        """The schedules declared in code, in the order of their declaration."""
        return tuple(self._schedules.values())

    def task(
        self,
        name: str,
        *,
        aliases: Sequence[str] = (),
        concurrency_limit: int | None = None,
        process: bool = False,
        description: str | None = None,
        redact: Sequence[str] = (),
        team_field: str | None = None,
        **options: Unpack[TaskOptions],
    ) -> TaskDecorator[Res]:
        """Define a task; the decorated handler becomes a ``Task``, which can still be called.

        The handler takes ``(payload)``, ``(payload, job: JobContext)``, ``(job: JobContext)`` or nothing. An
        ``async`` handler runs on the worker's loop, any other in a thread, or, with ``process=True``, in a
        process. The payload is validated by its annotation: a model, or any type pydantic knows.

        Args:
            name: the queue of its jobs.
            aliases: other names it can be sent under, whose queues it also serves.
            concurrency_limit: how many of its jobs run concurrently over all workers.
            process: run the handler in a child process, for work that keeps a processor busy.
            description: a line for users; the first line of the handler's docstring by default.
            redact: parts that HTTP never shows: ``payload.password``, ``output``, ``error``, ``log``.
            team_field: the payload's field that holds a team, such as ``teamId``. API keys of a team send and
                change only jobs with their own team in it.
            **options: options of its jobs, unless a send has its own; see ``TaskOptions``. The singleton key
                may be a function of the payload: ``singleton_key=lambda order: order.customer``.

        Raises:
            DuplicateTaskError: another task has one of the names.
            InvalidNameError: a name is invalid.
            InvalidOptionError: an option is out of range.
            UsageError: no name, a handler with other arguments, or a payload type that can't be validated.
        """
        _require_name(name)

        def define(handler: Callable[..., Any], /) -> HandlerTask[Any, Any, Any, Any]:
            caller = getattr(inspect.currentframe(), "f_back", None)
            task: HandlerTask[Any, Any, Any, Any] = HandlerTask(
                handler,
                name,
                aliases=aliases,
                options=options,
                defaults=self.layer,
                concurrency_limit=concurrency_limit,
                description=description,
                process=process,
                payload_cap=self.payload_cap,
                redact=redact,
                team_field=team_field,
                # The payload's model may be local to the function that defines the task, as in tests.
                local_names=getattr(caller, "f_locals", None),
            )
            self._add(task)
            return task

        return cast("TaskDecorator[Res]", define)

    def schedule(
        self,
        name: str,
        cron: str,
        *,
        task: str | Task[Any, Any] | None = None,
        payload: Any = None,
        timezone: str | None = None,
        catch_up: CatchUp | Literal["skip", "once", "all"] = CatchUp.ONCE,
        description: str | None = None,
    ) -> None:
        """Declare a schedule, which workers and schedulers store when they start.

        Removing it from code does not unschedule it, since another program may own it: it fires until
        ``Queue.schedules.delete`` or ``zeke schedule rm NAME``. To pause it: ``zeke schedule pause NAME``.

        Args:
            name: name of the schedule, and of its task unless ``task`` is given.
            cron: five fields, or six of which the last is seconds.
            task: the task to send at each tick; it may be defined after its schedule.
            timezone: IANA zone of the fields; the deployment's (``JOBS_CRON_TZ``) by default.
            catch_up: what happens to ticks missed while no scheduler ran: ``skip``, ``once`` or ``all``.
            description: one line for users.

        Raises:
            InvalidScheduleError: the expression is invalid or never fires, the zone is unknown, or the name
                is taken.
        """
        queue_name(name)
        Cron.parse(cron, timezone or "UTC")
        if name in self._schedules:
            raise InvalidScheduleError(
                f"Schedule {name!r} is declared twice; give one of them another name and task={name!r}"
            )
        how = catch_up_policy(catch_up)
        if task is not None and not isinstance(task, str | Task):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise _no_task(task)
        target = task.name if isinstance(task, Task) else task or name
        self._schedules[name] = Declared(
            name, cron, target, payload, timezone, how, check_description(description)
        )

    def stored_schedules(self, timezone: str = "UTC") -> list[Schedule]:
        """Return the declared schedules in stored form, with validated payloads.

        Args:
            timezone: the IANA zone of those that name none.

        Raises:
            UnknownTaskError: a schedule's task is not in the catalog; the message names the schedule.
            PayloadValidationError: a schedule's payload is invalid; the message names the schedule.
        """
        stored: list[Schedule] = []
        for declared in () if self._private_to is not None else self._schedules.values():
            try:
                task = self.get(declared.task)
                data = task.dump(declared.payload)
            except UsageError as error:
                # Keep the error's type and fields, but name the schedule, to point at the line of code.
                error.args = (f"Schedule {declared.name!r} can't be stored: {error}",)
                raise
            stored.append(
                Schedule(
                    name=declared.name,
                    cron=declared.cron,
                    task=task.name,
                    zone=declared.timezone or timezone,
                    data=data,
                    catch_up=declared.catch_up,
                    description=declared.description or task.description,
                )
            )
        return stored

    def stored_queues(self) -> list[QueueSettings]:
        """Return the settings of all tasks' queues, by name; a task and its aliases share its limit."""
        if self._private_to is not None:
            return []
        queues = [queue for task in self._tasks.values() for queue in _limits(task)]
        return sorted(queues, key=lambda queue: queue.name)

    def include(self, other: Catalog[Any]) -> None:
        """Add the current tasks and schedules of another catalog, and its resources if this one has none.

        Raises:
            DuplicateTaskError: both have a task with the same name.
            InvalidScheduleError: both have a schedule with the same name.
            InvalidOptionError: both have resources, and they differ.
        """
        if not isinstance(other, Catalog):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
            raise UsageError(f"include: must be a Catalog, got {shown(other)}")
        if other.resources is not None and self.resources not in (None, other.resources):
            raise InvalidOptionError(
                "resources: must be set on one of the two catalogs, got both; leave out the included one's"
            )
        for task in other.tasks.values():
            self._add(task if self._private_to is None else copy.copy(task))
        for declared in other.schedules:
            if declared.name in self._schedules:
                raise InvalidScheduleError(
                    f"Schedule {declared.name!r} is declared in both catalogs; rename one"
                )
            self._schedules[declared.name] = declared
        self.resources = self.resources or other.resources

    def __getitem__(self, name: str) -> Task[Any, Any]:
        """Return the task with this name or alias; see ``get``."""
        return self.get(name)

    def get(self, task: str | Task[Any, Any]) -> Task[Any, Any]:
        """Return the task with this name or alias; a task of this catalog is returned unchanged.

        Raises:
            UnknownTaskError: the catalog has no such task; the message suggests similar names.
            UsageError: it is neither a task nor a name.
        """
        if isinstance(task, Task):
            if self._tasks.get(task.name) is task:
                return task
            raise UnknownTaskError(
                f"Task {task.name!r} is not of this catalog; define it there, or include its own catalog"
            )
        if not isinstance(task, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
            raise _no_task(task)
        found = self._tasks.get(task) or self._aliases.get(task)
        if found is None:
            hint = did_you_mean(task, [*self._tasks, *self._aliases], self._known())
            raise UnknownTaskError(f"No task has the name {task!r}; {hint}")
        return found

    def find(self, name: str) -> Task[Any, Any] | None:
        """Return the task with this name or alias, or with this private queue, if any."""
        name = task_of(name)
        return self._tasks.get(name) or self._aliases.get(name)

    def _known(self) -> str:
        names = sorted(self._tasks)
        if not names:
            return "the catalog has none yet: define it there"
        more = ", …" if len(names) > _NAMED_AT_MOST else ""
        return f"the catalog has {', '.join(names[:_NAMED_AT_MOST])}{more}"

    def _add(self, task: Task[Any, Any]) -> None:
        for name in (task.name, *task.aliases):
            if (holder := self._tasks.get(name) or self._aliases.get(name)) is not None:
                raise DuplicateTaskError(
                    f"{name!r} is already the name or alias of task {holder.name!r} ({_place(holder)}); "
                    f"{_place(task)} needs another one"
                )
        if len({task.name, *task.aliases}) <= len(task.aliases):
            raise DuplicateTaskError(
                f"Task {task.name!r} has one of its names twice: {', '.join(task.aliases)}"
            )
        if self._private_to is not None:
            task.queue = private_queue(task.name, self._private_to)
        self._tasks[task.name] = task
        self._aliases |= dict.fromkeys(task.aliases, task)


def _limits(task: Task[Any, Any]) -> list[QueueSettings]:
    """Return the settings of a task's queues, which share its limit."""
    names, limit = (task.name, *task.aliases), task.concurrency_limit
    shared = names if task.aliases and limit is not None else ()
    return [QueueSettings(name, limit, limited_with=shared) for name in names]


def _no_task(given: object) -> UsageError:
    return UsageError(
        f"task: must be a task or its name, got {shown(given)}; pass the function below @catalog.task('name')"
    )


def _defaults(options: object) -> OptionLayer:
    if options is None:
        return OptionLayer()
    if not isinstance(options, Mapping):
        raise InvalidOptionError(
            f"defaults: must be a mapping of options, got {shown(options)}; pass one such as "
            "{'retry_limit': 5}"
        )
    defaults = layer(cast("Mapping[str, Any]", options), OPTIONS_OF_A_TASK)
    new_job(_NIL, "any", None, merge(defaults, DEFAULTS))
    return defaults


def _cap(field: str, given: object) -> int:
    if type(given) is not int or given < 1:
        raise InvalidOptionError(f"{field}: must be a positive number of bytes, got {shown(given)}")
    return given


def _require_name(name: object) -> None:
    """Check that ``@catalog.task`` was called with a name, not applied to the handler without parentheses."""
    if callable(name):
        suggested = getattr(name, "__name__", "name").strip("<>_").replace("_", "-")
        raise UsageError(
            f"@catalog.task needs the task's name: write @catalog.task({suggested!r}) above the handler"
        )
    if not isinstance(name, str):
        raise UsageError(f"name: must be a string, got {name!r}; write @catalog.task('name')")


def _place(task: Task[Any, Any]) -> str:
    return f"{getattr(task, '__module__', '?')}.{getattr(task, '__qualname__', task.name)}"
