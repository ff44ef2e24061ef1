"""The mode in which statements notify, by whether the server's notification queue is full.

A session that listens and does not read, such as a process that hangs, prevents the cleanup of the queue.
Statements are then repeated without their notifications: polling finds the work.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Final

from zeke_queue.storage.postgres.error_mapping import is_notify_queue_full
from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    from zeke_queue.storage.postgres.statements import Notify

GUARDED_SECONDS: Final = 60.0
"""Seconds for which statements check the queue's usage after one has failed because of its notifications.

The check also removes notifications that all listeners have read, which a failed commit does not.
"""

SILENT_SECONDS: Final = 5.0
"""Seconds for which statements send no notifications after one has failed despite the check."""

LOG_SECONDS: Final = 60.0
"""Seconds between two log lines about a full queue."""


class NotifyQueue:
    """The server's notification queue, as far as failed statements have shown."""

    def __init__(self) -> None:
        self._guarded_until = self._silent_until = self._logged_at = -math.inf

    @property
    def mode(self) -> Notify:
        """When a statement on its own sends its notifications."""
        if self._guarded_until == -math.inf:
            return "always"
        now = asyncio.get_running_loop().time()
        if now < self._silent_until:
            return "never"
        return "unless full" if now < self._guarded_until else "always"

    def is_full(self, error: BaseException) -> bool:
        """Return whether a statement failed because of its notifications; the next one sends fewer."""
        if not is_notify_queue_full(error):
            return False
        now = asyncio.get_running_loop().time()
        if self.mode != "always":
            self._silent_until = now + SILENT_SECONDS
        self._guarded_until = now + GUARDED_SECONDS
        if now - self._logged_at >= LOG_SECONDS:
            self._logged_at = now
            get_logger().error(
                "notify_queue_full",
                reason=str(error).partition("\n")[0],
                consequence="work and changes are found by polling",
                hint="run `zeke doctor`, which names the session that prevents the queue's cleanup",
            )
        return True
