"""How many lines one look returns, and of which job how many: both storages and those who look go by it."""

from __future__ import annotations

from typing import Final

EVENTS_AT_ONCE: Final = 1000
"""Lines that one look returns at most, unless that would be less than one for each job."""


def of_each(jobs: int) -> int:
    """Return how many lines a look at several jobs returns of each at most, whatever the others have.

    >>> of_each(1), of_each(3), of_each(5000)
    (1000, 333, 1)
    """
    return max(1, EVENTS_AT_ONCE // max(1, jobs))
