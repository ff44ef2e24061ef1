"""Heartbeats from a thread, which go on while the worker's loop is blocked."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest

from tests.clocks import FrozenClock
from tests.runtime.workers.handler import Handler, Lines
from tests.runtime.workers.place import PATIENCE, Place, turns, until
from zeke_queue.client.queue import Queue
from zeke_queue.errors import StatementFailedError, StorageError, StorageUnavailableError
from zeke_queue.model import RowState, WorkerInfo
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.system.loop_thread import run_now
from zeke_queue.system.settings import Settings
from zeke_queue.system.waiting import Waiter
from zeke_queue.task.catalog import Catalog
from zeke_queue.worker import Worker
from zeke_queue.worker.heartbeat_thread import BLOCKED_LEASES, HeartbeatThread
from zeke_queue.worker.loops import Shared
from zeke_queue.worker.state import WorkerState
from zeke_queue.worker.storage_health import StorageHealth
from zeke_queue.worker.unknown_jobs import Sent


class Heartbeats:
    """A connection for heartbeats to a storage in memory.

    Attributes:
        answer: returns the answer, or raises; called in the thread.
        sent: notified at each heartbeat.
        threads: the threads that sent heartbeats.
    """

    def __init__(self, answer: Callable[[], Mapping[UUID, int]]) -> None:
        self.answer = answer
        self.sent = threading.Semaphore(0)
        self.threads: set[int] = set()
        self.closed = False

    async def heartbeat(self, worker: WorkerInfo) -> Any:  # noqa: ARG002 - the protocol's
        self.threads.add(threading.get_ident())
        self.sent.release()
        return self.answer()

    async def close(self) -> None:
        self.closed = True


class Apart(MemoryStorage):
    """A storage in memory with a connection for heartbeats."""

    def __init__(self) -> None:
        super().__init__(SystemClock())
        self.heartbeats = Heartbeats(self.held)

    def held(self) -> dict[UUID, int]:
        return {row.id: row.attempt for row in list(self.tables.active.values())}

    def heartbeat_connection(self) -> Any:
        return self.heartbeats


@pytest.fixture
def storage() -> Apart:
    return Apart()


def _worker(queue: Queue) -> Worker:
    return Worker(
        queue, lease=1e6, heartbeat_interval=0.002, maintenance=False, schedules=False, watchdog=None
    )


def _state(worker: Worker) -> WorkerState:
    assert worker._lifecycle is not None
    return worker._lifecycle.shared.state


async def test_lease_is_renewed_while_the_loop_is_blocked(storage: Apart) -> None:
    catalog = Catalog()

    @catalog.task("blocks")
    async def blocks() -> bool:
        before = _state(worker).alive_until
        for _ in range(5):
            assert storage.heartbeats.sent.acquire(timeout=PATIENCE)
        return before < _state(worker).alive_until

    queue = Queue(catalog, storage, settings=Settings.load())
    async with _worker(queue) as worker:
        run = await queue.send(blocks)
        assert await run.result(timeout=PATIENCE)
    assert threading.get_ident() not in storage.heartbeats.threads
    assert storage.heartbeats.closed


async def test_job_cancelled_while_the_loop_is_blocked_is_interrupted_afterwards(storage: Apart) -> None:
    catalog = Catalog()
    began, ended = asyncio.Event(), asyncio.Event()

    @catalog.task("waits")
    async def waits() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    @catalog.task("blocks")
    async def blocks(job_id: str) -> bool:
        run_now(storage.cancel([UUID(job_id)]))
        for _ in range(3):
            assert storage.heartbeats.sent.acquire(timeout=PATIENCE)
        return ended.is_set()

    queue = Queue(catalog, storage, settings=Settings.load())
    async with _worker(queue):
        waiting = await queue.send(waits)
        await began.wait()
        blocking = await queue.send(blocks, str(waiting.id))
        assert await blocking.result(timeout=PATIENCE) is False
        async with asyncio.timeout(PATIENCE):
            await ended.wait()


class Reports:
    """A thread's heartbeats, sent on the loop of the test, and what reaches the worker.

    Nothing is delivered before the test yields, as if a handler blocked the loop.
    """

    def __init__(self, storage: Apart) -> None:
        self.clock = FrozenClock()
        self.info = WorkerInfo(UUID(int=1), "host", 1, ("work",), 10.0)
        self.renewed: list[float] = []
        self.answers: list[Mapping[UUID, int]] = []
        self.errors: list[StorageError] = []
        state = WorkerState({}, 1, 1.0)
        health = StorageHealth(self.clock, SeededEntropy(1))
        shared = Shared(self.info, storage, health, state, self.clock, wake_claims=Waiter())
        self.thread = HeartbeatThread(
            shared, storage.heartbeats, self.renewed.append, self._answered, self.errors.append
        )

    def _answered(self, answer: Mapping[UUID, int], _sent: Sent) -> None:
        self.answers.append(answer)


async def test_only_the_latest_answer_and_error_wait_for_a_blocked_loop(storage: Apart) -> None:
    reports = Reports(storage)
    for n in range(3):
        storage.heartbeats.answer = lambda n=n: {UUID(int=n): 1}
        await reports.thread._send()
        reports.thread._post_error(StorageUnavailableError(f"{n}"))
    assert (reports.answers, len(reports.renewed)) == ([], 3)
    await turns()
    assert reports.answers == [{UUID(int=2): 1}]
    assert [str(error) for error in reports.errors] == ["2"]


async def test_heartbeats_stop_while_the_loop_is_blocked_for_several_leases(
    storage: Apart, lines: Lines
) -> None:
    reports = Reports(storage)
    await reports.thread._send()
    reports.clock.advance(BLOCKED_LEASES * reports.info.lease)
    await reports.thread._send()
    assert (len(reports.renewed), lines.messages) == (2, [])
    for _ in range(2):
        reports.clock.advance(1)
        assert await reports.thread._send() is False
    assert (len(reports.renewed), lines.messages) == (2, ["heartbeats_stopped"])
    await turns()
    assert await reports.thread._send()
    assert len(reports.renewed) == 3


async def test_heartbeats_go_on_after_a_long_time_without_answers(storage: Apart) -> None:
    """The process was stopped, or the database was away: nothing waits for the loop."""
    reports = Reports(storage)
    await reports.thread._send()
    await turns()
    reports.clock.advance(10 * BLOCKED_LEASES * reports.info.lease)
    await reports.thread._send()
    assert len(reports.renewed) == 2


async def test_worker_ends_while_handlers_use_up_the_executor_of_the_loop(storage: Apart) -> None:
    catalog = Catalog()
    go = threading.Event()

    @catalog.task("work")
    async def work() -> None: ...

    with ThreadPoolExecutor(1) as executor:
        asyncio.get_running_loop().set_default_executor(executor)
        async with _worker(Queue(catalog, storage, settings=Settings.load())):
            busy = asyncio.get_running_loop().run_in_executor(None, go.wait)
        ended = (storage.heartbeats.closed, storage.dump().workers)
        go.set()
        await busy
    assert ended == (True, [])


@pytest.mark.parametrize("error", [StorageUnavailableError, StatementFailedError])
async def test_error_in_the_thread_is_logged_once_and_heartbeats_go_on(
    storage: Apart, lines: Lines, error: type[StorageError]
) -> None:
    catalog = Catalog()
    fails = True

    def answer() -> dict[UUID, int]:
        if fails:
            raise error("away")
        return storage.held()

    @catalog.task("work")
    async def work() -> None: ...

    storage.heartbeats.answer = answer
    queue = Queue(catalog, storage, settings=Settings.load())
    async with _worker(queue):
        await until(lambda: "heartbeat_failed" in lines.messages)
        for _ in range(3):
            assert await asyncio.to_thread(storage.heartbeats.sent.acquire, timeout=PATIENCE)
        assert lines.messages.count("heartbeat_failed") == 1
        fails = False
        await until(lambda: "heartbeat_answered" in lines.messages)


async def test_outage_that_was_logged_already_is_not_logged_for_heartbeats(
    storage: Apart, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing here waits, so no other call and no heartbeat comes between."""
    catalog = Catalog()
    error = StorageUnavailableError("away")

    @catalog.task("work")
    async def work() -> None: ...

    async with _worker(Queue(catalog, storage, settings=Settings.load())) as worker:
        assert worker._lifecycle is not None
        pool, heartbeat = worker._lifecycle.shared.storage, worker._lifecycle.heartbeat
        with monkeypatch.context() as patched:
            patched.setattr(storage, "get", failing(error))
            with pytest.raises(StorageUnavailableError):
                await pool.get([])
        heartbeat._failed(error)
        assert lines.messages[-1] == "storage_unavailable"
        await pool.get([])
        assert lines.messages[-1] == "storage_back"
        heartbeat._failed(error)
        assert lines.messages[-1] == "heartbeat_failed"


def failing(error: Exception) -> Callable[..., Awaitable[Any]]:
    async def fail(**_: object) -> Any:
        raise error

    return fail


async def test_bug_in_the_thread_ends_the_worker(storage: Apart) -> None:
    catalog = Catalog()

    def answer() -> dict[UUID, int]:
        raise ZeroDivisionError

    @catalog.task("work")
    async def work() -> None: ...

    storage.heartbeats.answer = answer
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(PATIENCE):
            await _worker(Queue(catalog, storage, settings=Settings.load())).run()


async def test_lease_renewed_during_a_block_has_not_ended(place: Place, lines: Lines) -> None:
    """The loop wakes after the time at which the lease would have ended without the thread's heartbeats."""
    work = Handler(place)
    async with place.working(lease=15, heartbeat_interval=5) as worker:
        job_id = await work.begin()
        place.storage.cut["heartbeat"] = "before"
        now = place.clock.monotonic()
        _state(worker).renew(now + 61, now)
        place.clock.advance(60)
        await turns()
        assert (work.cancelled, "lease_ended" in lines.messages) == ([], False)
        place.clock.advance(1)
        await until(lambda: work.cancelled)
        assert place.state(job_id) is RowState.ACTIVE
        place.storage.mend()
        work.go.set()


async def test_other_clock_keeps_heartbeats_on_the_loop() -> None:
    storage = Apart()
    catalog = Catalog()

    @catalog.task("work")
    async def work() -> None: ...

    clock = FrozenClock()
    queue = Queue(catalog, storage, clock=clock, settings=Settings.load())
    async with Worker(queue, watchdog=None, maintenance=False, schedules=False):
        for _ in range(3):
            clock.advance(5)
            await turns()
    assert storage.heartbeats.threads == set()
