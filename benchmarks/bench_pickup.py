"""How soon an idle worker picks a job up, beside a hand-written insert + NOTIFY + claim in the same run."""

from __future__ import annotations

import asyncio
import statistics
import time

import psycopg

from benchmarks.database import fresh_database, open_storage
from benchmarks.report import Figure, in_turn, ratio
from zeke_queue import Catalog, Queue, Worker
from zeke_queue.system.settings import Settings

HAND_INSERT = """
    with sent as (insert into by_hand (data) values (%s::jsonb) returning id)
    select pg_notify('by_hand', '') from sent
"""
HAND_CLAIM = """
    update by_hand set state = 'active'
     where id = (select id from by_hand where state = 'created' order by id limit 1 for update skip locked)
    returning id
"""


async def _ours(dsn: str, sends: int) -> float:
    started = asyncio.Event()
    catalog = Catalog()

    @catalog.task("pickup")
    async def pickup() -> None:
        started.set()

    latencies: list[float] = []
    async with open_storage(dsn) as storage:
        queue = Queue(catalog, storage, settings=Settings.load())
        worker = Worker(queue)
        running = asyncio.create_task(worker.run())
        for n in range(sends + 5):
            await asyncio.sleep(0.03 + n % 7 * 0.01)  # so that the worker sleeps, at irregular intervals
            started.clear()
            begun = time.perf_counter()
            await queue.send("pickup")
            await started.wait()
            latencies.append(time.perf_counter() - begun)
        worker.stop()
        await running
    return statistics.median(latencies[5:]) * 1000


async def _by_hand(dsn: str, sends: int) -> float:
    latencies: list[float] = []
    connect = psycopg.AsyncConnection.connect
    async with (
        await connect(dsn, autocommit=True, prepare_threshold=1) as sender,
        await connect(dsn, autocommit=True, prepare_threshold=1) as listener,
        await connect(dsn, autocommit=True, prepare_threshold=1) as claimer,
    ):
        await sender.execute(
            "create table if not exists by_hand"
            " (id bigint generated always as identity primary key, data jsonb, state text default 'created')"
        )
        await sender.execute(
            "create index if not exists by_hand_waiting on by_hand (id) where state = 'created'"
        )
        await listener.execute("listen by_hand")
        for n in range(sends + 5):
            await asyncio.sleep(0.03 + n % 7 * 0.01)
            waiting = asyncio.create_task(_next(listener))
            await asyncio.sleep(0)
            begun = time.perf_counter()
            sending = asyncio.create_task(sender.execute(HAND_INSERT, ["{}"]))
            await waiting
            await (await claimer.execute(HAND_CLAIM)).fetchall()
            latencies.append(time.perf_counter() - begun)
            await sending
    return statistics.median(latencies[5:]) * 1000


async def _next(listener: psycopg.AsyncConnection[tuple[object, ...]]) -> None:
    async for _ in listener.notifies(stop_after=1):
        pass


async def run(dsn: str, runs: int, *, quick: bool) -> list[Figure]:
    """Alternate the two; each run is a median of many sends."""
    sends = 10 if quick else 100
    latencies: dict[str, list[float]] = {"idle worker": [], "by hand": []}
    measures = {"idle worker": _ours, "by hand": _by_hand}
    async with fresh_database(dsn) as own:
        for measured in range(runs):
            for name in in_turn(list(measures), measured):
                latencies[name].append(await measures[name](own, sends))
    worker, by_hand = (
        Figure("pick-up", name, "ms", tuple(values), better="less") for name, values in latencies.items()
    )
    return [worker, by_hand, ratio("pick-up", "worker / by hand", worker, by_hand, target=3, better="less")]
