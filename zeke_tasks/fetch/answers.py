"""Mapping of HTTP answers to errors: by status, with the time to wait."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from zeke_tasks.fetch.errors import Permanent, Transient, WebError

REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOVED_FOR_GOOD = frozenset({301, 308})
NOT_MODIFIED = 304

# Of the statuses below 500, only these are temporary: time-outs, "too early", "too many requests", and 206,
# since no range was requested. Of those from 500 on, all are except "not implemented" and similar ones.
_LATER = frozenset({206, 408, 421, 425, 429})
_NEVER = frozenset({501, 505, 506, 508, 510, 511})
_SERVER_ERROR = 500

_SECONDS = re.compile(r"\s*(\d{1,12})(?:\.\d*)?\s*")


def is_success(status: int) -> bool:
    """Return whether the body is the complete requested content."""
    return 200 <= status < 300 and status not in _LATER  # noqa: PLR2004 - the range of success in HTTP


def failure(
    url: str, status: int, phrase: str, retry_after: str | None, *, now: datetime, max_wait: float
) -> WebError:
    """Return the error for an unsuccessful answer.

    Args:
        url: the requested URL.
        status: the HTTP status, neither success nor a followed redirect.
        phrase: the server's reason phrase.
        retry_after: the header, or None.
        now: the time, for a header that is a date.
        max_wait: cap of the wait in seconds.
    """
    reason = f"the server answered {status} {phrase}".rstrip()
    if status in _LATER or (status >= _SERVER_ERROR and status not in _NEVER):
        wait = None if retry_after is None else seconds_to_wait(retry_after, now=now, max_wait=max_wait)
        return Transient(url, reason, status=status, retry_after=wait)
    return Permanent(url, reason, status=status)


def seconds_to_wait(header: str, *, now: datetime, max_wait: float) -> float | None:
    """Parse a Retry-After header: seconds, or a date.

    Args:
        header: as sent.
        now: the time, aware.
        max_wait: cap in seconds, so that no server can stop the job for a year.

    Returns:
        Seconds from 0 to ``max_wait``, or None if the header is invalid.

    Source: RFC 9110, section 10.2.3.
    """
    if found := _SECONDS.fullmatch(header):
        return min(float(found.group(1)), max_wait)
    try:
        moment = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), max_wait)
