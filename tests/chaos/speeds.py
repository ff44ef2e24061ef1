"""How fast jobs were completed before a fault and after it, and how soon."""

from __future__ import annotations

from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WINDOW: Final = 1.0
"""Seconds over which a rate is taken."""

RECOVERED: Final = 0.8
"""Share of the rate before at which the workers count as recovered."""

TARGET: Final = 0.95
"""Share of the speed before that must be reached after a fault."""

TOLERANCE: Final = 0.1
"""How much less of it one run may show: without a fault on an idle machine, the speeds of two periods of
eight seconds, which is about as long as a run's first phase, differ by up to 9 %."""

RECOVERY_MAX: Final = 15.0
"""Seconds from the last fault in which jobs must be nearly as fast as before, in a whole run on an idle
machine."""

GAP_MAX: Final = 60.0
"""Seconds without an end of a job from which a run fails, on any machine."""

_STEP: Final = 0.1


class Speeds(NamedTuple):
    """Rates in jobs per second.

    Attributes:
        before: until the first fault.
        after: from the recovery on.
        recovery: seconds from the end of the last fault to the first window at nearly the rate before; None
            if there was none.
    """

    before: float
    after: float
    recovery: float | None

    def __str__(self) -> str:
        recovery = "never" if self.recovery is None else f"in {self.recovery:.1f} s"
        return f"{self.before:.0f} jobs/s before, {self.after:.0f} after; recovered {recovery}"

    @property
    def ratio(self) -> float | None:
        return self.after / self.before if self.before and self.recovery is not None else None

    def complaints(self) -> Iterator[str]:
        """Yield what is wrong with the speed after the faults of a whole run on an idle machine."""
        if self.ratio is None:
            yield f"speed: must return after the fault, got {self.after:.0f} jobs/s after {self.before:.0f}"
        elif self.ratio < TARGET - TOLERANCE:
            yield f"speed: must be {TARGET - TOLERANCE:.2f} of that before at least, got {self.ratio:.2f}"

    def late(self) -> Iterator[str]:
        """Yield what is wrong with the recovery, which is judged in each of several runs."""
        if self.recovery is None or self.recovery > RECOVERY_MAX:
            got = "none" if self.recovery is None else f"{self.recovery:.1f} s"
            yield f"recovery: must take {RECOVERY_MAX:g} s at most, got {got}"


def speeds(
    ends: Sequence[float], began: float, faulty_from: float, faulty_until: float, until: float
) -> Speeds:
    """Compute the rates of completions.

    Args:
        ends: when jobs were completed, ascending.
        began: when the workers were at full speed.
        faulty_from: when the first fault began.
        faulty_until: when the last fault ended.
        until: when jobs began to run out.
    """
    before = _rate(ends, began, faulty_from)
    at = faulty_until
    while at + WINDOW <= until:
        if _rate(ends, at, at + WINDOW) >= RECOVERED * before:
            return Speeds(before, _rate(ends, at, until), at - faulty_until)
        at += _STEP
    return Speeds(before, _rate(ends, faulty_until, until), None)


def longest_gap(ends: Sequence[float], since: float, until: float) -> float:
    """Return the longest time between two ends of jobs in a period, whose own ends count, too."""
    times = [since, *sorted(at for at in ends if since < at < until), until]
    return max(later - earlier for earlier, later in pairwise(times))


def _rate(ends: Sequence[float], since: float, until: float) -> float:
    if until <= since:
        return 0.0
    return (bisect_left(ends, until) - bisect_left(ends, since)) / (until - since)
