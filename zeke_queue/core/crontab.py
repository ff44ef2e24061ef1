"""Cron expressions on wall clocks, without time zones.

croniter parses the expression. The resulting sets of minutes, hours and days are searched here, because
croniter's own search fires twice where ``core.cron`` fires once, and takes about five times as long.
"""

from __future__ import annotations

import calendar
import re
from bisect import bisect_right
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import lru_cache
from typing import Any, Final, cast

from croniter import CroniterError, croniter

from zeke_queue.errors import InvalidScheduleError

FIELDS: Final = (5, 6)
HORIZON_YEARS: Final = 50
"""Limit of a search. The rarest expression, a fifth Monday in February, fires every 28 or 40 years."""

_EXPR_MAX: Final = 250
_FIELD_NAMES: Final = ("minute", "hour", "day of month", "month", "day of week", "second")
_CHANCE: Final = re.compile("[hr]", re.IGNORECASE)
# croniter raises some internal errors unchanged.
_UNREADABLE: Final = (CroniterError, ValueError, TypeError, LookupError, AttributeError)
_DAY_FIELDS: Final = slice(2, 5)
_ALL_HOURS: Final = tuple(range(24))
_ALL_MONTHS: Final = frozenset(range(1, 13))
_CYCLE: Final = (date(2000, 1, 1), 400)  # after 400 years the Gregorian calendar repeats, weekdays included


@dataclass(frozen=True, slots=True)
class Days:
    """The matching days.

    Attributes:
        months: 1 to 12.
        days: days of the month, or None if the field is ``*``.
        last_day: whether the month's last day matches.
        weekdays: 0 (Sunday) to 6, or None if the field is ``*``.
        nth: pairs (weekday, n), n from 1 to 5 or -1 for the last one in the month.
    """

    months: frozenset[int]
    days: frozenset[int] | None
    last_day: bool
    weekdays: frozenset[int] | None
    nth: frozenset[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Crontab:
    """A parsed expression.

    Attributes:
        hours: ascending.
        in_hour: seconds after the full hour, ascending.
    """

    days: Days
    hours: tuple[int, ...]
    in_hour: tuple[int, ...]

    @property
    def every_hour(self) -> bool:
        """Whether every hour of the day matches."""
        return self.hours == _ALL_HOURS

    def after(self, wall: datetime) -> datetime | None:
        """Return the first matching wall time after this one (naive), or None within the horizon.

        Fractions of a second are ignored, since matches have none.
        """
        return self._search(wall.date(), wall.hour, wall.minute * 60 + wall.second)

    def since(self, wall: datetime) -> datetime | None:
        """Return the first matching wall time at this one or later, without a fraction of a second."""
        return self._search(wall.date(), wall.hour, wall.minute * 60 + wall.second - 1)

    def _search(self, day: date, hour: int, second: int) -> datetime | None:
        """Search after the given second of the given hour; second -1 includes the full hour."""
        if day.day in matching_days(self.days, day.year, day.month):
            if hour in self.hours and second < self.in_hour[-1]:
                return _wall(day, hour, self.in_hour[bisect_right(self.in_hour, second)])
            later = bisect_right(self.hours, hour)
            if later < len(self.hours):
                return _wall(day, self.hours[later], self.in_hour[0])
        next_day = _day_after(self.days, day)
        return None if next_day is None else _wall(next_day, self.hours[0], self.in_hour[0])


def _wall(day: date, hour: int, second: int) -> datetime:
    return datetime.combine(day, time(hour, second // 60, second % 60))


def _day_after(days: Days, day: date) -> date | None:
    month_days = matching_days(days, day.year, day.month)
    later = bisect_right(month_days, day.day)
    if later < len(month_days):
        return day.replace(day=month_days[later])
    year, month = day.year, day.month
    for _ in range(HORIZON_YEARS * 12):
        year, month = (year, month + 1) if month < 12 else (year + 1, 1)  # noqa: PLR2004 - December
        if year > date.max.year - 1:
            return None
        if month_days := matching_days(days, year, month):
            return date(year, month, month_days[0])
    return None


@lru_cache(maxsize=4096)
def matching_days(days: Days, year: int, month: int) -> tuple[int, ...]:
    """Return the matching days of this month, ascending.

    As in every cron, a day matches if day of month *or* day of week does, when both are given (are not
    ``*``).
    """
    if month not in days.months:
        return ()
    first_weekday, length = calendar.monthrange(year, month)
    first_weekday = (first_weekday + 1) % 7  # from Monday = 0 to Sunday = 0
    everyday = range(1, length + 1)
    by_date = {d for d in everyday if days.days is None or d in days.days or (days.last_day and d == length)}
    by_weekday = {d for d in everyday if _weekday_matches(days, (first_weekday + d - 1) % 7, d, length)}
    either = days.days is not None and (days.weekdays is not None or bool(days.nth))
    return tuple(sorted(by_date | by_weekday if either else by_date & by_weekday))


def _weekday_matches(days: Days, weekday: int, day: int, length: int) -> bool:
    if days.nth:
        return (weekday, (day - 1) // 7 + 1) in days.nth or (day + 7 > length and (weekday, -1) in days.nth)
    return days.weekdays is None or weekday in days.weekdays


def read(expr: str) -> Crontab:
    """Parse a cron expression.

    Five fields (minute, hour, day of month, month, day of week) or six, of which the last is seconds. Names
    of months and weekdays, lists, ranges, steps, ``L`` for the last day, ``5#2`` for the second Friday,
    ``L5`` for the last one, and ``@hourly``, ``@daily``, ``@midnight``, ``@weekly``, ``@monthly``,
    ``@yearly``, ``@annually``.

    Raises:
        InvalidScheduleError: it is invalid, uses random values (``R``, ``H``) or unsupported ones (``W``, a
            year), or there is no day on which it could fire.
    """
    if not isinstance(cast("object", expr), str):
        raise InvalidScheduleError(f"cron: must be a string, got {expr!r}; pass one such as '*/5 * * * *'")
    return _read(expr)


@lru_cache(maxsize=1024)
def _read(expr: str) -> Crontab:
    shown = repr(expr if len(expr) <= _EXPR_MAX else expr[:_EXPR_MAX] + "…")
    written = expr.split()
    if len(expr) > _EXPR_MAX:
        raise InvalidScheduleError(
            f"cron: must have at most {_EXPR_MAX} characters, got {len(expr)} in {shown}"
        )
    if len(written) not in FIELDS and not expr.startswith("@"):
        raise InvalidScheduleError(
            f"cron: must have 5 or 6 fields, got {len(written)} in {shown}; write minute, hour, day of "
            "month, month and day of week, and optionally seconds"
        )
    if not expr.startswith("@") and _CHANCE.search(" ".join((*written[:2], *written[5:]))):
        raise InvalidScheduleError(
            f"cron: must not have random values (H, R), got {shown}; write fixed times"
        )
    if len(written) in FIELDS and "w" in written[2].lower():
        raise InvalidScheduleError(f"cron: must not have a nearest weekday (W), got {shown}; write days")
    try:
        expanded, nth = croniter.expand(expr)
    except _UNREADABLE as error:
        culprit = None if expr.startswith("@") else _culprit(written)
        what = culprit or f"must be an expression such as '*/5 * * * *', got {shown}: {error}"
        raise InvalidScheduleError(f"cron: {what}") from None
    crontab = Crontab(
        days=_days(expanded, nth, shown),
        hours=_numbers(expanded[1], 24),
        in_hour=tuple(m * 60 + s for m in _numbers(expanded[0], 60) for s in _seconds(expanded)),
    )
    first, years = _CYCLE
    if not any(
        matching_days(crontab.days, first.year + y, m) for y in range(years) for m in crontab.days.months
    ):
        raise InvalidScheduleError(
            f"cron: must have a day that occurs, got {shown}, which never fires; change its day or month"
        )
    return crontab


def _seconds(expanded: list[Any]) -> tuple[int, ...]:
    return _numbers(expanded[5], 60) if len(expanded) == FIELDS[1] else (0,)


def _culprit(written: list[str]) -> str | None:
    """Return the error of the first field that is invalid even if all others are ``*``."""
    for position, (name, (low, high)) in enumerate(zip(_FIELD_NAMES, croniter.RANGES, strict=False)):
        if position >= len(written):
            break
        alone = ["*"] * len(written)
        alone[position] = written[position]
        try:
            croniter.expand(" ".join(alone))
        except _UNREADABLE:
            return f"{name} must be {low} to {high}, a range, a list or a step, got {written[position]!r}"
    return None


def _numbers(values: list[Any], count: int) -> tuple[int, ...]:
    return tuple(range(count)) if "*" in values else tuple(sorted(values))


def _days(expanded: list[Any], nth: Any, shown: str) -> Days:
    dom, months, dow = expanded[_DAY_FIELDS]
    occurrences = {(int(weekday), -1 if n == "l" else int(n)) for weekday, ns in nth.items() for n in ns}
    if occurrences and "*" not in dom:
        raise InvalidScheduleError(
            f"cron: must not have both a day of the month and an n-th weekday, got {shown}; split it into two"
            " schedules"
        )
    return Days(
        months=_ALL_MONTHS if "*" in months else frozenset(months),
        days=None if "*" in dom else frozenset(d for d in dom if d != "l"),
        last_day="l" in dom,
        weekdays=None if "*" in dow else frozenset(dow),
        nth=frozenset(occurrences),
    )
