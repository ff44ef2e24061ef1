"""What the AI's calls may cost in a day, and the days of a time zone."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from decimal import Decimal

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Day:
    """A day of a time zone: of 24 hours, except where the zone's clocks change."""

    date: date
    starts: datetime
    ends: datetime


def start_of(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant at which a day starts: midnight, or the end of the gap if a zone skips midnight.

    A midnight that occurs twice counts the first time.
    """
    # In a gap, fold=0 reads the clock with the offset before it, which gives the instant of the change.
    return datetime.combine(day, time(), zone).astimezone(UTC)


def day_of(now: datetime, zone: ZoneInfo) -> Day:
    """Return the day of a zone in which an instant lies.

    Where clocks are set back over midnight, the hour that is repeated belongs to the day that has started.

    >>> day_of(datetime(2026, 3, 29, 12, tzinfo=UTC), ZoneInfo("Europe/Berlin")).ends.isoformat()
    '2026-03-29T22:00:00+00:00'
    """
    today = now.astimezone(zone).date()
    started = today + _DAY if start_of(today + _DAY, zone) <= now else today
    return Day(started, start_of(started, zone), start_of(started + _DAY, zone))


@dataclass(frozen=True, slots=True)
class Budget:
    """The budget of each team and day, and of calls without a team, unless they have one of their own.

    Attributes:
        dollars: None for no limit.
        zone: the zone whose midnight starts a day.
    """

    dollars: Decimal | None = None
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))

    def day(self, now: datetime) -> Day:
        """Return the day of an instant."""
        return day_of(now, self.zone)
