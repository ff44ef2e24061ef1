"""The retry verdict: whether a failed job runs again, and after how long (a duration, never a time).

The randomness is an argument, so that a verdict can be replayed from the seed of the stream that it was drawn
from.

Source: pg-boss 9, whose backoff draws uniformly from the upper half of a window that doubles with each
retry, up to sixteen doublings.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zeke_queue.model import RetryPolicy

MAX_DOUBLINGS: Final = 16

WAIT_MAX: Final = 2**31 - 1
"""Maximum wait in seconds (68 years), so that now plus a wait is a time that can be stored."""


def verdict(policy: RetryPolicy, retry_count: int, draw: float) -> float | None:
    """Return the seconds after which a job that has just failed runs again.

    With w = delay * 2^min(16, retry_count + 1) the wait is w/2 + draw * w/2, but never more than the policy's
    ``delay_max``. Without backoff it is exactly ``delay``: the cap applies to drawn delays. A negative count,
    delay or cap, as another program may write it, counts as 0.

    Args:
        retry_count: how many retries the job has used, from 0.
        draw: uniform in [0, 1), from the stream ``retry``.

    Returns:
        Seconds to wait, or None to give up.

    >>> from zeke_queue.model import RetryPolicy
    >>> verdict(RetryPolicy(limit=3, delay=1), 1, 0.5)
    3.0
    >>> verdict(RetryPolicy(limit=3), 3, 0.5) is None
    True
    """
    if retry_count >= policy.limit:
        return None
    retry_count, policy = max(0, retry_count), replace(policy, delay=max(0, policy.delay))
    if not policy.backoff:
        return float(policy.delay)
    half = policy.delay * 2 ** min(MAX_DOUBLINGS, retry_count + 1) / 2
    cap = WAIT_MAX if policy.delay_max is None else max(0, min(policy.delay_max, WAIT_MAX))
    return min(float(cap), half + draw * half)
