"""Which items are videos of YouTube's, and that those which a feed or an upload links to are read as such."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.tasks.scripted_web import feed, page
from tests.tasks.youtube.pages import watch_page
from zeke_sim.doubles.youtube import video
from zeke_tasks.ingest.videos import video_id, video_of
from zeke_tasks.store.model import ItemStatus, Kind, NewItem, SourceType, item_id
from zeke_tasks.stories.items import AT_ONCE
from zeke_tasks.web import Transient
from zeke_tasks.youtube import Blocked, watch_url

if TYPE_CHECKING:
    from uuid import UUID

    from tests.tasks.domain import Domain
    from tests.tasks.jobs import Jobs
    from tests.tasks.scripted_web import ScriptedWeb
    from zeke_sim.doubles.youtube import ScriptedCaptions
    from zeke_tasks.youtube import Video

PAGES = [f"https://a.example/{number}" for number in range(2 * AT_ONCE)]
FEED = "https://a.example/feed"
ID = "dQw4w9WgXcQ"


@pytest.fixture
def bees(jobs: Jobs, web: ScriptedWeb) -> Video:
    """A video of yesterday, whose page is there."""
    made = video(1, published_at=jobs.domain.clock.now() - timedelta(days=1))
    web.put(made.url, watch_page(made))
    return made


async def _read(jobs: Jobs) -> None:
    for job in await jobs.sent("fetch-content"):
        await jobs.run("fetch-content", job.data)


async def _upload(jobs: Jobs, url: str, **about: str) -> UUID:
    source = await jobs.domain.source(None, type=SourceType.MANUAL)
    item = {"externalId": url, "url": url, **about}
    await jobs.run("ingest-from-upload", {"sourceId": source.id, "items": [item]})
    return item_id(source.id, url)


async def _is_read_by_its_captions(jobs: Jobs, key: UUID, bees: Video, captions: ScriptedCaptions) -> None:
    assert captions.asked == [bees.id]
    spoken = await captions.captions(bees.id)
    assert spoken is not None
    async with jobs.domain.rows() as rows:
        content = await rows.content(key)
    assert content is not None
    assert content.transcript_vtt == spoken.vtt
    assert f"Channel: {bees.channel}" in content.text
    story = (await jobs.domain.stories(key))[key]
    assert (story.kind, story.url) == (Kind.VIDEO, bees.url)


@pytest.mark.parametrize("spelling", ["https://youtu.be/{}", "https://www.youtube.com/shorts/{}"])
async def test_a_video_that_an_upload_links_to_is_read_by_its_captions(
    jobs: Jobs, bees: Video, captions: ScriptedCaptions, spelling: str
) -> None:
    key = await _upload(jobs, spelling.format(bees.id))
    await _read(jobs)
    await _is_read_by_its_captions(jobs, key, bees, captions)
    assert (await jobs.domain.stories(key))[key].title == bees.title


async def test_a_video_that_a_feed_links_to_is_read_by_its_captions(
    jobs: Jobs, web: ScriptedWeb, bees: Video, captions: ScriptedCaptions
) -> None:
    source = await jobs.domain.source(FEED)
    web.put(FEED, feed(("What we saw", bees.url)))
    await jobs.run("ingest-source", {"sourceId": source.id, "reason": "schedule"})
    await _read(jobs)
    async with jobs.domain.rows() as rows:
        (item,) = await rows.items_of(source.id)
    await _is_read_by_its_captions(jobs, item.id, bees, captions)


async def test_the_same_video_named_and_linked_to_is_one_story(
    jobs: Jobs, bees: Video, captions: ScriptedCaptions
) -> None:
    told = await jobs.run("ingest-oneoff", {"url": bees.url})
    await _read(jobs)
    key = await _upload(jobs, f"https://youtu.be/{bees.id}")
    await _read(jobs)
    stories = await jobs.domain.stories(key, told["rawItemId"])
    assert stories[key] == stories[told["rawItemId"]]
    assert captions.asked == [bees.id]


async def test_what_an_upload_says_of_a_video_itself_is_its_text(
    jobs: Jobs, bees: Video, captions: ScriptedCaptions
) -> None:
    await jobs.run("ingest-oneoff", {"url": bees.url})
    await _read(jobs)
    key = await _upload(jobs, bees.url, text="My notes on bees.")
    async with jobs.domain.rows() as rows:
        content = await rows.content(key)
    assert content is not None
    assert content.text == "My notes on bees."
    assert captions.asked == [bees.id]


@pytest.mark.parametrize("fault", ["blocked", "nobody to ask"])
async def test_a_video_that_can_t_be_asked_for_holds_up_no_pages(
    jobs: Jobs, web: ScriptedWeb, bees: Video, captions: ScriptedCaptions, fault: str
) -> None:
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
        await _read(jobs)
    assert (await jobs.domain.look(first)).status is ItemStatus.PENDING
    assert {(await jobs.domain.look(key)).status for key in others} == {ItemStatus.PROCESSED}


@pytest.mark.parametrize(
    ("about", "found"),
    [
        (NewItem(ID, Kind.VIDEO, url=watch_url(ID)), ID),
        (NewItem(ID, Kind.VIDEO, url=watch_url(ID), body='{"channel":"The Bees"}'), ID),
        (NewItem("another one", Kind.VIDEO, url=watch_url(ID)), None),
        (NewItem(ID, Kind.VIDEO, url="https://video.example/1"), None),
        (NewItem(ID, Kind.VIDEO), None),
        (NewItem("1", url=watch_url(ID)), ID),
        (NewItem("1", url=watch_url(ID), body="What it says."), None),
        (NewItem(ID, url="https://a.example/1"), None),
        (NewItem(ID, body="What it says."), None),
    ],
)
async def test_which_items_are_videos(in_memory: Domain, about: NewItem, found: str | None) -> None:
    source = await in_memory.source()
    async with in_memory.rows() as rows:
        (key,) = await rows.put_items(source.id, [replace(about, title="A title")])
    item = await in_memory.look(key)
    assert video_id(item) == found
    if found is None:
        with pytest.raises(ValueError, match="is no video"):
            video_of(item)
    else:
        assert (video_of(item).id, video_of(item).url) == (found, watch_url(ID))
        # What a link is called is not what the video is.
        assert video_of(item).title == ("A title" if about.kind is Kind.VIDEO else "")
