"""A task that is killed between any two statements and run again leaves what one run leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from tests.clocks import FrozenClock
from tests.tasks.domain import Domain
from tests.tasks.fuse import BurningJobs, Fuse, Killed
from tests.tasks.jobs import Jobs
from tests.tasks.scripted_web import ScriptedWeb, feed, page
from zeke_queue.model import JobFilter
from zeke_queue.storage.memory import MemoryStorage
from zeke_tasks.store.memory import MemoryRepository
from zeke_tasks.store.model import SourceType

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FEED = "https://a.example/feed"
PAGES = {f"https://a.example/{topic}": page(topic, topic) for topic in ("bees", "birds", "trees")}
SAME = "https://a.example/bees-again"

Start = tuple[str, dict[str, Any]]


def web() -> ScriptedWeb:
    """A feed of six pages: three texts, one of them twice, one that is missing, and one without text."""
    scripted = ScriptedWeb()
    entries = [(url, url) for url in (*PAGES, SAME, "https://a.example/missing", "https://a.example/empty")]
    scripted.put(FEED, feed(*entries))
    for url, body in PAGES.items():
        scripted.put(url, body)
    scripted.put(SAME, PAGES["https://a.example/bees"])
    scripted.put("https://a.example/empty", "<html></html>")
    return scripted


async def begin_pull(domain: Domain) -> Start:
    await domain.source(FEED)
    await domain.source("https://b.example/feed")
    return "ingest-pull", {}


async def begin_source(domain: Domain) -> Start:
    source = await domain.source(FEED)
    return "ingest-source", {"sourceId": source.id, "reason": "schedule"}


async def begin_content(domain: Domain) -> Start:
    jobs = Jobs(domain, web())
    task, payload = await begin_source(domain)
    await jobs.run(task, payload)
    async with domain.rows() as rows:
        items = await rows.items_of(payload["sourceId"])
    return "fetch-content", {"rawItemIds": [item.id for item in items]}


async def everything(domain: Domain) -> list[Any]:
    """Return every row of the domain, and every job by name and payload."""
    found: list[Any] = []
    async with domain.rows() as rows:
        for source in await rows.sources(SourceType):
            items = await rows.items_of(source.id)
            ids = [item.id for item in items]
            found += [source, await rows.health(source.id), items]
            found.append([await rows.content(item) for item in ids])
            # Which of two items with one text its story is made of, chance decides.
            found.append({item: story.id for item, story in (await rows.stories_of(ids)).items()})
    jobs = await domain.storage.find(JobFilter(limit=1000))
    return [found, sorted((job.name, str(job.data)) for job in jobs)]


async def run(domain: Domain, begin: Callable[[Domain], Awaitable[Start]], *fuses: Fuse) -> list[Any]:
    """Start from nothing, run the task once a fuse, and return what is left; the last one must hold."""
    task, payload = await begin(domain)
    scripted = web()
    for fuse in fuses[:-1]:
        with pytest.raises((Killed, BaseExceptionGroup)):
            await BurningJobs(domain, scripted, fuse).run(task, payload)
    await BurningJobs(domain, scripted, fuses[-1]).run(task, payload)
    return await everything(domain)


def in_memory() -> Domain:
    clock = FrozenClock()
    return Domain(MemoryStorage(clock), MemoryRepository(clock), clock)


tasks = pytest.mark.parametrize("begin", [begin_pull, begin_source, begin_content])


@tasks
async def test_killed_anywhere_in_memory(begin: Callable[[Domain], Awaitable[Start]]) -> None:
    whole = Fuse()
    once = await run(in_memory(), begin, whole)
    assert whole.passed > 5
    for point in range(whole.passed):
        assert await run(in_memory(), begin, Fuse(point), Fuse()) == once, point


@tasks
async def test_killed_again_and_again_in_memory(begin: Callable[[Domain], Awaitable[Start]]) -> None:
    whole = Fuse()
    once = await run(in_memory(), begin, whole)
    for point in range(0, whole.passed // 2, 3):
        assert await run(in_memory(), begin, Fuse(point), Fuse(point // 2), Fuse()) == once, point


@tasks
async def test_killed_anywhere_on_postgres(
    begin: Callable[[Domain], Awaitable[Start]], on_postgres: Domain, dsn: str
) -> None:
    def emptied() -> Domain:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("truncate zeke.sources, pgboss.job cascade")
        return Domain(on_postgres.storage, on_postgres.repository, on_postgres.clock)

    whole = Fuse()
    once = await run(emptied(), begin, whole)
    for point in range(whole.passed):
        assert await run(emptied(), begin, Fuse(point), Fuse()) == once, point


@tasks
async def test_run_twice_leaves_the_same(begin: Callable[[Domain], Awaitable[Start]]) -> None:
    once = await run(in_memory(), begin, Fuse())
    domain = in_memory()
    task, payload = await begin(domain)
    jobs = Jobs(domain, web())
    await jobs.run(task, payload)
    await jobs.run(task, payload)
    assert await everything(domain) == once
