"""The bytes of payloads that a worker holds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.cases import check_each
from tests.runtime.catalogs import nothing
from tests.runtime.workers.place import Place, advance_until, turns, until
from zeke_queue.errors import InvalidOptionError
from zeke_queue.model import RowState


async def test_payloads_of_held_jobs_stay_within_the_budget(place: Place) -> None:
    held: list[int] = []

    @place.catalog.task("work")
    async def work(payload: str) -> None:
        active = [job for job in place.storage.dump().jobs if job.row_state is RowState.ACTIVE]
        held.append(sum(len(job.data or "") for job in active))
        await turns(1)

    for _ in range(40):
        await place.send(work, "x" * 98)
    large = await place.send(work, "x" * 5_000)
    await place.send(work, "x" * 98)
    await place.drain(payload_budget=450)
    assert place.state(large) is RowState.COMPLETED
    assert len(held) == 42
    assert max(held) < 450 + 5_002, "the budget is exceeded by one job at most"
    assert max(size for size in held if size < 5_000) < 450 + 100
    assert max(held[:5]) > 100, "several jobs run at once"


async def test_jobs_are_claimed_once_payloads_are_dropped_though_none_was_settled(place: Place) -> None:
    go, begun = asyncio.Event(), list[str]()

    @place.catalog.task("work")
    async def work(payload: str) -> None:
        begun.append(payload)
        await go.wait()

    lost = await place.send(work, "x" * 98)
    await place.send(work, "y" * 98)
    async with place.working(payload_budget=100, heartbeat_interval=1, lease=1e6):
        await until(lambda: begun)
        assert len(begun) == 1
        await place.queue.cancel(lost)
        await advance_until(lambda: len(begun) == 2, place.clock)
        go.set()


async def test_invalid_payload_budget_is_rejected(place: Place) -> None:
    place.catalog.task("work")(nothing)

    def check(budget: Any) -> None:
        with pytest.raises(InvalidOptionError, match="payload_budget: must be an integer from 1 to"):
            place.worker(payload_budget=budget)

    check_each([(0,), (-1,), (1.5,), ("64MB",), (True,), (2**41,)], check)
