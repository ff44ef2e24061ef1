"""Many connections at once on a real Postgres: what must hold in whatever order their statements fall.

Each test hammers with several storages, each with a pool and marks of its own, as processes have them;
``tests/interleaving`` tries the orders of a few statements one by one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.clocks import FrozenClock
from tests.postgres.opening import WAITERS
from tests.runtime.workers.place import until
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.maintenance.scheduler import Scheduler, tick_id
from zeke_queue.model import (
    Completed,
    Failed,
    JobQuery,
    JobStatus,
    NewJob,
    QueueCapacity,
    QueueSettings,
    Released,
    RowState,
    WorkerInfo,
)
from zeke_queue.storage.postgres import PostgresStorage, connection_pool
from zeke_queue.storage.postgres.error_mapping import is_worth_repeating
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import Ids, SeededEntropy
from zeke_queue.task.catalog import Catalog

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tests.postgres.many_jobs import Connection

pytestmark = pytest.mark.nightly


ERROR = '{"type": "Boom", "message": "planned", "traceback": null}'
new_id = Ids(SystemClock(), SeededEntropy(7))


def job(name: str = "load", **fields: object) -> NewJob:
    return NewJob(id=new_id(), name=name, **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def storages(dsn: str, number: int) -> AsyncGenerator[list[PostgresStorage]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(PostgresStorage.open(dsn, min_size=1, max_size=4))
            for _ in range(number)
        ]


async def alive(storage: PostgresStorage, *queues: str) -> UUID:
    worker = new_id()
    await storage.heartbeat(WorkerInfo(id=worker, host="test", pid=1, queues=queues, lease=3600.0))
    return worker


@pytest.mark.parametrize("limit", [1, 3])
async def test_concurrent_claims_never_exceed_a_limit(dsn: str, limit: int) -> None:
    total = 150
    async with storages(dsn, 6) as opened:
        await opened[0].declare([QueueSettings("limited", concurrency_limit=limit)], [])
        await opened[0].insert([job("limited", priority=n % 2) for n in range(total)])
        await opened[0].insert([job("free") for _ in range(total)])
        done: list[UUID] = []
        most = 0

        async def work(storage: PostgresStorage) -> None:
            nonlocal most
            worker = await alive(storage, "limited", "free")
            while len(done) < 2 * total:
                claimed = await storage.claim(
                    worker, [QueueCapacity("limited", 9), QueueCapacity("free", 2)], 10
                )
                stats = {one.name: one.row_counts for one in await storage.queue_stats()}
                most = max(most, stats["limited"].get(RowState.ACTIVE, 0))
                outcomes = [Completed(one.id, one.attempt, None) for one in claimed[::2]]
                given_back = [Released(one.id, one.attempt) for one in claimed[1::2]]
                done.extend(await storage.settle(outcomes, released=given_back) & {o.id for o in outcomes})

        await asyncio.gather(*map(work, opened))
    assert most == limit
    assert Counter(done) == Counter(set(done))


@pytest.fixture
def conflicts(monkeypatch: pytest.MonkeyPatch) -> list[BaseException]:
    """The deadlocks that the server ended, after which a storage repeats its transaction."""
    found: list[BaseException] = []

    def recorded(error: BaseException) -> bool:
        found.append(error)
        return is_worth_repeating(error)

    monkeypatch.setattr(connection_pool, "is_worth_repeating", recorded)
    return found


async def test_batches_with_keys_in_opposite_order_do_not_deadlock(
    dsn: str, sql: Connection, conflicts: list[BaseException]
) -> None:
    async with storages(dsn, 3) as (holder, *others):
        async with holder.transaction() as transaction:
            await transaction.insert([job("single", singleton_key="k1")])
            batches = [
                asyncio.ensure_future(storage.insert([job("single", singleton_key=key) for key in keys]))
                for storage, keys in zip(others, (["k0", "k1", "k2"], ["k2", "k1", "k0"]), strict=True)
            ]
            # Each has inserted the keys before the one that is held, and waits for that.
            await until(lambda: sql.execute(WAITERS).fetchone() == (len(batches),))
        accepted = [one for batch in await asyncio.gather(*batches) for one in batch if one is not None]
    assert len(accepted) == 2
    assert conflicts == []


async def test_concurrent_settle_expire_cancel_and_fail_take_effect_once(
    dsn: str, conflicts: list[BaseException]
) -> None:
    async with storages(dsn, 4) as opened:
        worker = await alive(opened[0], "load")
        await opened[0].insert([job() for _ in range(200)])
        while claimed := await opened[0].claim(worker, [QueueCapacity("load", 20)], 20):
            backward = claimed[::-1]
            answers = await asyncio.gather(
                opened[0].settle([Completed(one.id, one.attempt, None) for one in claimed]),
                opened[1].settle(
                    failed=[Failed(one.id, one.attempt, None, ERROR, RowState.EXPIRED) for one in backward]
                ),
                opened[2].cancel([one.id for one in backward]),
                opened[3].settle(failed=[Failed(one.id, one.attempt, None, ERROR) for one in claimed]),
            )
            assert sorted(which for answer in answers for which in answer) == sorted(
                one.id for one in claimed
            )
    assert conflicts == []


async def test_concurrent_schedulers_serve_each_tick_once(dsn: str) -> None:
    catalog = Catalog()

    @catalog.task("every-minute")
    async def every_minute() -> None:
        pass

    @catalog.task("every-second")
    async def every_second() -> None:
        pass

    catalog.schedule("every-minute", "* * * * *", catch_up="all")
    catalog.schedule("every-second", "* * * * * *", catch_up="all")
    begun = datetime(2026, 3, 1, tzinfo=UTC)
    clock = FrozenClock(begun + timedelta(seconds=1))
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(PostgresStorage.open(dsn, max_size=3, now=clock.now))
            for _ in range(5)
        ]
        queues = [Queue(catalog, storage) for storage in opened]
        await parts_of(queues[0]).declare()
        schedulers = [Scheduler(parts_of(queue)) for queue in queues]
        served: list[UUID] = []
        for seconds in (0, 1, 1, 5, 60, 3, 0, 120, 7):
            clock.advance(seconds)
            for ids in await asyncio.gather(*(scheduler.tick() for scheduler in schedulers)):
                served.extend(ids)
        rows = (await opened[0].find(JobQuery(limit=1000))).jobs
    seconds_passed = int((clock.now() - begun).total_seconds())
    expected = [tick_id("every-second", begun + timedelta(seconds=n)) for n in range(2, seconds_passed + 1)]
    expected += [
        tick_id("every-minute", begun + timedelta(minutes=n)) for n in range(1, seconds_passed // 60 + 1)
    ]
    assert sorted(served) == sorted(expected)
    assert sorted(row.id for row in rows) == sorted(expected)


async def test_concurrent_archiving_loses_and_duplicates_no_job(dsn: str) -> None:
    async with storages(dsn, 5) as opened:
        sent = await opened[0].insert([job(retry_delay=0) for _ in range(400)])
        busy = True

        async def work(storage: PostgresStorage) -> None:
            worker, empty = await alive(storage, "load"), 0
            while empty < 3:
                claimed = await storage.claim(worker, [QueueCapacity("load", 15)], 15)
                empty = 0 if claimed else empty + 1
                await storage.settle(
                    [Completed(one.id, one.attempt, None) for one in claimed if one.id.int % 3],
                    [
                        Failed(one.id, one.attempt, 0.0 if one.attempt < 3 else None, ERROR)
                        for one in claimed
                        if not one.id.int % 3
                    ],
                )

        async def archive(storage: PostgresStorage) -> int:
            moved = 0
            while busy:
                moved += await storage.archive(0.0, 9)
            return moved

        async def revive(storage: PostgresStorage) -> None:
            while busy:
                failed = (await storage.find(JobQuery(status=(JobStatus.FAILED,), limit=5))).jobs
                await storage.retry([one.id for one in failed[:1]])

        async def everything(workers: Sequence[PostgresStorage]) -> None:
            nonlocal busy
            await asyncio.gather(*map(work, workers))
            busy = False

        _, moved, _ = await asyncio.gather(everything(opened[:3]), archive(opened[3]), revive(opened[4]))
        while (more := await opened[3].archive(0.0, 100)) > 0:
            moved += more
        live = (await opened[0].find(JobQuery(limit=1000))).jobs
        archived = (await opened[0].find(JobQuery(archived=True, limit=1000))).jobs
    assert sorted([*(one.id for one in live), *(one.id for one in archived)]) == sorted(
        one for one in sent if one is not None
    )
    assert moved == len(archived)
    assert all(one.row_state not in {RowState.CREATED, RowState.RETRY, RowState.ACTIVE} for one in archived)
