"""The errors of asking an AI, named by what the job that meets one should do.

::

    AIError             reason
     ├── AIRateLimited  wait for ``retry_after`` seconds; it is no failure, and uses up no retry
     ├── AIUnavailable  try again, after ``retry_after`` seconds if the server said so
     ├── AIRefused      the model does not want to answer; now and then it does when it is asked again
     ├── AIMalformed    the answer is not of the form that was asked for; the next one may be
     └── AIRejected     the request is wrong: the same one is never answered, the reason says what to change

Each can be pickled, and no message holds the API key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.errors import ZekeError
from zeke_tasks.fetch.text import one_line, without_controls

if TYPE_CHECKING:
    from zeke_tasks.ai.client import Usage

_LONGEST = 500


class AIError(ZekeError):
    """Something about a question to an AI, or its answer.

    Attributes:
        reason: what was wrong, one line for people; at most 500 characters are kept.
        usage: what the call used nevertheless; None if it used nothing, or nobody knows.
    """

    usage: Usage | None = None

    def __init__(self, reason: str) -> None:
        # Much of it is the server's or the model's, and it is kept, logged and shown.
        self.reason = one_line(without_controls(reason))[:_LONGEST]
        super().__init__(self.reason)

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is pickled by the arguments of its base, which not every constructor here takes.
        return _again, (type(self), self.args, self.__dict__)


class AIRateLimited(AIError):
    """There were too many requests or tokens, ours or the account's, or its credit is used up.

    Attributes:
        retry_after: seconds until the next request has a chance; None if nobody said.
    """

    def __init__(
        self, retry_after: float | None = None, reason: str = "the AI's rate limit is reached"
    ) -> None:
        self.retry_after = retry_after
        super().__init__(reason)


class AIUnavailable(AIError):
    """There was no answer, or one that says it is the server's fault.

    Attributes:
        retry_after: seconds that the server asked us to wait; None if it did not say.
    """

    def __init__(self, reason: str = "the AI can't be reached", *, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(reason)


class AIRefused(AIError):
    """The model, or a filter before or behind it, does not want to answer."""


class AIMalformed(AIError):
    """There was an answer, and it is not of the form that was asked for, or not whole."""


class AIRejected(AIError):
    """The request is not one that can be answered; the reason says what to change."""


def _again(kind: type[AIError], args: tuple[Any, ...], fields: dict[str, Any]) -> AIError:
    """Make an error that was pickled."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error
