"""Classification of attempts: from a handler's result or error to the stored outcome.

A handler's failure is retried by its job's policy. Failures that a retry would not fix are final: an invalid
payload, and a result that can't be stored, since the work is done and the result would be as wrong the next
time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from zeke_queue.core import jsonb, waits
from zeke_queue.core.failure import error_output, error_record
from zeke_queue.core.retry import verdict
from zeke_queue.errors import (
    JobNotFoundError,
    PayloadTooLargeError,
    PayloadValidationError,
    SerializationError,
)
from zeke_queue.model import EXPIRED_TYPE, Completed, Failed, Released, RetryPolicy, RowState, Waiting
from zeke_queue.task.signals import Fail, Retry, Snooze, Wait
from zeke_queue.worker.executors.executor import Encoded, RemoteFailure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from zeke_queue.model import Claimed
    from zeke_queue.system.entropy import Entropy
    from zeke_queue.worker.leased_job import LeasedJob, Outcome

_SWALLOWED: Final = (
    "job.call or job.wait_for ended this attempt with a Wait, which the handler caught before it returned; "
    "let the Wait propagate: except BaseException and gather(return_exceptions=True) catch it"
)


class Outcomes:
    """Makes outcomes.

    Args:
        entropy: its stream ``retry`` supplies the jitter.
        output_cap: bytes of a result's JSON at most.
    """

    def __init__(self, entropy: Entropy, output_cap: int) -> None:
        self._draw = entropy.stream("retry").random
        self._cap = output_cap

    def returned(self, job: LeasedJob, result: Any) -> Outcome | None:
        """Return the outcome of a handler that returned; None if none must be stored."""
        claimed = job.claimed
        if job.reason is not None and job.reason != "shutdown":
            return None if job.reason == "lost" else self.expired(job)
        if job.context is not None and job.context.interrupted:
            return self._unstorable(job, "Wait", _SWALLOWED)
        if result is None:
            return Completed(claimed.id, claimed.attempt, None)
        try:
            text = result.text if type(result) is Encoded else jsonb.dumps(result)
            if text is not None:
                jsonb.check_size(text, self._cap, "The handler's result", "return")
        except SerializationError as error:
            return self._unstorable(
                job, "SerializationError", f"The handler's result can't be stored. {error}"
            )
        except PayloadTooLargeError as error:
            return self._unstorable(job, PayloadTooLargeError.__name__, str(error))
        return Completed(claimed.id, claimed.attempt, text)

    def raised(self, job: LeasedJob, error: BaseException) -> Outcome | None:
        """Return the outcome of a handler that raised; None if none must be stored."""
        claimed = job.claimed
        if job.reason == "lost":
            return None
        if job.reason == "expired":
            return self.expired(job)
        if isinstance(error, Fail):
            return Failed(claimed.id, claimed.attempt, None, error_record("Fail", error.reason))
        if job.reason == "shutdown":
            # The exception may result from the cancellation, so leave the job to the next worker.
            return Released(claimed.id, claimed.attempt)
        return self._postponed(claimed, error) or self._failed(claimed, error)

    def abandoned(self, job: LeasedJob) -> Outcome:
        """Return the outcome of a handler that ignores the shutdown.

        A failure only if its deadline had passed.
        """
        if job.reason == "expired":
            return self.expired(job)
        return Released(job.claimed.id, job.claimed.attempt)

    def invalid_payload(self, job: LeasedJob, error: PayloadValidationError) -> Outcome:
        """Return the outcome of an invalid payload: failed permanently, without a run."""
        fields = [{"path": path, "message": message} for path, message in error.fields]
        return Failed(
            job.claimed.id,
            job.claimed.attempt,
            None,
            error_record(PayloadValidationError.__name__, str(error), fields=fields),
        )

    def refused_wait(self, job: LeasedJob, child: UUID, chain: Sequence[UUID]) -> Outcome:
        """Return the outcome of a job that would wait forever.

        A cycle is permanent. A child that does not exist is a failure by the job's policy, since a
        transaction that sends it may not have committed yet; and so is one that had ended before, since the
        handler may find its outcome later.

        Args:
            chain: as in ``Suspensions.refused``.
        """
        claimed = job.claimed
        if not chain:
            output = error_record(JobNotFoundError.__name__, waits.missing_error(child))
            return Failed(claimed.id, claimed.attempt, self._verdict(claimed), output)
        if waits.is_ended(chain, claimed.id):
            output = error_record("Wait", waits.ended_error(child))
            return Failed(claimed.id, claimed.attempt, self._verdict(claimed), output)
        return self._unstorable(job, "Wait", waits.cycle_error(chain, claimed.id))

    def expired(self, job: LeasedJob) -> Outcome:
        """Return the outcome of an attempt whose deadline passed, regardless of its handler's result."""
        claimed = job.claimed
        output = error_record(
            EXPIRED_TYPE, f"The attempt took longer than {claimed.expire_in:g} s (expire_in)"
        )
        return Failed(claimed.id, claimed.attempt, self._verdict(claimed), output, RowState.EXPIRED)

    def _postponed(self, claimed: Claimed, error: BaseException) -> Outcome | None:
        """Return the outcome of a handler that asked to continue later; None if it did not."""
        match _alone(error):
            case Snooze(seconds=seconds):
                return Released(claimed.id, claimed.attempt, seconds)
            case Wait(child=child):
                return Waiting(claimed.id, claimed.attempt, child)
            case _:
                return None

    def _failed(self, claimed: Claimed, error: BaseException) -> Failed:
        retry_in = self._verdict(claimed)
        if isinstance(error, Retry):
            if retry_in is not None and error.after is not None:
                retry_in = error.after
            return Failed(claimed.id, claimed.attempt, retry_in, error_record("Retry", str(error)))
        output = error.output if isinstance(error, RemoteFailure) else error_output(error)
        return Failed(claimed.id, claimed.attempt, retry_in, output)

    def _unstorable(self, job: LeasedJob, kind: str, message: str) -> Outcome:
        return Failed(job.claimed.id, job.claimed.attempt, None, error_record(kind, message))

    def _verdict(self, claimed: Claimed) -> float | None:
        policy = RetryPolicy(
            claimed.retry_limit, claimed.retry_delay, claimed.retry_backoff, claimed.retry_delay_max
        )
        return verdict(policy, claimed.retry_count, self._draw())


def _alone(error: BaseException) -> BaseException:
    """Return the ``Wait`` inside an exception group that holds nothing else; other errors unchanged."""
    inner = error
    while isinstance(inner, BaseExceptionGroup):
        others = cast("BaseExceptionGroup[BaseException]", inner)
        if others.split(Wait)[1] is not None:
            return error
        inner = others.exceptions[0]
    return inner
