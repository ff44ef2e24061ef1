"""From what an application sends to the rows that are inserted.

Everything that can be wrong with a send is found here, before the storage is asked: the task, the payload,
the options, the names. What is left for the storage is to insert, or to refuse by a uniqueness rule. The
other arguments of a queue are checked here as well, so that all storages refuse them alike.
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
"""Seconds before an insert whose answer was lost is repeated, then given up; a restart takes about one."""

_ADDRESS: Final = frozenset({"id", "external", "parent", "meta"})
"""Options of a send that no other layer has."""

_KNOWN: Final = tuple(field.name for field in fields(JobOptions))

_NOBODY: Final = UUID(int=0)


class JobOptionsGiven(TypedDict, total=False):
    """What may be said about a job, or about the jobs of a schedule.

    What is left out, or None, the task decides, then the catalog. An explicit 0 or False is a value.
    Durations are seconds or a ``timedelta``.

    Attributes:
        priority: higher goes first.
        retry_limit: how many retries the job may use; 0 is none.
        retry_delay: whole seconds before a retry, and the unit of the backoff.
        retry_backoff: whether the delay doubles with each retry.
        retry_delay_max: whole seconds, cap on the backoff.
        expire_in: how long one attempt may take.
        singleton_key: at most one job of the task with this key waits or runs; others are refused.
        throttle: length of a slot in whole seconds: one job a slot, others are refused.
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
    """What a send may say about its job.

    Attributes:
        id: the job's; a new one by default. Sending twice under one id is sending once.
        external: the task is another process's: a name outside the catalog is taken, with any payload.
        parent: the job that triggered it.
        meta: an object that is carried from parent to child.
        delay: how long until the job may start.
        start_at: the instant (aware) at which it may start; excludes ``delay``.
    """

    id: UUID | None
    external: bool
    parent: UUID | None
    meta: Mapping[str, Any] | None
    delay: timedelta | float | None
    start_at: datetime | None


class Send:
    """One job of ``Queue.send_many``: what ``Queue.send`` takes, kept until it is sent.

    Args:
        task: a task of the catalog, by its name, an alias, or itself.
        payload: what fits the task's model.
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
    """A job to insert, and whether it is tried again in the next slot when this one is taken."""

    job: NewJob
    debounced: bool


class Sender:
    """Prepares jobs for one catalog."""

    def __init__(self, catalog: Catalog, clock: Clock, entropy: Entropy) -> None:
        self.new_id = Ids(clock, entropy)
        self._catalog = catalog
        # A task's own options over the defaults, merged once, and a job that they make, checked once: most
        # sends give none of their own.
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
        """Check a send, and make its job.

        Args:
            task: a task of the catalog, by its name, an alias, or itself.
            payload: what fits the task's model.
            options: what the send says.
            parent: the job's parent if the send names none.
            meta: JSON text of the job's meta if the send gives none.

        Raises:
            UnknownTaskError: the task is not in the catalog, and the send is not ``external``.
            PayloadValidationError: the payload does not fit the task's model.
            SerializationError: payload or meta has no JSON form.
            PayloadTooLargeError: payload or meta is over the catalog's cap.
            InvalidOptionError: an option is out of range, excludes another, or does not exist; meta is no
                mapping; an
                id is no UUID.
            InvalidNameError: the name of an external task is not one.
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
        """Check many sends, and make their jobs; arguments as ``prepare``.

        Raises:
            UsageError: as ``prepare``, for the first job that is wrong; or it is no ``Send``.
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
        """Make a job whose options are its task's alone."""
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
        """Return the queue, the payload's JSON text, and the options of jobs of a task.

        A name that the catalog knows is validated even if it is called external.
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
        """Check a schedule, and complete it with its task's queue, its payload and its options.

        Raises:
            InvalidScheduleError: the expression can't be read or never fires, or the zone is unknown.
            UsageError: as ``prepare``.
        """
        queue_name(schedule.name)
        check_flag("external", external)
        check_flag("paused", schedule.paused)
        check_description(schedule.description)
        Cron.parse(schedule.cron, schedule.zone)
        queue, data, _ = self.resolve(schedule.name if task is None else task, payload, external=external)
        complete = replace(schedule, task=queue, data=data, options=stored_options.write(options))
        # Its first tick would find an option that is out of range; whoever writes it should.
        self.tick(complete, _NOBODY)
        return complete

    def tick(self, schedule: Schedule, job_id: UUID, meta: str | None = None) -> Prepared:
        """Make the job of a schedule's tick.

        Raises:
            InvalidOptionError, InvalidNameError: the schedule was edited by other means, and is wrong.
        """
        # What is stored may be an alias: a task that was renamed since, or a name of pg-boss's.
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
            InvalidOptionError: it is no mapping.
            SerializationError: it has no JSON form.
            PayloadTooLargeError: it is over the catalog's cap.
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
    """Return what a send says about its job.

    Raises:
        InvalidOptionError: it says something that no job can have.
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
"""The parts of a queue: a method by which each is known, and what to do where it is something else."""


def check_parts(**parts: object) -> None:
    """Check the parts of a queue; only catalog and storage may not be None.

    Raises:
        UsageError: one is something else; the message does not show it, since it may hold a password.
    """
    for field, part in parts.items():
        method, hint = _PARTS[field]
        if part is None and field not in {"catalog", "storage"}:
            continue
        if isinstance(part, type) or not callable(getattr(part, method, None)):
            raise UsageError(f"{field}: a {type(part).__name__} is no {field.title()}; {hint}")


def check_schedule_name(name: object) -> str:
    """Return the name of a schedule that is stored, which may be another program's, of any spelling.

    Raises:
        InvalidNameError: no schedule can have it.
    """
    if not isinstance(name, str) or not jsonb.is_kept(name):
        raise InvalidNameError(
            f"{shown(name)} is no name of a schedule; give the text that it is stored under"
        )
    return name


def catch_up_policy(given: CatchUp | str) -> CatchUp:
    """Return the policy of this name.

    Raises:
        InvalidOptionError: there is none.
    """
    try:
        return CatchUp(given)
    except ValueError:
        known = ", ".join(one.value for one in CatchUp)
        raise InvalidOptionError(f"catch_up: {shown(given)} is no policy; give one of {known}") from None


async def insert(prepared: Sequence[Prepared], put: Insert) -> list[UUID | None]:
    """Insert jobs; those that are debounced and were refused are tried once more, in the next slot.

    Args:
        prepared: what to insert.
        put: inserts, as ``storage.store.Verbs.insert`` does; called twice at most.

    Returns:
        For each job in the order given its id, or None where it was refused.
    """
    ids = await put([job for job, _ in prepared])
    again = [place for place, got in enumerate(ids) if got is None and prepared[place].debounced]
    if again:
        for place, got in zip(again, await put([next_slot(prepared[p].job) for p in again]), strict=True):
            ids[place] = got
    return ids


async def insert_surely(jobs: Sequence[NewJob], put: Insert, clock: Clock) -> list[UUID | None]:
    """Insert jobs, and repeat what had no answer: under the same ids it is done once.

    Raises:
        StorageUnavailableError: the last try had no answer either.
    """
    for wait in INSERT_WAITS:
        try:
            return await put(jobs)
        except StorageUnavailableError:
            await clock.sleep(wait)
            jobs = [replace(job, fresh=False) for job in jobs]  # it may be there by now
    return await put(jobs)
