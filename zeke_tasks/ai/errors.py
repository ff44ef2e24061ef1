"""The errors of AI calls, named by how a job should react.

::

    AIError             reason
     ├── AIRateLimited  wait for ``retry_after`` seconds; this is not a failure and uses up no retry
     ├── AIOverBudget   wait for ``seconds``: the budget of the day is used up; no call was made
     ├── AIUnavailable  try again, after ``retry_after`` seconds if the server said so
     ├── AIRefused      the model refused to answer; asked again, it sometimes answers
     ├── AIMalformed    the answer does not have the requested form; the next one may
     └── AIRejected     the request is invalid: repeating it never helps, the reason says what to change

All can be pickled, and no message contains the API key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.errors import ZekeError
from zeke_tasks.fetch.text import one_line, without_controls

if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal

    from zeke_tasks.ai.client import Usage

_LONGEST = 500


class AIError(ZekeError):
    """A call to an AI failed.

    Attributes:
        reason: the cause, in one line; at most 500 characters are kept.
        usage: the usage of the failed call; None if it used nothing or that is unknown.
        may_cost: whether a call without usage may have cost something, which a budget then counts.
    """

    usage: Usage | None = None
    may_cost: bool = False

    def __init__(self, reason: str) -> None:
        # The reason comes largely from the server or the model, and is stored, logged and shown.
        self.reason = one_line(without_controls(reason))[:_LONGEST]
        super().__init__(self.reason)

    def __reduce__(self) -> tuple[Any, ...]:
        # By default an exception is unpickled with its base's arguments, which not every constructor here
        # accepts.
        return _again, (type(self), self.args, self.__dict__)


class AIRateLimited(AIError):
    """This process or the account made too many requests or used too many tokens, or the credit is used up.

    Attributes:
        retry_after: seconds until the next request can succeed; None if unknown.
    """

    def __init__(
        self, retry_after: float | None = None, reason: str = "the AI's rate limit is reached"
    ) -> None:
        self.retry_after = retry_after
        super().__init__(reason)


class AIUnavailable(AIError):
    """There was no answer, or one that reports a server error.

    Attributes:
        retry_after: seconds to wait, as requested by the server; None if it did not say.
    """

    def __init__(self, reason: str = "the AI can't be reached", *, retry_after: float | None = None) -> None:
        self.retry_after = retry_after
        super().__init__(reason)


class AIRefused(AIError):
    """The model, or a filter of its input or output, refused to answer."""

    may_cost = True


class AIMalformed(AIError):
    """The answer is incomplete or does not have the requested form."""

    may_cost = True


class AIOverBudget(AIError):
    """The budget of the day does not admit the call, which was not made.

    Attributes:
        spent: dollars that are used or reserved.
        budget: dollars of the day.
        goes_on: when to try again.
        seconds: until then.
    """

    def __init__(
        self, reason: str, *, spent: Decimal, budget: Decimal, goes_on: datetime, seconds: float
    ) -> None:
        self.spent = spent
        self.budget = budget
        self.goes_on = goes_on
        self.seconds = seconds
        super().__init__(reason)


class AIRejected(AIError):
    """The request is invalid; the reason says what to change."""


def _again(kind: type[AIError], args: tuple[Any, ...], fields: dict[str, Any]) -> AIError:
    """Unpickle an error."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error
