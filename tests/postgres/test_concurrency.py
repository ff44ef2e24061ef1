"""Many connections at once on a real Postgres: what must hold in whatever order their statements fall.

Each test hammers with several storages, each with a pool and marks of its own, as processes have them. The
order of events depends on server and machine; the assertions hold for every order, and nothing waits
for a time to pass.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import psycopg
import pytest

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
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import Ids, SeededEntropy
from zeke_queue.task.catalog import Catalog

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from zeke_queue.model import Claimed

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


async def alive(storage: PostgresStorage, *queues: str, lease: float = 3600.0) -> UUID:
    worker = new_id()
    await storage.heartbeat(WorkerInfo(id=worker, host="test", pid=1, queues=queues, lease=lease))
    return worker


async def count_states(dsn: str) -> Counter[str]:
    async with await psycopg.AsyncConnection.connect(dsn) as connection:
        found = await connection.execute("select state::text, count(*) from pgboss.job group by 1")
        return Counter(dict(await found.fetchall()))


async def test_concurrent_workers_claim_each_job_once(dsn: str) -> None:
    async with storages(dsn, 6) as opened:
        sent = await opened[0].insert([job(priority=n % 3) for n in range(1200)])

        async def work(storage: PostgresStorage, batch: int) -> list[Claimed]:
            worker, mine = await alive(storage, "load"), []
            while claimed := await storage.claim(worker, [QueueCapacity("load", batch)], batch):
                mine.extend(claimed)
            return mine

        taken = await asyncio.gather(*(work(storage, 7 + 5 * n) for n, storage in enumerate(opened)))
        # A claim skips rows locked by another one, so a last claim takes the rows that all skipped.
        rest = await opened[0].claim(await alive(opened[0], "load"), [QueueCapacity("load", 500)], 500)
    ids = [claimed.id for mine in [*taken, rest] for claimed in mine]
    assert Counter(ids) == Counter(sent)
    assert {claimed.attempt for mine in taken for claimed in mine} == {1}


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
                counts = await storage.queue_stats()
                most = max(
                    [
                        most,
                        *(one.row_counts.get(RowState.ACTIVE, 0) for one in counts if one.name == "limited"),
                    ]
                )
                outcomes = [Completed(one.id, one.attempt, None) for one in claimed[::2]]
                given_back = [Released(one.id, one.attempt) for one in claimed[1::2]]
                done.extend(await storage.settle(outcomes, released=given_back) & {o.id for o in outcomes})

        async def watch() -> None:
            nonlocal most
            async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
                while len(done) < 2 * total:
                    found = await connection.execute(
                        "select count(*) from pgboss.job where name = 'limited' and state = 'active'"
                    )
                    most = max(most, (await found.fetchone() or (0,))[0])

        await asyncio.gather(watch(), *(work(storage) for storage in opened))
    assert most == limit
    assert Counter(done) == Counter(set(done))


async def test_lowered_limit_applies_to_every_later_claim(dsn: str) -> None:
    async with storages(dsn, 4) as opened:
        await opened[0].declare([QueueSettings("limited", concurrency_limit=8)], [])
        await opened[0].insert([job("limited") for _ in range(60)])
        workers = [await alive(storage, "limited") for storage in opened]
        capacity = [QueueCapacity("limited", 4)]
        held = [one for s, w in zip(opened, workers, strict=True) for one in await s.claim(w, capacity, 4)]
        assert len(held) == 8
        await opened[1].declare([QueueSettings("limited", concurrency_limit=2)], [])
        await opened[2].settle([Completed(one.id, one.attempt, None) for one in held[:5]])
        assert not [
            one
            for claimed in await asyncio.gather(
                *(s.claim(w, capacity, 4) for s, w in zip(opened, workers, strict=True))
            )
            for one in claimed
        ]
        await opened[2].settle([Completed(one.id, one.attempt, None) for one in held[5:]])
        claimed = await asyncio.gather(
            *(s.claim(w, capacity, 4) for s, w in zip(opened, workers, strict=True))
        )
        assert sum(map(len, claimed)) <= 2
        assert (await count_states(dsn))["active"] <= 2


async def test_concurrent_sends_under_a_key_accept_one_until_it_ends(dsn: str) -> None:
    async with storages(dsn, 6) as opened:
        worker = await alive(opened[0], "single")
        for _ in range(25):
            answers = await asyncio.gather(
                *(storage.insert([job("single", singleton_key="k")]) for storage in opened)
            )
            accepted = [answer for (answer,) in answers if answer is not None]
            assert len(accepted) == 1
            (claimed,) = await opened[0].claim(worker, [QueueCapacity("single", 5)], 5)
            assert claimed.id == accepted[0]
            assert await opened[1].insert([job("single", singleton_key="k")]) == [None]
            assert await opened[0].settle([Completed(claimed.id, claimed.attempt, None)]) == {claimed.id}


async def test_batches_with_keys_in_opposite_order_do_not_deadlock(dsn: str) -> None:
    keys = [f"k{n}" for n in range(20)]
    async with storages(dsn, 6) as opened:
        for _ in range(10):
            batches = [
                [job("single", singleton_key=key) for key in (keys if n % 2 else reversed(keys))]
                for n in range(6)
            ]
            answers = await asyncio.gather(
                *(storage.insert(batch) for storage, batch in zip(opened, batches, strict=True))
            )
            accepted = [answer for batch in answers for answer in batch if answer is not None]
            assert len(accepted) == len(keys)
            await opened[0].cancel(accepted)


async def test_concurrent_settlements_accept_only_the_current_attempt(dsn: str) -> None:
    async with storages(dsn, 4) as opened:
        first, second = await alive(opened[0], "load"), await alive(opened[1], "load")
        for _ in range(40):
            (sent,) = await opened[0].insert([job(retry_delay=0)])
            (old,) = await opened[0].claim(first, [QueueCapacity("load", 1)], 1)
            await opened[2].settle(failed=[Failed(old.id, old.attempt, 0.0, ERROR, RowState.EXPIRED)])
            (new,) = await opened[1].claim(second, [QueueCapacity("load", 1)], 1)
            assert (new.id, new.attempt) == (sent, old.attempt + 1)
            stale, retried, mine = await asyncio.gather(
                opened[0].settle([Completed(old.id, old.attempt, '"stale"')]),
                opened[3].settle(failed=[Failed(old.id, old.attempt, 0.0, ERROR)]),
                opened[1].settle([Completed(new.id, new.attempt, '"mine"')]),
            )
            assert (stale, retried, mine) == (set(), set(), {new.id})
            assert (await opened[0].get([new.id]))[new.id].output == "mine"


async def test_concurrent_settle_expire_cancel_and_release_take_effect_once(dsn: str) -> None:
    async with storages(dsn, 4) as opened:
        worker = await alive(opened[0], "load")
        await opened[0].insert([job() for _ in range(200)])
        while claimed := await opened[0].claim(worker, [QueueCapacity("load", 20)], 20):
            forward = [Completed(one.id, one.attempt, None) for one in claimed]
            backward = list(reversed(claimed))
            answers = await asyncio.gather(
                opened[0].settle(forward),
                opened[1].settle(
                    failed=[Failed(one.id, one.attempt, None, ERROR, RowState.EXPIRED) for one in backward]
                ),
                opened[2].cancel([one.id for one in backward]),
                opened[3].settle(failed=[Failed(one.id, one.attempt, None, ERROR) for one in claimed]),
            )
            changed = Counter(which for answer in answers for which in answer)
            assert changed == Counter(one.id for one in claimed)
        states = await count_states(dsn)
    assert sum(states.values()) == 200
    assert set(states) <= {"completed", "expired", "cancelled", "failed"}


async def test_jobs_of_a_lost_worker_are_rescued_once_by_concurrent_rescuers(dsn: str) -> None:
    async with storages(dsn, 5) as opened:
        await opened[0].insert([job(retry_delay=0) for _ in range(300)])
        dead, living = await alive(opened[0], "load", lease=60.0), await alive(opened[0], "load")
        lost = await opened[0].claim(dead, [QueueCapacity("load", 200)], 200)
        kept = await opened[0].claim(living, [QueueCapacity("load", 100)], 100)
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
            await connection.execute(
                "update pgboss.worker set beat_on = now() - interval '61 seconds' where id = %s", [dead]
            )

        async def sweep(storage: PostgresStorage) -> list[UUID]:
            given_back: list[UUID] = []
            while True:
                async with storage.transaction() as transaction:
                    found = await transaction.lock_expired(7)
                    changed = await transaction.settle(
                        failed=[Failed(one.id, one.attempt, 0.0, ERROR) for one in found]
                    )
                given_back.extend(changed)
                if not found:
                    return given_back

        swept = [one for mine in await asyncio.gather(*map(sweep, opened)) for one in mine]
        again = await opened[0].claim(living, [QueueCapacity("load", 300)], 300)
    assert sorted(swept) == sorted(one.id for one in lost)
    assert sorted(one.id for one in again) == sorted(swept)
    assert {one.attempt for one in again} == {2}
    assert not {one.id for one in again} & {one.id for one in kept}


class _Moving:
    """A clock that a test moves, for the statements of several storages."""

    def __init__(self) -> None:
        self.time = datetime(2026, 3, 1, 0, 0, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


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
    moving, begun = _Moving(), datetime(2026, 3, 1, tzinfo=UTC)
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(PostgresStorage.open(dsn, max_size=3, now=moving))
            for _ in range(5)
        ]
        queues = [Queue(catalog, storage) for storage in opened]
        await parts_of(queues[0]).declare()
        schedulers = [Scheduler(parts_of(queue)) for queue in queues]
        served: list[UUID] = []
        for seconds in (0, 1, 1, 5, 60, 3, 0, 120, 7):
            moving.time += timedelta(seconds=seconds)
            for ids in await asyncio.gather(*(scheduler.tick() for scheduler in schedulers)):
                served.extend(ids)
        rows = (await opened[0].find(JobQuery(limit=1000))).jobs
    seconds_passed = int((moving.time - begun).total_seconds())
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
