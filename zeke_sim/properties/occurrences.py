"""Occurrences of a schedule by brute force: tests every minute that a wall clock shows.

It shares no code with ``zeke_queue.core.cron``, which it checks. It is slow, so the results of days are
cached.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

HORIZON: Final = 366 * 9
"""Number of days after which a schedule without an occurrence counts as one that never fires."""

_NAMES: Final = {
    name: number
    for names in (
        ("sun", "mon", "tue", "wed", "thu", "fri", "sat"),
        ("", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    )
    for number, name in enumerate(names)
    if name
}
_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_MINUTE: Final = 60


class Fields(NamedTuple):
    """A cron expression as sets of numbers; weekdays are 0 (Sunday) to 6.

    ``last`` is whether the month's last day is included; ``nth`` contains weekdays with their position in the
    month, -1 for the last one.
    """

    seconds: frozenset[int]
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool
    last: bool
    nth: frozenset[tuple[int, int]]

    def on(self, day: date) -> bool:
        """Return whether it fires on a day; if days of month and weekdays are given, one match suffices."""
        if day.month not in self.months:
            return False
        ends = (day + _DAY).day == 1
        weekday, place = day.isoweekday() % 7, (day.day + 6) // 7
        is_last = (day + 7 * _DAY).month != day.month
        by_day = day.day in self.days or (self.last and ends)
        by_weekday = weekday in self.weekdays or (weekday, place) in self.nth
        by_weekday = by_weekday or (is_last and (weekday, -1) in self.nth)
        return by_day or by_weekday if self.either else by_day and by_weekday

    def at(self, wall: datetime) -> bool:
        """Return whether it fires at a wall clock time."""
        return (
            wall.second in self.seconds
            and wall.minute in self.minutes
            and wall.hour in self.hours
            and self.on(wall.date())
        )


@lru_cache(maxsize=256)
def fields_of(expr: str) -> Fields | None:
    """Parse an expression; None if it has more than lists, ranges, steps, names, ``L`` and ``#``."""
    words = expr.lower().split()
    try:
        days_of, last = _without(words[2], {"l"})
        weekdays_of, special = _without(words[4], {w for w in words[4].split(",") if "#" in w or w[0] == "l"})
        nth = frozenset(map(_nth, special))
        minutes, hours, days, months, weekdays = (
            _numbers(word, low, high)
            for word, (low, high) in zip(
                (words[0], words[1], days_of, words[3], weekdays_of),
                ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7)),
                strict=True,
            )
        )
        seconds = _numbers(words[5], 0, 59) if len(words) > 5 else frozenset({0})  # noqa: PLR2004
    except ValueError:
        return None
    either = not words[2].startswith("*") and not words[4].startswith("*")
    if either and nth:
        return None  # cron implementations differ on this
    weekdays = frozenset(day % 7 for day in weekdays)
    return Fields(seconds, minutes, hours, days, months, weekdays, either, bool(last), nth)


def _without(word: str, special: set[str]) -> tuple[str, list[str]]:
    """Return a field without its special parts, and those parts."""
    parts = word.split(",")
    return ",".join(part for part in parts if part not in special), [
        part for part in parts if part in special
    ]


def _nth(part: str) -> tuple[int, int]:
    """Parse a weekday and its position in the month: ``1#2`` is the second Monday, ``l5`` the last Friday."""
    if part[0] == "l":
        return _number(part[1:]) % 7, -1
    weekday, _, place = part.partition("#")
    return _number(weekday) % 7, int(place)


def _numbers(word: str, low: int, high: int) -> frozenset[int]:
    found: set[int] = set()
    for part in word.split(",") if word else ():
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if first == "*":
            begin, end = low, high
        else:
            begin = _number(first)
            end = _number(last) if last else (high if step else begin)
        if begin < low or end > high or end < begin:
            raise ValueError(word)
        found.update(range(begin, end + 1, int(step) if step else 1))
    return frozenset(found)


def _number(word: str) -> int:
    return _NAMES[word] if word in _NAMES else int(word)


def between(expr: str, zone: str, after: datetime, until: datetime) -> Iterator[datetime]:
    """Yield the occurrences after ``after`` and not after ``until``, ascending, in UTC."""
    day = after.astimezone(UTC).date()
    last = until.astimezone(UTC).date()
    while day <= last:
        for tick in on_day(expr, zone, day):
            if after < tick <= until:
                yield tick
        day += _DAY


def following(expr: str, zone: str, after: datetime) -> datetime | None:
    """Return the first occurrence after an instant; None if it has none within ``HORIZON`` days."""
    first = after.astimezone(UTC).date()
    for number in range(HORIZON):
        for tick in on_day(expr, zone, first + number * _DAY):
            if tick > after:
                return tick
    return None


@lru_cache(maxsize=4096)
def on_day(expr: str, zone: str, day: date) -> tuple[datetime, ...]:
    """Return the occurrences on a UTC day."""
    fields = fields_of(expr)
    if fields is None:
        return ()
    begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
    where = ZoneInfo(zone)
    offsets = {(begin + timedelta(hours=hours)).astimezone(where).utcoffset() for hours in range(-25, 26)}
    if len(offsets) == 1:
        offset = offsets.pop() or timedelta()
        return tuple(_plain_day(fields, begin, offset))
    return tuple(_odd_day(fields, begin, where))


def _plain_day(fields: Fields, begin: datetime, offset: timedelta) -> Iterator[datetime]:
    """Yield the occurrences of a day without a clock change."""
    days = {(begin + offset).date(), (begin + offset + _DAY - _SECOND).date()}
    for day in sorted(days):
        if not fields.on(day):
            continue
        for hour in sorted(fields.hours):
            for minute in sorted(fields.minutes):
                for second in sorted(fields.seconds):
                    wall = datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=UTC)
                    if begin <= (tick := wall - offset) < begin + _DAY:
                        yield tick


def _odd_day(fields: Fields, begin: datetime, where: ZoneInfo) -> Iterator[datetime]:
    """Yield the occurrences of a day near a clock change by testing each of its moments.

    A schedule of every hour fires whenever the clock shows a matching time. A schedule of certain hours fires
    when its time is first shown or, if the clock skips that time, at the moment to which it jumps.
    """
    step = timedelta(seconds=1 if fields.seconds != frozenset({0}) else _MINUTE)
    every_hour = len(fields.hours) == 24  # noqa: PLR2004
    shown = (begin - step).astimezone(where)
    moment = begin
    while moment < begin + _DAY:
        wall = moment.astimezone(where)
        fires = fields.at(wall) and (every_hour or wall.fold == 0)
        if not fires and not every_hour:
            left_out = shown.replace(tzinfo=None) + step
            now = wall.replace(tzinfo=None)
            while left_out < now and not fires:
                fires = fields.at(left_out)
                left_out += step
        if fires:
            yield moment
        shown = wall
        moment += step
