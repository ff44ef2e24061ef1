"""What an error of the web or of the AI means for the job that met it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from zeke_queue.task.signals import Fail, Retry, Snooze
from zeke_tasks.ai.errors import AIMalformed, AIRateLimited, AIRefused, AIRejected, AIUnavailable
from zeke_tasks.fetch import Permanent, Transient

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from zeke_queue.task.signals import Signal

AI_WAIT: Final = 60.0
"""Seconds that a job waits for a rate limit if nobody says how long."""

AI_WAIT_MIN: Final = 1.0
"""Seconds that a job waits for a rate limit at least: a snooze uses up no retry, so nothing else slows it."""

AI_BAD_ANSWERS: Final = 2
"""Retries after which a job that gets an answer of no use gives up: it costs money each time.

All of the job's retries count, those too that an AI which was away used up: such a job may give up at its
first answer of no use. A job that was put off by a rate limit has used up none.
"""


class Job(Protocol):
    """What is asked of a job; `JobContext` is one."""

    @property
    def retry_count(self) -> int:
        """How many retries were used up."""
        ...

    @property
    def logger(self) -> FilteringBoundLogger:
        """Where a wait is told."""
        ...


def verdict(error: Exception, job: Job | None = None) -> Signal | None:
    """Return the signal to raise: try again, wait, or give up; None if the error should be raised as it is.

    Args:
        error: what was met.
        job: whose handler met it. Its retries bound how often an AI is asked again, and a wait is told in its
            log, since a snooze keeps no reason. Without a job only the retry policy bounds.
    """
    match error:
        case Transient() | AIUnavailable():
            return Retry(after=error.retry_after, reason=str(error))
        case Permanent() | AIRejected():
            return Fail(str(error))
        case AIRateLimited():
            seconds = AI_WAIT if error.retry_after is None else max(error.retry_after, AI_WAIT_MIN)
            if job is not None:
                job.logger.warning("AI put off", reason=error.reason, seconds=round(seconds, 3))
            return Snooze(seconds)
        case AIRefused() | AIMalformed():
            again = job is None or job.retry_count < AI_BAD_ANSWERS
            return Retry(reason=str(error)) if again else Fail(str(error))
        case _:
            return None
