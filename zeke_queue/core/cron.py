"""Cron: the instants of an expression in a time zone, and which of them are due.

A *tick* is an instant in UTC at which a schedule fires. The ticks of a schedule are strictly increasing,
independent of changes of the zone's clocks. They depend on expression and zone only, so that every process
computes the same ones.

Daylight saving
---------------

A zone's clocks sometimes skip a stretch of wall time (the *gap*, in spring) or show one twice (the
*overlap*, in autumn). What happens then depends on the hour field:

**Every hour** (the field matches all 24 hours, as in ``*/5 * * * *``): the schedule is an interval. It
fires at every instant at which a clock on the wall shows a matching time. It fires in both passes of an
overlap, and a time that the gap skips is not made up for. So ``*/5 * * * *`` fires every five minutes of
elapsed time, on those days too.

**Certain hours** (any other, as in ``30 2 * * *`` or ``0 */6 * * *``): the schedule is an appointment. Each
matching wall time of the calendar fires once:

- one that occurs once fires then;
- one that occurs twice fires at its first occurrence;
- one that the gap skips fires at the first instant after the gap. Several such, or one that matches at that
  instant anyway, are one tick.

So ``30 2 * * *`` fires once on every day of the year: in Berlin at 03:00 summer time on the day when 02:30
is missing, and at the earlier of the two 02:30 on the day that has two.

The same holds for changes of other sizes: half an hour on Lord Howe Island, or the whole day that Samoa
left out in 2011, for which ``0 12 * * *`` fires at the midnight that followed. Source:
docs/adr/0006-daylight-saving.md.

croniter parses the expressions, in ``core.crontab``, and nothing else: the search for ticks is ours. Tests
compare it with croniter's for any expression, zone and instant. The two differ in two rules only: croniter
also fires at the second occurrence of an appointment that occurs twice, and at the seconds of a skipped one
in the minute after the gap.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from zeke_queue.core import crontab
from zeke_queue.errors import InvalidOptionError, InvalidScheduleError
from zeke_queue.model import CatchUp

if TYPE_CHECKING:
    from datetime import datetime

    from zeke_queue.model import Schedule

GRACE: Final = timedelta(seconds=60)
"""Maximum age of a tick that ``CatchUp.SKIP`` still serves."""

TICKS_MAX: Final = 1_000
"""Ticks served per round under ``CatchUp.ALL`` at most; the rest are due in the next round."""

# Other files in that folder: the machine's own zone, and clocks with leap seconds.
_NOT_ZONES: Final = ("localtime", "posixrules", "posix/", "right/")

_SECOND: Final = timedelta(seconds=1)
_ZERO: Final = timedelta(0)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression in a time zone; made by ``Cron.parse``.

    Attributes:
        expr: the expression as given.
        zone: name of the IANA zone.
    """

    expr: str
    zone: str
    _crontab: crontab.Crontab = field(repr=False, compare=False)
    _zone: ZoneInfo = field(repr=False, compare=False)

    @classmethod
    def parse(cls, expr: str, zone: str = "UTC") -> Cron:
        """Parse an expression (``core.crontab.read`` documents the syntax) and look up a zone.

        Raises:
            InvalidScheduleError: the expression is invalid or never fires, or there is no such zone.
        """
        return cls(expr, zone, crontab.read(expr), _zone_of(zone))

    def next_after(self, instant: datetime) -> datetime | None:
        """Return the first tick later than the instant.

        Args:
            instant: timezone-aware, in any zone.

        Returns:
            An aware datetime in UTC; None if there is no tick within fifty years, or before the year 9999.
        """
        if instant.utcoffset() is None:
            raise InvalidOptionError(f"instant: must be an aware datetime, got {instant!r}")
        instant = instant.astimezone(UTC)
        fixed = self._zone.utcoffset(None)
        try:
            if fixed is not None:
                wall = self._crontab.after((instant + fixed).replace(tzinfo=None))
                return None if wall is None else _utc(wall - fixed)
            return (
                self._next_interval(instant) if self._crontab.every_hour else self._next_appointment(instant)
            )
        except OverflowError:  # beyond the calendar's last year
            return None

    def _next_appointment(self, instant: datetime) -> datetime | None:
        # First occurrences are in the order of wall times, so return the first one past the instant.
        wall = self._crontab.after(_wall(instant, self._zone))
        while wall is not None:
            before, after = _offsets(wall, self._zone)
            missing = before < after
            tick = _change(wall - after, wall - before, self._zone) if missing else _utc(wall - before)
            if tick > instant:
                return tick
            wall = self._crontab.after(wall)
        return None

    def _next_interval(self, instant: datetime) -> datetime | None:
        here = instant.astimezone(self._zone)
        wall = here.replace(tzinfo=None, fold=0)
        before, after = _offsets(wall, self._zone)
        if before > after and here.fold == 0:
            change = _change(wall - before, wall - after, self._zone)
            following = self._crontab.after(wall)
            if following is not None and _utc(following - before) < change:
                return _utc(following - before)
            # The first pass has no further ticks; the second begins at a wall time that occurred before.
            following, pass_begins = self._crontab.since((change + after).replace(tzinfo=None)), change
        else:
            following, pass_begins = self._crontab.after(wall), instant + timedelta.resolution
        while following is not None:
            before, after = _offsets(following, self._zone)
            if before >= after:
                first, second = _utc(following - before), _utc(following - after)
                return first if first >= pass_begins else second
            following = self._crontab.after(following)
        return None


@dataclass(frozen=True, slots=True)
class Due:
    """The result of checking a schedule.

    Attributes:
        ticks: the ticks to serve now, ascending.
        last_tick: the instant up to which every tick is decided, served or not; store it.
        next_tick: the first tick after that, possibly in the past; None if it never fires again.
    """

    ticks: tuple[datetime, ...]
    last_tick: datetime
    next_tick: datetime | None


def due(
    cron: Cron, last: datetime | None, now: datetime, catch_up: CatchUp, *, limit: int = TICKS_MAX
) -> Due:
    """Return the ticks to serve now.

    Of the ticks later than ``last`` and not later than ``now``:

    - ``ALL`` serves each, at most ``limit`` per round, the oldest first; the next round follows at once if
      ``next_tick`` is in the past;
    - ``ONCE`` serves the latest;
    - ``SKIP`` serves the latest if its age is at most ``GRACE``, that is, if a scheduler was running in time.

    Under ONCE and SKIP, skipped ticks count as decided. A schedule never checked before (``last`` is None)
    serves nothing yet and starts from now: its first tick is the first one after now. A clock that went back
    serves nothing twice.

    Args:
        last: ``last_tick`` of the previous result.
        now: the storage's time, timezone-aware.
        limit: see ALL.

    Returns:
        The ticks to serve, and the values to store.
    """
    if last is None:
        return Due((), now.astimezone(UTC), cron.next_after(now))
    if catch_up is CatchUp.ALL:
        ticks: list[datetime] = []
        upcoming = cron.next_after(last)
        while upcoming is not None and upcoming <= now and len(ticks) < limit:
            ticks.append(upcoming)
            upcoming = cron.next_after(upcoming)
        return Due(tuple(ticks), ticks[-1] if ticks else last, upcoming)
    latest, upcoming = _latest(cron, last, now)
    if latest is None:
        return Due((), last, upcoming)
    served = (latest,) if catch_up is CatchUp.ONCE or now - latest <= GRACE else ()
    return Due(served, latest, upcoming)


def due_since(
    cron: Cron,
    last: datetime,
    since: datetime,
    now: datetime,
    catch_up: CatchUp,
    *,
    limit: int = TICKS_MAX,
) -> Due:
    """Return the ticks to serve now of a schedule that could not be served because of a lock.

    Ticks up to ``since`` are decided as they were then. None of the later ones was missed by the schedulers,
    so each is served, as by ``CatchUp.ALL``.

    Args:
        since: when it could not be served for the first time.
    """
    first = due(cron, last, since, catch_up, limit=limit)
    rest = due(cron, first.last_tick, now, CatchUp.ALL, limit=limit - len(first.ticks))
    return Due((*first.ticks, *rest.ticks), rest.last_tick, rest.next_tick)


def _latest(cron: Cron, last: datetime, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Return the latest tick in (last, now], or None; and the first tick after it, or after ``last``."""
    latest, upcoming = None, cron.next_after(last)
    if upcoming is None or upcoming > now:
        return latest, upcoming
    latest, upcoming = upcoming, cron.next_after(upcoming)
    if upcoming is None or upcoming > now:
        return latest, upcoming
    # Many ticks were missed, so find the latest one by bisection: no tick is in (high, now].
    high = now
    while high > latest:
        middle = latest + (high - latest) // _SECOND // 2 * _SECOND
        tick = cron.next_after(middle)
        if tick is None or tick > now:
            high = middle
        else:
            latest = tick
    return latest, cron.next_after(latest)


def _wall(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None, fold=0)


def _utc(wall_in_utc: datetime) -> datetime:
    return wall_in_utc.replace(tzinfo=UTC)


def _offsets(wall: datetime, zone: ZoneInfo) -> tuple[timedelta, timedelta]:
    """Return the zone's offsets before and after a wall time: equal for one that occurs once.

    The first is greater for a wall time that occurs twice, the second for one that does not occur. Source:
    PEP 495.
    """
    before = wall.replace(tzinfo=zone).utcoffset()
    after = wall.replace(tzinfo=zone, fold=1).utcoffset()
    return before or _ZERO, after or _ZERO


def _change(earlier: datetime, later: datetime, zone: ZoneInfo) -> datetime:
    """Return the first instant in (earlier, later] at which the zone has the offset that it has at the later.

    Both are naive, in UTC, and may have fractions of a second; zones change at whole seconds.
    """
    low, high = _utc(earlier.replace(microsecond=0)), _utc(later.replace(microsecond=0))
    settled = high.astimezone(zone).utcoffset()
    while high - low > _SECOND:
        middle = low + (high - low) // _SECOND // 2 * _SECOND
        if middle.astimezone(zone).utcoffset() == settled:
            high = middle
        else:
            low = middle
    return high


@lru_cache(maxsize=256)
def _zone_of(name: str) -> ZoneInfo:
    try:
        if not name.startswith(_NOT_ZONES):
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError, TypeError, AttributeError):
        pass  # not a string, or no such file: the message below covers both
    known = {zone.lower(): zone for zone in available_timezones() if not zone.startswith(_NOT_ZONES)}
    near = difflib.get_close_matches(str(name).lower(), known, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(known[zone] for zone in near)}?" if near else "try Europe/Berlin or UTC"
    raise InvalidScheduleError(f"timezone: must be an IANA time zone, got {name!r}; {hint}")


def last_occurrence(schedule: Schedule) -> datetime | None:
    """Return a schedule's last tick, if it has one.

    Until the first tick, the stored value is the instant of the first check by a scheduler. Another program
    may have stored an unreadable expression.
    """
    last = schedule.last_tick
    if last is None:
        return None
    try:
        follows = Cron.parse(schedule.cron, schedule.zone).next_after(last - timedelta(microseconds=1))
    except InvalidScheduleError:
        return None
    return last if follows == last else None
