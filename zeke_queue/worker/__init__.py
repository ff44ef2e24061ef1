"""The worker and its options."""

from __future__ import annotations

from zeke_queue.worker.executors.executor import Encoded, Executor, ProcessCrashed, RemoteFailure
from zeke_queue.worker.shutdown import run_until_signalled
from zeke_queue.worker.worker import Worker

__all__ = ["Encoded", "Executor", "ProcessCrashed", "RemoteFailure", "Worker", "run_until_signalled"]
