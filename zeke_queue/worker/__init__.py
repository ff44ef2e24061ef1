"""The worker, and what it can be given."""

from __future__ import annotations

from zeke_queue.worker.executor import Encoded, Executor, ProcessCrashed, RemoteFailure
from zeke_queue.worker.stopping import run_until_signalled
from zeke_queue.worker.worker import Worker

__all__ = ["Encoded", "Executor", "ProcessCrashed", "RemoteFailure", "Worker", "run_until_signalled"]
