"""The queue for code without asyncio: what blocks, in which thread, and what ends the waiting."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import Context, ContextVar
from functools import partial
from typing import Annotated, Any

import pytest
from pydantic import AfterValidator

from tests.cases import check_each
from tests.tidy import ROOT
from zeke_queue import (
    Catalog,
    JobConflictError,
    JobQuery,
    JobStatus,
    Queue,
    ResultTimeoutError,
    StorageUnavailableError,
    SyncQueue,
    UsageError,
)
from zeke_queue.client.queue_thread import QueueThread
from zeke_queue.system.loop_thread import run_now
from zeke_queue.worker import drain

TENANT: ContextVar[str] = ContextVar("tenant", default="none")

threads: list[int] = []


def seen(name: str) -> str:
    """Note the thread in which payloads are validated."""
    threads.append(threading.get_ident())
    return name


catalog = Catalog()


@catalog.task("greet", singleton_key=lambda name: name)
async def greet(name: Annotated[str, AfterValidator(seen)]) -> str:
    return f"Hello {name}"


@catalog.task("tenant")
async def tenant() -> str:
    return TENANT.get()


class Undone(Exception):
    """What a transaction is rolled back with."""


@pytest.fixture
def queue() -> Iterator[SyncQueue]:
    with SyncQueue.in_memory(catalog) as opened:
        yield opened


def test_job_is_sent_found_cancelled_and_resumed(queue: SyncQueue) -> None:
    run = queue.send(greet, "Ada", delay=60)
    again = queue.get_run(run.id, greet)
    assert (again.id, again.task, run.created) == (run.id, "greet", True)
    assert [job.id for job in queue.find(JobQuery(names=("greet",))).jobs] == [run.id]
    assert queue.get(run.id) == run.job()
    with pytest.raises(ResultTimeoutError):
        run.result(timeout=0)
    assert (run.cancel(), queue.cancel(run.id), run.status()) == (True, False, JobStatus.CANCELLED)
    assert (queue.retry(run.id), queue.resume(run.id), run.status()) == (False, True, JobStatus.QUEUED)


def test_drain_runs_what_is_due_and_nothing_later(queue: SyncQueue) -> None:
    due, later = queue.send(greet, "Ada"), queue.send(greet, "Grace", delay=60)
    drain(queue, concurrency=1)
    assert (due.result(timeout=0), later.status()) == ("Hello Ada", JobStatus.QUEUED)
    with pytest.raises(UsageError, match="concurrency: must be above 0 to drain"):
        drain(queue, concurrency=0)
    with pytest.raises(UsageError, match="queue: must be a SyncQueue, got <zeke_queue"):
        drain(catalog)  # type: ignore[arg-type]


def test_drained_handlers_have_the_caller_s_context_variables(queue: SyncQueue) -> None:
    def call() -> str:
        TENANT.set("Ada")
        run = queue.send(tenant)
        drain(queue)
        return run.result(timeout=0)

    assert Context().run(call) == "Ada"


def test_refused_sends_name_the_holder(queue: SyncQueue) -> None:
    holder = queue.send(greet, "Ada")
    again = queue.send(greet, "Ada")
    assert (again.id, again.created) == (holder.id, False)
    with pytest.raises(JobConflictError) as refused:
        queue.trigger(greet, "Ada")
    assert refused.value.holder == holder.id
    assert [run.created for run in queue.send_many([greet.job("Ada"), greet.job("Grace")])] == [False, True]


def test_payload_is_validated_in_the_caller_s_thread(queue: SyncQueue) -> None:
    threads.clear()
    queue.send(greet, "Ada")
    with queue.transaction() as jobs:
        jobs.send_many([greet.job("Grace")])
    assert set(threads) == {threading.get_ident()}


def test_transaction_of_the_queue_s_own_stores_its_jobs_at_its_end_or_never(queue: SyncQueue) -> None:
    with queue.transaction() as jobs:
        kept = jobs.send(greet, "Ada")
        assert queue.get(kept.id) is None
    with suppress(Undone), queue.transaction() as jobs:
        undone = jobs.send(greet, "Grace")
        raise Undone
    assert (kept.status(), queue.get(undone.id)) == (JobStatus.QUEUED, None)
    with pytest.raises(UsageError, match="ended with its block"):
        jobs.send(greet, "Edsger")


def test_calls_beside_an_open_transaction_are_refused_in_its_thread_only(queue: SyncQueue) -> None:
    earlier = queue.send(greet, "Ada")
    calls = {
        "queue.send": lambda: queue.send(greet, "Grace"),
        "queue.trigger": lambda: queue.trigger(greet, "Grace"),
        "queue.send_many": lambda: queue.send_many([greet.job("Grace")]),
        "queue.cancel": lambda: queue.cancel(earlier.id),
        "queue.cancel of a run": earlier.cancel,
        "queue.resume": lambda: queue.resume(earlier.id),
        "queue.retry": lambda: queue.retry(earlier.id),
        "queue.transaction": lambda: queue.transaction().__enter__(),
        "drain": lambda: drain(queue),
    }

    def check(name: str) -> None:
        with pytest.raises(UsageError, match=name.partition(" ")[0]):
            calls[name]()

    with queue.transaction(), ThreadPoolExecutor(1) as other:
        check_each(list(calls), check)
        assert other.submit(queue.send, greet, "Grace").result().created
        with queue.outside_transaction():
            assert queue.send(greet, "Edsger").created
    assert queue.send(greet, "Barbara").created


async def test_calls_are_refused_in_a_thread_in_which_a_loop_runs(queue: SyncQueue) -> None:
    run = await asyncio.to_thread(queue.send, greet, "Ada")
    connection: Any = object()
    calls = [
        lambda: queue.send(greet, "Grace"),
        lambda: queue.transaction().__enter__(),
        lambda: queue.transaction(connection).__enter__(),
        lambda: queue.get(run.id),
        lambda: drain(queue),
        run.status,
        run.result,
    ]

    def check(call: Any) -> None:
        with pytest.raises(UsageError, match=r"event loop runs.*to_thread"):
            call()

    check_each(calls, check)


def test_closed_queue_is_not_opened_again(queue: SyncQueue) -> None:
    run = queue.send(greet, "Ada")
    queue.close()
    for call in (lambda: queue.send(greet, "Grace"), run.status):
        with pytest.raises(UsageError, match="closed"):
            call()


def test_close_ends_calls_that_wait_in_other_threads() -> None:
    thread, waiting = QueueThread(partial(Queue.in_memory, catalog)), threading.Event()

    async def wait_forever(queue: Queue) -> None:
        waiting.set()
        await asyncio.Event().wait()

    with ThreadPoolExecutor(1) as other:
        call = other.submit(thread.run, wait_forever, None)
        assert waiting.wait(120)
        thread.close()
        with pytest.raises(StorageUnavailableError, match="closed during the call"):
            call.result(60)


def test_call_without_an_answer_in_time_is_given_up() -> None:
    thread = QueueThread(partial(Queue.in_memory, catalog))

    async def wait_forever(queue: Queue) -> None:
        await asyncio.Event().wait()

    thread.open()
    with pytest.raises(StorageUnavailableError, match=r"given up after 0\.01 s"):
        thread.run(wait_forever, 0.01)
    thread.close()


def test_queue_that_could_not_be_opened_is_tried_again_at_the_next_call() -> None:
    answers: list[Exception] = [StorageUnavailableError("down"), TimeoutError()]

    def open_queue() -> AbstractAsyncContextManager[Queue]:
        if answers:
            raise answers.pop()
        return Queue.in_memory(catalog)

    thread = QueueThread(open_queue)
    for _ in range(2):
        with pytest.raises(StorageUnavailableError):
            thread.open()
    thread.open()
    thread.close()


def test_coroutine_that_suspends_can_not_run_without_a_loop() -> None:
    class Suspending:
        def __await__(self) -> Generator[None]:
            yield

    async def suspend() -> None:
        await Suspending()

    with pytest.raises(RuntimeError, match="suspended"):
        run_now(suspend())


PROGRAM = """
import os
from zeke_queue import Catalog, JobQuery, SyncQueue

catalog = Catalog()

@catalog.task("greet")
async def greet(name: str) -> None: ...

queue = SyncQueue.connect(catalog)
queue.send(greet, "before")
"""

FORK = """
child = os.fork()
queue.send(greet, "after")
if child:
    assert os.waitpid(child, 0)[1] == 0
    print(len(queue.find(JobQuery()).jobs))
"""


def program_on(dsn: str, program: str, *options: str) -> subprocess.CompletedProcess[str]:
    environment = {"DATABASE_PRIMARY_URL": dsn, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_program_may_end_without_closing_its_queue(dsn: str) -> None:
    done = program_on(dsn, PROGRAM, "-W", "error")
    assert (done.returncode, done.stderr) == (0, "")


def test_forked_process_opens_a_queue_of_its_own(dsn: str) -> None:
    # Newer Pythons warn of any fork beside a thread.
    done = program_on(dsn, PROGRAM + FORK, "-W", "ignore::DeprecationWarning")
    assert (done.returncode, done.stdout, done.stderr) == (0, "3\n", "")
