"""The options of a send: merges layers, and makes a job with every option resolved.

A layer sets only some options; the others are None. In pg-boss 9 an explicit ``retryLimit: 0`` lost to the
constructor's default, since it tested for truth. Here only None means "not set", so 0 and False are values.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from zeke_queue.core.names import queue_name
from zeke_queue.errors import InvalidOptionError
from zeke_queue.model import NewJob

if TYPE_CHECKING:
    from uuid import UUID

Seconds: TypeAlias = timedelta | float
"""A duration as given by a caller; an int is a float too."""

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
class JobOptions:
    """Job options of one layer (a send, a task, a queue). None means not set.

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


DEFAULTS: Final = JobOptions(priority=0, retry_limit=3, retry_delay=1, retry_backoff=True, expire_in=3600)
"""Options where no layer sets them. Source: the settings of the earlier system."""

_FIELDS: Final = tuple(f.name for f in fields(JobOptions))
_values: Final = attrgetter(*_FIELDS)
_OPTIONS_OF_A_JOB: Final = [f.name for f in fields(NewJob)][3:-3]
_checked: Final = attrgetter(*_OPTIONS_OF_A_JOB)
_RIVALS: Final = {"delay": "start_at", "start_at": "delay", "throttle": "debounce", "debounce": "throttle"}


def merge(*layers: JobOptions) -> JobOptions:
    """Merge layers, the strongest first.

    For each option the first value that is not None wins. A layer that sets one of two exclusive options also
    overrides the other one in the layers below: a send's ``start_at`` overrides its task's ``delay``.

    >>> merge(JobOptions(retry_limit=0), JobOptions(retry_limit=5, priority=2)).retry_limit
    0
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        said = {name: value for name, value in zip(_FIELDS, _values(layer), strict=True) if value is not None}
        for name in merged:
            said.pop(name, None)
            said.pop(_RIVALS.get(name, name), None)
        merged |= said
    return JobOptions(**merged)


def new_job(
    id: UUID,  # noqa: A002 - the field's name
    name: str,
    data: str | None,
    options: JobOptions,
    *,
    parent: UUID | None = None,
    meta: str | None = None,
    fresh: bool = False,
) -> NewJob:
    """Check the options and make the job to insert; options not set are taken from ``DEFAULTS``.

    Args:
        id: the job's id, chosen by the sender.
        name: the queue.
        data: canonical JSON text, or None.
        options: the merged options.
        parent: the job that sent it.
        meta: canonical JSON text of an object, or None.
        fresh: whether the id is new and no insert of it was tried before.

    Raises:
        InvalidOptionError: an option is out of range, or excludes another; the message names the field.
        InvalidNameError: the queue's name is invalid.
    """
    exclusive(options)
    start_at, throttle, debounce = options.start_at, options.throttle, options.debounce
    slot = throttle if throttle is not None else debounce
    priority = _or(options.priority, DEFAULTS.priority)
    retry_limit = _or(options.retry_limit, DEFAULTS.retry_limit)
    retry_delay = _or(options.retry_delay, DEFAULTS.retry_delay)
    expire_in = _or(options.expire_in, DEFAULTS.expire_in)
    return NewJob(
        id=id,
        name=queue_name(name),
        data=data,
        priority=_integer("priority", priority, INT4_MIN),
        delay=0.0 if options.delay is None else _seconds("delay", options.delay, 0),
        start_at=None if start_at is None else _instant("start_at", start_at),
        retry_limit=_integer("retry_limit", retry_limit, 0),
        retry_delay=_whole_seconds("retry_delay", retry_delay, 0),
        retry_backoff=_flag("retry_backoff", _or(options.retry_backoff, DEFAULTS.retry_backoff)),
        retry_delay_max=None
        if options.retry_delay_max is None
        else _whole_seconds("retry_delay_max", options.retry_delay_max, 0),
        expire_in=_seconds("expire_in", expire_in, EXPIRE_IN_MIN),
        singleton_key=None if options.singleton_key is None else _singleton_key(options.singleton_key),
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
            "debounce: the job has no slot, so there is no next one; send it with debounce=SECONDS"
        )
    return replace(job, slot_offset=job.slot_seconds, fresh=False)


def exclusive(options: JobOptions) -> None:
    """Refuse exclusive options within one layer; ``merge`` would silently drop one of them.

    Raises:
        InvalidOptionError: ``delay`` and ``start_at`` are both given, or ``throttle`` and ``debounce``.
    """
    if options.delay is not None and options.start_at is not None:
        raise InvalidOptionError(
            "delay, start_at: both are given; a job starts after a duration or at an instant, so give one"
        )
    if options.throttle is not None and options.debounce is not None:
        raise InvalidOptionError(
            "throttle, debounce: both are given; debounce is a throttle with a second try, so give one"
        )


def _or(value: Any, default: Any) -> Any:
    return default if value is None else value


def _integer(field: str, value: object, low: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidOptionError(f"{field}: {_shown(value)} is no integer; give one from {low} to {INT4_MAX}")
    if not low <= value <= INT4_MAX:
        raise InvalidOptionError(
            f"{field}: {_shown(value)} is out of range; give an integer from {low} to {INT4_MAX} (int4)"
        )
    return int(value)


def _seconds(field: str, value: object, low: float) -> float:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidOptionError(
            f"{field}: {_shown(value)} is no duration; give seconds as a number, or a timedelta"
        )
    if not low <= value <= INT4_MAX:  # also false for NaN
        raise InvalidOptionError(
            f"{field}: {_shown(value)} is out of range; give {low} to {INT4_MAX} seconds"
        )
    return float(value)


def _whole_seconds(field: str, value: object, low: int) -> int:
    seconds = _seconds(field, value, low)
    if not seconds.is_integer():
        raise InvalidOptionError(
            f"{field}: {_shown(value)} is no whole number of seconds, which is what its column holds (int4)"
        )
    return int(seconds)


def _flag(field: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidOptionError(f"{field}: {_shown(value)} is neither True nor False; give one of them")
    return value


def _instant(field: str, value: object) -> datetime:
    if not isinstance(value, datetime):
        raise InvalidOptionError(
            f"{field}: {_shown(value)} is no datetime; give an aware one, or use delay for a duration"
        )
    if value.utcoffset() is None:
        raise InvalidOptionError(
            f"{field}: {_shown(value)} has no time zone; give an aware datetime, such as one with tzinfo=UTC"
        )
    if not YEAR_MIN <= _utc_year(value) <= YEAR_MAX:
        raise InvalidOptionError(
            f"{field}: {_shown(value)} is out of range; give an instant of the years {YEAR_MIN} to {YEAR_MAX}"
        )
    return value


def _utc_year(value: datetime) -> int:
    try:
        return value.astimezone(UTC).year
    except OverflowError:  # its offset moves it beyond datetime's years
        return 0


def _key(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidOptionError(f"{field}: {_shown(value)} is no text; give a string")
    if not value:
        raise InvalidOptionError(f"{field}: it is empty; give a key, or None for no key")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidOptionError(
            f"{field}: {_shown(value)} has half of a surrogate pair, which is no character"
        ) from None
    if "\0" in value:
        raise InvalidOptionError(
            f"{field}: {_shown(value)} has a NUL character, which Postgres can't keep; remove it"
        )
    if size > KEY_BYTES_MAX:
        raise InvalidOptionError(
            f"{field}: it has {size} bytes, at most {KEY_BYTES_MAX} fit into the index; send a hash of it"
        )
    return value


def _singleton_key(value: object) -> str:
    key = _key("singleton_key", value)
    if key.startswith(SINGLETON_QUEUE_PREFIX):
        raise InvalidOptionError(
            f"singleton_key: {_shown(key)} begins with a prefix that pg-boss reserves; choose another"
        )
    return key


def _shown(value: object) -> str:
    """Return a readable ``repr`` for any value."""
    try:
        shown = repr(value)
    except ValueError:  # an int of more digits than Python prints
        return f"a {type(value).__name__}"
    return shown if len(shown) <= 80 else shown[:80] + "…"  # noqa: PLR2004 - about a line
