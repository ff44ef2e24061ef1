"""The release of jobs that only the storage knows, by a heartbeat without the other parts of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import psycopg

from tests.clocks import FrozenClock
from tests.runtime.workers.handler import logged
from tests.runtime.workers.place import turns
from tests.runtime.workers.samples import leased
from zeke_queue.errors import StatementTimeoutError
from zeke_queue.maintenance.outage_monitor import OutageMonitor
from zeke_queue.model import Job, Released, Settled, WorkerInfo
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.system.waiting import Waiter, end
from zeke_queue.worker.heartbeat import RELEASE_FAILURES_MAX, Heartbeat
from zeke_queue.worker.loops import Shared
from zeke_queue.worker.state import Action, WorkerState
from zeke_queue.worker.storage_health import StorageHealth


class Holding(MemoryStorage):
    """A storage that holds jobs for the worker, of which it is slow to release some.

    Attributes:
        late: a heartbeat that is sent now waits until this event is set.
        tried: the jobs of each release.
    """

    def __init__(self, jobs: int, slow: int = 0) -> None:
        super().__init__(FrozenClock())
        self._jobs = [UUID(int=n) for n in range(jobs)]
        self._slow = slow
        self.late: asyncio.Event | None = None
        self.tried: list[list[int]] = []

    async def heartbeat(self, *_: Any) -> dict[UUID, int]:
        answer = dict.fromkeys(self._jobs, 1)
        late, self.late = self.late, None
        if late is not None:
            await late.wait()
        return answer

    async def settle_unlocked(self, *_: Any, released: Sequence[Released] = (), **__: Any) -> Settled:
        self.tried.append([one.id.int for one in released])
        if any(one.id.int < self._slow for one in released):
            raise StatementTimeoutError("too slow")
        return Settled({one.id for one in released}, set())

    async def get(self, *_: Any) -> dict[UUID, Job]:
        raise psycopg.errors.DataCorrupted("missing chunk")


def _heartbeat(
    storage: MemoryStorage,
    state: WorkerState | None = None,
    monitor: OutageMonitor | None = None,
    clock: FrozenClock | None = None,
) -> Heartbeat:
    clock = clock or FrozenClock()
    info = WorkerInfo(UUID(int=1), "host", 1, ("work",), 10.0)
    health = StorageHealth(clock, SeededEntropy(1))
    state = state or WorkerState({}, 1, 1.0)
    shared = Shared(info, storage, health, state, clock, wake_claims=Waiter())
    monitor, actions = monitor or OutageMonitor(clock, 1.0), list[Action]()
    return Heartbeat(shared, 1.0, None, monitor, entropy=SeededEntropy(1), carry_out=actions.extend)


async def test_few_releases_fail_at_a_time_and_others_come_before_them_the_next_time() -> None:
    storage = Holding(5, slow=4)
    heartbeat = _heartbeat(storage)
    for _ in range(2):
        await heartbeat.release_unknown()
    assert RELEASE_FAILURES_MAX == 3
    assert storage.tried == [[0, 1, 2, 3, 4], [0], [1], [2], [3, 4, 0, 1, 2], [3], [4], [0], [1]]


async def test_release_that_takes_too_long_is_logged_once_a_minute() -> None:
    heartbeat = _heartbeat(Holding(2, slow=2))
    with logged() as lines:
        for _ in range(2):
            await heartbeat.release_unknown()
    assert lines.messages == ["statement_given_up"]


async def test_late_answer_keeps_the_jobs_to_release() -> None:
    """It answers a heartbeat that was sent before the answer which found them."""
    storage, arrives = Holding(1), asyncio.Event()
    heartbeat = _heartbeat(storage)
    await heartbeat.send()
    storage.late = arrives
    late = asyncio.ensure_future(heartbeat.send())
    await turns()
    await heartbeat.send()
    arrives.set()
    await late
    reconciling = asyncio.ensure_future(heartbeat.reconcile())
    await turns()
    await end(reconciling)
    assert storage.tried == [[0]]


async def test_answer_is_as_old_as_its_heartbeat() -> None:
    """It may have waited for this process, while there was an outage."""
    storage, clock, arrives = Holding(0), FrozenClock(), asyncio.Event()
    monitor = OutageMonitor(clock, 8.0)
    heartbeat = _heartbeat(storage, monitor=monitor, clock=clock)
    await heartbeat.send()
    storage.late = arrives
    answered = asyncio.ensure_future(heartbeat.send())
    await turns()
    clock.advance(6)
    arrives.set()
    await answered
    clock.advance(3)
    assert monitor.uptime() == 0.0


async def test_lost_job_that_can_not_be_read_ends_nothing() -> None:
    storage, state, lost = Holding(1), WorkerState({}, 1, 1.0), leased(7)
    state.jobs[lost] = None
    state.ready.append(lost)
    heartbeat = _heartbeat(storage, state)
    reconciling = asyncio.ensure_future(heartbeat.reconcile())
    with logged() as lines:
        for _ in range(2):
            await heartbeat.send()
            await turns()
    assert lines.messages == ["storage_error", "lease_lost", "unknown_jobs_released"]
    await end(reconciling)
