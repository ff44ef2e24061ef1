"""How long a heartbeat is valid: one definition for workers, storages and the simulator.

An outage may begin just before a heartbeat is due, and after it the worker needs a moment to reconnect. So
that no outage shorter than the lease interrupts a handler, a heartbeat is valid for the sum of the three.
"""

from __future__ import annotations

from typing import Final

RECONNECT_MAX: Final = 3.0
"""Maximum seconds from the end of an outage to the next answered heartbeat; or the interval, if shorter."""

UPTIME_MAX: Final = 100 * 365.25 * 86_400.0
"""Cap of the time without an outage, in seconds: no lease is longer."""


def reconnect_time(interval: float) -> float:
    """Return the seconds from the end of an outage within which a heartbeat must be answered."""
    return min(RECONNECT_MAX, interval)


def outage_gap(interval: float) -> float:
    """Return the maximum seconds between two answered heartbeats without an outage."""
    return interval + reconnect_time(interval)


def validity(lease: float, interval: float) -> float:
    """Return the seconds after a heartbeat for which the worker's jobs are its own.

    Args:
        lease: the longest outage that interrupts no handler.
        interval: the time between heartbeats.

    >>> validity(15.0, 5.0)
    23.0
    >>> validity(1.0, 0.5)
    2.0
    """
    return lease + outage_gap(interval)
