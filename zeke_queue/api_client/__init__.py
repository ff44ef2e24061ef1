"""A typed client of the HTTP API, for jobs of another process. Needs the extra ``client``.

::

    async with JobsClient("https://jobs.example.org", token) as jobs:
        sent = await jobs.trigger("my-task", {"itemId": "…"})
        print(await jobs.result(sent.id, timeout=60))

``client`` has the operations, over ``http`` and ``watch``; it needs httpx2, so it is loaded on first
access. ``model`` has the answers, which ``zeke_queue.web`` writes without httpx2, and ``errors`` the errors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.api_client.errors import (
    ApiResponseError,
    ForbiddenError,
    RateLimitedError,
    RunFailedError,
    ServerUnavailableError,
    UnauthorizedError,
)
from zeke_queue.api_client.model import (
    Event,
    FailedAttempt,
    LogLine,
    Page,
    Progress,
    QueueInfo,
    Run,
    RunDetail,
    ScheduleInfo,
    StatusChange,
    TaskInfo,
    Triggered,
    Update,
    WorkerInfo,
)

if TYPE_CHECKING:
    from zeke_queue.api_client.client import Filters, JobsClient

__all__ = [
    "ApiResponseError",
    "Event",
    "FailedAttempt",
    "Filters",
    "ForbiddenError",
    "JobsClient",
    "LogLine",
    "Page",
    "Progress",
    "QueueInfo",
    "RateLimitedError",
    "Run",
    "RunDetail",
    "RunFailedError",
    "ScheduleInfo",
    "ServerUnavailableError",
    "StatusChange",
    "TaskInfo",
    "Triggered",
    "UnauthorizedError",
    "Update",
    "WorkerInfo",
]


def __getattr__(name: str) -> Any:
    """Return the client, or the type of its filters, from its module."""
    if name not in ("Filters", "JobsClient"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from zeke_queue.api_client import client  # noqa: PLC0415 - loads httpx2

    return getattr(client, name)
