"""Single sends, each durable before the next, beside bare INSERTs of the same row on one connection."""

from __future__ import annotations

import time

import psycopg

from benchmarks.database import fresh_database, open_storage
from benchmarks.drains import Counter, Item
from benchmarks.report import Figure, ratio
from zeke_queue import Queue
from zeke_queue.config import Settings

INSERT = """
    insert into pgboss.job (name, data, startafter, createdon, expirein,
                            retrylimit, retrydelay, retrybackoff, keepuntil)
    values ('bare', %s::jsonb, now(), now(), interval '1 hour', 3, 1, true, now() + interval '100 years')
"""


async def run(dsn: str, runs: int, *, quick: bool) -> list[Figure]:
    """Alternate rounds of the two."""
    sends = 100 if quick else 2_000
    ours: list[float] = []
    bare: list[float] = []
    async with fresh_database(dsn) as own, open_storage(own) as storage:
        queue = Queue(Counter(1).catalog, storage, settings=Settings.load())
        connection = await psycopg.AsyncConnection.connect(own, autocommit=True, prepare_threshold=1)
        async with connection:
            for measured in range(-1, runs):  # the first round prepares statements and opens connections
                begun = time.perf_counter()
                for n in range(sends):
                    await queue.send("bench", Item(n=n))
                middle = time.perf_counter()
                for n in range(sends):
                    await connection.execute(INSERT, [f'{{"n": {n}}}'])
                end = time.perf_counter()
                if measured >= 0:
                    ours.append(sends / (middle - begun))
                    bare.append(sends / (end - middle))
    sent = Figure("send", "queue.send", "sends/s", tuple(ours))
    inserted = Figure("send", "bare INSERT", "inserts/s", tuple(bare))
    return [sent, inserted, ratio("send", "send / bare INSERT", sent, inserted, target=0.8)]
