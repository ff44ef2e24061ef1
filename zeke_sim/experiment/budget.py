"""Time budgets for the search and for shrinking; code inside a world never sees them."""

from __future__ import annotations

import time


class Budget:
    """A budget of CPU seconds of this process, starting now."""

    def __init__(self, seconds: float | None) -> None:
        self._began = time.process_time()
        self._seconds = seconds

    @property
    def used(self) -> float:
        """CPU seconds used so far."""
        return time.process_time() - self._began

    @property
    def used_up(self) -> bool:
        """Whether the budget is used up."""
        return self._seconds is not None and self.used >= self._seconds


class Stopwatch:
    """Measures real seconds since its creation."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    @property
    def seconds(self) -> float:
        """Real seconds so far."""
        return time.monotonic() - self._began
