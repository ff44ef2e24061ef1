"""A cancelled caller, at whatever point, leaves its connection usable for others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from psycopg.pq import TransactionStatus

from tests.postgres.many_jobs import ANNA, Sender
from tests.postgres.opening import opened
from zeke_queue.model import Completed, JobQuery, QueueCapacity, QueueSettings, Released
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import SeededEntropy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.nightly

LANES = 8
CONNECTIONS = 3
STEPS = 60
"""Turns of the event loop after which a verb is cancelled, at most; in fewer it is often done."""


async def test_connection_returns_to_the_pool_although_its_return_is_cancelled(dsn: str) -> None:
    async with opened(dsn, max_size=2) as parts:
        connections = parts.connections
        kept, other = await connections.take(), await connections.take()
        await connections.give(kept)
        async with parts.pool._lock:  # as while another one is handed over
            returning = asyncio.ensure_future(connections.give(other))
            assert await asyncio.wait([returning], timeout=0) == (set(), {returning})
            returning.cancel()
            assert await asyncio.wait([returning], timeout=120) == ({returning}, set())
        async with asyncio.timeout(120):
            both = {await connections.take(), await connections.take()}
        assert both == {kept, other}
        for connection in both:
            await connections.give(connection)


def verbs(storage: PostgresStorage) -> list[Callable[[], Awaitable[object]]]:
    """Verbs that reach the server in each of the ways there are."""
    jobs = Sender(storage, SystemClock())

    async def claim_and_settle() -> None:
        claimed = await storage.claim(ANNA, [QueueCapacity("mail", 3), QueueCapacity("limited", 3)], 3)
        await storage.settle(
            [Completed(job.id, job.attempt, None) for job in claimed[:2]],
            released=[Released(job.id, job.attempt) for job in claimed[2:]],
        )

    async def send_in_a_transaction() -> None:
        async with storage.transaction() as transaction:
            await jobs.send(2, within=transaction)
            await transaction.lock_expired(1)

    return [
        jobs.send,
        lambda: jobs.send(3, "limited"),
        claim_and_settle,
        send_in_a_transaction,
        storage.queues,
        lambda: storage.find(JobQuery(limit=2)),
    ]


@pytest.mark.parametrize("seed", range(4))
async def test_all_connections_are_usable_after_many_cancellations(dsn: str, seed: int) -> None:
    random = SeededEntropy(seed).stream("storm")
    async with opened(dsn, max_size=CONNECTIONS) as parts:
        storage, connections = parts.storage, parts.connections
        await storage.declare([QueueSettings("limited", 50)], [])
        choices = verbs(storage)

        async def lane() -> None:
            for _ in range(50):
                doing = asyncio.ensure_future(random.choice(choices)())
                for _ in range(random.randrange(1, 4)):
                    for _ in range(random.randrange(STEPS)):
                        await asyncio.wait([doing], timeout=0)
                    doing.cancel()
                await asyncio.wait([doing])
                assert doing.cancelled() or doing.exception() is None

        async with asyncio.timeout(120):
            await asyncio.gather(*(lane() for _ in range(LANES)))
            taken = [await connections.take() for _ in range(CONNECTIONS)]
        for number, connection in enumerate(taken):
            assert connection.pgconn.transaction_status == TransactionStatus.IDLE
            await connection.small.execute("select %s::int", [number])
            assert await connection.small.fetchone() == (number,)
            await connections.give(connection)
