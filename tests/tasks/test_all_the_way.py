"""Tasks together, by a worker, on both storages: what one job leads to in the end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest

from tests.tasks.domain import Domain
from tests.tasks.jobs import Jobs
from tests.tasks.scripted_ai import BRIEFS, ScriptedAI
from tests.tasks.scripted_web import ScriptedWeb, page
from zeke_queue.client.queue import Queue
from zeke_queue.model import Job, JobQuery, RowState
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.system.settings import Settings
from zeke_queue.worker import Worker
from zeke_tasks.catalog import build_catalog
from zeke_tasks.context import Context
from zeke_tasks.ingest.oneoff import PRIORITIES

URL: Final = "https://a.example/parser"
CALM: Final[dict[str, Any]] = {"watchdog": None, "lease": 1e9, "heartbeat_interval": 1e8}


async def all_jobs(domain: Domain, task: str, payload: dict[str, Any]) -> list[Job]:
    """Send a job, run a worker until nothing is due, and return all jobs, the first one first."""
    web = ScriptedWeb()
    web.put(URL, page("The new parser", "Parsing is 3 times faster than before."))
    context = Jobs(domain, web, ScriptedAI()).resources

    @asynccontextmanager
    async def resources() -> AsyncIterator[Context]:
        yield context

    catalog = build_catalog(resources, scheduled=False)
    queue = Queue(
        catalog, domain.storage, clock=domain.clock, entropy=SeededEntropy(1), settings=Settings.load()
    )
    await queue.send(task, payload)
    await Worker(queue, **CALM).drain()
    found = (await queue.find(JobQuery(limit=1000))).jobs
    return sorted(found, key=lambda job: (job.created_on, job.id))


@pytest.fixture(params=["in_memory", "on_postgres"])
def domain(request: pytest.FixtureRequest) -> Domain:
    """An empty store; the tests of this file run on both."""
    return request.getfixturevalue(request.param)


async def test_named_page_gets_brief_and_scored_highlights(domain: Domain) -> None:
    jobs = await all_jobs(domain, "ingest-oneoff", {"url": URL})
    assert {job.row_state for job in jobs} == {RowState.COMPLETED}
    assert {job.name for job in jobs} == {
        "ingest-oneoff",
        "fetch-content",
        "analyze-story",
        "generate-brief",
        "extract-highlights",
        "score-relevance",
    }
    async with domain.rows() as rows:
        (story,) = await rows.newest_stories(10)
        overlay, highlights = await rows.overlay(story.id), await rows.highlights(story.id)
    assert overlay is not None
    assert overlay.brief_one_liner == BRIEFS.one_liner
    assert highlights
    assert all(highlight.score is not None for highlight in highlights)


async def test_priority_is_passed_to_all_following_jobs(domain: Domain) -> None:
    first, *others = await all_jobs(domain, "ingest-oneoff", {"url": URL, "priority": "high"})
    assert first.name == "ingest-oneoff"
    assert {job.priority for job in others} == {PRIORITIES["high"]}
    assert len(others) == 5
