"""The pauses of an idle worker between polls.

A worker records that it sleeps, and senders wake only sleeping workers. Between a sender's read of that flag
and a worker's write, a job can slip through unannounced. So the first polls of a sleeping worker follow
quickly: such a job is found after 50 ms, not after a whole poll interval.
"""

from __future__ import annotations

from typing import Final

IDLE_LADDER: Final = (0.05, 0.2, 1.0)
"""Seconds of the first pauses after work ran out."""


def idle_wait(n: int, poll: float) -> float:
    """Return the seconds to wait before the next poll.

    Args:
        n: how many polls in a row have found nothing since the worker fell asleep, from 0.
        poll: seconds between polls in the long run; no pause is longer.

    >>> [idle_wait(n, poll=2.0) for n in range(5)]
    [0.05, 0.2, 1.0, 2.0, 2.0]
    """
    return min(IDLE_LADDER[n], poll) if n < len(IDLE_LADDER) else poll
