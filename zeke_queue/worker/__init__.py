"""The worker: claims jobs, runs their handlers, renews their leases, settles their outcomes.

``worker`` starts and ends a ``crew``. ``state`` decides what to claim, and ``loops`` carries it out. The
other parts are ``coroutine_pool`` (runs attempts), ``attempts`` and ``outcomes`` (one attempt, and what
becomes of it), ``settling`` (batches of settlements) and ``heartbeat``. ``holdings`` and ``held`` know what
is leased, ``host`` stands behind the handlers' contexts, ``progress`` keeps progress and log lines, ``link``
counts failures of the storage. ``executors`` run handlers in threads and processes; ``shutdown`` handles
signals, ``reload`` restarts on changes of files, ``watchdog`` reports handlers that block the loop.
"""

from __future__ import annotations

from zeke_queue.worker.executors.executor import Encoded, Executor, ProcessCrashed, RemoteFailure
from zeke_queue.worker.shutdown import run_until_signalled
from zeke_queue.worker.worker import Worker

__all__ = ["Encoded", "Executor", "ProcessCrashed", "RemoteFailure", "Worker", "run_until_signalled"]
