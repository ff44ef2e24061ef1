"""Formatting of values for users: instants, durations, numbers, JSON, and names of statuses."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from markupsafe import Markup

from zeke_queue.model import STATUS_OF
from zeke_queue.web.dashboard.json_preview import preview

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from zeke_queue.web.dashboard.json_preview import Preview

NOTHING: Final = "–"
EXCERPT: Final = 120
"""Maximum number of characters of a value in a list."""

LINE: Final = 4_096
"""Maximum number of characters of a log message, or of another value that occurs many times on a page."""

SHOWN: Final = 65_536
"""Maximum number of characters of a value on its job's page."""

_SHORT: Final = 8
_SPACES: Final = 8
_MILLISECONDS: Final = 1.0
_SECONDS: Final = 60.0
_TENTHS: Final = 10.0
_MANY: Final = 10_000

STATES: Final[Mapping[str, str]] = {state: status.value.capitalize() for state, status in STATUS_OF.items()}


def instant(value: datetime | None) -> str | Markup:
    """Format an instant in UTC as a ``time`` element, which a script converts to local time."""
    if value is None:
        return NOTHING
    utc = value.astimezone(UTC)
    return Markup('<time datetime="{}">{:%Y-%m-%d %H:%M:%S}</time>').format(
        utc.isoformat(timespec="milliseconds"), utc
    )


def zoned(value: datetime, zone: str) -> str:
    """Format an instant in a time zone."""
    try:
        there = value.astimezone(ZoneInfo(zone))
    except (KeyError, ValueError, OSError):
        return NOTHING
    return f"{there:%Y-%m-%d %H:%M:%S %Z}"


def length(seconds: float | None) -> str:
    """Format a duration with a useful precision.

    >>> [length(value) for value in (None, 0.0123, 1.26, 75, 7300, 200_000)]
    ['–', '12 ms', '1.3 s', '1 min 15 s', '2 h 1 min', '2 d 7 h']
    """
    if seconds is None:
        return NOTHING
    if seconds < _MILLISECONDS:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < _SECONDS:
        return f"{seconds:.1f} s" if seconds < _TENTHS else f"{seconds:.0f} s"
    whole = int(seconds)
    for unit, below, size, smaller in (("d", "h", 86_400, 3_600), ("h", "min", 3_600, 60)):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {below}" if rest else "")
    rest = whole % 60
    return f"{whole // 60} min" + (f" {rest} s" if rest else "")


def number(value: float) -> str:
    """Format a count, abbreviated if large.

    >>> [number(value) for value in (7, 9999, 12345, 2_500_000)]
    ['7', '9,999', '12.3k', '2.5M']
    """
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if value >= max(size, _MANY):
            return f"{value / size:.1f}".removesuffix(".0") + letter
    return f"{value:,.0f}"


def whole(value: Any) -> Preview:
    """Format JSON on several lines, and text unchanged, truncated to the limit of a job's page."""
    return preview(value, SHOWN, indent=2)


def pretty(value: Any) -> str:
    """Format JSON on several lines, and text unchanged, truncated to the limit of repeated values."""
    taken = preview(value, LINE, indent=2)
    return f"{taken.text}…" if taken.is_cut else taken.text


def written(value: Any) -> str:
    """Format JSON on several lines for an input field."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def excerpt(value: Any) -> str:
    """Format JSON in one short line."""
    if value is None:
        return NOTHING
    # Consecutive spaces are collapsed, so more characters than EXCERPT may be needed.
    taken = preview(value, _SPACES * EXCERPT)
    text = " ".join(taken.text.split())
    return f"{text[: EXCERPT - 1]}…" if taken.is_cut or len(text) > EXCERPT else text


def short(identity: UUID | str) -> str:
    """Abbreviate an id to its end, since ids of the same hour have the same beginning."""
    return f"…{str(identity)[-_SHORT:]}"


def state(value: str) -> str:
    """Return the displayed name of the status of a row in this state."""
    return STATES.get(value, value)
