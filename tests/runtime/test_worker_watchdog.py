"""A handler that blocks the loop is logged by name, with the line where it is."""

from __future__ import annotations

import json
import threading
from asyncio import gather
from io import StringIO
from typing import TYPE_CHECKING

import pytest

from tests.clocks import FrozenClock
from tests.runtime.workers.place import Place
from zeke_queue import log

if TYPE_CHECKING:
    from collections.abc import Iterator


class Told(StringIO):
    """A log that can be waited for from the thread that is blocked."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str) -> int:
        length = super().write(text)
        if "loop_blocked" in text:
            self.written.set()
        return length


@pytest.fixture
def told() -> Iterator[Told]:
    before, stream = log._current[0], Told()
    log._current[0] = log._make_setup("json", 20, stream, FrozenClock())
    yield stream
    log._current[0] = before


async def test_blocking_handler_is_logged_by_name(told: Told) -> None:
    place = Place()

    @place.catalog.task("stubborn")
    async def stubborn() -> None:
        assert told.written.wait(20)

    job_id = await place.send(stubborn)
    await place.drain(watchdog=0.02)
    lines = [json.loads(line) for line in told.getvalue().splitlines()]
    (blocked,) = [line for line in lines if line["message"] == "loop_blocked"]
    assert (blocked["taskId"], blocked["jobId"]) == ("stubborn", str(job_id))
    assert "told.written.wait(20)" in blocked["stack"]


async def test_running_jobs_are_logged_where_a_task_of_a_handler_blocks(told: Told) -> None:
    place = Place()

    async def block() -> None:
        assert told.written.wait(20)

    @place.catalog.task("indirect")
    async def indirect() -> None:
        await gather(block())

    await place.send(indirect)
    await place.drain(watchdog=0.02)
    lines = [json.loads(line) for line in told.getvalue().splitlines()]
    (blocked,) = [line for line in lines if line["message"] == "loop_blocked"]
    assert ("taskId" not in blocked, blocked["running"]) == (True, ["indirect"])


async def test_blocking_outside_of_jobs_is_logged_without_a_name(told: Told) -> None:
    place = Place()
    place.catalog.task("idle")(block_nothing)
    async with place.working(watchdog=0.02):
        assert told.written.wait(20)
    lines = [json.loads(line) for line in told.getvalue().splitlines()]
    (blocked,) = [line for line in lines if line["message"] == "loop_blocked"]
    assert ("taskId" not in blocked, blocked["running"]) == (True, [])


async def block_nothing() -> None:
    """Do nothing."""
