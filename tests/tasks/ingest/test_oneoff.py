"""``ingest-oneoff``: a page that somebody named is read once, and at the priority that was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.tasks.ingest.videos import read_pages
from tests.tasks.jobs import memory_jobs
from tests.tasks.scripted_web import page
from zeke_queue.errors import PayloadInvalid
from zeke_queue.signals import Fail
from zeke_tasks.ingest.content import FORGOTTEN_AFTER
from zeke_tasks.ingest.oneoff import PRIORITIES
from zeke_tasks.store.model import SourceType

if TYPE_CHECKING:
    from tests.tasks.jobs import Jobs
    from tests.tasks.scripted_web import ScriptedWeb

PAGE = "https://a.example/bees"
JOB = UUID(int=7)


async def _take(jobs: Jobs, url: str = PAGE, *, job_id: UUID | None = None, **more: Any) -> dict[str, Any]:
    return await jobs.run("ingest-oneoff", {"url": url, **more}, job_id=job_id)


async def test_a_page_becomes_the_item_of_a_source_of_its_own_and_is_to_be_read(jobs: Jobs) -> None:
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


async def test_all_spellings_of_a_url_are_one_page(jobs: Jobs) -> None:
    first = await _take(jobs)
    again = await _take(jobs, "HTTPS://A.Example:443/x/../bees?utm_source=mail#top")
    assert (again["new"], again["sourceId"], again["rawItemId"]) == (
        False,
        first["sourceId"],
        first["rawItemId"],
    )
    assert len(await jobs.sent("fetch-content")) == 1


async def test_of_a_page_that_is_known_its_story_is_told(jobs: Jobs, web: ScriptedWeb) -> None:
    web.put(PAGE, page("On bees", "bees"))
    first = await _take(jobs)
    await read_pages(jobs)
    again = await _take(jobs)
    story = await jobs.domain.story_of(first["rawItemId"])
    assert (again["new"], again["status"], again["storyId"]) == (False, "processed", story.id)
    assert len(await jobs.sent("fetch-content")) == 1


async def test_of_a_page_that_could_not_be_read_it_is_told_why(jobs: Jobs) -> None:
    await _take(jobs)
    await read_pages(jobs)
    again = await _take(jobs)
    assert (again["status"], again["error"]) == ("failed", f"{PAGE}: the server answered 404 Not Found")


async def test_a_page_whose_job_was_lost_is_read_once_it_is_named_again(jobs: Jobs) -> None:
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

    await check_each_async(list(PRIORITIES), check)


def test_what_a_person_waits_for_goes_before_what_feeds_bring() -> None:
    assert PRIORITIES["high"] > PRIORITIES["normal"] == 0


async def test_a_source_that_has_the_url_already_is_taken(jobs: Jobs) -> None:
    source = await jobs.domain.source(PAGE, type=SourceType.MANUAL)
    assert (await _take(jobs))["sourceId"] == source.id


async def test_a_feed_of_the_same_url_is_another_source(jobs: Jobs) -> None:
    feed = await jobs.domain.source(PAGE)
    told = await _take(jobs)
    assert told["sourceId"] != feed.id


async def test_the_same_job_run_again_sends_nothing_twice(jobs: Jobs) -> None:
    first = await _take(jobs, job_id=JOB)
    again = await _take(jobs, job_id=JOB)
    assert {**again, "new": True} == first
    assert len(await jobs.sent("fetch-content")) == 1


async def test_a_long_url_is_known_again(jobs: Jobs) -> None:
    url = f"{PAGE}?q={'x' * 1500}"
    first, again = await _take(jobs, url), await _take(jobs, url)
    assert (first["rawItemId"], again["new"]) == (again["rawItemId"], False)


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
        ("https://", "no absolute URL"),
        ("bees", "no absolute URL"),
        ("https://user:secret@a.example/", "user name or password"),
        ("https://a.example:25/", "port 25"),
        (f"{PAGE}?q={'ü' * 1000}", "2048 at most"),
    ]
    await check_each_async(cases, check)


async def test_an_empty_url_is_refused_by_field(jobs: Jobs) -> None:
    with pytest.raises(PayloadInvalid, match="url"):
        await _take(jobs, "")


async def test_who_asked_for_it_makes_no_other_page(jobs: Jobs) -> None:
    first = await _take(jobs, requestedBy=UUID(int=1))
    again = await _take(jobs, requestedBy=UUID(int=2))
    assert again["rawItemId"] == first["rawItemId"]


async def test_a_page_has_one_id_in_every_database_and_version(jobs: Jobs) -> None:
    assert (await _take(jobs))["sourceId"] == UUID("8e7a19d8-b1d9-5262-85e2-60d72214b485")
