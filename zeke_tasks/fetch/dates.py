"""When something in a feed was published: what the parser makes of a date, put right where it errs."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from zeke_tasks.fetch.text import one_line

if TYPE_CHECKING:
    from collections.abc import Sequence

# Hours ahead of UTC of the zones whose names feeds use although no standard has them; the parser takes them
# for UTC. Those of America, which the standard has, it knows. Names that mean several zones are left out.
_ZONES: Final = {
    "AEDT": 11, "AEST": 10, "CEST": 2, "CET": 1, "EEST": 3, "EET": 2, "HKT": 8, "JST": 9, "KST": 9, "MESZ": 2,
    "MEZ": 1, "MSK": 3, "NZDT": 13, "NZST": 12, "SGT": 8, "WEST": 1,
}  # fmt: skip
_NAMED_ZONE: Final = re.compile(rf"[A-Za-z].*\b({'|'.join(_ZONES)})\Z", re.IGNORECASE)
_FROM_UTC: Final = re.compile(r"\b(?:UTC|GMT)([+-]\d\d):?(\d\d)\Z")
# Of these the parser takes the first four digits for a year, and the next two, or none, for a month.
_NO_DATE: Final = re.compile(r"\d{9,}|\d{4}/.*")
# What programs write that have no date; and in other time zones there is no such day.
_NO_YEARS: Final = frozenset({1, 9999})


def read_date(written: str, guess: Sequence[int] | None) -> datetime | None:
    """Return the moment that a date in a feed means.

    Args:
        written: the date as it stands in the feed.
        guess: year, month, day, hour, minute, second in UTC, as the parser understood it, or None.

    Returns:
        Aware, UTC; None if it can't be told. A date without a zone is taken for UTC.
    """
    written = one_line(written)
    if _NO_DATE.fullmatch(written):
        return None
    plain = _FROM_UTC.sub(r"\1\2", written)
    try:
        # The parser forgives more, but not this way of writing an offset.
        moment = (plain == written and _guessed(guess)) or _standard(plain)
        if moment and (zone := _NAMED_ZONE.search(plain)):
            moment -= timedelta(hours=_ZONES[zone.group(1).upper()])
    except (ValueError, OverflowError, OSError):
        return None
    return moment if moment and moment.year not in _NO_YEARS else None


def _guessed(guess: Sequence[int] | None) -> datetime | None:
    return datetime.fromtimestamp(calendar.timegm(tuple(guess)), UTC) if guess else None


def _standard(written: str) -> datetime | None:
    """Return the moment of a date as e-mail has it, in which RSS is written; None if it is none."""
    try:
        moment = parsedate_to_datetime(written)
    except (ValueError, OverflowError):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
