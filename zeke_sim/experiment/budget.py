"""Budgets of real time for the search and for shrinking: what runs inside a world never sees them."""

from __future__ import annotations

import time


class Budget:
    """So many seconds of processor time of this process, from now on."""

    def __init__(self, seconds: float | None) -> None:
        self._began = time.process_time()
        self._seconds = seconds

    @property
    def used(self) -> float:
        """Seconds that were used."""
        return time.process_time() - self._began

    @property
    def used_up(self) -> bool:
        """Whether nothing is left."""
        return self._seconds is not None and self.used >= self._seconds


class Stopwatch:
    """Real seconds since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._began
