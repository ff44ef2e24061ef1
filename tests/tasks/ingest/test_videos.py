"""Videos that a user names, or a feed or an upload links to: one item each, read by its captions, once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.cases import each
from tests.runtime.workers.place import turns
from tests.tasks.domain import memory_domain, there
from tests.tasks.ingest.videos import CHANNEL, FEED, read_pages, video_of_yesterday
from tests.tasks.jobs import Jobs, memory_jobs
from tests.tasks.youtube.pages import watch_page
from zeke_queue.task.signals import Retry
from zeke_tasks.fetch import Permanent, Transient, UrlRefused
from zeke_tasks.ingest.content import FORGOTTEN_AFTER
from zeke_tasks.ingest.oneoff import PRIORITIES
from zeke_tasks.store.model import ItemStatus, Kind, NewItem, Source, SourceType, item_id
from zeke_tasks.stories.items import AT_ONCE
from zeke_tasks.testing.web import ScriptedWeb, feed, fetched, page
from zeke_tasks.testing.youtube import ScriptedCaptions, channel_feed, video
from zeke_tasks.youtube import Blocked, Captions, Video, YouTube, watch_url
from zeke_tasks.youtube.items import video_id, video_of


async def _take(jobs: Jobs, url: str) -> dict[str, Any]:
    return await jobs.run("ingest-oneoff", {"url": url})


async def _check_channel(jobs: Jobs, web: ScriptedWeb, *listed: Video) -> Source:
    source = await jobs.domain.source(CHANNEL, type=SourceType.YOUTUBE_CHANNEL)
    web.put(FEED, fetched(FEED, channel_feed("The Bees", listed).decode()))
    await jobs.run("ingest-from-youtube", {"sourceId": source.id, "reason": "schedule"})
    return source


async def _story_ids(jobs: Jobs) -> set[UUID]:
    return {story.id for story in await jobs.domain.verbs.newest_stories(100)}


async def test_video_is_read_by_its_captions(jobs: Jobs, bees: Video) -> None:
    told = await _take(jobs, bees.url)
    await read_pages(jobs)
    item = await jobs.domain.look(told["rawItemId"])
    assert (item.external_id, item.kind, item.url) == (bees.id, Kind.VIDEO, bees.url)
    assert item.status is ItemStatus.PROCESSED
    story = await jobs.domain.story_of(item.id)
    assert (story.title, story.kind, story.published_at) == (bees.title, Kind.VIDEO, bees.published_at)
    spoken = there(await jobs.captions.captions(bees.id))
    content = await jobs.domain.content(item.id)
    assert content.transcript_vtt == spoken.vtt
    assert f"Channel: {bees.channel}" in content.text
    assert spoken.text in content.text
    assert len(await jobs.sent("analyze-story")) == 1


@each(
    "https://youtu.be/{}?si=x",
    "https://m.youtube.com/watch?v={}&t=42s",
    "https://www.youtube.com/shorts/{}",
    "https://www.youtube.com/watch?list=PL1&v={}",
)
async def test_every_spelling_of_video_url_is_same_item(spelling: str) -> None:
    jobs = memory_jobs()
    bees = video_of_yesterday(jobs)
    first = await _take(jobs, bees.url)
    again = await _take(jobs, spelling.format(bees.id))
    assert (again["url"], again["rawItemId"], again["new"]) == (bees.url, first["rawItemId"], False)
    assert len(await jobs.sent("fetch-content")) == 1


async def test_video_of_known_channel_is_not_added_twice(jobs: Jobs, bees: Video) -> None:
    source = await _check_channel(jobs, jobs.web, bees)
    told = await _take(jobs, bees.url)
    assert (told["new"], told["sourceId"], told["status"]) == (False, source.id, "processed")
    assert {told["storyId"]} == await _story_ids(jobs)
    assert [each.id for each in await jobs.domain.verbs.every_source()] == [source.id]
    assert await jobs.sent("fetch-content") == []


async def test_named_video_that_its_channel_waits_for_is_read_at_once(jobs: Jobs, bees: Video) -> None:
    spoken = await jobs.captions.captions(bees.id)
    jobs.captions.put(bees.id, None)
    late = replace(bees, published_at=jobs.domain.clock.now() - timedelta(minutes=5))
    source = await _check_channel(jobs, jobs.web, late)
    jobs.captions.put(bees.id, spoken)
    told = await jobs.run("ingest-oneoff", {"url": bees.url, "priority": "high"})
    assert (told["new"], told["sourceId"], told["status"]) == (False, source.id, "pending")
    (reading,) = await jobs.sent("fetch-content")
    assert reading.priority == PRIORITIES["high"]
    await read_pages(jobs)
    story = await jobs.domain.story_of(told["rawItemId"])
    assert story.title == bees.title
    # Data from its channel is not requested from its page.
    assert bees.url not in {asked.url for asked in jobs.web.asked}


@each("channel", "named")
async def test_processed_item_of_video_is_reported(read: str) -> None:
    jobs = memory_jobs()
    bees = video_of_yesterday(jobs)
    first = await _take(jobs, bees.url)
    if read == "channel":
        source = await _check_channel(jobs, jobs.web, bees)
    else:
        await read_pages(jobs)
        jobs.captions.put(bees.id, None)
        source = await jobs.domain.source(CHANNEL, type=SourceType.YOUTUBE_CHANNEL)
        await jobs.domain.item(source, bees.id, kind=Kind.VIDEO, url=bees.url)
    sent = len(await jobs.sent("fetch-content"))
    again = await _take(jobs, bees.url)
    assert again["status"] == "processed"
    assert again["sourceId"] == (source.id if read == "channel" else first["sourceId"])
    assert again["storyId"] is not None
    assert len(await jobs.sent("fetch-content")) == sent


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


async def test_named_video_does_not_add_others_of_its_channel(jobs: Jobs, bees: Video) -> None:
    source = await _check_channel(jobs, jobs.web, bees)
    await jobs.domain.item(source, video(2, published_at=jobs.domain.clock.now()).id, kind=Kind.VIDEO)
    jobs.domain.clock.advance(FORGOTTEN_AFTER + 1)
    await _take(jobs, bees.url)
    assert await jobs.sent("fetch-content") == []


async def test_video_listed_before_it_is_read_is_one_story(jobs: Jobs, bees: Video) -> None:
    told = await _take(jobs, bees.url)
    source = await _check_channel(jobs, jobs.web, replace(bees, description="Another description."))
    await read_pages(jobs)
    assert len(await _story_ids(jobs)) == 1
    assert jobs.captions.asked == [bees.id]
    one = there(await jobs.domain.verbs.content(item_id(source.id, bees.id)))
    other = await jobs.domain.verbs.content(told["rawItemId"])
    assert one.transcript_vtt
    assert other == replace(one, raw_item_id=told["rawItemId"])


async def test_video_listed_after_it_was_read_is_one_story(jobs: Jobs, bees: Video) -> None:
    await _take(jobs, bees.url)
    await read_pages(jobs)
    stories = await _story_ids(jobs)
    # What its author wrote below it has changed since.
    await _check_channel(jobs, jobs.web, replace(bees, description="Another description."))
    assert await _story_ids(jobs) == stories
    assert jobs.captions.asked == [bees.id]


class AtOnce:
    """Captions that are returned after a number of requests."""

    def __init__(self, captions: ScriptedCaptions, askers: int) -> None:
        self._captions = captions
        self._all = asyncio.Barrier(askers)

    async def captions(self, video_id: str) -> Captions | None:
        """Return what the others return, to all at once."""
        await self._all.wait()
        return await self._captions.captions(video_id)


async def test_video_listed_while_it_is_read_is_one_story(jobs: Jobs, bees: Video) -> None:
    captions = jobs.captions
    jobs.resources = replace(jobs.resources, youtube=YouTube(AtOnce(captions, 2)))
    told = await _take(jobs, bees.url)
    changed = replace(bees, description="Another description.")
    _, source = await asyncio.gather(read_pages(jobs), _check_channel(jobs, jobs.web, changed))
    ids = [told["rawItemId"], item_id(source.id, bees.id)]
    assert captions.asked == [bees.id] * 2
    assert {story.id for story in (await jobs.domain.stories(*ids)).values()} == await _story_ids(jobs)
    assert len(await _story_ids(jobs)) == 1
    one, other = [await jobs.domain.verbs.content(each) for each in ids]
    assert one is not None
    assert one.transcript_vtt
    assert other == replace(one, raw_item_id=ids[1])
    assert len(await jobs.sent("analyze-story")) == 1


async def test_video_that_another_job_stores_is_awaited(jobs: Jobs, bees: Video) -> None:
    told = await _take(jobs, bees.url)
    async with jobs.domain.rows() as rows:
        await rows.lock_video(bees.id)
        reading = asyncio.ensure_future(read_pages(jobs))
        await turns()
        assert jobs.captions.asked == [bees.id]
        assert (await jobs.domain.look(told["rawItemId"])).status is ItemStatus.PENDING
    await reading
    assert (await jobs.domain.look(told["rawItemId"])).status is ItemStatus.PROCESSED


@each(Permanent("", "is too large"), UrlRefused("", "no"), "<title>Before you continue to YouTube</title>")
async def test_video_is_read_without_its_page(fault: Exception | str) -> None:
    jobs = memory_jobs()
    bees = video_of_yesterday(jobs)
    jobs.web.put(bees.url, fault)
    told = await _take(jobs, bees.url)
    await read_pages(jobs)
    spoken = there(await jobs.captions.captions(bees.id))
    content = await jobs.domain.content(told["rawItemId"])
    assert spoken.text in content.text
    assert (await jobs.domain.story_of(told["rawItemId"])).title == bees.url
    assert {story.url for story in await jobs.domain.verbs.newest_stories(100)} == {bees.url}


async def test_video_without_page_and_captions_has_no_text(jobs: Jobs, bees: Video) -> None:
    jobs.web.put(bees.url, Permanent(bees.url, "is too large"))
    jobs.captions.put(bees.id, None)
    told = await _take(jobs, bees.url)
    await read_pages(jobs)
    assert (await jobs.domain.look(told["rawItemId"])).status is ItemStatus.NO_TEXT


async def test_page_with_transient_error_is_retried(jobs: Jobs, bees: Video) -> None:
    jobs.web.put(bees.url, Transient(bees.url, "no answer"), watch_page(bees))
    told = await _take(jobs, bees.url)
    with pytest.raises(Retry, match="no answer"):
        await read_pages(jobs)
    await read_pages(jobs)
    story = await jobs.domain.story_of(told["rawItemId"])
    assert story.title == bees.title


async def test_unavailable_youtube_counts_against_no_video(jobs: Jobs, bees: Video) -> None:
    jobs.captions.put(bees.id, Blocked(bees.url, "YouTube blocks this machine", retry_after=60))
    told = await _take(jobs, bees.url)
    for reason in ("blocks this machine", "no YouTube client"):
        with pytest.raises(Transient, match=reason):
            await read_pages(jobs)
        item = await jobs.domain.look(told["rawItemId"])
        assert (item.status, item.attempts) == (ItemStatus.PENDING, 0)
        jobs.resources = replace(jobs.resources, youtube=None)


PAGES = [f"https://a.example/{number}" for number in range(2 * AT_ONCE)]
BLOG = "https://a.example/feed"
ID = "dQw4w9WgXcQ"


async def _upload(jobs: Jobs, url: str, **about: str) -> UUID:
    source = await jobs.domain.source(None, type=SourceType.MANUAL)
    item = {"externalId": url, "url": url, **about}
    await jobs.run("ingest-from-upload", {"sourceId": source.id, "items": [item]})
    return item_id(source.id, url)


async def _is_read_by_its_captions(jobs: Jobs, key: UUID, bees: Video, captions: ScriptedCaptions) -> None:
    assert captions.asked == [bees.id]
    spoken = there(await captions.captions(bees.id))
    content = await jobs.domain.content(key)
    assert content.transcript_vtt == spoken.vtt
    assert f"Channel: {bees.channel}" in content.text
    story = await jobs.domain.story_of(key)
    assert (story.kind, story.url) == (Kind.VIDEO, bees.url)


@each("https://youtu.be/{}", "https://www.youtube.com/shorts/{}")
async def test_video_linked_by_upload_is_read_by_captions(spelling: str) -> None:
    jobs = memory_jobs()
    bees = video_of_yesterday(jobs)
    key = await _upload(jobs, spelling.format(bees.id))
    await read_pages(jobs)
    await _is_read_by_its_captions(jobs, key, bees, jobs.captions)
    assert (await jobs.domain.story_of(key)).title == bees.title


async def test_video_linked_by_feed_is_read_by_captions(jobs: Jobs, bees: Video) -> None:
    source = await jobs.domain.source(BLOG)
    jobs.web.put(BLOG, feed(("What we saw", bees.url)))
    await jobs.run("ingest-source", {"sourceId": source.id, "reason": "schedule"})
    await read_pages(jobs)
    (item,) = await jobs.domain.verbs.items_of(source.id)
    await _is_read_by_its_captions(jobs, item.id, bees, jobs.captions)


async def test_video_named_and_linked_is_one_story(jobs: Jobs, bees: Video) -> None:
    told = await jobs.run("ingest-oneoff", {"url": bees.url})
    await read_pages(jobs)
    key = await _upload(jobs, f"https://youtu.be/{bees.id}")
    await read_pages(jobs)
    stories = await jobs.domain.stories(key, told["rawItemId"])
    assert stories[key] == stories[told["rawItemId"]]
    assert jobs.captions.asked == [bees.id]


async def test_text_uploaded_for_video_is_kept(jobs: Jobs, bees: Video) -> None:
    await jobs.run("ingest-oneoff", {"url": bees.url})
    await read_pages(jobs)
    key = await _upload(jobs, bees.url, text="My notes on bees.")
    content = await jobs.domain.content(key)
    assert content.text == "My notes on bees."
    assert jobs.captions.asked == [bees.id]


@each("blocked", "nobody to ask")
async def test_unavailable_video_does_not_delay_pages(fault: str) -> None:
    jobs = memory_jobs()
    bees = video_of_yesterday(jobs)
    for url in PAGES:
        jobs.web.put(url, page("Bees", f"Bees make honey at {url}."))
    if fault == "blocked":
        jobs.captions.put(bees.id, Blocked(bees.url, "YouTube blocks this machine"))
    else:
        jobs.resources = replace(jobs.resources, youtube=None)
    source = await jobs.domain.source(None, type=SourceType.MANUAL)
    # Items are read in the order of their ids; the video's is the first.
    names = sorted(map(str, range(len(PAGES) + 1)), key=lambda name: item_id(source.id, name))
    urls = dict(zip(names, (bees.url, *PAGES), strict=True))
    items = [{"externalId": name, "url": url} for name, url in urls.items()]
    await jobs.run("ingest-from-upload", {"sourceId": source.id, "items": items})
    first, *others = [item_id(source.id, name) for name in names]
    with pytest.raises(Transient):
        await read_pages(jobs)
    assert (await jobs.domain.look(first)).status is ItemStatus.PENDING
    assert {(await jobs.domain.look(key)).status for key in others} == {ItemStatus.PROCESSED}


@each(
    (NewItem(ID, Kind.VIDEO, url=watch_url(ID)), ID),
    (NewItem(ID, Kind.VIDEO, url=watch_url(ID), body='{"channel":"The Bees"}'), ID),
    (NewItem("another one", Kind.VIDEO, url=watch_url(ID)), None),
    (NewItem(ID, Kind.VIDEO, url="https://video.example/1"), None),
    (NewItem(ID, Kind.VIDEO), None),
    (NewItem("1", url=watch_url(ID)), ID),
    (NewItem("1", url=watch_url(ID), body="What it says."), None),
    (NewItem(ID, url="https://a.example/1"), None),
    (NewItem(ID, body="What it says."), None),
)
async def test_items_with_video_url_are_videos(about: NewItem, found: str | None) -> None:
    in_memory = memory_domain()
    source = await in_memory.source()
    (key,) = await in_memory.verbs.put_items(source.id, [replace(about, title="A title")])
    item = await in_memory.look(key)
    assert video_id(item) == found
    if found is None:
        with pytest.raises(ValueError, match="must be a video"):
            video_of(item)
    else:
        assert (video_of(item).id, video_of(item).url) == (found, watch_url(ID))
        # What a link is called is not what the video is.
        assert video_of(item).title == ("A title" if about.kind is Kind.VIDEO else "")
