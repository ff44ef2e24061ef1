"""Dates in feeds: the parser's results, with corrections."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from zeke_tasks.fetch.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

# UTC offsets in hours of zone names that feeds use but no standard defines; the parser would read them as
# UTC. It knows the American names, which are standard. Ambiguous names are left out.
_ZONES: Final = {
    "AEDT": 11, "AEST": 10, "CEST": 2, "CET": 1, "EEST": 3, "EET": 2, "HKT": 8, "JST": 9, "KST": 9, "MESZ": 2,
    "MEZ": 1, "MSK": 3, "NZDT": 13, "NZST": 12, "SGT": 8, "WEST": 1,
}  # fmt: skip
_NAMED_ZONE: Final = re.compile(rf"[A-Za-z].*\b({'|'.join(_ZONES)})\Z", re.IGNORECASE)
_FROM_UTC: Final = re.compile(r"\b(?:UTC|GMT)([+-]\d\d):?(\d\d)\Z")
# The parser would read the first four digits of these as a year, and the next two, if any, as a month.
_NO_DATE: Final = re.compile(r"\d{9,}|\d{4}/.*")
# Programs write these years if there is no date. Their first or last day can't be converted to other time
# zones.
_NO_YEARS: Final = frozenset({1, 9999})


def read_date(written: str, guess: Sequence[int] | None) -> datetime | None:
    """Return the time that a date in a feed denotes.

    Args:
        written: the date in the feed.
        guess: year, month, day, hour, minute, second in UTC, as parsed by the feed parser, or None.

    Returns:
        Aware, UTC; None if the date is invalid. A date without a zone is read as UTC.
    """
    written = one_line(written)
    if _NO_DATE.fullmatch(written):
        return None
    plain = _FROM_UTC.sub(r"\1\2", written)
    try:
        # The parser is lenient, but rejects this notation of an offset.
        moment = (plain == written and _guessed(guess)) or _standard(plain)
        if moment and (zone := _NAMED_ZONE.search(plain)):
            moment -= timedelta(hours=_ZONES[zone.group(1).upper()])
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment and moment.year not in _NO_YEARS else None


def _guessed(guess: Sequence[int] | None) -> datetime | None:
    return datetime.fromtimestamp(calendar.timegm(tuple(guess)), UTC) if guess else None


def _standard(written: str) -> datetime | None:
    """Parse a date in the format of e-mail and RSS; None if it is invalid."""
    try:
        moment = parsedate_to_datetime(written)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
