"""Typed background jobs on the Postgres you already have, on the tables of pg-boss 9.

This module has the public names only. Each is loaded on first access, so that a program that defines tasks
does not load the driver, and one that sends does not load the worker.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from zeke_queue.client.queue import Queue
    from zeke_queue.client.sync_queue import SyncQueue
    from zeke_queue.client.sync_transaction import SyncTransaction
    from zeke_queue.core.options import JobOptions, SendOptions
    from zeke_queue.errors import (
        JobCancelledError,
        JobConflictError,
        JobExpiredError,
        JobFailedError,
        JobNotFoundError,
        LeaseLostError,
        PayloadTooLargeError,
        PayloadValidationError,
        ResultTimeoutError,
        StorageError,
        StorageUnavailableError,
        UnknownTaskError,
        UsageError,
        ZekeError,
    )
    from zeke_queue.model import Job, JobEvent, JobQuery, JobStatus, Schedule
    from zeke_queue.system.logging import configure_logging
    from zeke_queue.system.settings import Settings
    from zeke_queue.task.catalog import Catalog
    from zeke_queue.task.context import JobContext
    from zeke_queue.task.run import Run, SyncRun
    from zeke_queue.task.senders import Transaction
    from zeke_queue.task.signals import Fail, Retry, Snooze, Wait
    from zeke_queue.task.task import Send, Task
    from zeke_queue.worker.process_signals import run_worker
    from zeke_queue.worker.worker import Worker, WorkerOptions

__all__ = [
    "Catalog",
    "Fail",
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
    "JobStatus",
    "LeaseLostError",
    "PayloadTooLargeError",
    "PayloadValidationError",
    "Queue",
    "ResultTimeoutError",
    "Retry",
    "Run",
    "Schedule",
    "Send",
    "SendOptions",
    "Settings",
    "Snooze",
    "StorageError",
    "StorageUnavailableError",
    "SyncQueue",
    "SyncRun",
    "SyncTransaction",
    "Task",
    "Transaction",
    "UnknownTaskError",
    "UsageError",
    "Wait",
    "Worker",
    "WorkerOptions",
    "ZekeError",
    "configure_logging",
    "run_worker",
]

_HOMES: Final = {
    "client.queue": ["Queue"],
    "client.sync_queue": ["SyncQueue"],
    "client.sync_transaction": ["SyncTransaction"],
    "core.options": ["JobOptions", "SendOptions"],
    "model": ["Job", "JobEvent", "JobQuery", "JobStatus", "Schedule"],
    "system.logging": ["configure_logging"],
    "system.settings": ["Settings"],
    "task.catalog": ["Catalog"],
    "task.context": ["JobContext"],
    "task.run": ["Run", "SyncRun"],
    "task.signals": ["Fail", "Retry", "Snooze", "Wait"],
    "task.senders": ["Transaction"],
    "task.task": ["Send", "Task"],
    "worker.process_signals": ["run_worker"],
    "worker.worker": ["Worker", "WorkerOptions"],
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
