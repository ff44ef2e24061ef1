"""Signals that a handler raises to continue its job in a way that neither a return nor an error expresses."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from zeke_queue.core.failure import shown
from zeke_queue.core.options import check_seconds
from zeke_queue.errors import InvalidOptionError

if TYPE_CHECKING:
    from zeke_queue.core.options import Seconds


class Signal(Exception):
    """The base of signals that are exceptions: instructions to the worker, not errors."""


class Retry(Signal):
    """Fail this attempt and run again, after a given delay or by the job's retry policy.

    It uses a retry; when none is left the job fails.

    Args:
        after: seconds (or a duration) until the next attempt, 0 for at once, None for the policy's delay.
        reason: stored as the attempt's error message.

    Raises:
        InvalidOptionError: ``after`` is not a duration, negative, or more than 68 years.
    """

    def __init__(self, after: Seconds | None = None, reason: str | None = None) -> None:
        self.after = None if after is None else check_seconds("after", after)
        self.reason = reason
        super().__init__(reason or "The handler asked for a retry")


class Fail(Signal):
    """Fail the job permanently, even if retries are left.

    Args:
        reason: stored as the job's error message.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class Snooze(Signal):
    """Postpone the job without a failure: no retry is used.

    Args:
        seconds: time (or a duration) until it is due again.

    Raises:
        InvalidOptionError: ``seconds`` is not a duration, negative, or more than 68 years.
    """

    def __init__(self, seconds: Seconds) -> None:
        self.seconds = check_seconds("seconds", seconds)
        super().__init__(f"Snoozed for {self.seconds:g} s")


class Wait(BaseException):
    """Continue when another job has ended, in any state, and hold no slot meanwhile.

    It is not an ``Exception``, so ``except Exception`` around ``job.call`` does not catch it. When the other
    job has ended, the handler runs again from its beginning, which uses no retry. ``JobContext.wait_for``
    raises it when needed, after checking the job: a handler that raises it for a job that has ended runs
    again at once. If it then raises it again for the same job, or if the job does not exist, the attempt
    fails, and is retried by the policy; if it raises it for another job that had ended, it runs again after a
    second. If that job waits for this one, directly or not, this job fails permanently.

    Args:
        child: the job, or its id.

    Raises:
        InvalidOptionError: ``child`` is neither a job nor an id.
    """

    def __init__(self, child: object) -> None:
        found = getattr(child, "id", child)
        if not isinstance(found, UUID):
            raise InvalidOptionError(
                f"child: must be a run or the id of a job, got {shown(child)}; see job.start_child"
            )
        self.child = found
        super().__init__(f"Waits for job {found}")
