"""Single sends, each durable before the next, beside bare INSERTs of the same row on one connection.

The INSERT has what a hand could give it: it is prepared, its cursor is made once, and its ids, which are made
beforehand, grow as a sender's do. Sends that a singleton key refuses return the run of the job that holds it,
so beside them stand an INSERT that inserts nothing and a SELECT of that job.
"""

from __future__ import annotations

import time
from collections import defaultdict
from typing import TYPE_CHECKING

import psycopg

from benchmarks.database import fresh_database, open_storage
from benchmarks.drains import Counter, Item
from benchmarks.report import Figure, in_turn, ratio
from zeke_queue import Queue
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import Ids, SystemEntropy
from zeke_queue.system.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import LiteralString, Unpack

    from zeke_queue.core.options import SendOptions

INSERT = """
    insert into pgboss.job (id, name, data, startafter, createdon, expirein,
                            retrylimit, retrydelay, retrybackoff, keepuntil)
    values (%s, 'bench', %s::jsonb, now(), now(), interval '1 hour', 3, 1, true, now() + interval '100 years')
"""
REFUSED = """
    insert into pgboss.job (id, name, data, startafter, createdon, expirein,
                            retrylimit, retrydelay, retrybackoff, keepuntil, singletonkey)
    values (%s, 'bench', %s::jsonb, now(), now(), interval '1 hour', 3, 1, true, now() + interval '100 years',
            'held')
    on conflict do nothing
"""
HOLDER = """
    select id from pgboss.job
     where name = 'bench' and singletonkey = 'held' and state < 'completed' and singletonon is null
       and not singletonkey like '\\_\\_pgboss\\_\\_singleton\\_queue%'
"""
BLOCKS = 10
"""Turns that each takes in one run."""
WARM_UP = 50
"""Of each before a run is timed: statements are prepared, connections open."""


async def run(dsn: str, runs: int, *, quick: bool) -> list[Figure]:
    """Alternate rounds of the four.

    Each run has connections of its own: where a server process runs can double a round trip, and stays as it
    is for as long as its connection.
    """
    block = 10 if quick else 200
    rates: defaultdict[str, list[float]] = defaultdict(list)
    async with fresh_database(dsn) as own:
        for _ in range(runs):
            seconds = await _alternate(own, block)
            for name, taken in seconds.items():
                rates[name].append(BLOCKS * block / taken)
    sent, inserted, refused, pair = (
        Figure("send", name, "jobs/s", tuple(rate)) for name, rate in rates.items()
    )
    return [
        *(sent, inserted, ratio("send", "send / bare INSERT", sent, inserted, target=0.8)),
        *(refused, pair, ratio("send", "refused send / INSERT and SELECT", refused, pair, target=0.3)),
    ]


async def _alternate(dsn: str, block: int) -> dict[str, float]:
    """Return the seconds that each of the four took for its blocks."""
    new_id = Ids(SystemClock(), SystemEntropy())
    async with open_storage(dsn) as storage:
        queue = Queue(Counter(1).catalog, storage, settings=Settings.load())
        connection = await psycopg.AsyncConnection.connect(dsn, autocommit=True, prepare_threshold=1)
        async with connection, connection.cursor() as cursor:

            async def send(number: int, **options: Unpack[SendOptions]) -> float:
                begun = time.perf_counter()
                for n in range(number):
                    await queue.send("bench", Item(n=n), **options)
                return time.perf_counter() - begun

            async def insert(number: int, *statements: LiteralString) -> float:
                ids = [new_id() for _ in range(number)]
                begun = time.perf_counter()
                for n in range(number):
                    await cursor.execute(statements[0], [ids[n], f'{{"n": {n}}}'])
                    for statement in statements[1:]:
                        await cursor.execute(statement)
                        await cursor.fetchone()
                return time.perf_counter() - begun

            measures: dict[str, Callable[[int], Awaitable[float]]] = {
                "queue.send": send,
                "bare INSERT": lambda number: insert(number, INSERT),
                "refused queue.send": lambda number: send(number, singleton_key="held"),
                "refused INSERT, and SELECT": lambda number: insert(number, REFUSED, HOLDER),
            }
            for measure in measures.values():
                await measure(WARM_UP)
            await cursor.execute(REFUSED, [new_id(), "{}"])
            inserted = cursor.rowcount
            holder = await (await cursor.execute(HOLDER)).fetchone()
            if (
                inserted
                or holder is None
                or (await queue.send("bench", Item(n=0), singleton_key="held")).created
            ):
                raise RuntimeError("sends under the held key must be refused, and were not")
            seconds = dict.fromkeys(measures, 0.0)
            for turn in range(BLOCKS):
                for name in in_turn(list(measures), turn):
                    seconds[name] += await measures[name](block)
    return seconds
