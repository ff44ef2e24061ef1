"""``ingest-oneoff``: a page that a user named is read once, and at the requested priority."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.tasks.ingest.videos import read_pages
from tests.tasks.jobs import Jobs, memory_jobs
from tests.tasks.scripted_web import ScriptedWeb, page
from zeke_queue.errors import PayloadValidationError
from zeke_queue.task.signals import Fail
from zeke_tasks.ingest.content import FORGOTTEN_AFTER
from zeke_tasks.ingest.oneoff import PRIORITIES
from zeke_tasks.store.model import SourceType

PAGE = "https://a.example/bees"
JOB = UUID(int=7)


async def _take(jobs: Jobs, url: str = PAGE, *, job_id: UUID | None = None, **more: Any) -> dict[str, Any]:
    return await jobs.run("ingest-oneoff", {"url": url, **more}, job_id=job_id)


async def test_page_becomes_item_of_its_own_source(jobs: Jobs) -> None:
    told = await _take(jobs)
    async with jobs.domain.rows() as rows:
        source = await rows.source(told["sourceId"])
        (item,) = await rows.items_of(told["sourceId"])
    assert source is not None
    assert (source.type, source.name, source.url) == (SourceType.MANUAL, "a.example", PAGE)
    assert (item.external_id, item.url) == (PAGE, PAGE)
    assert told == {
        "url": PAGE,
        "new": True,
        "sourceId": source.id,
        "rawItemId": item.id,
        "status": "pending",
        "error": None,
        "storyId": None,
    }
    (job,) = await jobs.sent("fetch-content")
    assert job.data == {"rawItemIds": [str(item.id)]}
    # One id in every database and version.
    assert source.id == UUID("8e7a19d8-b1d9-5262-85e2-60d72214b485")


async def test_page_is_known_by_any_spelling_and_user() -> None:
    async def check(url: str, again: str) -> None:
        jobs = memory_jobs()
        first = await _take(jobs, url, job_id=JOB, requestedBy=UUID(int=1))
        second = await _take(jobs, again, job_id=JOB if again == url else None, requestedBy=UUID(int=2))
        assert second == {**first, "new": False}
        assert len(await jobs.sent("fetch-content")) == 1

    long = f"{PAGE}?q={'x' * 1500}"
    spelling = "HTTPS://A.Example:443/x/../bees?utm_source=mail#top"
    await check_each_async([(PAGE, PAGE), (PAGE, spelling), (long, long)], check)


async def test_story_of_known_page_is_reported(jobs: Jobs, web: ScriptedWeb) -> None:
    web.put(PAGE, page("On bees", "bees"))
    first = await _take(jobs)
    await read_pages(jobs)
    again = await _take(jobs)
    story = await jobs.domain.story_of(first["rawItemId"])
    assert (again["new"], again["status"], again["storyId"]) == (False, "processed", story.id)
    assert len(await jobs.sent("fetch-content")) == 1


async def test_error_of_unreadable_page_is_reported(jobs: Jobs) -> None:
    await _take(jobs)
    await read_pages(jobs)
    again = await _take(jobs)
    assert (again["status"], again["error"]) == ("failed", f"{PAGE}: the server answered 404 Not Found")


async def test_page_whose_job_was_lost_is_read_again(jobs: Jobs) -> None:
    await _take(jobs)
    jobs.domain.clock.advance(FORGOTTEN_AFTER + 1)
    assert not (await _take(jobs))["new"]
    assert not (await _take(jobs))["new"]
    first, again = await jobs.sent("fetch-content")
    assert first.data == again.data


async def test_reading_job_has_requested_priority() -> None:
    async def check(priority: str) -> None:
        jobs = memory_jobs()
        await _take(jobs, priority=priority)
        (job,) = await jobs.sent("fetch-content")
        assert job.priority == PRIORITIES[priority]

    assert PRIORITIES["high"] > PRIORITIES["normal"] == 0
    await check_each_async(list(PRIORITIES), check)


async def test_manual_source_of_the_url_is_used_and_a_feed_is_not(jobs: Jobs) -> None:
    await jobs.domain.source(PAGE)
    source = await jobs.domain.source(PAGE, type=SourceType.MANUAL)
    assert (await _take(jobs))["sourceId"] == source.id


async def test_unsupported_url_fails_job() -> None:
    async def check(url: str, why: str) -> None:
        jobs = memory_jobs()
        with pytest.raises(Fail, match=why) as raised:
            await _take(jobs, url)
        assert "secret" not in str(raised.value)
        assert await jobs.domain.verbs.every_source() == []

    cases = [
        ("file:///etc/passwd", "only http and https"),
        ("ftp://a.example/x", "only http and https"),
        ("https://", "must be an absolute URL"),
        ("bees", "must be an absolute URL"),
        ("https://user:secret@a.example/", "user name or password"),
        ("https://a.example:25/", "port 25"),
        (f"{PAGE}?q={'ü' * 1000}", "2048 at most"),
    ]
    await check_each_async(cases, check)


async def test_empty_url_is_refused_by_field(jobs: Jobs) -> None:
    with pytest.raises(PayloadValidationError, match="url"):
        await _take(jobs, "")
