"""Validation of callers' arguments: ids, flags, and filters of lists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from zeke_queue.core import jsonb
from zeke_queue.core.failure import shown
from zeke_queue.core.options import INT4_MAX, check_flag
from zeke_queue.errors import InvalidOptionError, UsageError
from zeke_queue.model import CARRIED, CatchUp, JobQuery, JobStatus

TEXT_MAX: Final = 200
"""Characters of a search text at most."""


def check_uuid(field: str, value: object) -> UUID | None:
    """Return an id, or None.

    Raises:
        InvalidOptionError: it is neither.
    """
    if value is not None and not isinstance(value, UUID):
        raise InvalidOptionError(
            f"{field}: must be a UUID, got {shown(value)}; pass uuid.UUID(...), or leave it out"
        )
    return value


def check_timeout(timeout: object) -> float | None:
    """Return how many seconds to wait; None for no limit, which includes anything longer than any wait.

    Raises:
        InvalidOptionError: it is not a number.
    """
    if timeout is None:
        return None
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not (timeout <= 0 or timeout > 0):
        raise InvalidOptionError(
            f"timeout: must be a number of seconds, got {shown(timeout)}; "
            "pass 0 to check once, or None to wait forever"
        )
    return None if timeout > INT4_MAX else float(max(timeout, 0))


def catch_up_policy(given: CatchUp | str) -> CatchUp:
    """Return the policy with this name.

    Raises:
        InvalidOptionError: it is not valid.
    """
    try:
        return CatchUp(given)
    except ValueError:
        known = ", ".join(one.value for one in CatchUp)
        raise InvalidOptionError(f"catch_up: must be one of {known}, got {shown(given)}") from None


def check_limit(limit: int, most: int | None = None) -> int:
    """Return the limit of an answer.

    Raises:
        InvalidOptionError: it is below 1, or above the maximum of one answer.
    """
    if limit < 1 or (most is not None and limit > most):
        wanted = "at least 1" if most is None else f"from 1 to {most}"
        raise InvalidOptionError(f"limit: must be {wanted}, got {shown(limit)}")
    return limit


def check_query(query: object) -> JobQuery:
    """Return a filter in the storages' form: tuples, and statuses instead of their names.

    Raises:
        UsageError: it is not a filter.
        InvalidOptionError: one of its fields is invalid; the message names it.
    """
    if not isinstance(query, JobQuery):
        raise UsageError(f"query: must be a JobQuery, got {shown(query)}; pass JobQuery() for all jobs")
    names, opaque = _names("names", query.names), _names("opaque", query.opaque)
    ids = None if query.ids is None else _ids("ids", query.ids)
    parents, without = _ids("parents", query.parents), _carried(query.without)
    most: object = query.bytes_max
    if most is not None and (type(most) is not int or not 1 <= most < 2**63):
        raise InvalidOptionError(f"bytes_max: must be a positive number of bytes, got {shown(most)}")
    limit: object = query.limit
    if type(limit) is not int:
        raise InvalidOptionError(f"limit: must be an integer, got {shown(limit)}")
    check_uuid("parent", query.parent)
    check_uuid("before", query.before)
    check_flag("archived", query.archived)
    _check_created(query)
    _check_text(query.text)
    status = tuple(map(_status, _several("status", query.status)))
    return replace(
        query, names=names, status=status, opaque=opaque, ids=ids, parents=parents, without=without
    )


def _names(field: str, value: object) -> tuple[str, ...]:
    names = _several(field, value)
    for name in names:
        if not isinstance(name, str) or not jsonb.is_kept(name):
            raise InvalidOptionError(f"{field}: must be names of queues, got {shown(name)}")
    return names


def _ids(field: str, value: object) -> tuple[UUID, ...]:
    ids = _several(field, value)
    for job_id in ids:
        if not isinstance(job_id, UUID):
            raise InvalidOptionError(f"{field}: must be UUIDs of jobs, got {shown(job_id)}")
    return ids


def _carried(value: object) -> tuple[str, ...]:
    parts = _several("without", value)
    for part in parts:
        if part not in CARRIED:
            raise InvalidOptionError(f"without: must be some of {', '.join(CARRIED)}, got {shown(part)}")
    return parts


def _check_created(query: JobQuery) -> None:
    for field in ("created_from", "created_to"):
        value: object = getattr(query, field)
        if value is None:
            continue
        if not isinstance(value, datetime):
            raise InvalidOptionError(f"{field}: must be an aware datetime, got {shown(value)}")
        if value.utcoffset() is None:
            raise InvalidOptionError(
                f"{field}: must be an aware datetime, got {shown(value)}; pass one with tzinfo=UTC"
            )
    since, until = query.created_from, query.created_to
    if since is not None and until is not None and since >= until:
        raise InvalidOptionError(f"created_to: must be later than created_from, got {shown(until)}")


def _check_text(text: object) -> None:
    if text is None:
        return
    if not isinstance(text, str) or not jsonb.is_kept(text):
        raise InvalidOptionError(f"text: must be text without NUL characters, got {shown(text)}")
    if not 1 <= len(text) <= TEXT_MAX:
        raise InvalidOptionError(f"text: must have 1 to {TEXT_MAX} characters, got {len(text)}")


def _several(field: str, value: object) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise InvalidOptionError(f"{field}: must be a sequence, got {shown(value)}; pass a tuple")
    return tuple(cast("Iterable[Any]", value))


def _status(value: Any) -> JobStatus:
    try:
        return JobStatus(value)
    except ValueError:
        raise InvalidOptionError(
            f"status: must be of {', '.join(JobStatus)}, got {shown(value)}; pass status=(JobStatus.FAILED,)"
        ) from None
