"""Mapping of unsuccessful HTTP answers to errors, and how long a job should wait."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from zeke_tasks.ai.errors import AIError, AIRateLimited, AIRefused, AIRejected, AIUnavailable
from zeke_tasks.fetch.answers import seconds_to_wait

WAIT_MAX: Final = 6 * 3600.0
"""Maximum seconds that a server's ``Retry-After`` is honoured."""

WAIT_FOR_CREDIT: Final = 15 * 60.0
"""Minimum seconds until the next request of an account without credit, which takes users time to top up."""

GATEWAY_STATUSES: Final = frozenset({502, 504, 524})
"""Answers of a gateway that lost or did not await the server's answer, which may have been billed."""

_TOO_MANY: Final = 429
_SERVER_ERROR: Final = 500
_LATER: Final = frozenset({408, 409, 425})
_FILTERED: Final = frozenset({"content_filter", "content_policy_violation", "invalid_prompt"})
_NO_CREDIT: Final = frozenset({"insufficient_quota", "billing_hard_limit_reached"})

_REDIRECTS: Final = range(300, 400)
_ADVICE: Final = {
    401: "the AI does not accept the API key: set OPENAI_API_KEY to a valid one",
    403: "the API key is not permitted: allow it to use the model {model}, or set another",
    404: "the model {model} or the API does not exist at this address: set OPENAI_MODEL,"
    " OPENAI_EMBEDDING_MODEL or OPENAI_BASE_URL",
}


def failure(
    status: int,
    headers: Mapping[str, str],
    *,
    code: str | None,
    said: str,
    model: str,
    now: datetime,
) -> AIError:
    """Return the error for an unsuccessful answer.

    Args:
        status: the HTTP status, 300 or more.
        headers: by name, in any case.
        code: the API's error code.
        said: the server's message, without the key; ``""`` for none.
        model: the model that was asked.
        now: the time, for a header that is a date.
    """
    wait = retry_after(headers, now)
    words = f" ({said})" if said else ""
    if code in _NO_CREDIT:
        reason = "the account has no credit left: pay in, or raise its limit"
        return AIRateLimited(max(wait or 0.0, WAIT_FOR_CREDIT), reason + words)
    if status == _TOO_MANY:
        return AIRateLimited(wait, f"the AI's rate limit is reached{words}")
    if status >= _SERVER_ERROR or status in _LATER:
        return AIUnavailable(f"the AI answered {status}{words}", retry_after=wait)
    if code in _FILTERED:
        return AIRefused(f"a filter refuses the text{words}")
    if status in _REDIRECTS:
        return AIRejected(f"the server redirects ({status}), which is not followed: correct OPENAI_BASE_URL")
    advice = _ADVICE.get(status, "the AI answered {status}, and a retry would not help")
    return AIRejected(advice.format(model=model, status=status) + words)


def retry_after(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return how long to wait: ``retry-after-ms``, else ``retry-after``, as seconds or as a date.

    Args:
        headers: by name, in any case.
        now: the time, aware.

    Returns:
        Seconds from 0 to six hours, or None if the server did not say.
    """
    for name, seconds in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        try:
            wait = float(headers[name]) * seconds
        except (KeyError, ValueError):
            continue
        if wait >= 0 and math.isfinite(wait):
            return min(wait, WAIT_MAX)
    said = headers.get("retry-after")
    return None if said is None else seconds_to_wait(said, now=now, max_wait=WAIT_MAX)
