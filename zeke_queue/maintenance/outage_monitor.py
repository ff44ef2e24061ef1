"""The time since the last outage of the storage, observed from regular calls."""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zeke_queue.system.clock import Clock


class OutageMonitor:
    """Measures the time since the last outage, from calls made at intervals; may be used from any thread.

    After an outage each worker needs time to renew its lease. So maintenance treats a lease as ended only
    after as long a time without an outage. An outage shorter than ``gap`` is not noticed. It may end leases
    shorter than itself; by then their workers have given up their jobs, so these may be rescued at once.

    Args:
        gap: maximum seconds between two answers without an outage.
    """

    def __init__(self, clock: Clock, gap: float) -> None:
        self.gap = gap
        self._clock = clock
        self._lock = threading.Lock()
        self._since = self._last = -math.inf

    def answered(self, sent: float) -> None:
        """Record an answered call.

        Args:
            sent: the monotonic time when it was sent. The answer may have waited for this process, so it
                proves nothing about the time since.
        """
        with self._lock:
            now = self._clock.monotonic()
            if now - self._last > self.gap:
                self._since = now
            self._last = max(self._last, sent)

    def uptime(self) -> float:
        """Return for how long there has been no outage; 0 if there may be one."""
        with self._lock:
            now = self._clock.monotonic()
            return 0.0 if now - self._last > self.gap else now - self._since
