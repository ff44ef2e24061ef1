"""A typed client of the HTTP API, for jobs of another process. Needs the extra ``client``.

::

    async with JobsClient("https://jobs.example.org", token) as jobs:
        sent = await jobs.trigger("my-task", {"itemId": "…"})
        print(await jobs.result(sent.id, timeout=60))
"""

from __future__ import annotations

from zeke_queue.api_client.client import Filters, JobsClient
from zeke_queue.api_client.errors import (
    ApiRefused,
    NotAllowed,
    RateLimited,
    RunFailed,
    ServerAway,
    Unauthorized,
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

__all__ = [
    "ApiRefused",
    "Event",
    "FailedAttempt",
    "Filters",
    "JobsClient",
    "LogLine",
    "NotAllowed",
    "Page",
    "Progress",
    "QueueInfo",
    "RateLimited",
    "Run",
    "RunDetail",
    "RunFailed",
    "ScheduleInfo",
    "ServerAway",
    "StatusChange",
    "TaskInfo",
    "Triggered",
    "Unauthorized",
    "Update",
    "WorkerInfo",
]
