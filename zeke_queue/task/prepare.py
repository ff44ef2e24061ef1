"""Preparation of sends: turns an application's arguments into rows to insert.

All validation of a send happens here, before the storage is called: task, payload, options, names. The
storage then only inserts, or refuses by a uniqueness rule. Other arguments of a queue are checked here too,
so that all storages reject them alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from uuid import UUID

from zeke_queue.core import jsonb, stored_options
from zeke_queue.core.cron import Cron
from zeke_queue.core.failure import shown
from zeke_queue.core.names import queue_name
from zeke_queue.core.options import (
    DEFAULTS,
    OPTIONS_OF_A_SEND,
    another,
    check_flag,
    layer,
    merge,
    new_job,
    next_slot,
    singleton_key,
)
from zeke_queue.core.validation import check_uuid
from zeke_queue.errors import InvalidNameError, InvalidOptionError, UnknownTaskError, UsageError
from zeke_queue.system.entropy import Ids
from zeke_queue.task.task import Send, check_description

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from zeke_queue.core.options import JobOptions, OptionLayer, SendOptions
    from zeke_queue.model import NewJob, Schedule
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy
    from zeke_queue.task.catalog import Catalog
    from zeke_queue.task.task import Task

_ADDRESS: Final = ("id", "external", "parent", "meta")
"""Options of a send that exist on no other layer."""

_NIL: Final = UUID(int=0)


class PreparedJob(NamedTuple):
    """A job to insert, whether to try the next slot when its own is taken, and the task if it is known."""

    job: NewJob
    debounced: bool
    task: Task[Any, Any] | None = None


class JobFactory:
    """Makes the jobs of one catalog."""

    def __init__(self, catalog: Catalog[Any], clock: Clock, entropy: Entropy) -> None:
        self.new_id = Ids(clock, entropy)
        self._catalog = catalog
        # Most sends pass no options, so each task's options are merged with the defaults, and a job made from
        # them is checked, only once.
        self._bases: dict[Task[Any, Any], OptionLayer] = {}
        self._likes: dict[Task[Any, Any], PreparedJob] = {}
        self._external = merge(catalog.layer, DEFAULTS)

    def prepare(
        self,
        task: str | Task[Any, Any],
        payload: Any,
        options: SendOptions,
        *,
        parent: UUID | None = None,
        meta: str | None = None,
        strict: bool = True,
    ) -> PreparedJob:
        """Validate a send and make its job.

        Args:
            task: a task of the catalog, or its name or alias.
            payload: a payload that is valid for the task's model.
            parent: the job's parent if the options name none.
            meta: JSON text of the job's meta if the options have none.
            strict: whether fields that the type of the payload does not have are refused, not dropped.

        Raises:
            UnknownTaskError: the task is not in the catalog, and the send is not ``external``.
            PayloadValidationError: the payload is not valid for the task's model.
            SerializationError: payload or meta has no JSON form.
            PayloadTooLargeError: payload or meta exceeds the catalog's cap.
            InvalidOptionError: an option is out of range, excludes another, or does not exist; meta is not a
                mapping; an id is not a UUID.
            InvalidNameError: the name of an external task is invalid.
        """
        if not options:
            return self._plain(self._task(task), payload, parent, meta, strict=strict)
        asked = options.get("external")
        external = asked is not None and check_flag("external", asked)
        own = layer(cast("Mapping[str, Any]", options), OPTIONS_OF_A_SEND, _ADDRESS)
        found, name, data, base = self._resolve(task, payload, external=external, strict=strict)
        merged = merge(own, base)
        own_meta = options.get("meta")
        own_id = check_uuid("id", options.get("id"))
        job = new_job(
            own_id or self.new_id(),
            name,
            data,
            merged,
            parent=check_uuid("parent", options.get("parent")) or parent,
            meta=meta if own_meta is None else self.meta(own_meta),
            fresh=own_id is None,
        )
        return PreparedJob(job, merged.debounce is not None, found)

    def prepare_all(
        self, jobs: Iterable[Send], *, parent: UUID | None = None, meta: str | None = None
    ) -> list[PreparedJob]:
        """Validate many sends and make their jobs; arguments as for ``prepare``.

        Raises:
            UsageError: as for ``prepare``, for the first invalid job; or an item is not a ``Send``.
        """
        if not isinstance(jobs, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
            raise UsageError(
                f"jobs: must be an iterable of Send, got {shown(jobs)}; pass [task.job(payload)]"
            )
        prepared: list[PreparedJob] = []
        for position, send in enumerate(jobs):
            if not isinstance(send, Send):  # pyright: ignore[reportUnnecessaryIsInstance] - as above
                raise UsageError(
                    f"jobs[{position}]: must be a Send, got {shown(send)}; pass task.job(payload)"
                )
            prepared.append(self.prepare(send.task, send.payload, send.options, parent=parent, meta=meta))
        return prepared

    def _plain(
        self, task: Task[Any, Any], payload: Any, parent: UUID | None, meta: str | None, *, strict: bool
    ) -> PreparedJob:
        """Make a job with only its task's options."""
        like = self._likes.get(task)
        if like is None:
            base = self._base(task)
            like = PreparedJob(new_job(_NIL, task.queue, None, base), base.debounce is not None)
            self._likes[task] = like
        value = task.validate(payload, strict=strict)
        job = another(like.job, self.new_id(), task.encode(value), parent, meta)
        if task.key is not None:
            job = replace(job, singleton_key=_computed_key(task, task.key, value))
        return PreparedJob(job, like.debounced, task)

    def _resolve(
        self, task: str | Task[Any, Any], payload: Any, *, external: bool, strict: bool
    ) -> tuple[Task[Any, Any] | None, str, str | None, OptionLayer]:
        """Return the task, if it is known, and the queue, the payload's JSON text and the options of a job.

        The payload of a task in the catalog is validated even if the task is declared external.
        """
        try:
            found = self._task(task)
        except UnknownTaskError:
            if not external or not isinstance(task, str):
                raise
            return None, queue_name(task, "task"), self._any_json(task, payload), self._external
        value = found.validate(payload, strict=strict)
        return found, found.queue, found.encode(value), self._keyed(found, value)

    def _task(self, task: str | Task[Any, Any]) -> Task[Any, Any]:
        try:
            return self._catalog.get(task)
        except UnknownTaskError as error:
            if not isinstance(task, str):
                raise
            raise UnknownTaskError(f"{error} (to send to another program's task: external=True)") from None

    def schedule(
        self,
        schedule: Schedule,
        task: str | Task[Any, Any] | None,
        payload: Any,
        options: JobOptions,
        *,
        external: bool,
        strict: bool = True,
    ) -> Schedule:
        """Validate a schedule, and fill in its task's queue, its payload and its options.

        Raises:
            InvalidScheduleError: the expression is invalid or never fires, or the zone is unknown.
            UsageError: as for ``prepare``.
        """
        queue_name(schedule.name)
        check_flag("external", external)
        check_flag("paused", schedule.paused)
        check_description(schedule.description)
        Cron.parse(schedule.cron, schedule.zone)
        _, queue, data, _ = self._resolve(
            schedule.name if task is None else task, payload, external=external, strict=strict
        )
        complete = replace(schedule, task=queue, data=data, options=stored_options.write(options))
        # An option out of range would otherwise fail only at the first tick, so make the job of a tick now.
        self.tick(complete, _NIL)
        return complete

    def tick(self, schedule: Schedule, job_id: UUID, meta: str | None = None) -> PreparedJob:
        """Make the job of a schedule's tick.

        Raises:
            UsageError: the schedule was edited outside this library, and is invalid.
        """
        # The stored name may be an alias: the task was renamed since, or the name is pg-boss's.
        task = self._catalog.served.get(schedule.task)
        queue, base = (schedule.task, self._external) if task is None else (task.queue, self._base(task))
        if task is not None and task.key is not None:
            data = None if schedule.data is None else schedule.data.encode()
            base = self._keyed(task, task.validate_json(data))
        options = merge(stored_options.read(schedule.options), base)
        job = new_job(job_id, queue, schedule.data, options, meta=meta)
        return PreparedJob(job, options.debounce is not None, task)

    def _base(self, task: Task[Any, Any]) -> OptionLayer:
        base = self._bases.get(task)
        if base is None:
            base = self._bases[task] = merge(task.layer, DEFAULTS)
        return base

    def _keyed(self, task: Task[Any, Any], payload: Any) -> OptionLayer:
        """Return a task's options for a validated payload, with the key that the task computes for it."""
        base = self._base(task)
        return (
            base if task.key is None else replace(base, singleton_key=_computed_key(task, task.key, payload))
        )

    def _any_json(self, name: str, payload: Any) -> str | None:
        if payload is None:
            return None
        return jsonb.check_size(jsonb.dumps(payload), self._catalog.payload_cap, f"The payload of {name!r}")

    def meta(self, meta: object) -> str:
        """Return the JSON text of a job's meta.

        Raises:
            InvalidOptionError: it is not a mapping.
            SerializationError: it has no JSON form.
            PayloadTooLargeError: it exceeds the catalog's cap.
        """
        if not isinstance(meta, Mapping):
            raise InvalidOptionError(f"meta: must be a mapping, got {type(meta).__name__}; pass a dict")
        text = jsonb.dumps(dict(meta))  # pyright: ignore[reportUnknownArgumentType]
        return jsonb.check_size(text, self._catalog.payload_cap, "meta")


def _computed_key(task: Task[Any, Any], key_of: Callable[[Any], str | None], payload: Any) -> str | None:
    """Return the singleton key that a task computes for a validated payload.

    Raises:
        InvalidOptionError: the task's function raised an error, or returned something else than a key.
    """
    try:
        key = key_of(payload)
    except Exception as error:  # the application's own code may raise anything
        raise InvalidOptionError(
            f"singleton_key: must be a key or None, but the function of task {task.name!r} raised "
            f"{type(error).__name__}: {error}; correct the function"
        ) from error
    return singleton_key(key)


_PARTS: Final = {
    "catalog": ("stored_schedules", "pass the catalog first, as in Queue.connect(catalog, dsn)"),
    "storage": ("insert", "pass an open one, or let Queue.connect(catalog, dsn) open it"),
    "clock": ("monotonic", "pass SystemClock(), or leave it out"),
    "entropy": ("stream", "pass SystemEntropy(), or leave it out"),
    "settings": ("require_database", "pass Settings.load(…), or leave it out"),
}
"""The parts of a queue: a method that identifies each, and the remedy if it is something else."""


def check_parts(**parts: object) -> None:
    """Check the parts of a queue; only catalog and storage may not be None.

    Raises:
        UsageError: a part is something else; the message omits its value, which may hold a password.
    """
    for field, part in parts.items():
        method, hint = _PARTS[field]
        if part is None and field not in {"catalog", "storage"}:
            continue
        if isinstance(part, type) or not callable(getattr(part, method, None)):
            raise UsageError(f"{field}: must be a {field.title()}, got {type(part).__name__}; {hint}")


def check_schedule_name(name: object) -> str:
    """Return the name of a stored schedule; other programs may store names of any spelling.

    Raises:
        InvalidNameError: schedules can't have this name.
    """
    if not isinstance(name, str) or not jsonb.is_kept(name):
        raise InvalidNameError(f"name: must be the stored name of a schedule, got {shown(name)}")
    return name


def second_tries(
    prepared: Sequence[PreparedJob], ids: Sequence[UUID | None]
) -> dict[int, tuple[NewJob, NewJob]]:
    """Return for each refused job with ``debounce``, by its position, its second tries in their order.

    The slot may have ended since the first try. Then the present one, which was the next, may be free. So the
    job is tried in the present slot and in the next. Both have its id, so the answer to the second one has it
    if either of them was inserted.
    """
    return {
        position: (prepared[position].job, next_slot(prepared[position].job))
        for position, job_id in enumerate(ids)
        if job_id is None and prepared[position].debounced
    }
