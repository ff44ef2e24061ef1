"""Feeds and pages from the web, through a real worker, the real client and a loopback server.

Items of real feeds link to real sites, so their pages are not fetched here: pages are in a feed that the
test makes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID
from xml.sax.saxutils import escape

import pytest

from tests.cases import check_each_async
from tests.tasks.scripted_web import feed, page
from zeke_queue.client.queue import Queue
from zeke_queue.model import Job, JobQuery, RowState
from zeke_queue.storage import Storage
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import Ids, SystemEntropy
from zeke_queue.system.settings import Settings
from zeke_queue.worker import Worker
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.catalog import build_catalog
from zeke_tasks.cli.report import Finding, findings
from zeke_tasks.context import Context
from zeke_tasks.demo.site import Answer, LoopbackServer, Request, serve_directory
from zeke_tasks.fetch import WebClient, WebOptions
from zeke_tasks.fetch.parser_pool import Readers
from zeke_tasks.store.memory import MemoryRepository
from zeke_tasks.store.model import Health, HealthStatus, ItemStatus, NewSource, SourceType
from zeke_tasks.store.postgres import PostgresRepository
from zeke_tasks.store.repository import Repository

ENTRIES: Final = {
    "davidbau.xml": 15,
    "foolcontrol.xml": 10,
    "json_feed_sample.json": 2,
    "malformed_rss_namespaced.xml": 2,
    "osm-pl.xml": 8,
    "osm.xml": 20,
    "postgis.xml": 10,
    "stackoverflow.xml": 2,
    "utf16_encoded.xml": 1,
    "vintagehomeplans.xml": 20,
}
"""Entries of feeds that are known, counted by hand in the files."""

DAMAGED: Final = {"malformed_rss_namespaced.xml", "osm-pl.xml", "cut-off.xml"}


class World:
    """A queue, the domain's store, and a worker for due jobs."""

    def __init__(self, storage: Storage, repository: Repository) -> None:
        self.repository = repository
        clock = SystemClock()
        self._new_id = Ids(clock, SystemEntropy())

        @asynccontextmanager
        async def resources() -> AsyncGenerator[Context]:
            options = WebOptions(allow=("127.0.0.1/32",), gap=0.0, per_host=8)
            async with Readers() as readers, WebClient(options, clock=clock) as web:
                yield Context(repository, web, clock, readers, StubClient())

        self.queue = Queue(build_catalog(resources, scheduled=False), storage, settings=Settings.load())

    async def add(self, url: str) -> UUID:
        """Add a feed."""
        async with self.queue.transaction() as transaction:
            new = NewSource(SourceType.RSS, url.rpartition("/")[2], url)
            source = await self.repository.within(transaction).ensure_source(self._new_id(), new)
        return source.id

    async def read(self, *sources: UUID) -> None:
        """Send jobs that read feeds."""
        for source_id in sources:
            payload = {"sourceId": source_id, "reason": "manual"}
            assert (await self.queue.send("ingest-source", payload, retry_limit=0)).id

    async def work(self, *queues: str) -> None:
        """Run due jobs in these queues."""
        await Worker(self.queue, tasks=queues or None).drain()

    async def health(self, source_id: UUID) -> Health:
        """Return a feed's source."""
        async with self.queue.transaction() as transaction:
            health = await self.repository.within(transaction).health(source_id)
        assert health is not None
        return health

    async def found(self, *sources: UUID) -> list[Finding]:
        """Return the items of feeds, with their stories."""
        return await findings(self.queue, self.repository, sources)

    async def jobs(self, *names: str) -> list[Job]:
        """Return the jobs of some queues."""
        return (await self.queue.find(JobQuery(names=names, limit=1000))).jobs


def _in_memory() -> World:
    clock = SystemClock()
    return World(MemoryStorage(clock), MemoryRepository(clock))


@pytest.fixture
def world() -> World:
    return _in_memory()


async def test_every_feed_is_read_whole_and_once_on_postgres(domain_dsn: str, input_directory: Path) -> None:
    async with PostgresStorage.open(domain_dsn, min_size=1, max_size=6) as storage:
        await _reads_every_feed(World(storage, PostgresRepository()), input_directory)


async def test_every_feed_is_read_whole_and_once_in_memory(world: World, input_directory: Path) -> None:
    await _reads_every_feed(world, input_directory)


async def _reads_every_feed(world: World, input_directory: Path) -> None:
    names = sorted(path.name for path in (input_directory / "feeds").iterdir())
    async with serve_directory(input_directory) as server:
        sources = {name: await world.add(f"{server.base_url}/feeds/{name}") for name in names}
        await world.read(*sources.values())
        await world.work("ingest-source")
        first = {name: await world.found(source) for name, source in sources.items()}
        await world.read(*sources.values())
        await world.work("ingest-source")
        again = {name: await world.found(source) for name, source in sources.items()}

    counts = {name: len(found) for name, found in first.items()}
    assert counts == {name: ENTRIES.get(name, count) for name, count in counts.items()}
    assert all(counts.values())
    statuses = {name: (await world.health(source)).status for name, source in sources.items()}
    assert statuses == {name: HealthStatus.WARN if name in DAMAGED else HealthStatus.OK for name in statuses}
    assert all(finding.item.title for found in first.values() for finding in found)
    assert again == first
    chunks = [job.data["rawItemIds"] for job in await world.jobs("fetch-content")]
    assert max(map(len, chunks)) <= 20
    assert sum(map(len, chunks)) == sum(counts.values())
    outputs = [job.output for job in await world.jobs("ingest-source")]
    assert sorted(output["notModified"] for output in outputs) == [False] * len(names) + [True] * len(names)


async def test_every_page_becomes_a_story(world: World, input_directory: Path) -> None:
    pages = sorted((input_directory / "pages").iterdir())
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve_directory(input_directory))
        urls = [f"{server.base_url}/pages/{path.name}" for path in pages]
        listing = feed(*((escape(url), escape(url)) for url in urls))
        feeds = await stack.enter_async_context(_serving(**{"/feed.xml": Answer(body=listing.encode())}))
        source = await world.add(feeds.base_url + "/feed.xml")
        await world.read(source)
        await world.work()
    found = await world.found(source)
    assert {finding.item.url for finding in found} == set(urls)
    assert [finding.item.status for finding in found] == [ItemStatus.PROCESSED] * len(urls)
    assert len({finding.story.id for finding in found if finding.story}) == len(urls)
    for finding in found:
        async with world.queue.transaction() as transaction:
            content = await world.repository.within(transaction).content(finding.item.id)
        assert content is not None
        assert len(content.text) > 300, finding.item.url


async def test_invalid_feed_fails_its_job_and_is_recorded_in_health() -> None:
    async def check(body: bytes, says: str) -> None:
        world = _in_memory()
        async with _serving(**{"/feed.xml": Answer(body=body, content_type="application/rss+xml")}) as server:
            source = await world.add(server.base_url + "/feed.xml")
            await world.read(source)
            await world.work()
        (job,) = await world.jobs("ingest-source")
        health = await world.health(source)
        assert (job.row_state, health.status) == (RowState.FAILED, HealthStatus.ERROR)
        assert says in (health.message or "").lower()
        assert job.output["message"] == health.message

    entity = b'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY a "b">]><rss version="2.0"><channel/></rss>'
    cases = [
        (b"<!doctype html><title>Moved</title>", "feed"),
        (b"", "feed"),
        (b"\x1f\x8b\x08\x00 no gzip \xff", "feed"),
        (entity, "entit"),
    ]
    await check_each_async(cases, check)


async def test_bad_pages_affect_only_their_items(world: World) -> None:
    good = page("Bees", "bees")
    answers = {
        "/good": Answer(body=good.encode()),
        "/cut-off": Answer(body=good.encode()[:-200]),
        "/empty": Answer(),
        "/picture": Answer(body=b"\x89PNG\r\n\x1a\n", content_type="image/png"),
        "/noise": Answer(body=bytes(range(256)) * 20),
        "/busy": Answer(status=500),
    }
    async with _serving(**answers) as server:
        listing = feed(*((path, server.base_url + path) for path in (*answers, "/missing")))
        async with _serving(**{"/feed.xml": Answer(body=listing.encode())}) as feeds:
            source = await world.add(feeds.base_url + "/feed.xml")
            await world.read(source)
            await world.work("ingest-source", "fetch-content")
    found = {finding.item.title: finding for finding in await world.found(source)}
    assert {title: finding.item.status for title, finding in found.items() if title != "/noise"} == {
        "/good": ItemStatus.PROCESSED,
        "/cut-off": ItemStatus.PROCESSED,
        "/empty": ItemStatus.NO_TEXT,
        "/picture": ItemStatus.NO_TEXT,
        "/busy": ItemStatus.PENDING,
        "/missing": ItemStatus.FAILED,
    }
    assert found["/noise"].item.status in {ItemStatus.PROCESSED, ItemStatus.NO_TEXT}
    assert "500" in (found["/busy"].item.error or "")
    assert "404" in (found["/missing"].item.error or "")
    (job,) = await world.jobs("fetch-content")
    assert job.row_state is RowState.RETRY


def _serving(**answers: Answer) -> LoopbackServer:
    """Return a server with the given answers by path."""

    async def answer(request: Request) -> Answer:
        return answers.get(request.path, Answer(status=404))

    return LoopbackServer(answer)
