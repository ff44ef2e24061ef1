"""How long a worker that found nothing waits before it looks again.

A worker says that it is asleep, and senders wake only sleepers. Between a sender that reads this and a
worker that writes it there is a gap through which a job can slip unannounced, so the first looks after
falling asleep come soon: one that was missed is found after 50 ms, not after a whole poll interval.
"""

from __future__ import annotations

from typing import Final

IDLE_LADDER: Final = (0.05, 0.2, 1.0)
"""Seconds of the first waits after work ran out."""


def idle_wait(n: int, poll: float) -> float:
    """Return the seconds to wait before the next look.

    Args:
        n: how many looks in a row have found nothing since the worker fell asleep, from 0.
        poll: seconds between looks in the long run; no wait is longer.

    >>> [idle_wait(n, poll=2.0) for n in range(5)]
    [0.05, 0.2, 1.0, 2.0, 2.0]
    """
    return min(IDLE_LADDER[n], poll) if n < len(IDLE_LADDER) else poll
