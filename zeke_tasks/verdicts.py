"""What an error of the web means for the job that met it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_queue.signals import Fail, Retry
from zeke_tasks.web import Permanent, Transient

if TYPE_CHECKING:
    from zeke_queue.signals import Signal


def verdict(error: Exception) -> Signal | None:
    """Return the signal to raise: try again, or give up; None if the error should be raised as it is."""
    match error:
        case Transient():
            return Retry(after=error.retry_after, reason=str(error))
        case Permanent():
            return Fail(str(error))
        case _:
            return None
