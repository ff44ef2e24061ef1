"""Tasks together, by a worker: what one job leads to in the end."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from tests.tasks.jobs import Jobs
from tests.tasks.scripted_ai import BRIEFS, ScriptedAI
from tests.tasks.scripted_web import ScriptedWeb, page
from zeke_queue.config import Settings
from zeke_queue.model import JobFilter, JobState
from zeke_queue.queue import Queue
from zeke_queue.rng import SeededEntropy
from zeke_queue.worker import Worker
from zeke_tasks.catalog import build_catalog
from zeke_tasks.ingest.oneoff import PRIORITIES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.tasks.domain import Domain
    from zeke_queue.model import Job
    from zeke_tasks.context import Context

URL: Final = "https://a.example/parser"
CALM: Final[dict[str, Any]] = {"watchdog": None, "lease": 1e9, "beat": 1e8}


async def all_jobs(domain: Domain, task: str, payload: dict[str, Any]) -> list[Job]:
    """Send a job, let a worker do all that follows, and return all jobs, the first one first."""
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
    found = await queue.find(JobFilter(limit=1000))
    return sorted(found, key=lambda job: (job.created_on, job.id))


async def test_a_page_that_somebody_named_is_told_in_a_brief_and_scored(domain: Domain) -> None:
    jobs = await all_jobs(domain, "ingest-oneoff", {"url": URL})
    assert {job.state for job in jobs} == {JobState.COMPLETED}
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


async def test_what_follows_from_an_urgent_page_is_as_urgent(domain: Domain) -> None:
    first, *others = await all_jobs(domain, "ingest-oneoff", {"url": URL, "priority": "high"})
    assert first.name == "ingest-oneoff"
    assert {job.priority for job in others} == {PRIORITIES["high"]}
    assert len(others) == 5
