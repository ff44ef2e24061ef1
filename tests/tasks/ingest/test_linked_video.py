"""Which items are videos of YouTube's, and that those which a feed or an upload links to are read as such."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.tasks.domain import memory_domain
from tests.tasks.ingest.videos import read_pages, video_of_yesterday
from tests.tasks.jobs import Jobs, memory_jobs
from tests.tasks.scripted_web import ScriptedWeb, feed, page
from zeke_tasks.fetch import Transient
from zeke_tasks.store.model import ItemStatus, Kind, NewItem, SourceType, item_id
from zeke_tasks.stories.items import AT_ONCE
from zeke_tasks.testing.youtube import ScriptedCaptions
from zeke_tasks.youtube import Blocked, Video, watch_url
from zeke_tasks.youtube.items import video_id, video_of

PAGES = [f"https://a.example/{number}" for number in range(2 * AT_ONCE)]
FEED = "https://a.example/feed"
ID = "dQw4w9WgXcQ"


async def _upload(jobs: Jobs, url: str, **about: str) -> UUID:
    source = await jobs.domain.source(None, type=SourceType.MANUAL)
    item = {"externalId": url, "url": url, **about}
    await jobs.run("ingest-from-upload", {"sourceId": source.id, "items": [item]})
    return item_id(source.id, url)


async def _is_read_by_its_captions(jobs: Jobs, key: UUID, bees: Video, captions: ScriptedCaptions) -> None:
    assert captions.asked == [bees.id]
    spoken = await captions.captions(bees.id)
    assert spoken is not None
    content = await jobs.domain.content(key)
    assert content.transcript_vtt == spoken.vtt
    assert f"Channel: {bees.channel}" in content.text
    story = await jobs.domain.story_of(key)
    assert (story.kind, story.url) == (Kind.VIDEO, bees.url)


async def test_video_linked_by_upload_is_read_by_captions() -> None:
    async def check(spelling: str) -> None:
        web = ScriptedWeb()
        captions = ScriptedCaptions()
        jobs = memory_jobs(web=web, captions=captions)
        bees = video_of_yesterday(jobs, web)
        key = await _upload(jobs, spelling.format(bees.id))
        await read_pages(jobs)
        await _is_read_by_its_captions(jobs, key, bees, captions)
        assert (await jobs.domain.story_of(key)).title == bees.title

    await check_each_async(["https://youtu.be/{}", "https://www.youtube.com/shorts/{}"], check)


async def test_video_linked_by_feed_is_read_by_captions(
    jobs: Jobs, web: ScriptedWeb, bees: Video, captions: ScriptedCaptions
) -> None:
    source = await jobs.domain.source(FEED)
    web.put(FEED, feed(("What we saw", bees.url)))
    await jobs.run("ingest-source", {"sourceId": source.id, "reason": "schedule"})
    await read_pages(jobs)
    (item,) = await jobs.domain.verbs.items_of(source.id)
    await _is_read_by_its_captions(jobs, item.id, bees, captions)


async def test_video_named_and_linked_is_one_story(
    jobs: Jobs, bees: Video, captions: ScriptedCaptions
) -> None:
    told = await jobs.run("ingest-oneoff", {"url": bees.url})
    await read_pages(jobs)
    key = await _upload(jobs, f"https://youtu.be/{bees.id}")
    await read_pages(jobs)
    stories = await jobs.domain.stories(key, told["rawItemId"])
    assert stories[key] == stories[told["rawItemId"]]
    assert captions.asked == [bees.id]


async def test_text_uploaded_for_video_is_kept(jobs: Jobs, bees: Video, captions: ScriptedCaptions) -> None:
    await jobs.run("ingest-oneoff", {"url": bees.url})
    await read_pages(jobs)
    key = await _upload(jobs, bees.url, text="My notes on bees.")
    content = await jobs.domain.content(key)
    assert content.text == "My notes on bees."
    assert captions.asked == [bees.id]


async def test_unavailable_video_does_not_delay_pages() -> None:
    async def check(fault: str) -> None:
        web = ScriptedWeb()
        captions = ScriptedCaptions()
        jobs = memory_jobs(web=web, captions=captions)
        bees = video_of_yesterday(jobs, web)
        for url in PAGES:
            web.put(url, page("Bees", f"Bees make honey at {url}."))
        if fault == "blocked":
            captions.put(bees.id, Blocked(bees.url, "YouTube blocks this machine"))
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

    await check_each_async(["blocked", "nobody to ask"], check)


async def test_items_with_video_url_are_videos() -> None:
    async def check(about: NewItem, found: str | None) -> None:
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

    cases = [
        (NewItem(ID, Kind.VIDEO, url=watch_url(ID)), ID),
        (NewItem(ID, Kind.VIDEO, url=watch_url(ID), body='{"channel":"The Bees"}'), ID),
        (NewItem("another one", Kind.VIDEO, url=watch_url(ID)), None),
        (NewItem(ID, Kind.VIDEO, url="https://video.example/1"), None),
        (NewItem(ID, Kind.VIDEO), None),
        (NewItem("1", url=watch_url(ID)), ID),
        (NewItem("1", url=watch_url(ID), body="What it says."), None),
        (NewItem(ID, url="https://a.example/1"), None),
        (NewItem(ID, body="What it says."), None),
    ]
    await check_each_async(cases, check)
