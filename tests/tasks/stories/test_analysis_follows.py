"""``fetch-content`` sends an analysis job for each story without one, once."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.tasks.domain import Domain
from tests.tasks.jobs import Jobs
from tests.tasks.scripted_ai import ScriptedAI
from tests.tasks.scripted_web import ScriptedWeb, page
from zeke_queue.model import RowState
from zeke_queue.task.signals import Retry
from zeke_tasks.fetch import Transient

ONE, TWO = "https://a.example/1", "https://a.example/2"
JOB = UUID(int=7)


@pytest.fixture
def web() -> ScriptedWeb:
    web = ScriptedWeb()
    web.put(ONE, page("A", "bees"))
    web.put(TWO, page("A", "bees"))
    return web


@pytest.fixture
def jobs(domain: Domain, ai: ScriptedAI, web: ScriptedWeb) -> Jobs:
    return Jobs(domain, web, ai)


async def item(jobs: Jobs, url: str) -> UUID:
    return await jobs.domain.item(await jobs.domain.source(), url, url=url)


async def fetch(jobs: Jobs, *items: UUID, job_id: UUID | None = None) -> None:
    await jobs.run("fetch-content", {"rawItemIds": items}, job_id=job_id)


async def test_new_story_is_sent_to_analysis(jobs: Jobs) -> None:
    one = await item(jobs, ONE)
    await fetch(jobs, one)
    story = await jobs.domain.story_of(one)
    (sent,) = await jobs.sent("analyze-story")
    assert sent.data == {"storyId": str(story.id), "trigger": "auto"}


async def test_text_of_two_items_is_analysed_once(jobs: Jobs) -> None:
    await fetch(jobs, await item(jobs, ONE), await item(jobs, TWO))
    assert len(await jobs.sent("analyze-story")) == 1


async def test_waiting_analysis_serves_another_item(jobs: Jobs) -> None:
    await fetch(jobs, await item(jobs, ONE))
    await fetch(jobs, await item(jobs, TWO))
    assert len(await jobs.sent("analyze-story")) == 1


async def test_story_with_a_failed_analysis_is_analysed_again(jobs: Jobs) -> None:
    await fetch(jobs, await item(jobs, ONE))
    (first,) = await jobs.sent("analyze-story")
    assert await jobs.queue.cancel(first.id)
    await fetch(jobs, await item(jobs, TWO))
    (second,) = [job for job in await jobs.sent("analyze-story") if job.id != first.id]
    assert second.row_state is RowState.CREATED


async def test_analysed_story_is_not_analysed_again(jobs: Jobs) -> None:
    one = await item(jobs, ONE)
    await fetch(jobs, one)
    (first,) = await jobs.sent("analyze-story")
    await jobs.run("analyze-story", first.data)
    assert await jobs.queue.cancel(first.id)
    await fetch(jobs, await item(jobs, TWO))
    assert len(await jobs.sent("analyze-story")) == 1


async def test_page_without_a_story_is_not_analysed(jobs: Jobs, web: ScriptedWeb) -> None:
    web.put(ONE, "<html></html>")
    await fetch(jobs, await item(jobs, ONE))
    assert await jobs.sent("analyze-story") == []


async def test_skipped_item_does_not_prevent_analysis_of_others(jobs: Jobs, web: ScriptedWeb) -> None:
    web.put(TWO, Transient(TWO, "no answer"), page("B", "birds"))
    items = [await item(jobs, url) for url in (ONE, TWO)]
    with pytest.raises(Retry, match="no answer"):
        await fetch(jobs, *items, job_id=JOB)
    assert len(await jobs.sent("analyze-story")) == 1
    await fetch(jobs, *items, job_id=JOB)
    assert len(await jobs.sent("analyze-story")) == 2
