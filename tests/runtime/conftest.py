"""A queue on a storage, with a stopped clock and an environment without settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Protocol

import pytest

from tests.clocks import FrozenClock
from tests.conformance.driver import Driver
from tests.conformance.storages import open_storage
from tests.runtime.broken import Broken
from tests.runtime.catalogs import mail_catalog
from tests.runtime.workers.faulty import faulty_place
from tests.runtime.workers.handler import Lines, logged
from tests.runtime.workers.place import Place
from zeke_queue.client.queue import Queue
from zeke_queue.storage import Storage
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.system.settings import Settings
from zeke_queue.task.catalog import Catalog


class QueueOn(Protocol):
    def __call__(self, catalog: Catalog, **settings: object) -> Queue: ...


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove variables of the machine that would affect the result of a test."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
async def storage(request: pytest.FixtureRequest, clock: FrozenClock) -> AsyncIterator[Storage]:
    """A storage with nothing in it: in memory, unless the test is marked with ``on_both_storages``."""
    async with open_storage(getattr(request, "param", "memory"), clock, request) as opened:
        yield opened


@pytest.fixture
def jobs(storage: Storage, clock: FrozenClock) -> Driver:
    """The storage in the words of the tests: what a worker would do, done by hand."""
    return Driver(storage, clock)


@pytest.fixture
async def queue_on(storage: Storage, clock: FrozenClock) -> AsyncIterator[QueueOn]:
    opened: list[Queue] = []

    def open_queue(catalog: Catalog, **settings: object) -> Queue:
        queue = Queue(
            catalog,
            storage,
            clock=clock,
            entropy=SeededEntropy(len(opened)),
            settings=Settings.load(**settings),
        )
        opened.append(queue)
        return queue

    yield open_queue
    for queue in opened:
        await queue.close()


@pytest.fixture
def queue(queue_on: QueueOn) -> Queue:
    return queue_on(mail_catalog())


@pytest.fixture
def place() -> Place:
    """A queue and its workers, on a storage in memory whose calls a test can cut or delay."""
    return faulty_place()


@pytest.fixture
def lines() -> Iterator[Lines]:
    with logged() as caught:
        yield caught


@pytest.fixture
def broken(clock: FrozenClock) -> Broken:
    return Broken(clock)


@pytest.fixture
def maintained(broken: Broken, clock: FrozenClock) -> Queue:
    """A queue on the storage that fails."""
    return Queue(mail_catalog(), broken.storage, clock=clock, entropy=SeededEntropy(1))
