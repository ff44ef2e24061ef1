"""Preparation of sends: turns an application's arguments into rows to insert.

All validation of a send happens here, before the storage is called: task, payload, options, names. The
storage then only inserts, or refuses by a uniqueness rule. Other arguments of a queue are checked here too,
so that all storages reject them alike.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypedDict, cast
from uuid import UUID

from zeke_queue.core import jsonb, stored_options
from zeke_queue.core.cron import Cron
from zeke_queue.core.failure import shown
from zeke_queue.core.names import queue_name
from zeke_queue.core.options import DEFAULTS, JobOptions, another, merge, new_job, next_slot
from zeke_queue.core.validation import check_flag, check_uuid
from zeke_queue.errors import (
    InvalidNameError,
    InvalidOptionError,
    PayloadTooLargeError,
    StorageUnavailableError,
    UnknownTaskError,
    UsageError,
)
from zeke_queue.model import CatchUp
from zeke_queue.system.entropy import Ids
from zeke_queue.task.task import check_description

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime, timedelta
    from typing import Unpack

    from zeke_queue.model import NewJob, Schedule
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.entropy import Entropy
    from zeke_queue.task.catalog import Catalog
    from zeke_queue.task.task import Task

    Insert = Callable[[Sequence[NewJob]], Awaitable[list[UUID | None]]]

INSERT_WAITS: Final = (0.2, 0.8)
"""Seconds before an insert without an answer is repeated, then given up; a restart takes about one."""

_ADDRESS: Final = frozenset({"id", "external", "parent", "meta"})
"""Options of a send that exist on no other layer."""

_KNOWN: Final = tuple(field.name for field in fields(JobOptions))

_NOBODY: Final = UUID(int=0)


class JobOptionsGiven(TypedDict, total=False):
    """Options of a job, or of the jobs of a schedule.

    Options left out or None come from the task, then from the catalog. An explicit 0 or False is a value.
    Durations are seconds or a ``timedelta``.

    Attributes:
        priority: higher is claimed first.
        retry_limit: how many retries the job may use; 0 is none.
        retry_delay: whole seconds before a retry, and the unit of the backoff.
        retry_backoff: whether the delay doubles with each retry.
        retry_delay_max: whole seconds, cap on the backoff.
        expire_in: how long one attempt may take.
        singleton_key: at most one job of the task with this key waits or runs; others are refused.
        throttle: length of a slot in whole seconds: one job per slot, others are refused.
        debounce: the same, but a refused job is sent into the next slot, if that is free.
    """

    priority: int | None
    retry_limit: int | None
    retry_delay: timedelta | float | None
    retry_backoff: bool | None
    retry_delay_max: timedelta | float | None
    expire_in: timedelta | float | None
    singleton_key: str | None
    throttle: timedelta | float | None
    debounce: timedelta | float | None


class SendOptions(JobOptionsGiven, total=False):
    """Options of a send.

    Attributes:
        id: the job's id; a new one by default. Sending twice under one id sends one job.
        external: whether the task is defined in another process: allows a name outside the catalog, with any
            payload.
        parent: the job that sends it.
        meta: an object passed on from parent to child.
        delay: time until the job may start.
        start_at: the instant (aware) at which it may start; excludes ``delay``.
    """

    id: UUID | None
    external: bool
    parent: UUID | None
    meta: Mapping[str, Any] | None
    delay: timedelta | float | None
    start_at: datetime | None


class Send:
    """One job of ``Queue.send_many``: the arguments of ``Queue.send``.

    Args:
        task: a task of the catalog, or its name or alias.
        payload: a payload that is valid for the task's model.
        **options: see ``SendOptions``.
    """

    __slots__ = ("options", "payload", "task")

    def __init__(
        self, task: str | Task[Any, Any], payload: Any = None, **options: Unpack[SendOptions]
    ) -> None:
        self.task = task
        self.payload = payload
        self.options = options

    def __repr__(self) -> str:
        return f"<Send {self.task!r}>"


class Prepared(NamedTuple):
    """A job to insert, and whether to try the next slot when its own is taken."""

    job: NewJob
    debounced: bool


class Sender:
    """Prepares jobs of one catalog."""

    def __init__(self, catalog: Catalog, clock: Clock, entropy: Entropy) -> None:
        self.new_id = Ids(clock, entropy)
        self._catalog = catalog
        # Most sends pass no options, so each task's options are merged with the defaults, and a job made from
        # them is checked, only once.
        self._bases: dict[Task[Any, Any], JobOptions] = {}
        self._likes: dict[Task[Any, Any], Prepared] = {}
        self._external = merge(catalog.defaults, DEFAULTS)

    def prepare(
        self,
        task: str | Task[Any, Any],
        payload: Any,
        options: SendOptions,
        *,
        parent: UUID | None = None,
        meta: str | None = None,
    ) -> Prepared:
        """Validate a send and make its job.

        Args:
            task: a task of the catalog, or its name or alias.
            payload: a payload that is valid for the task's model.
            options: the options of the send.
            parent: the job's parent if the options name none.
            meta: JSON text of the job's meta if the options have none.

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
            return self._plain(self._task(task), payload, parent, meta)
        asked = options.get("external")
        external = asked is not None and check_flag("external", asked)
        name, data, base = self.resolve(task, payload, external=external)
        said = merge(_own(cast("dict[str, Any]", options)), base)
        given = options.get("meta")
        own_id = check_uuid("id", options.get("id"))
        job = new_job(
            own_id or self.new_id(),
            name,
            data,
            said,
            parent=check_uuid("parent", options.get("parent")) or parent,
            meta=meta if given is None else self.meta(given),
            fresh=own_id is None,
        )
        return Prepared(job, debounced=said.debounce is not None)

    def prepare_all(
        self, jobs: Iterable[Send], *, parent: UUID | None = None, meta: str | None = None
    ) -> list[Prepared]:
        """Validate many sends and make their jobs; arguments as for ``prepare``.

        Raises:
            UsageError: as for ``prepare``, for the first invalid job; or an item is not a ``Send``.
        """
        if not isinstance(jobs, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may be untyped
            raise UsageError(f"jobs: {shown(jobs)} can't be gone through; give a list of Send(task, payload)")
        prepared: list[Prepared] = []
        for position, send in enumerate(jobs):
            if not isinstance(send, Send):  # pyright: ignore[reportUnnecessaryIsInstance] - as above
                raise UsageError(f"jobs[{position}]: {shown(send)} is no Send; give Send(task, payload)")
            prepared.append(self.prepare(send.task, send.payload, send.options, parent=parent, meta=meta))
        return prepared

    def _plain(self, task: Task[Any, Any], payload: Any, parent: UUID | None, meta: str | None) -> Prepared:
        """Make a job with only its task's options."""
        like = self._likes.get(task)
        if like is None:
            base = self._base(task)
            like = Prepared(new_job(_NOBODY, task.name, None, base), debounced=base.debounce is not None)
            self._likes[task] = like
        job = another(like.job, self.new_id(), task.dump(payload), parent, meta)
        return Prepared(job, like.debounced)

    def resolve(
        self, which: str | Task[Any, Any], payload: Any, *, external: bool
    ) -> tuple[str, str | None, JobOptions]:
        """Return the queue, the payload's JSON text and the options of a task's jobs.

        The payload of a task in the catalog is validated even if the task is declared external.
        """
        try:
            task = self._task(which)
        except UnknownTaskError:
            if not external or not isinstance(which, str):
                raise
            return queue_name(which), self._any_json(which, payload), self._external
        return task.name, task.dump(payload), self._base(task)

    def _task(self, which: str | Task[Any, Any]) -> Task[Any, Any]:
        try:
            return self._catalog.get(which)
        except UnknownTaskError as error:
            if not isinstance(which, str):
                raise
            raise UnknownTaskError(f"{error} (to send to another program's task: external=True)") from None

    def schedule(
        self,
        schedule: Schedule,
        task: str | Task[Any, Any] | None,
        payload: Any,
        options: JobOptionsGiven,
        *,
        external: bool,
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
        queue, data, _ = self.resolve(schedule.name if task is None else task, payload, external=external)
        complete = replace(schedule, task=queue, data=data, options=stored_options.write(options))
        # An option out of range would otherwise fail only at the first tick, so make the job of a tick now.
        self.tick(complete, _NOBODY)
        return complete

    def tick(self, schedule: Schedule, job_id: UUID, meta: str | None = None) -> Prepared:
        """Make the job of a schedule's tick.

        Raises:
            InvalidOptionError, InvalidNameError: the schedule was edited outside this library, and is
                invalid.
        """
        # The stored name may be an alias: the task was renamed since, or the name is pg-boss's.
        task = self._catalog.served.get(schedule.task)
        queue, base = (schedule.task, self._external) if task is None else (task.name, self._base(task))
        options = merge(stored_options.read(schedule.options), base)
        job = new_job(job_id, queue, schedule.data, options, meta=meta)
        return Prepared(job, debounced=options.debounce is not None)

    def _base(self, task: Task[Any, Any]) -> JobOptions:
        base = self._bases.get(task)
        if base is None:
            base = self._bases[task] = merge(task.options, DEFAULTS)
        return base

    def _any_json(self, name: str, payload: Any) -> str | None:
        return None if payload is None else self._capped(jsonb.dumps(payload), f"The payload of {name!r}")

    def meta(self, meta: object) -> str:
        """Return the JSON text of a job's meta.

        Raises:
            InvalidOptionError: it is not a mapping.
            SerializationError: it has no JSON form.
            PayloadTooLargeError: it exceeds the catalog's cap.
        """
        if not isinstance(meta, Mapping):
            raise InvalidOptionError(
                f"meta: a {type(meta).__name__} is no object; give a mapping such as a dict"
            )
        return self._capped(jsonb.dumps(dict(meta)), "meta")  # pyright: ignore[reportUnknownArgumentType]

    def _capped(self, text: str, what: str) -> str:
        cap = self._catalog.payload_cap
        if (size := jsonb.size_over(text, cap)) is not None:
            raise PayloadTooLargeError(
                f"{what} has {size} bytes of JSON as Postgres writes it, {cap} at most; store what is large"
                " elsewhere, and send a reference to it"
            )
        return text


def _own(options: Mapping[str, Any]) -> JobOptions:
    """Return the job options of a send.

    Raises:
        InvalidOptionError: an option does not exist for jobs.
    """
    said = {name: value for name, value in options.items() if name not in _ADDRESS}
    try:
        return JobOptions(**said)
    except TypeError:
        unknown = next(name for name in said if name not in _KNOWN)
    near = difflib.get_close_matches(unknown, [*_KNOWN, *_ADDRESS], n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(_KNOWN)}"
    raise InvalidOptionError(f"{unknown}: there is no such option; {hint}")


_PARTS: Final = {
    "catalog": ("stored_schedules", "give the catalog first, as in Queue.connect(catalog, dsn)"),
    "storage": ("insert", "give an open one, or let Queue.connect(catalog, dsn) open it"),
    "clock": ("monotonic", "give SystemClock(), or leave it out"),
    "entropy": ("stream", "give SystemEntropy(), or leave it out"),
    "settings": ("require_database", "give Settings.load(…), or leave it out"),
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
            raise UsageError(f"{field}: a {type(part).__name__} is no {field.title()}; {hint}")


def check_schedule_name(name: object) -> str:
    """Return the name of a stored schedule; other programs may store names of any spelling.

    Raises:
        InvalidNameError: schedules can't have this name.
    """
    if not isinstance(name, str) or not jsonb.is_kept(name):
        raise InvalidNameError(
            f"{shown(name)} is no name of a schedule; give the text that it is stored under"
        )
    return name


def catch_up_policy(given: CatchUp | str) -> CatchUp:
    """Return the policy with this name.

    Raises:
        InvalidOptionError: there is none.
    """
    try:
        return CatchUp(given)
    except ValueError:
        known = ", ".join(one.value for one in CatchUp)
        raise InvalidOptionError(f"catch_up: {shown(given)} is no policy; give one of {known}") from None


async def insert(prepared: Sequence[Prepared], put: Insert) -> list[UUID | None]:
    """Insert jobs; refused jobs with ``debounce`` are tried once more, in the next slot.

    Args:
        prepared: the jobs to insert.
        put: inserts them, like ``storage.jobs.JobWriter.insert``; called twice at most.

    Returns:
        Each job's id in the given order, or None where it was refused.
    """
    ids = await put([job for job, _ in prepared])
    again = [place for place, got in enumerate(ids) if got is None and prepared[place].debounced]
    if again:
        for place, got in zip(again, await put([next_slot(prepared[p].job) for p in again]), strict=True):
            ids[place] = got
    return ids


async def insert_surely(jobs: Sequence[NewJob], put: Insert, clock: Clock) -> list[UUID | None]:
    """Insert jobs, and repeat inserts without an answer; their ids make that safe.

    Raises:
        StorageUnavailableError: the last try had no answer either.
    """
    for wait in INSERT_WAITS:
        try:
            return await put(jobs)
        except StorageUnavailableError:
            await clock.sleep(wait)
            jobs = [replace(job, fresh=False) for job in jobs]  # it may exist by now
    return await put(jobs)
