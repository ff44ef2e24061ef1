"""Intervals between checks of a source, as durations that the store adds to its clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zeke_tasks.store.model import Source

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR

PULL_SLACK: Final = 150.0
"""Seconds before its time at which a source counts as due: half of the five minutes between two pulls.

Without it, a source that is checked a second after its pull would not be due at the pull an hour later, so an
hourly source would be checked every 65 minutes.
"""


def after_success(source: Source) -> float:
    """Return the seconds until the next check after a success."""
    return source.check_frequency_hours * HOUR


EXPENSIVE_MAX: Final = 7 * DAY
"""Maximum seconds until the next check of a source that is too expensive to read."""


def after_expense(source: Source, failing_for: float | None) -> float:
    """Return the seconds until the next check after reading a source took too much time or memory.

    At least a day, then as for other failures, but up to a week, since each check costs as much again.
    """
    wait = min(max(DAY, failing_for or 0.0), EXPENSIVE_MAX)
    return max(wait, after_success(source))


def after_failure(source: Source, failing_for: float | None, retry_after: float | None = None) -> float:
    """Return the seconds until the next check after a failure.

    The wait equals the time for which the source has been failing. So it doubles each time without a counter,
    and a check that runs twice changes nothing. A failing source is never checked more often than a healthy
    one, and at least once a day, or at its own interval if that is longer.

    Args:
        failing_for: seconds since the first failure; None if this is the first.
        retry_after: seconds to wait, as requested by the server.
    """
    regular = after_success(source)
    wait = min(max(regular, failing_for or 0.0), max(regular, DAY))
    return max(wait, retry_after or 0.0)
