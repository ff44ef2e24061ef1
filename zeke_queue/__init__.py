"""Typed background jobs on the Postgres you already have, on the tables of pg-boss 9.

This module has the public names only. Each is loaded on first access, so that a program that defines tasks
does not load the driver, and one that sends does not load the worker.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from zeke_queue.client.queue import Queue
    from zeke_queue.client.transaction import QueueTransaction
    from zeke_queue.core.options import JobOptions
    from zeke_queue.errors import (
        DuplicateTaskError,
        InvalidNameError,
        InvalidOptionError,
        InvalidScheduleError,
        JobCancelledError,
        JobConflictError,
        JobExpiredError,
        JobFailedError,
        JobNotFoundError,
        LeaseLostError,
        PayloadTooLargeError,
        PayloadValidationError,
        PermissionDeniedError,
        ResultTimeoutError,
        SchemaVersionError,
        SerializationError,
        SettingsError,
        StorageError,
        StorageUnavailableError,
        UnknownTaskError,
        UnsupportedServerError,
        UsageError,
        ZekeError,
    )
    from zeke_queue.maintenance.runner import Supervisor
    from zeke_queue.maintenance.scheduler import Scheduler
    from zeke_queue.model import CatchUp, Job, JobEvent, JobQuery, JobState, RunStatus, Schedule
    from zeke_queue.system.clock import Clock, SystemClock
    from zeke_queue.system.logging import configure_logging
    from zeke_queue.system.settings import Settings
    from zeke_queue.task.catalog import Catalog
    from zeke_queue.task.context import JobContext
    from zeke_queue.task.prepare import Send, SendOptions
    from zeke_queue.task.run import Run
    from zeke_queue.task.signals import Fail, Retry, Snooze, Wait
    from zeke_queue.task.task import Task
    from zeke_queue.worker import Worker

__all__ = [
    "Catalog",
    "CatchUp",
    "Clock",
    "DuplicateTaskError",
    "Fail",
    "InvalidNameError",
    "InvalidOptionError",
    "InvalidScheduleError",
    "Job",
    "JobCancelledError",
    "JobConflictError",
    "JobContext",
    "JobEvent",
    "JobExpiredError",
    "JobFailedError",
    "JobNotFoundError",
    "JobOptions",
    "JobQuery",
    "JobState",
    "LeaseLostError",
    "PayloadTooLargeError",
    "PayloadValidationError",
    "PermissionDeniedError",
    "Queue",
    "QueueTransaction",
    "ResultTimeoutError",
    "Retry",
    "Run",
    "RunStatus",
    "Schedule",
    "Scheduler",
    "SchemaVersionError",
    "Send",
    "SendOptions",
    "SerializationError",
    "Settings",
    "SettingsError",
    "Snooze",
    "StorageError",
    "StorageUnavailableError",
    "Supervisor",
    "SystemClock",
    "Task",
    "UnknownTaskError",
    "UnsupportedServerError",
    "UsageError",
    "Wait",
    "Worker",
    "ZekeError",
    "configure_logging",
]

_HOMES: Final = {
    "client.queue": ["Queue"],
    "client.transaction": ["QueueTransaction"],
    "core.options": ["JobOptions"],
    "maintenance.scheduler": ["Scheduler"],
    "maintenance.runner": ["Supervisor"],
    "model": ["CatchUp", "Job", "JobEvent", "JobQuery", "JobState", "RunStatus", "Schedule"],
    "system.clock": ["Clock", "SystemClock"],
    "system.logging": ["configure_logging"],
    "system.settings": ["Settings"],
    "task.catalog": ["Catalog"],
    "task.context": ["JobContext"],
    "task.prepare": ["Send", "SendOptions"],
    "task.run": ["Run"],
    "task.signals": ["Fail", "Retry", "Snooze", "Wait"],
    "task.task": ["Task"],
    "worker": ["Worker"],
}
_HOME_OF: Final = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Return a public name from its module; names listed in no module are errors, from ``errors``."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
