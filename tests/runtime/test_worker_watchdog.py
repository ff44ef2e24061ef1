"""A handler that blocks the loop is logged by name, with its current line."""

from __future__ import annotations

import json
import threading
from asyncio import gather
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest

from tests.runtime.workers.handler import logged
from tests.runtime.workers.place import Place


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
    stream = Told()
    with logged(stream):
        yield stream


def blocked(told: Told) -> dict[str, Any]:
    lines = [json.loads(line) for line in told.getvalue().splitlines()]
    (found,) = [line for line in lines if line["message"] == "loop_blocked"]
    return found


async def test_blocking_handler_is_logged_by_name(told: Told) -> None:
    place = Place()

    @place.catalog.task("stubborn")
    async def stubborn() -> None:
        assert told.written.wait(120)

    job_id = await place.send(stubborn)
    await place.drain(watchdog=0.02)
    line = blocked(told)
    assert (line["taskId"], line["jobId"]) == ("stubborn", str(job_id))
    assert "told.written.wait(120)" in line["stack"]


async def test_running_jobs_are_logged_where_a_task_of_a_handler_blocks(told: Told) -> None:
    place = Place()

    async def block() -> None:
        assert told.written.wait(120)

    @place.catalog.task("indirect")
    async def indirect() -> None:
        await gather(block())

    await place.send(indirect)
    await place.drain(watchdog=0.02)
    line = blocked(told)
    assert ("taskId" not in line, line["running"]) == (True, ["indirect"])


async def test_blocking_outside_of_jobs_is_logged_without_a_name(told: Told) -> None:
    place = Place()
    place.catalog.task("idle")(block_nothing)
    async with place.working(watchdog=0.02):
        assert told.written.wait(120)
    line = blocked(told)
    assert ("taskId" not in line, line["running"]) == (True, [])


async def block_nothing() -> None:
    """Do nothing."""
