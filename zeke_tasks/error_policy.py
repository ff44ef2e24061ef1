"""Mapping of web and AI errors to signals of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from zeke_queue.task.signals import Fail, Retry, Snooze
from zeke_tasks.ai.errors import (
    AIMalformed,
    AIOverBudget,
    AIRateLimited,
    AIRefused,
    AIRejected,
    AIUnavailable,
)
from zeke_tasks.fetch import Permanent, Transient

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

    from zeke_queue.task.signals import Signal

AI_WAIT: Final = 60.0
"""Seconds that a job waits for a rate limit if the error does not say how long."""

AI_WAIT_MIN: Final = 1.0
"""Minimum seconds that a job waits for a rate limit: a snooze uses up no retry, so nothing else slows it."""

RATE_LIMITED: Final = "AI call postponed"
"""The message of the log line of a job that waits for a rate limit; its ``reason`` says how long."""

OVER_BUDGET: Final = "AI call waits for the budget"
"""The message of the log line of a job that waits for a budget; its ``reason`` says until when."""

AI_BAD_ANSWERS: Final = 2
"""Retries after which a job that gets an unusable answer fails, since calls cost money.

All of the job's retries count, including those for an unavailable AI, so such a job may fail at its first
unusable answer. Snoozes for a rate limit do not count.
"""


class Job(Protocol):
    """The part of a job that is used; `JobContext` implements it."""

    @property
    def retry_count(self) -> int:
        """Number of retries used up."""
        ...

    @property
    def logger(self) -> FilteringBoundLogger:
        """Logs waits."""
        ...


def verdict(error: Exception, job: Job | None = None) -> Signal | None:
    """Return the signal to raise (retry, snooze or fail), or None if the error should propagate.

    Args:
        error: the error.
        job: the job whose handler caught it. Its retries limit repeated calls of the AI. A wait is logged
            with its logger, since a snooze stores no reason. Without a job only the retry policy limits
            repetition.
    """
    match error:
        case Transient() | AIUnavailable():
            return Retry(after=error.retry_after, reason=str(error))
        case Permanent() | AIRejected():
            return Fail(str(error))
        case AIRateLimited():
            seconds = AI_WAIT if error.retry_after is None else max(error.retry_after, AI_WAIT_MIN)
            if job is not None:
                job.logger.warning(RATE_LIMITED, reason=error.reason, seconds=round(seconds, 3))
            return Snooze(seconds)
        case AIOverBudget():
            if job is not None:
                job.logger.warning(
                    OVER_BUDGET,
                    reason=error.reason,
                    spentUsd=float(error.spent),
                    budgetUsd=float(error.budget),
                    goesOnAt=error.goes_on.isoformat(),
                )
            return Snooze(max(error.seconds, AI_WAIT_MIN))
        case AIRefused() | AIMalformed():
            again = job is None or job.retry_count < AI_BAD_ANSWERS
            return Retry(reason=str(error)) if again else Fail(str(error))
        case _:
            return None
