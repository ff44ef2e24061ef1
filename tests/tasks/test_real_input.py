"""Feeds from the web, through a real worker on Postgres, the real client and a loopback server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.tasks.domain import Domain
from tests.tasks.jobs import CALM, Jobs
from tests.tasks.samples import DAMAGED, FEEDS, WRITTEN
from zeke_queue.model import JobQuery, RowState
from zeke_queue.worker import Worker
from zeke_tasks.demo.site import Answer, LoopbackServer, Request, serve_directory
from zeke_tasks.fetch import WebClient, WebOptions
from zeke_tasks.fetch.parser_pool import ParserPool
from zeke_tasks.store.model import HealthStatus, ItemStatus, RawItem
from zeke_tasks.testing.web import feed, page

LOOPBACK = WebOptions(allow=("127.0.0.1/32",), gap=0.0, per_host=8)


async def test_every_feed_is_read_whole_and_once(on_postgres: Domain, input_directory: Path) -> None:
    names = sorted(path.name for path in (input_directory / "feeds").iterdir())
    jobs = Jobs(on_postgres)
    queue = jobs.worked()
    seen: list[dict[str, dict[str, RawItem]]] = []
    async with (
        serve_directory(input_directory) as server,
        ParserPool() as readers,
        WebClient(LOOPBACK) as web,
    ):
        jobs.resources = replace(jobs.resources, web=web, compute=readers)
        sources = {name: await on_postgres.source(f"{server.base_url}/feeds/{name}") for name in names}
        for _ in range(2):
            for source in sources.values():
                payload = {"sourceId": source.id, "reason": "manual"}
                assert (await queue.send("ingest-source", payload, retry_limit=0)).id
            await Worker(queue, tasks=["ingest-source"], **CALM).drain()
            seen.append({name: await on_postgres.items(source) for name, source in sources.items()})

    first, again = seen
    counts = {name: len(found) for name, found in first.items()}
    from_web = {name: count for name, (count, _) in FEEDS.items()}
    assert counts == (WRITTEN if "rss.xml" in counts else from_web)
    statuses = {name: (await on_postgres.health(source)).status for name, source in sources.items()}
    assert statuses == {name: HealthStatus.WARN if name in DAMAGED else HealthStatus.OK for name in statuses}
    assert all(item.title for found in first.values() for item in found.values())
    assert again == first
    chunks = [job.data["rawItemIds"] for job in await jobs.sent("fetch-content")]
    assert max(map(len, chunks)) <= 20
    assert sum(map(len, chunks)) == sum(counts.values())
    outputs = [job.output for job in (await queue.find(JobQuery(names=("ingest-source",), limit=1000))).jobs]
    assert sorted(output["notModified"] for output in outputs) == [False] * len(names) + [True] * len(names)


async def test_bad_pages_affect_only_their_items(in_memory: Domain) -> None:
    good = page("Bees", "bees").encode()
    answers = {
        "/good": Answer(body=good),
        "/cut-off": Answer(body=good[:-200]),
        "/empty": Answer(),
        "/picture": Answer(body=b"\x89PNG\r\n\x1a\n", content_type="image/png"),
        "/busy": Answer(status=500),
        "/missing": Answer(status=404),
    }

    async def answer(request: Request) -> Answer:
        return answers[request.path]

    jobs = Jobs(in_memory)
    queue = jobs.worked()
    async with LoopbackServer(answer) as server, ParserPool() as readers, WebClient(LOOPBACK) as web:
        jobs.resources = replace(jobs.resources, web=web, compute=readers)
        listing = feed(*((path, server.base_url + path) for path in answers))
        answers["/feed.xml"] = Answer(body=listing.encode())
        source = await in_memory.source(server.base_url + "/feed.xml")
        await queue.send("ingest-source", {"sourceId": source.id, "reason": "manual"})
        await Worker(queue, tasks=["ingest-source", "fetch-content"], **CALM).drain()
    items = {item.title: item for item in (await in_memory.items(source)).values()}
    assert {title: item.status for title, item in items.items()} == {
        "/good": ItemStatus.PROCESSED,
        "/cut-off": ItemStatus.PROCESSED,
        "/empty": ItemStatus.NO_TEXT,
        "/picture": ItemStatus.NO_TEXT,
        "/busy": ItemStatus.PENDING,
        "/missing": ItemStatus.FAILED,
    }
    assert "500" in (items["/busy"].error or "")
    assert "404" in (items["/missing"].error or "")
    (job,) = await jobs.sent("fetch-content")
    assert job.row_state is RowState.RETRY
