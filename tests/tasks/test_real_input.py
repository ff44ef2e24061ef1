"""Feeds from the web, through a real worker on Postgres, the real client and a loopback server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.tasks.domain import Domain
from tests.tasks.jobs import CALM, Jobs
from tests.tasks.web.test_real_input import DAMAGED, FEEDS
from zeke_queue.model import JobQuery
from zeke_queue.worker import Worker
from zeke_tasks.demo.site import serve_directory
from zeke_tasks.fetch import WebClient, WebOptions
from zeke_tasks.fetch.parser_pool import ParserPool
from zeke_tasks.store.model import HealthStatus, RawItem


async def test_every_feed_is_read_whole_and_once(on_postgres: Domain, input_directory: Path) -> None:
    names = sorted(path.name for path in (input_directory / "feeds").iterdir())
    options = WebOptions(allow=("127.0.0.1/32",), gap=0.0, per_host=8)
    jobs = Jobs(on_postgres)
    queue = jobs.worked()
    seen: list[dict[str, dict[str, RawItem]]] = []
    async with serve_directory(input_directory) as server, ParserPool() as readers, WebClient(options) as web:
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
    assert counts == {name: FEEDS[name][0] if name in FEEDS else count for name, count in counts.items()}
    assert all(counts.values())
    statuses = {name: (await on_postgres.health(source)).status for name, source in sources.items()}
    assert statuses == {
        name: HealthStatus.WARN if name in {*DAMAGED, "cut-off.xml"} else HealthStatus.OK for name in statuses
    }
    assert all(item.title for found in first.values() for item in found.values())
    assert again == first
    chunks = [job.data["rawItemIds"] for job in await jobs.sent("fetch-content")]
    assert max(map(len, chunks)) <= 20
    assert sum(map(len, chunks)) == sum(counts.values())
    outputs = [job.output for job in (await queue.find(JobQuery(names=("ingest-source",), limit=1000))).jobs]
    assert sorted(output["notModified"] for output in outputs) == [False] * len(names) + [True] * len(names)
