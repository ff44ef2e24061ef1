"""``ingest-oneoff`` of a video: the item that its channel would bring, read by its captions, once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.tasks.ingest.videos import CHANNEL, FEED, read_pages, video_of_yesterday
from tests.tasks.jobs import Jobs, memory_jobs
from tests.tasks.scripted_web import ScriptedWeb, fetched
from tests.tasks.youtube.pages import watch_page
from zeke_queue.task.signals import Retry
from zeke_tasks.fetch import Permanent, Transient, UrlRefused
from zeke_tasks.ingest.content import FORGOTTEN_AFTER
from zeke_tasks.ingest.oneoff import PRIORITIES
from zeke_tasks.store.model import ItemStatus, Kind, Source, SourceType, item_id
from zeke_tasks.testing.youtube import ScriptedCaptions, channel_feed, video
from zeke_tasks.youtube import Blocked, Captions, Video, YouTube


async def _take(jobs: Jobs, url: str) -> dict[str, Any]:
    return await jobs.run("ingest-oneoff", {"url": url})


async def _check_channel(jobs: Jobs, web: ScriptedWeb, *listed: Video) -> Source:
    source = await jobs.domain.source(CHANNEL, type=SourceType.YOUTUBE_CHANNEL)
    web.put(FEED, fetched(FEED, channel_feed("The Bees", listed).decode()))
    await jobs.run("ingest-from-youtube", {"sourceId": source.id, "reason": "schedule"})
    return source


async def _story_ids(jobs: Jobs) -> set[UUID]:
    return {story.id for story in await jobs.domain.verbs.newest_stories(100)}


async def test_video_is_read_by_its_captions(jobs: Jobs, bees: Video, captions: ScriptedCaptions) -> None:
    told = await _take(jobs, bees.url)
    await read_pages(jobs)
    item = await jobs.domain.look(told["rawItemId"])
    assert (item.external_id, item.kind, item.url) == (bees.id, Kind.VIDEO, bees.url)
    assert item.status is ItemStatus.PROCESSED
    story = await jobs.domain.story_of(item.id)
    assert (story.title, story.kind, story.published_at) == (bees.title, Kind.VIDEO, bees.published_at)
    spoken = await captions.captions(bees.id)
    content = await jobs.domain.content(item.id)
    assert spoken is not None
    assert content.transcript_vtt == spoken.vtt
    assert f"Channel: {bees.channel}" in content.text
    assert spoken.text in content.text
    assert len(await jobs.sent("analyze-story")) == 1


async def test_every_spelling_of_video_url_is_same_item() -> None:
    async def check(spelling: str) -> None:
        web = ScriptedWeb()
        jobs = memory_jobs(web=web)
        bees = video_of_yesterday(jobs, web)
        first = await _take(jobs, bees.url)
        again = await _take(jobs, spelling.format(bees.id))
        assert (again["url"], again["rawItemId"], again["new"]) == (bees.url, first["rawItemId"], False)
        assert len(await jobs.sent("fetch-content")) == 1

    cases = [
        "https://youtu.be/{}?si=x",
        "https://m.youtube.com/watch?v={}&t=42s",
        "https://www.youtube.com/shorts/{}",
        "https://www.youtube.com/watch?list=PL1&v={}",
    ]
    await check_each_async(cases, check)


async def test_video_of_known_channel_is_not_added_twice(jobs: Jobs, web: ScriptedWeb, bees: Video) -> None:
    source = await _check_channel(jobs, web, bees)
    told = await _take(jobs, bees.url)
    assert (told["new"], told["sourceId"], told["status"]) == (False, source.id, "processed")
    assert {told["storyId"]} == await _story_ids(jobs)
    assert [each.id for each in await jobs.domain.verbs.every_source()] == [source.id]
    assert await jobs.sent("fetch-content") == []


async def test_named_video_that_its_channel_waits_for_is_read_at_once(
    jobs: Jobs, web: ScriptedWeb, bees: Video, captions: ScriptedCaptions
) -> None:
    spoken = await captions.captions(bees.id)
    captions.put(bees.id, None)
    late = replace(bees, published_at=jobs.domain.clock.now() - timedelta(minutes=5))
    source = await _check_channel(jobs, web, late)
    captions.put(bees.id, spoken)
    told = await jobs.run("ingest-oneoff", {"url": bees.url, "priority": "high"})
    assert (told["new"], told["sourceId"], told["status"]) == (False, source.id, "pending")
    (reading,) = await jobs.sent("fetch-content")
    assert reading.priority == PRIORITIES["high"]
    await read_pages(jobs)
    story = await jobs.domain.story_of(told["rawItemId"])
    assert story.title == bees.title
    # Data from its channel is not requested from its page.
    assert bees.url not in {asked.url for asked in web.asked}


async def test_processed_item_of_video_is_reported() -> None:
    async def check(read: str) -> None:
        web = ScriptedWeb()
        captions = ScriptedCaptions()
        jobs = memory_jobs(web=web, captions=captions)
        bees = video_of_yesterday(jobs, web)
        first = await _take(jobs, bees.url)
        if read == "channel":
            source = await _check_channel(jobs, web, bees)
        else:
            await read_pages(jobs)
            captions.put(bees.id, None)
            source = await jobs.domain.source(CHANNEL, type=SourceType.YOUTUBE_CHANNEL)
            await jobs.domain.item(source, bees.id, kind=Kind.VIDEO, url=bees.url)
        sent = len(await jobs.sent("fetch-content"))
        again = await _take(jobs, bees.url)
        assert again["status"] == "processed"
        assert again["sourceId"] == (source.id if read == "channel" else first["sourceId"])
        assert again["storyId"] is not None
        assert len(await jobs.sent("fetch-content")) == sent

    await check_each_async(["channel", "named"], check)


async def test_own_item_of_unread_video_is_reported(jobs: Jobs, bees: Video) -> None:
    first = await _take(jobs, bees.url)
    for channel in (CHANNEL, f"{CHANNEL[:-1]}w", f"{CHANNEL[:-1]}x"):
        source = await jobs.domain.source(channel, type=SourceType.YOUTUBE_CHANNEL)
        await jobs.domain.item(source, bees.id, kind=Kind.VIDEO, url=bees.url)
    again = await _take(jobs, bees.url)
    assert again["rawItemId"] == first["rawItemId"]
    assert len(await jobs.sent("fetch-content")) == 1


async def test_video_whose_job_was_lost_is_read_again(jobs: Jobs, bees: Video) -> None:
    first = await _take(jobs, bees.url)
    jobs.domain.clock.advance(FORGOTTEN_AFTER + 1)
    await _take(jobs, bees.url)
    assert [job.data for job in await jobs.sent("fetch-content")] == [
        {"rawItemIds": [str(first["rawItemId"])]}
    ] * 2


async def test_named_video_does_not_add_others_of_its_channel(
    jobs: Jobs, web: ScriptedWeb, bees: Video
) -> None:
    source = await _check_channel(jobs, web, bees)
    await jobs.domain.item(source, video(2, published_at=jobs.domain.clock.now()).id, kind=Kind.VIDEO)
    jobs.domain.clock.advance(FORGOTTEN_AFTER + 1)
    await _take(jobs, bees.url)
    assert await jobs.sent("fetch-content") == []


async def test_video_listed_before_it_is_read_is_one_story(
    jobs: Jobs, web: ScriptedWeb, bees: Video, captions: ScriptedCaptions
) -> None:
    told = await _take(jobs, bees.url)
    source = await _check_channel(jobs, web, replace(bees, description="Another description."))
    await read_pages(jobs)
    assert len(await _story_ids(jobs)) == 1
    assert captions.asked == [bees.id]
    async with jobs.domain.rows() as rows:
        one = await rows.content(item_id(source.id, bees.id))
        other = await rows.content(told["rawItemId"])
    assert one is not None
    assert one.transcript_vtt
    assert other == replace(one, raw_item_id=told["rawItemId"])


async def test_video_listed_after_it_was_read_is_one_story(
    jobs: Jobs, web: ScriptedWeb, bees: Video, captions: ScriptedCaptions
) -> None:
    await _take(jobs, bees.url)
    await read_pages(jobs)
    stories = await _story_ids(jobs)
    # What its author wrote below it has changed since.
    await _check_channel(jobs, web, replace(bees, description="Another description."))
    assert await _story_ids(jobs) == stories
    assert captions.asked == [bees.id]


class AtOnce:
    """Captions that are returned after a number of requests."""

    def __init__(self, captions: ScriptedCaptions, askers: int) -> None:
        self._captions = captions
        self._all = asyncio.Barrier(askers)

    async def captions(self, video_id: str) -> Captions | None:
        """Return what the others return, to all at once."""
        await self._all.wait()
        return await self._captions.captions(video_id)


async def test_video_listed_while_it_is_read_is_one_story(
    jobs: Jobs, web: ScriptedWeb, bees: Video, captions: ScriptedCaptions
) -> None:
    jobs.resources = replace(jobs.resources, youtube=YouTube(AtOnce(captions, 2)))
    told = await _take(jobs, bees.url)
    changed = replace(bees, description="Another description.")
    _, source = await asyncio.gather(read_pages(jobs), _check_channel(jobs, web, changed))
    ids = [told["rawItemId"], item_id(source.id, bees.id)]
    assert captions.asked == [bees.id] * 2
    assert {story.id for story in (await jobs.domain.stories(*ids)).values()} == await _story_ids(jobs)
    assert len(await _story_ids(jobs)) == 1
    one, other = [await jobs.domain.verbs.content(each) for each in ids]
    assert one is not None
    assert one.transcript_vtt
    assert other == replace(one, raw_item_id=ids[1])
    assert len(await jobs.sent("analyze-story")) == 1


async def test_video_is_read_without_its_page() -> None:
    async def check(fault: Exception | str) -> None:
        web = ScriptedWeb()
        captions = ScriptedCaptions()
        jobs = memory_jobs(web=web, captions=captions)
        bees = video_of_yesterday(jobs, web)
        web.put(bees.url, fault)
        told = await _take(jobs, bees.url)
        await read_pages(jobs)
        spoken = await captions.captions(bees.id)
        assert spoken is not None
        content = await jobs.domain.content(told["rawItemId"])
        assert spoken.text in content.text
        assert (await jobs.domain.story_of(told["rawItemId"])).title == bees.url
        assert {story.url for story in await jobs.domain.verbs.newest_stories(100)} == {bees.url}

    says_nothing = "<title>Before you continue to YouTube</title>"
    await check_each_async([Permanent("", "is too large"), UrlRefused("", "no"), says_nothing], check)


async def test_video_without_page_and_captions_has_no_text(
    jobs: Jobs, web: ScriptedWeb, bees: Video, captions: ScriptedCaptions
) -> None:
    web.put(bees.url, Permanent(bees.url, "is too large"))
    captions.put(bees.id, None)
    told = await _take(jobs, bees.url)
    await read_pages(jobs)
    assert (await jobs.domain.look(told["rawItemId"])).status is ItemStatus.NO_TEXT


async def test_page_with_transient_error_is_retried(jobs: Jobs, web: ScriptedWeb, bees: Video) -> None:
    web.put(bees.url, Transient(bees.url, "no answer"), watch_page(bees))
    told = await _take(jobs, bees.url)
    with pytest.raises(Retry, match="no answer"):
        await read_pages(jobs)
    await read_pages(jobs)
    story = await jobs.domain.story_of(told["rawItemId"])
    assert story.title == bees.title


async def test_unavailable_youtube_counts_against_no_video(
    jobs: Jobs, bees: Video, captions: ScriptedCaptions
) -> None:
    captions.put(bees.id, Blocked(bees.url, "YouTube blocks this machine", retry_after=60))
    told = await _take(jobs, bees.url)
    for reason in ("blocks this machine", "no YouTube client"):
        with pytest.raises(Transient, match=reason):
            await read_pages(jobs)
        item = await jobs.domain.look(told["rawItemId"])
        assert (item.status, item.attempts) == (ItemStatus.PENDING, 0)
        jobs.resources = replace(jobs.resources, youtube=None)


async def test_error_of_missing_video_is_reported(
    jobs: Jobs, bees: Video, captions: ScriptedCaptions
) -> None:
    captions.put(bees.id, Permanent(bees.url, "there is no such video"))
    await _take(jobs, bees.url)
    await read_pages(jobs)
    again = await _take(jobs, bees.url)
    assert (again["status"], again["error"]) == ("failed", f"{bees.url}: there is no such video")
