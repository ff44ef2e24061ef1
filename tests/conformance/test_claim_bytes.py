"""Claims with a budget: the first jobs in claim order whose payloads fit, and one at the least."""

from __future__ import annotations

import json
from itertools import count
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.driver import ANNA, Driver
from zeke_queue.model import QueueCapacity, QueueSettings
from zeke_queue.storage import Storage

LETTERS = 2_100
"""Letters that Postgres stores compressed: it writes them as many times the bytes it keeps."""


async def claim(
    storage: Storage, bytes_max: int | None, *names: str, limit: int = 100, free: int = 100
) -> list[UUID]:
    """Claim from these queues, or from "mail"; returns the ids."""
    capacity = [QueueCapacity(name, free) for name in names or ("mail",)]
    return [job.id for job in await storage.claim(ANNA, capacity, limit, bytes_max)]


def payload(size: int) -> str:
    """Return JSON of so many bytes."""
    return json.dumps("x" * (size - 2))


async def test_jobs_are_claimed_as_far_as_they_fit(storage: Storage, jobs: Driver) -> None:
    sent = [await jobs.send(data=payload(100)) for _ in range(5)]
    assert await claim(storage, 299) == sent[:2]
    assert await claim(storage, 300) == sent[2:]


async def test_smaller_jobs_do_not_overtake_one_that_does_not_fit(storage: Storage, jobs: Driver) -> None:
    small, large, last = [await jobs.send(data=payload(size)) for size in (10, 1000, 10)]
    other = await jobs.send("other", data=payload(10))
    assert await claim(storage, 100, "mail", "other") == [small]
    assert await claim(storage, 100, "mail", "other") == [large], "one at the least"
    assert await claim(storage, 100, "mail", "other") == [last, other]


async def test_budget_applies_in_claim_order_over_queues_and_priorities(
    storage: Storage, jobs: Driver
) -> None:
    await storage.declare([QueueSettings("limited", 1)], [])
    last = await jobs.send("free", data=payload(50))
    third = await jobs.send("limited", data=payload(50), priority=1)
    first = await jobs.send("free", data=payload(50), priority=2)
    second = await jobs.send("limited", data=payload(50), priority=2)
    assert await claim(storage, 120, "free", "limited") == [first, second]
    assert await claim(storage, 50, "free", "limited") == [last], "the limit is reached"
    await storage.cancel([second])
    assert await claim(storage, 50, "free", "limited") == [third]


async def test_meta_counts_and_jobs_without_payload_cost_nothing(storage: Storage, jobs: Driver) -> None:
    with_meta = await jobs.send(data=payload(20), meta=json.dumps({"a": "x" * 70}), parent=UUID(int=1))
    empty = [await jobs.send() for _ in range(3)]
    after = await jobs.send(data=payload(20))
    assert await claim(storage, 100) == [with_meta, *empty]
    assert await claim(storage, 20) == [after]


async def test_sizes_are_those_of_the_stored_json(storage: Storage, jobs: Driver) -> None:
    # Written as {"a": 1, "é": 100}: 18 characters, 19 bytes.
    sent = [await jobs.send(data='{"é":1e2,"a":1,"a":1}') for _ in range(3)]
    assert await claim(storage, 38) == sent[:2]
    (job,) = await storage.claim(ANNA, [QueueCapacity("mail", 1)], 1)
    assert job.payload_bytes == 19


@pytest.mark.parametrize("size", [LETTERS, 20_000, 300_000])
async def test_values_that_are_stored_compressed_count_as_they_are_read(
    storage: Storage, jobs: Driver, size: int
) -> None:
    sent = [await jobs.send(data=payload(size)) for _ in range(4)]
    small = await jobs.send(data=payload(10))
    assert await claim(storage, 2 * size) == sent[:2]
    assert await claim(storage, 1) == sent[2:3]
    assert await claim(storage, size + 10) == [sent[3], small]


async def test_claim_without_a_budget_takes_all(storage: Storage, jobs: Driver) -> None:
    sent = [await jobs.send(data=payload(LETTERS)) for _ in range(3)]
    assert await claim(storage, None) == sent


names = count()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    sizes=st.lists(st.sampled_from([2, 30, 500, LETTERS, 9_000]), min_size=1, max_size=8),
    bytes_max=st.integers(0, 12_000),
    limit=st.integers(1, 8),
)
async def test_claimed_jobs_are_the_longest_beginning_that_fits(
    storage: Storage, jobs: Driver, sizes: list[int], bytes_max: int, limit: int
) -> None:
    name = f"q{next(names)}"
    sent = [await jobs.send(name, data=payload(size)) for size in sizes]
    fitting = [n for n in range(1, len(sizes) + 1) if sum(sizes[:n]) <= bytes_max]
    expected = sent[: min(limit, max(fitting, default=1))]
    assert await claim(storage, bytes_max, name, limit=limit) == expected
