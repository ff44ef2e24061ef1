"""``ingest-oneoff`` and ``ingest-from-upload``: pages, texts and files that a user gives, each kept once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async, each
from tests.tasks.ingest.videos import read_pages
from tests.tasks.jobs import CALM, Jobs, memory_jobs
from tests.tasks.scripted import BRIEFS
from zeke_queue.errors import PayloadValidationError
from zeke_queue.model import JobQuery, RowState
from zeke_queue.task.signals import Fail
from zeke_queue.worker import Worker
from zeke_tasks.ingest.content import CHUNK, FORGOTTEN_AFTER
from zeke_tasks.ingest.oneoff import PRIORITIES
from zeke_tasks.store.model import Content, ItemStatus, RawItem, Source, SourceType, Story
from zeke_tasks.testing.web import page

PAGE = "https://a.example/bees"
JOB = UUID(int=7)


async def _take(jobs: Jobs, url: str = PAGE, *, job_id: UUID | None = None, **more: Any) -> dict[str, Any]:
    return await jobs.run("ingest-oneoff", {"url": url, **more}, job_id=job_id)


async def test_page_becomes_item_of_its_own_source(jobs: Jobs) -> None:
    told = await _take(jobs)
    source = await jobs.domain.verbs.source(told["sourceId"])
    (item,) = await jobs.domain.verbs.items_of(told["sourceId"])
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


async def test_story_of_known_page_is_reported(jobs: Jobs) -> None:
    jobs.web.put(PAGE, page("On bees", "bees"))
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


async def test_all_that_follows_from_a_page_completes_at_its_priority(jobs: Jobs) -> None:
    jobs.web.put(PAGE, page("The new parser", "Parsing is 3 times faster than before."))
    queue = jobs.worked()
    first = await queue.send("ingest-oneoff", {"url": PAGE, "priority": "high"})
    await Worker(queue, **CALM).drain()
    follows = [job for job in (await queue.find(JobQuery(limit=100))).jobs if job.id != first.id]
    assert {(job.row_state, job.priority) for job in follows} == {(RowState.COMPLETED, PRIORITIES["high"])}
    assert sorted(job.name for job in follows) == [
        "analyze-story",
        "extract-highlights",
        "fetch-content",
        "generate-brief",
        "score-relevance",
    ]
    (story,) = await jobs.domain.verbs.newest_stories(10)
    assert (await jobs.domain.overlay(story)).brief_one_liner == BRIEFS.one_liner
    highlights = await jobs.domain.verbs.highlights(story.id)
    assert highlights
    assert all(highlight.score is not None for highlight in highlights)


async def test_manual_source_of_the_url_is_used_and_a_feed_is_not(jobs: Jobs) -> None:
    await jobs.domain.source(PAGE)
    source = await jobs.domain.source(PAGE, type=SourceType.MANUAL)
    assert (await _take(jobs))["sourceId"] == source.id


@each(
    ("file:///etc/passwd", "only http and https"),
    ("ftp://a.example/x", "only http and https"),
    ("https://", "must be an absolute URL"),
    ("bees", "must be an absolute URL"),
    ("https://user:secret@a.example/", "user name or password"),
    ("https://a.example:25/", "port 25"),
    (f"{PAGE}?q={'ü' * 1000}", "2048 at most"),
)
async def test_unsupported_url_fails_job(url: str, why: str) -> None:
    jobs = memory_jobs()
    with pytest.raises(Fail, match=why) as raised:
        await _take(jobs, url)
    assert "secret" not in str(raised.value)
    assert await jobs.domain.verbs.every_source() == []


async def test_empty_url_is_refused_by_field(jobs: Jobs) -> None:
    with pytest.raises(PayloadValidationError, match="url"):
        await _take(jobs, "")


def _item(name: str, **about: Any) -> dict[str, Any]:
    return {"externalId": name, **about}


async def _source(jobs: Jobs) -> Source:
    return await jobs.domain.source(None, type=SourceType.MANUAL, name="An upload")


async def _upload(
    jobs: Jobs, source: Source | UUID, *items: dict[str, Any], job_id: UUID | None = None
) -> dict[str, Any]:
    source_id = source if isinstance(source, UUID) else source.id
    return await jobs.run("ingest-from-upload", {"sourceId": source_id, "items": items}, job_id=job_id)


async def _told(jobs: Jobs, item: RawItem) -> tuple[Story, Content]:
    return await jobs.domain.story_of(item.id), await jobs.domain.content(item.id)


async def _chunks(jobs: Jobs) -> list[list[str]]:
    return [job.data["rawItemIds"] for job in await jobs.sent("fetch-content")]


async def test_text_becomes_story_to_analyse(jobs: Jobs) -> None:
    source = await _source(jobs)
    told = await _upload(jobs, source, _item("1", title=" On\n\x00 bees ", text="Bees make honey.", url=PAGE))
    assert told == {
        "sourceId": source.id,
        "new": 1,
        "pages": 0,
        "stories": 1,
        "items": {"processed": 1},
        "unreadable": [],
    }
    item = (await jobs.domain.items(source))["1"]
    story, content = await _told(jobs, item)
    assert (item.status, content.text, content.html_url) == (ItemStatus.PROCESSED, "Bees make honey.", PAGE)
    assert (story.title, story.url, story.primary_source_id) == ("On bees", PAGE, source.id)
    (job,) = await jobs.sent("analyze-story")
    assert job.data == {"storyId": str(story.id), "trigger": "auto"}
    assert await _chunks(jobs) == []


async def test_text_without_title_and_with_invalid_url_becomes_story(jobs: Jobs) -> None:
    """Its title is how it begins; what Postgres cannot hold is removed."""
    source = await _source(jobs)
    told = await _upload(jobs, source, _item("1", text="Bees\nmake ho\x00ney.", url="file:///bees.txt"))
    assert told["items"] == {"processed": 1}
    story, content = await _told(jobs, (await jobs.domain.items(source))["1"])
    assert (story.title, story.url, content.text) == ("Bees make honey.", None, "Bees\nmake honey.")


async def test_equal_texts_are_one_story_and_equal_identities_one_item(jobs: Jobs) -> None:
    source = await _source(jobs)
    items = [_item("1", text="Bees."), _item("2", text=" Bees. "), _item("1", text="Birds.")]
    told = await _upload(jobs, source, *items)
    assert (told["stories"], told["items"]) == (1, {"processed": 2})
    assert len(await jobs.sent("analyze-story")) == 1
    _, content = await _told(jobs, (await jobs.domain.items(source))["1"])
    assert content.text == "Bees."


async def test_urls_are_read_in_chunks(jobs: Jobs) -> None:
    source = await _source(jobs)
    items = [_item(str(number), url=f"https://a.example/{number}") for number in range(2 * CHUNK + 5)]
    told = await _upload(jobs, source, *items)
    assert (told["new"], told["pages"], told["stories"]) == (45, 45, 0)
    chunks = await _chunks(jobs)
    assert sorted(map(len, chunks)) == [5, CHUNK, CHUNK]
    assert {key for chunk in chunks for key in chunk} == {
        str(item.id) for item in (await jobs.domain.items(source)).values()
    }


async def test_unreadable_items_are_reported_and_delay_no_other(jobs: Jobs) -> None:
    source = await _source(jobs)
    told = await _upload(
        jobs,
        source,
        _item("nothing"),
        _item("blank", text=" \n\t"),
        _item("a file", url="file:///etc/passwd"),
        _item("a text", text="Bees."),
        _item("a page", url=PAGE),
    )
    assert told["items"] == {"no_text_extracted": 2, "failed": 1, "processed": 1, "pending": 1}
    unreadable = {one["externalId"]: (one["status"], one["error"]) for one in told["unreadable"]}
    assert unreadable.keys() == {"nothing", "blank", "a file"}
    assert unreadable["nothing"] == unreadable["blank"] == ("no_text_extracted", None)
    assert unreadable["a file"][0] == "failed"
    assert "only http and https" in unreadable["a file"][1]


async def test_items_uploaded_again_are_known_to_any_job() -> None:
    async def check(job_id: UUID | None) -> None:
        jobs = memory_jobs()
        source = await _source(jobs)
        items = (_item("1", text="Bees."), _item("2", url=PAGE), _item("3"))
        first = await _upload(jobs, source, *items, job_id=job_id)
        again = await _upload(jobs, source, *items, job_id=job_id)
        assert {**again, "new": 3, "pages": 1} == first
        assert (again["new"], again["pages"]) == (0, 0)
        assert len(await _chunks(jobs)) == len(await jobs.sent("analyze-story")) == 1

    await check_each_async({"same job": JOB, "another job": None}, check)


async def test_unreadable_page_can_be_uploaded_as_text(jobs: Jobs) -> None:
    source = await _source(jobs)
    await _upload(jobs, source, _item("1", url=PAGE), _item("2"))
    await read_pages(jobs)
    assert (await jobs.domain.items(source))["1"].status is ItemStatus.FAILED
    jobs.web.put(PAGE, page("Too late", "bees"))
    told = await _upload(jobs, source, _item("1", url=PAGE, text="Bees."), _item("2", text="Birds."))
    assert (told["items"], told["pages"], told["stories"]) == ({"processed": 2}, 0, 2)


async def test_page_whose_job_was_lost_is_read_with_the_next_upload(jobs: Jobs) -> None:
    source = await _source(jobs)
    await _upload(jobs, source, _item("1", url=PAGE))
    jobs.domain.clock.advance(FORGOTTEN_AFTER + 1)
    told = await _upload(jobs, source, _item("2", text="Bees."))
    assert (told["new"], told["pages"]) == (1, 1)
    first, again = await _chunks(jobs)
    assert first == again


async def test_metadata_of_item_is_kept(jobs: Jobs) -> None:
    source = await _source(jobs)
    said = {"by": "Ana", "pages": [1, 2.5]}
    await _upload(jobs, source, _item("1", text="Bees.", metadata=said), _item("2", text="Birds."))
    rows = await jobs.domain.items(source)
    assert (rows["1"].metadata, rows["2"].metadata) == (said, {})


async def test_missing_source_and_empty_list_are_refused(jobs: Jobs) -> None:
    with pytest.raises(Fail, match=r"Source .* does not exist"):
        await _upload(jobs, UUID(int=1), _item("1", text="Bees."))
    with pytest.raises(PayloadValidationError, match="items"):
        await _upload(jobs, await _source(jobs))
