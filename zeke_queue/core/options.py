"""The options of a send: merges layers, and makes a job with every option resolved.

A layer sets only some options; the others are None. In pg-boss 9 an explicit ``retryLimit: 0`` lost to the
constructor's default, since it tested for truth. Here only None means "not set", so 0 and False are values.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypedDict

from zeke_queue.core.failure import shown
from zeke_queue.core.names import did_you_mean, queue_name, task_of
from zeke_queue.errors import InvalidOptionError
from zeke_queue.model import NewJob

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

Seconds: TypeAlias = timedelta | float
"""A duration as given by a caller; an int is a float too."""


class _Options(TypedDict, total=False):
    priority: int | None
    retry_limit: int | None
    retry_delay: Seconds | None
    retry_backoff: bool | None
    retry_delay_max: Seconds | None
    expire_in: Seconds | None
    throttle: Seconds | None
    debounce: Seconds | None


class JobOptions(_Options, total=False):
    """Options of a job, or of the jobs of a schedule. Names are those of pg-boss, in snake case.

    Options left out or None come from the task, then from the catalog. An explicit 0 or False is a value.
    Durations are seconds or a ``timedelta``.

    Attributes:
        priority: higher is claimed first; int4, 0 by default.
        retry_limit: how many retries the job may use; 0 is none; 3 by default.
        retry_delay: whole seconds before a retry, and the unit of the backoff; 1 by default.
        retry_backoff: whether the delay doubles with each retry; True by default.
        retry_delay_max: whole seconds, cap on the backoff.
        expire_in: how long one attempt may take; an hour by default.
        singleton_key: at most one job of the task with this key waits or runs; others are refused.
        throttle: length of a slot in whole seconds: one job per slot, others are refused.
        debounce: the same, but a refused job is sent into the next slot, if that is free; excludes
            ``throttle``.
    """

    singleton_key: str | None


class TaskOptions(_Options, total=False):
    """Options of a task, for jobs that are sent without them: those of ``JobOptions``.

    Attributes:
        singleton_key: the key of all jobs, or a function of the validated payload that returns the key, or
            None for a job without key.
    """

    singleton_key: str | Callable[[Any], str | None] | None


class ChildOptions(JobOptions, total=False):
    """Options of a job that its sender waits for.

    Attributes:
        meta: an object passed on from parent to child.
        delay: time until the job may start.
        start_at: the instant (aware, in the years 2 to 9998) at which it may start; excludes ``delay``.
    """

    meta: Mapping[str, Any] | None
    delay: Seconds | None
    start_at: datetime | None


class SendOptions(ChildOptions, total=False):
    """Options of a send.

    Attributes:
        id: the job's id; a new one by default. Sending twice under one id sends one job.
        parent: the job that sends it.
        external: whether the task is defined in another process: allows a name outside the catalog, with any
            payload.
    """

    id: UUID | None
    parent: UUID | None
    external: bool


INT4_MIN: Final = -(2**31)
INT4_MAX: Final = 2**31 - 1
"""The maximum of integer columns; in seconds about 68 years, and the limit of every duration here."""

KEY_BYTES_MAX: Final = 1_000
"""Bytes of a key in UTF-8; an index entry of Postgres holds about 2 700."""

YEAR_MIN: Final = 2
YEAR_MAX: Final = 9998
"""The last year (UTC) of an instant that Python can convert to any zone, like the end of its retention."""

EXPIRE_IN_MIN: Final = 0.001

SINGLETON_QUEUE_PREFIX: Final = "__pgboss__singleton_queue"
"""Keys with this prefix have another meaning in the shared tables' indexes. Source: pg-boss 9."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionLayer:
    """The job options of one layer (a send, a task, a catalog). None means not set.

    Durations are seconds or a ``timedelta``.

    Attributes:
        priority: higher is claimed first; int4, 0 by default.
        delay: time until the job may start, from the storage's now.
        start_at: the instant (aware, in the years 2 to 9998) at which it may start; excludes ``delay``.
        retry_limit: how many retries it may use; 0 is none.
        retry_delay: whole seconds before a retry, and the unit of the backoff.
        retry_backoff: whether the delay doubles with each retry.
        retry_delay_max: whole seconds, cap on the backoff.
        expire_in: how long one attempt may take.
        singleton_key: at most one job of the queue with this key waits or runs.
        throttle: length of a slot in whole seconds: one job per slot, others are refused.
        debounce: the same, but a refused job is sent into the next slot, if that is free; excludes
            ``throttle``.
        group_key: for limits per key.
    """

    priority: int | None = None
    delay: Seconds | None = None
    start_at: datetime | None = None
    retry_limit: int | None = None
    retry_delay: Seconds | None = None
    retry_backoff: bool | None = None
    retry_delay_max: Seconds | None = None
    expire_in: Seconds | None = None
    singleton_key: str | None = None
    throttle: Seconds | None = None
    debounce: Seconds | None = None
    group_key: str | None = None

    def given(self) -> dict[str, Any]:
        """Return the options that are set, by name."""
        return {name: value for name, value in zip(_FIELDS, _values(self), strict=True) if value is not None}


DEFAULTS: Final = OptionLayer(priority=0, retry_limit=3, retry_delay=1, retry_backoff=True, expire_in=3600)
"""Options where no layer sets them. Source: the settings of the earlier system."""

_FIELDS: Final = tuple(f.name for f in fields(OptionLayer))
_values: Final = attrgetter(*_FIELDS)
OPTIONS_OF_A_TASK: Final = tuple(name for name in _FIELDS if name in TaskOptions.__optional_keys__)
OPTIONS_OF_A_SEND: Final = tuple(name for name in _FIELDS if name in ChildOptions.__optional_keys__)
_OPTIONS_OF_A_JOB: Final = [f.name for f in fields(NewJob)][3:-3]
_checked: Final = attrgetter(*_OPTIONS_OF_A_JOB)
_RIVALS: Final = {"delay": "start_at", "start_at": "delay", "throttle": "debounce", "debounce": "throttle"}


def layer(options: Mapping[str, Any], allowed: Sequence[str], handled: Sequence[str] = ()) -> OptionLayer:
    """Build a layer from options by name.

    Args:
        allowed: the names of options that the layer may have.
        handled: names that the caller handles itself.

    Raises:
        InvalidOptionError: a name is in neither list; the message suggests similar ones.
    """
    own = {name: value for name, value in options.items() if name not in handled}
    for name in own:
        if name not in allowed:
            hint = did_you_mean(name, [*allowed, *handled], f"pass one of {', '.join(allowed)}")
            raise InvalidOptionError(f"{name}: must be a known option; {hint}")
    return OptionLayer(**own)


def singleton_key(value: object) -> str | None:
    """Return a job's singleton key, as given or as computed by a task's function.

    Raises:
        InvalidOptionError: jobs can't have this key.
    """
    if value is None:
        return None
    key = _key("singleton_key", value)
    if key.startswith(SINGLETON_QUEUE_PREFIX):
        raise InvalidOptionError(
            f"singleton_key: {shown(key)} begins with a prefix that pg-boss reserves; choose another"
        )
    return key


def merge(*layers: OptionLayer) -> OptionLayer:
    """Merge layers, the strongest first.

    For each option the first value that is not None wins. A layer that sets one of two exclusive options also
    overrides the other one in the layers below: a send's ``start_at`` overrides its task's ``delay``.

    >>> merge(OptionLayer(retry_limit=0), OptionLayer(retry_limit=5, priority=2)).retry_limit
    0
    """
    merged: dict[str, Any] = {}
    for one in layers:
        options = one.given()
        for name in merged:
            options.pop(name, None)
            options.pop(_RIVALS.get(name, name), None)
        merged |= options
    return OptionLayer(**merged)


def new_job(
    id: UUID,  # noqa: A002 - the field's name
    name: str,
    data: str | None,
    options: OptionLayer,
    *,
    parent: UUID | None = None,
    meta: str | None = None,
    fresh: bool = False,
) -> NewJob:
    """Check the options and make the job to insert.

    Args:
        id: the job's id, chosen by the sender.
        name: the queue, which may be private.
        data: canonical JSON text, or None.
        options: the options, merged with ``DEFAULTS``.
        meta: canonical JSON text of an object, or None.
        fresh: whether the id is new and no insert of it was tried before.

    Raises:
        InvalidOptionError: an option is out of range, or excludes another; the message names the field.
        InvalidNameError: the queue's name is invalid.
    """
    exclusive(options)
    queue_name(task_of(name))
    start_at, throttle, debounce = options.start_at, options.throttle, options.debounce
    slot = throttle if throttle is not None else debounce
    return NewJob(
        id=id,
        name=name,
        data=data,
        priority=_integer("priority", options.priority, INT4_MIN),
        delay=0.0 if options.delay is None else check_seconds("delay", options.delay, 0),
        start_at=None if start_at is None else _instant("start_at", start_at),
        retry_limit=_integer("retry_limit", options.retry_limit, 0),
        retry_delay=_whole_seconds("retry_delay", options.retry_delay, 0),
        retry_backoff=check_flag("retry_backoff", options.retry_backoff),
        retry_delay_max=None
        if options.retry_delay_max is None
        else _whole_seconds("retry_delay_max", options.retry_delay_max, 0),
        expire_in=check_seconds("expire_in", options.expire_in, EXPIRE_IN_MIN),
        singleton_key=singleton_key(options.singleton_key),
        slot_seconds=None
        if slot is None
        else _whole_seconds("throttle" if throttle is not None else "debounce", slot, 1),
        group_key=None if options.group_key is None else _key("group_key", options.group_key),
        parent=parent,
        meta=meta,
        fresh=fresh,
    )


def another(
    job: NewJob,
    id: UUID,  # noqa: A002 - the field's name
    data: str | None,
    parent: UUID | None,
    meta: str | None,
) -> NewJob:
    """Return a job like this one, whose options are checked, with a new id and its own content."""
    return NewJob(id, job.name, data, *_checked(job), parent=parent, meta=meta, fresh=True)


def next_slot(job: NewJob) -> NewJob:
    """Return the second try of a debounced job: the same, in the next slot and not earlier.

    Raises:
        InvalidOptionError: the job has no slot.
    """
    if job.slot_seconds is None:
        raise InvalidOptionError(
            "debounce: must be set to use the next slot, got a job without one; pass debounce=SECONDS"
        )
    return replace(job, slot_offset=job.slot_seconds, fresh=False)


def exclusive(options: OptionLayer) -> None:
    """Refuse exclusive options within one layer; ``merge`` would silently drop one of them.

    Raises:
        InvalidOptionError: ``delay`` and ``start_at`` are both given, or ``throttle`` and ``debounce``.
    """
    if options.delay is not None and options.start_at is not None:
        raise InvalidOptionError(
            "delay, start_at: must not be set together, got both; pass a duration or an instant"
        )
    if options.throttle is not None and options.debounce is not None:
        raise InvalidOptionError(
            "throttle, debounce: must not be set together, got both; debounce is a throttle with a second try"
        )


def _integer(field: str, value: object, low: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= INT4_MAX:
        raise InvalidOptionError(
            f"{field}: must be an integer from {low} to {INT4_MAX} (int4), got {shown(value)}"
        )
    return int(value)


def check_flag(field: str, value: object) -> bool:
    """Return a flag.

    Raises:
        InvalidOptionError: it is neither True nor False.
    """
    if not isinstance(value, bool):
        raise InvalidOptionError(f"{field}: must be True or False, got {shown(value)}")
    return value


def check_seconds(field: str, value: object, low: float = 0) -> float:
    """Return a duration in seconds.

    Raises:
        InvalidOptionError: it is not a duration, or out of range.
    """
    seconds = value.total_seconds() if isinstance(value, timedelta) else value
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise InvalidOptionError(
            f"{field}: must be a duration, got {shown(value)}; pass seconds as a number, or a timedelta"
        )
    if not low <= seconds <= INT4_MAX:  # also false for NaN
        raise InvalidOptionError(f"{field}: must be {low} to {INT4_MAX} seconds, got {shown(value)}")
    return float(seconds)


def check_bytes(field: str, value: object, high: int) -> int:
    """Return a number of bytes.

    Raises:
        InvalidOptionError: it is not an integer, or out of range.
    """
    if type(value) is not int or not 1 <= value <= high:
        raise InvalidOptionError(f"{field}: must be an integer from 1 to {high} (bytes), got {shown(value)}")
    return value


def _whole_seconds(field: str, value: object, low: int) -> int:
    seconds = check_seconds(field, value, low)
    if not seconds.is_integer():
        raise InvalidOptionError(
            f"{field}: must be a whole number of seconds, got {shown(value)}; its column is an int4"
        )
    return int(seconds)


def _instant(field: str, value: object) -> datetime:
    if not isinstance(value, datetime):
        raise InvalidOptionError(
            f"{field}: must be an aware datetime, got {shown(value)}; use delay for a duration"
        )
    if value.utcoffset() is None:
        raise InvalidOptionError(
            f"{field}: must be an aware datetime, got {shown(value)}; pass one with tzinfo=UTC"
        )
    if not YEAR_MIN <= _utc_year(value) <= YEAR_MAX:
        raise InvalidOptionError(
            f"{field}: must be in the years {YEAR_MIN} to {YEAR_MAX}, got {shown(value)}"
        )
    return value


def _utc_year(value: datetime) -> int:
    try:
        return value.astimezone(UTC).year
    except OverflowError:  # its offset moves it beyond datetime's years
        return 0


def _key(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidOptionError(f"{field}: must be a string, got {shown(value)}")
    if not value:
        raise InvalidOptionError(f"{field}: must not be empty; pass a key, or None for no key")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidOptionError(
            f"{field}: must be valid Unicode, got {shown(value)}, which has half of a surrogate pair"
        ) from None
    if "\0" in value:
        raise InvalidOptionError(
            f"{field}: must not contain a NUL character, got {shown(value)}; Postgres cannot store it"
        )
    if size > KEY_BYTES_MAX:
        raise InvalidOptionError(
            f"{field}: must have at most {KEY_BYTES_MAX} bytes for the index, got {size}; send a hash of it"
        )
    return value
