"""What happens between two awaits of the worker's loops."""

from __future__ import annotations

import asyncio

from tests.runtime.workers.handler import Handler
from tests.runtime.workers.place import Place, turns, until
from zeke_queue.model import RowState

COMPLETED = RowState.COMPLETED


async def test_slot_freed_while_the_idle_flag_is_set_is_used(place: Place) -> None:
    work = Handler(place)
    work.go.set()
    async with place.working(concurrency=1):
        await until(place.asleep)
        told = place.storage.late["set_idle"] = asyncio.Event()
        first, second = await place.send(work.task), await place.send(work.task)
        await until(lambda: place.state(first) is COMPLETED)
        await turns()
        told.set()
        await until(lambda: place.state(second) is COMPLETED)
