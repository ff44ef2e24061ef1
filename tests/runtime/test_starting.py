"""Loops beside a worker start once it works; a worker that fails to start has changed nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.conformance.driver import soon
from tests.runtime.workers.place import Place, turns, until
from zeke_queue.errors import SettingsError
from zeke_queue.model import WorkerInfo
from zeke_queue.storage.memory import Snapshot
from zeke_queue.task.catalog import Catalog
from zeke_queue.worker import run_until_signalled


class Beside:
    """A loop beside a worker, which notes whether it began, and which workers were known then."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.begun = False
        self.workers: list[WorkerInfo] = []
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        self.begun = True
        self.workers = self._place.storage.dump().workers
        await self._stopped.wait()

    def stop(self) -> None:
        self._stopped.set()


class Door:
    """Resources that open when the test permits, or fail to."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.opens = asyncio.Event()
        self.refuses = False

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        self.asked.set()
        await self.opens.wait()
        if self.refuses:
            raise SettingsError("KEY is not set; set it")
        yield


@pytest.fixture
def door() -> Door:
    return Door()


@pytest.fixture
def place(door: Door) -> Place:
    catalog = Catalog(resources=door)

    @catalog.task("work", concurrency_limit=2)
    async def work() -> None:
        """Do nothing."""

    catalog.schedule("hourly", "0 * * * *", task="work")
    return Place(catalog)


def nothing_is_stored(place: Place) -> bool:
    stored: Snapshot = place.storage.dump()
    return not any(getattr(stored, table) for table in Snapshot.__slots__)


async def test_worker_with_duties_that_fails_to_start_stores_nothing(place: Place, door: Door) -> None:
    door.refuses = True
    running = asyncio.ensure_future(run_until_signalled(place.worker(maintenance=True, schedules=True)))
    await door.asked.wait()
    await turns()
    assert nothing_is_stored(place)
    door.opens.set()
    with pytest.raises(SettingsError, match="KEY is not set"):
        await soon(running)
    assert nothing_is_stored(place)


async def test_loops_beside_a_worker_start_once_its_resources_are_open(place: Place, door: Door) -> None:
    beside = Beside(place)
    running = asyncio.ensure_future(run_until_signalled(place.worker(), [beside]))
    await door.asked.wait()
    await turns()
    assert not beside.begun
    door.opens.set()
    await until(lambda: beside.begun)
    assert len(beside.workers) == 1
    signal.raise_signal(signal.SIGTERM)
    place.keep_advancing()
    await soon(running)


async def test_worker_stopped_before_its_resources_open_stores_nothing(place: Place, door: Door) -> None:
    beside = Beside(place)
    running = asyncio.ensure_future(
        run_until_signalled(place.worker(maintenance=True, schedules=True), [beside])
    )
    await door.asked.wait()
    signal.raise_signal(signal.SIGTERM)
    await turns()
    door.opens.set()
    place.keep_advancing()
    await soon(running)
    assert not beside.begun
    assert nothing_is_stored(place)
