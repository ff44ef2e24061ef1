"""The worker: claims jobs, runs their handlers, renews their leases, settles their outcomes.

``worker`` composes the parts of a worker, and ``lifecycle`` starts and ends them; ``declaration`` stores the
catalog's queues and schedules. ``claims`` decides what to claim, and ``state`` what to do about each
``leased_job``, and how the worker ends; ``loops`` carries that out, and ``settle_loop`` stores outcomes.
``coroutine_pool`` runs ``attempts``, and ``outcomes`` makes their outcomes. ``heartbeat`` renews the lease,
from a ``heartbeat_thread``; ``heartbeat_sender`` decides when, ``unknown_jobs`` what to release.
``job_context`` is what handlers get, ``progress`` keeps progress and log lines, ``storage_health`` logs
outages of the storage and paces retries. ``duties`` are what it does beside: maintenance and cron.
``executors`` run handlers in threads and processes; ``process_signals`` handles signals, ``reload`` restarts
on changes of files, ``watchdog`` reports handlers that block the loop.
"""

from __future__ import annotations

from zeke_queue.worker.executors.executor import (
    Encoded,
    ProcessCrashed,
    ProcessExecutor,
    RemoteFailure,
    SyncExecutor,
)
from zeke_queue.worker.process_signals import run_until_signalled
from zeke_queue.worker.worker import Worker, drain

__all__ = [
    "Encoded",
    "ProcessCrashed",
    "ProcessExecutor",
    "RemoteFailure",
    "SyncExecutor",
    "Worker",
    "drain",
    "run_until_signalled",
]
