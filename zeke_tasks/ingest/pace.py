"""When a source is checked next, as durations that the store adds to its clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zeke_tasks.store.model import Source

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR

PULL_SLACK: Final = 150.0
"""Seconds before its time that a source counts as due: half of the five minutes between two pulls.

Without it, a check that ran a second after its pull would miss the pull an hour later by that second, and an
hourly source would be checked every 65 minutes.
"""


def after_success(source: Source) -> float:
    """Return the seconds until the next check of a source that is well."""
    return source.check_frequency_hours * HOUR


def after_failure(source: Source, failing_for: float | None, retry_after: float | None = None) -> float:
    """Return the seconds until the next check of a source that fails.

    A source that has failed for some time is left alone for as long again, so that the wait doubles each time
    without anything being counted, and a check that runs twice changes nothing. It is never checked more
    often than one that is well, and at least once a day, or as often as it says if that is more rarely.

    Args:
        failing_for: seconds since its first failure; None if this is the first.
        retry_after: seconds that its server asked for.
    """
    regular = after_success(source)
    wait = min(max(regular, failing_for or 0.0), max(regular, DAY))
    return max(wait, retry_after or 0.0)
