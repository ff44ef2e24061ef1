"""``ingest-from-upload``.

Texts become stories at once, urls are fetched later, and other items are reported.
"""

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
from zeke_tasks.ingest.content import CHUNK, FORGOTTEN_AFTER
from zeke_tasks.store.model import Content, ItemStatus, RawItem, Source, SourceType, Story

PAGE = "https://a.example/bees"
JOB = UUID(int=7)


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
    told = await _upload(jobs, source, _item("1", title=" On\n bees ", text="Bees make honey.", url=PAGE))
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


async def test_title_loses_what_postgres_cannot_hold(jobs: Jobs) -> None:
    source = await _source(jobs)
    await _upload(jobs, source, _item("1", text="Bees make honey.", title="On\x00 bees"))
    story, _ = await _told(jobs, (await jobs.domain.items(source))["1"])
    assert story.title == "On bees"


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


async def test_unreadable_page_can_be_uploaded_as_text(jobs: Jobs, web: ScriptedWeb) -> None:
    source = await _source(jobs)
    await _upload(jobs, source, _item("1", url=PAGE), _item("2"))
    await read_pages(jobs)
    assert (await jobs.domain.items(source))["1"].status is ItemStatus.FAILED
    web.put(PAGE, page("Too late", "bees"))
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
