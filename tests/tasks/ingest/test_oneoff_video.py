"""``ingest-oneoff`` of a video: the item that its channel would bring, read by its captions, once."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.tasks.scripted_web import fetched
from tests.tasks.youtube.pages import watch_page
from zeke_queue.signals import Retry
from zeke_sim.doubles.youtube import channel_feed, video
from zeke_tasks.store.model import ItemStatus, Kind, SourceType
from zeke_tasks.stories.items import ITEM_ATTEMPTS
from zeke_tasks.stories.video import LOOK_AGAIN
from zeke_tasks.web import Permanent, Transient
from zeke_tasks.youtube import Blocked

if TYPE_CHECKING:
    from uuid import UUID

    from tests.tasks.jobs import Jobs
    from tests.tasks.scripted_web import ScriptedWeb
    from zeke_sim.doubles.youtube import ScriptedCaptions
    from zeke_tasks.store.model import Source
    from zeke_tasks.youtube import Video

CHANNEL = "https://www.youtube.com/channel/UCabcdefghijklmnopqrstuv"
FEED = "https://www.youtube.com/feeds/videos.xml?channel_id=UCabcdefghijklmnopqrstuv"


@pytest.fixture
def bees(jobs: Jobs, web: ScriptedWeb) -> Video:
    """A video of yesterday, whose page is there."""
    made = video(1, published_at=jobs.domain.clock.now() - timedelta(days=1))
    web.put(made.url, watch_page(made))
    return made


async def _take(jobs: Jobs, url: str) -> dict[str, Any]:
    return await jobs.run("ingest-oneoff", {"url": url})


async def _read(jobs: Jobs) -> None:
    for job in await jobs.sent("fetch-content"):
        await jobs.run("fetch-content", job.data)


async def _check_channel(jobs: Jobs, web: ScriptedWeb, *listed: Video) -> Source:
    source = await jobs.domain.source(CHANNEL, type=SourceType.YOUTUBE_CHANNEL)
    web.put(FEED, fetched(FEED, channel_feed("The Bees", listed).decode()))
    await jobs.run("ingest-from-youtube", {"sourceId": source.id, "reason": "schedule"})
    return source


async def _story_ids(jobs: Jobs) -> set[UUID]:
    async with jobs.domain.rows() as rows:
        return {story.id for story in await rows.newest_stories(100)}


async def test_a_video_is_read_by_its_captions(jobs: Jobs, bees: Video, captions: ScriptedCaptions) -> None:
    told = await _take(jobs, bees.url)
    await _read(jobs)
    item = await jobs.domain.look(told["rawItemId"])
    assert (item.external_id, item.kind, item.url) == (bees.id, Kind.VIDEO, bees.url)
    assert item.status is ItemStatus.PROCESSED
    story = (await jobs.domain.stories(item.id))[item.id]
    assert (story.title, story.kind, story.published_at) == (bees.title, Kind.VIDEO, bees.published_at)
    spoken = await captions.captions(bees.id)
    async with jobs.domain.rows() as rows:
        content = await rows.content(item.id)
    assert content is not None
    assert spoken is not None
    assert content.transcript_vtt == spoken.vtt
    assert f"Channel: {bees.channel}" in content.text
    assert spoken.text in content.text
    assert len(await jobs.sent("analyze-story")) == 1


@pytest.mark.parametrize(
    "spelling",
    [
        "https://youtu.be/{}?si=x",
        "https://m.youtube.com/watch?v={}&t=42s",
        "https://www.youtube.com/shorts/{}",
        "https://www.youtube.com/watch?list=PL1&v={}",
    ],
)
async def test_all_pages_of_a_video_are_one(jobs: Jobs, bees: Video, spelling: str) -> None:
    first = await _take(jobs, bees.url)
    again = await _take(jobs, spelling.format(bees.id))
    assert (again["url"], again["rawItemId"], again["new"]) == (bees.url, first["rawItemId"], False)
    assert len(await jobs.sent("fetch-content")) == 1


async def test_a_video_that_its_channel_has_brought_is_not_there_twice(
    jobs: Jobs, web: ScriptedWeb, bees: Video
) -> None:
    source = await _check_channel(jobs, web, bees)
    told = await _take(jobs, bees.url)
    assert (told["new"], told["sourceId"], told["status"]) == (False, source.id, "processed")
    assert {told["storyId"]} == await _story_ids(jobs)
    async with jobs.domain.rows() as rows:
        assert [each.id for each in await rows.every_source()] == [source.id]
    assert await jobs.sent("fetch-content") == []


async def test_a_video_whose_channel_comes_later_stays_one_story(
    jobs: Jobs, web: ScriptedWeb, bees: Video, captions: ScriptedCaptions
) -> None:
    await _take(jobs, bees.url)
    await _read(jobs)
    stories = await _story_ids(jobs)
    # What its author wrote below it has changed since.
    await _check_channel(jobs, web, replace(bees, description="Another description."))
    assert await _story_ids(jobs) == stories
    assert captions.asked == [bees.id]


async def test_a_video_whose_page_says_nothing_is_read_all_the_same(
    jobs: Jobs, web: ScriptedWeb, bees: Video
) -> None:
    web.put(bees.url, "<title>Before you continue to YouTube</title>")
    told = await _take(jobs, bees.url)
    await _read(jobs)
    story = (await jobs.domain.stories(told["rawItemId"]))[told["rawItemId"]]
    assert story.title == bees.url


async def test_captions_that_may_still_come_are_looked_for_again_and_done_without_in_the_end(
    jobs: Jobs, web: ScriptedWeb, captions: ScriptedCaptions
) -> None:
    late = video(1, published_at=jobs.domain.clock.now() - timedelta(minutes=5))
    web.put(late.url, watch_page(late))
    captions.put(late.id, None)
    told = await _take(jobs, late.url)
    for _ in range(ITEM_ATTEMPTS - 1):
        with pytest.raises(Retry) as raised:
            await _read(jobs)
        assert raised.value.after == LOOK_AGAIN
    item = await jobs.domain.look(told["rawItemId"])
    assert (item.status, item.error) == (ItemStatus.PENDING, f"{late.url}: Its captions may still come")
    await _read(jobs)
    story = (await jobs.domain.stories(item.id))[item.id]
    assert story.title == late.title


async def test_while_youtube_blocks_this_machine_a_video_waits(
    jobs: Jobs, bees: Video, captions: ScriptedCaptions
) -> None:
    captions.put(bees.id, Blocked(bees.url, "YouTube blocks this machine", retry_after=60))
    told = await _take(jobs, bees.url)
    with pytest.raises(Transient, match="blocks this machine"):
        await _read(jobs)
    item = await jobs.domain.look(told["rawItemId"])
    assert (item.status, item.attempts) == (ItemStatus.PENDING, 0)


async def test_a_worker_that_can_t_ask_youtube_holds_that_against_no_video(jobs: Jobs, bees: Video) -> None:
    told = await _take(jobs, bees.url)
    jobs.resources = replace(jobs.resources, youtube=None)
    with pytest.raises(Transient, match="given no YouTube"):
        await _read(jobs)
    item = await jobs.domain.look(told["rawItemId"])
    assert (item.status, item.attempts) == (ItemStatus.PENDING, 0)


async def test_of_a_video_that_is_not_there_it_is_told_why(
    jobs: Jobs, bees: Video, captions: ScriptedCaptions
) -> None:
    captions.put(bees.id, Permanent(bees.url, "there is no such video"))
    await _take(jobs, bees.url)
    await _read(jobs)
    again = await _take(jobs, bees.url)
    assert (again["status"], again["error"]) == ("failed", f"{bees.url}: there is no such video")
