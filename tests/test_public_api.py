"""The names that users may import, pinned: to add one or to take one away is a decision, made here too."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import zeke_queue
from tests.cases import check_each

# fmt: off
PUBLIC = [
    "Catalog", "Fail", "Job", "JobCancelledError", "JobConflictError", "JobContext", "JobEvent",
    "JobExpiredError", "JobFailedError", "JobNotFoundError", "JobOptions", "JobQuery", "JobStatus",
    "LeaseLostError", "PayloadTooLargeError", "PayloadValidationError", "Queue", "ResultTimeoutError",
    "Retry", "Run", "Schedule", "Send", "SendOptions", "Settings", "Snooze", "StorageError",
    "StorageUnavailableError", "SyncQueue", "SyncRun", "SyncTransaction", "Task", "Transaction",
    "UnknownTaskError", "UsageError", "Wait", "Worker", "WorkerOptions", "ZekeError",
    "configure_logging", "run_worker",
]
MEMBERS_OF_QUEUE = [
    "cancel", "catalog", "clock", "close", "connect", "find", "get", "get_run", "in_memory",
    "outside_transaction", "resume", "retry", "schedules", "send", "send_many", "settings", "stats",
    "transaction", "trigger",
]
MEMBERS_OF_SYNC_QUEUE = [
    "cancel", "close", "connect", "find", "get", "get_run", "in_memory", "outside_transaction", "resume",
    "retry", "send", "send_many", "transaction", "trigger",
]
# fmt: on


def test_public_names_are_exactly_these() -> None:
    assert list(zeke_queue.__all__) == PUBLIC


async def test_public_members_of_a_queue_are_these() -> None:
    async with zeke_queue.Queue.in_memory(zeke_queue.Catalog()) as queue:
        assert [name for name in dir(queue) if not name.startswith("_")] == MEMBERS_OF_QUEUE


def test_public_members_of_a_sync_queue_are_these() -> None:
    assert [name for name in dir(zeke_queue.SyncQueue) if not name.startswith("_")] == MEMBERS_OF_SYNC_QUEUE


def test_unknown_name_is_an_attribute_error() -> None:
    unknown = "Manager"
    with pytest.raises(AttributeError, match=unknown):
        getattr(zeke_queue, unknown)


def test_every_public_name_and_method_has_a_docstring() -> None:
    def check(name: str) -> None:
        thing = getattr(zeke_queue, name)
        assert thing.__doc__
        methods = {
            word: member
            for word, member in vars(thing).items()
            if not word.startswith("_")
            and (inspect.isfunction(member) or isinstance(member, property | classmethod))
        }
        assert [word for word, member in methods.items() if not inspect.getdoc(member)] == []

    check_each(PUBLIC, check)


def test_defining_tasks_imports_no_driver_worker_or_cli() -> None:
    program = (
        "import sys, zeke_queue; zeke_queue.Catalog, zeke_queue.JobContext; "
        "print(*{'psycopg', 'typer', 'zeke_queue.worker', 'zeke_queue.client.queue'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
