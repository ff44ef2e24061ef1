"""A send of one job goes another way than a batch, for speed: both must write the same row."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg
import pytest

from tests.cases import check_each, check_each_async
from tests.conformance.planting import EMPTY
from zeke_queue.model import Job, NewJob
from zeke_queue.storage.postgres import PostgresStorage, connection_pool
from zeke_queue.storage.postgres.connections import Connections
from zeke_queue.storage.postgres.statements import VARIANTS, statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW = datetime(2026, 5, 4, 3, 2, 1, 987654, tzinfo=UTC)
PLAIN = NewJob(id=UUID(int=1), name="mail")
FRESH = NewJob(
    id=UUID(int=1), name="mail", data='{"n": 1}', priority=3, retry_limit=0, expire_in=7.5, fresh=True
)
FULL = NewJob(
    id=UUID(int=1),
    name="mail",
    data='{"b": [1.0, null, "é"], "a": true}',
    priority=-7,
    delay=12.25,
    retry_limit=0,
    retry_delay=0,
    retry_backoff=False,
    retry_delay_max=90,
    expire_in=0.5,
    singleton_key="it's",
    slot_seconds=60,
    slot_offset=60,
    policy="p",
    group_key="g",
    parent=UUID(int=2),
    meta='{"trace": "x"}',
)


@pytest.fixture
async def storage(dsn: str) -> AsyncIterator[PostgresStorage]:
    async with PostgresStorage.open(dsn, now=lambda: NOW) as opened:
        yield opened


def empty(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(EMPTY)


async def stored(storage: PostgresStorage, job: NewJob) -> Job:
    return (await storage.get([job.id]))[job.id]


async def test_job_sent_alone_is_stored_as_one_of_a_batch(dsn: str, storage: PostgresStorage) -> None:
    async def check(job: NewJob) -> None:
        empty(dsn)
        # Other queues, so that no uniqueness rule sees both.
        alone = replace(job, id=UUID(int=10), name="alone")
        batch = [replace(job, id=UUID(int=11), name="batch"), replace(PLAIN, id=UUID(int=12), name="third")]
        assert await storage.insert([alone]) == [alone.id]
        assert await storage.insert(batch) == [one.id for one in batch]
        first, second = await stored(storage, alone), await stored(storage, batch[0])
        assert replace(first, id=job.id, name=job.name) == replace(second, id=job.id, name=job.name)

    await check_each_async(
        [
            PLAIN,
            FULL,
            FRESH,
            replace(FULL, fresh=True),
            replace(PLAIN, start_at=datetime(2020, 1, 1, tzinfo=UTC)),
            replace(PLAIN, data="null", slot_seconds=3600),
            replace(FULL, slot_offset=0, start_at=datetime(2030, 1, 1, tzinfo=UTC)),
        ],
        check,
    )


async def test_single_job_is_refused_or_repeated_as_in_a_batch(storage: PostgresStorage) -> None:
    job = replace(PLAIN, singleton_key="k")
    assert await storage.insert([job]) == [job.id]
    assert await storage.insert([job]) == [job.id]
    assert await storage.insert([replace(job, id=UUID(int=5))]) == [None]


async def test_existing_id_that_was_declared_fresh_is_recognised(storage: PostgresStorage) -> None:
    assert await storage.insert([FRESH]) == [FRESH.id]
    assert await storage.insert([replace(FRESH, priority=9)]) == [FRESH.id]
    assert (await stored(storage, FRESH)).priority == FRESH.priority
    async with storage.transaction() as transaction:
        assert await transaction.insert([FRESH]) == [FRESH.id]


async def test_no_option_of_a_fresh_job_is_left_out(dsn: str, storage: PostgresStorage) -> None:
    async def check(part: dict[str, Any]) -> None:
        empty(dsn)
        fresh = replace(FRESH, name="fresh", **part)
        other = replace(FRESH, name="other", id=UUID(int=2), fresh=False, **part)
        plain = replace(FRESH, name="plain", id=UUID(int=3))
        for job in (fresh, other, plain):
            await storage.insert([job])
        first, second, third = [await stored(storage, job) for job in (fresh, other, plain)]
        assert first == replace(second, id=first.id, name=first.name)
        assert first != replace(third, id=first.id, name=first.name)

    await check_each_async(
        [
            {"delay": 12.25},
            {"start_at": datetime(2030, 1, 1, tzinfo=UTC)},
            {"retry_delay_max": 90},
            {"singleton_key": "k"},
            {"slot_seconds": 60},
            {"policy": "p"},
            {"group_key": "g"},
            {"parent": UUID(int=2)},
            {"meta": "{}"},
        ],
        check,
    )


def test_texts_that_a_variant_replaces_occur_in_its_statement() -> None:
    def check(variant: str) -> None:
        original, replaced = VARIANTS[variant]
        assert [text for text in replaced if text not in statement(original, "pgboss")] == []

    check_each(VARIANTS.keys(), check)


async def test_refused_fresh_job_costs_one_statement(
    storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    one = Connections.one

    def recorded(name: str, *arguments: Any) -> str:
        ran.append(name)
        return statement(name, *arguments)

    def opened(connections: Connections) -> Any:
        ran.append("transaction")
        return one(connections)

    keyed = replace(FRESH, singleton_key="k")
    slotted = replace(FRESH, id=UUID(int=2), slot_seconds=86_400)
    assert await storage.insert([keyed, slotted]) == [keyed.id, slotted.id]
    monkeypatch.setattr(connection_pool, "statement", recorded)
    monkeypatch.setattr(Connections, "one", opened)

    async def check(job: NewJob, *expected: str) -> None:
        ran.clear()
        assert await storage.insert([replace(job, id=UUID(int=3))]) == [None]
        assert ran == list(expected)

    known = replace(keyed, fresh=False), "insert_one", "drop_archived", "transaction", "known"
    await check_each_async([(keyed, "insert_one"), (slotted, "insert_one"), known], check)
    await storage.cancel([keyed.id])
    assert "transaction" in ran
