"""A send of one job goes another way than a batch, for speed: both must write the same row."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from zeke_queue.model import Job, NewJob
from zeke_queue.storage.postgres import PostgresStorage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW = datetime(2026, 5, 4, 3, 2, 1, 987654, tzinfo=UTC)
PLAIN = NewJob(id=UUID(int=1), name="mail")
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


async def stored(storage: PostgresStorage, job: NewJob) -> Job:
    return (await storage.get([job.id]))[job.id]


@pytest.mark.parametrize(
    "job",
    [
        PLAIN,
        FULL,
        replace(PLAIN, start_at=datetime(2020, 1, 1, tzinfo=UTC)),
        replace(PLAIN, data="null", slot_seconds=3600),
        replace(FULL, slot_offset=0, start_at=datetime(2030, 1, 1, tzinfo=UTC)),
    ],
)
async def test_a_job_sent_alone_is_stored_as_one_of_a_batch(storage: PostgresStorage, job: NewJob) -> None:
    # Other queues, so that no uniqueness rule sees both.
    alone = replace(job, id=UUID(int=10), name="alone")
    batch = [replace(job, id=UUID(int=11), name="batch"), replace(PLAIN, id=UUID(int=12), name="third")]
    assert await storage.insert([alone]) == [alone.id]
    assert await storage.insert(batch) == [one.id for one in batch]
    first, second = await stored(storage, alone), await stored(storage, batch[0])
    assert replace(first, id=job.id, name=job.name) == replace(second, id=job.id, name=job.name)


async def test_a_job_sent_alone_is_refused_and_recognised_as_in_a_batch(storage: PostgresStorage) -> None:
    job = replace(PLAIN, singleton_key="k")
    assert await storage.insert([job]) == [job.id]
    assert await storage.insert([job]) == [job.id]
    assert await storage.insert([replace(job, id=UUID(int=5))]) == [None]
