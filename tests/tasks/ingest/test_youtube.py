"""``ingest-from-youtube``: the items of channels and searches, and their recorded health."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.cases import each
from tests.tasks.domain import memory_domain
from tests.tasks.fuse import BurningJobs, Fuse, Killed, check_every_point
from tests.tasks.ingest.videos import CHANNEL, FEED
from tests.tasks.jobs import Jobs, memory_jobs
from zeke_queue.task.signals import Fail, Retry
from zeke_tasks.fetch import Fetched, Permanent, Transient
from zeke_tasks.ingest.pace import HOUR
from zeke_tasks.store.model import HealthStatus, ItemStatus, Kind, Source, SourceType
from zeke_tasks.stories.items import AT_ONCE, ITEM_ATTEMPTS
from zeke_tasks.testing.web import Asked, ScriptedWeb, fetched
from zeke_tasks.testing.youtube import ScriptedCaptions, ScriptedSearch, channel_feed, video, videos
from zeke_tasks.youtube import Blocked, NotOutYet, Video, YouTube, video_text
from zeke_tasks.youtube.items import item_of, video_of

HANDLE = "https://www.youtube.com/@bees"
DAY = timedelta(days=1)
JOB = UUID(int=7)


async def _channel(jobs: Jobs, url: str = CHANNEL) -> Source:
    return await jobs.domain.source(url, type=SourceType.YOUTUBE_CHANNEL)


async def _search(jobs: Jobs, **metadata: Any) -> Source:
    return await jobs.domain.source(None, type=SourceType.YOUTUBE_SEARCH, metadata=metadata)


async def _ingest(jobs: Jobs, source: Source | UUID) -> dict[str, Any]:
    source_id = source if isinstance(source, UUID) else source.id
    return await jobs.run("ingest-from-youtube", {"sourceId": source_id, "reason": "schedule"})


def _listed(jobs: Jobs, count: int, every: timedelta = DAY / 2) -> list[Video]:
    """Return a channel's videos in the order of its feed, newest first."""
    found = videos(count, newest=jobs.domain.clock.now() - timedelta(minutes=5), every=every)
    return [replace(one, duration_seconds=None) for one in found]


def _put(web: ScriptedWeb, listed: Sequence[Video], **about: Any) -> None:
    web.put(FEED, fetched(FEED, channel_feed("The Bees", listed).decode(), **about))


def _put_once(jobs: Jobs, listed: Sequence[Video]) -> None:
    """List videos in a feed that is unmodified from then on."""
    told = fetched(FEED, channel_feed("The Bees", listed).decode(), etag='"1"')
    jobs.web.put(FEED, told, fetched(FEED, not_modified=True, etag='"1"'))


# Channels


async def test_new_video_becomes_story_to_analyse_once(jobs: Jobs) -> None:
    source = await _channel(jobs)
    _put(jobs.web, listed := _listed(jobs, 2))
    assert await _ingest(jobs, source) == {
        "sourceId": source.id,
        "videos": 2,
        "new": 2,
        "notModified": False,
        "items": {"processed": 2},
        "stories": 2,
    }
    items = await jobs.domain.items(source)
    assert items.keys() == {one.id for one in listed} == set(jobs.captions.asked)
    first = items[listed[0].id]
    assert (first.kind, first.title, first.url) == (Kind.VIDEO, listed[0].title, listed[0].url)
    content = await jobs.domain.content(first.id)
    spoken = await jobs.captions.captions(listed[0].id)
    assert spoken is not None
    assert content.text == video_text(listed[0], spoken)
    assert all(f"{name}\n" in content.text for name in ("VIDEO INFORMATION", "CAPTION", "TRANSCRIPT"))
    assert (content.transcript_vtt, content.view_count) == (spoken.vtt, listed[0].view_count)
    assert (content.language, content.html_url, content.pdf_url) == ("en", listed[0].url, None)
    story = await jobs.domain.story_of(first.id)
    about = (Kind.VIDEO, listed[0].title, listed[0].url, listed[0].published_at)
    assert (story.kind, story.title, story.url, story.published_at) == about
    sent = [job.data for job in await jobs.sent("analyze-story")]
    assert {"storyId": str(story.id), "trigger": "auto"} in sent
    # Known videos are not asked for again.
    jobs.captions.asked.clear()
    assert (await _ingest(jobs, source))["new"] == 0
    assert jobs.captions.asked == []
    assert len(await jobs.sent("analyze-story")) == len(sent) == 2


async def test_newest_ten_videos_of_a_week_are_taken(jobs: Jobs) -> None:
    busy, slow = await _channel(jobs), await _channel(jobs, "https://youtube.com/user/bees")
    _put(jobs.web, listed := _listed(jobs, 15, every=DAY / 10))
    seldom = "https://www.youtube.com/feeds/videos.xml?user=bees"
    jobs.web.put(seldom, channel_feed("The Bees", _listed(jobs, 5, every=3 * DAY)).decode())
    assert (await _ingest(jobs, busy))["videos"] == 10
    assert (await jobs.domain.items(busy)).keys() == {one.id for one in listed[:10]}
    assert (await _ingest(jobs, slow))["videos"] == 3


async def test_unmodified_feed_is_not_read_again(jobs: Jobs) -> None:
    source = await _channel(jobs)
    told = channel_feed("The Bees", _listed(jobs, 2)).decode()
    jobs.web.put(FEED, fetched(FEED, told, etag='"1"'), fetched(FEED, not_modified=True, etag='"1"'))
    await _ingest(jobs, source)
    again = await _ingest(jobs, source)
    assert (again["videos"], again["notModified"], again["items"]) == (0, True, {})
    assert jobs.web.asked == [Asked(FEED, "feed", None, None), Asked(FEED, "feed", '"1"', None)]


async def test_channel_of_page_is_found_once(jobs: Jobs) -> None:
    source = await _channel(jobs, HANDLE)
    jobs.web.put(HANDLE, f'<link rel="canonical" href="{CHANNEL}">')
    _put(jobs.web, _listed(jobs, 1))
    assert (await _ingest(jobs, source))["new"] == 1
    await _ingest(jobs, source)
    assert [asked.url for asked in jobs.web.asked] == [HANDLE, FEED, FEED]
    assert (await jobs.domain.health(source)).status is HealthStatus.OK


async def test_page_of_channel_that_is_another_source_warns(jobs: Jobs) -> None:
    await _channel(jobs, FEED)
    source = await _channel(jobs, HANDLE)
    jobs.web.put(HANDLE, f'<link rel="canonical" href="{CHANNEL}">')
    _put(jobs.web, _listed(jobs, 1), etag='"1"', last_modified="Mon, 02 Mar 2026 09:00:00 GMT")
    assert (await _ingest(jobs, source))["new"] == 1
    health = await jobs.domain.health(source)
    assert (health.status, health.etag, health.last_modified) == (HealthStatus.WARN, None, None)
    assert FEED in (health.message or "")


@each(
    ("https://a.example/bees", "must be a page of YouTube"),
    (HANDLE, "must name a channel"),
    (CHANNEL, "not the feed of a channel"),
)
async def test_url_without_channel_fails_job(url: str, why: str) -> None:
    jobs = memory_jobs()
    source = await _channel(jobs, url)
    for page in (HANDLE, FEED):
        jobs.web.put(page, "<html></html>")
    with pytest.raises(Fail, match=why):
        await _ingest(jobs, source)
    assert why in ((await jobs.domain.health(source)).message or "")


@each(
    Permanent(FEED, "the server answered 404 Not Found", status=404),
    Transient(FEED, "the server answered 500", status=500),
)
async def test_feed_error_is_retried_and_health_recovers(error: Exception) -> None:
    jobs = memory_jobs()
    source = await _channel(jobs)
    told = fetched(FEED, channel_feed("The Bees", _listed(jobs, 1)).decode())
    jobs.web.put(FEED, error, told)
    with pytest.raises(Retry):
        await _ingest(jobs, source)
    health = await jobs.domain.health(source)
    assert health.status is HealthStatus.ERROR
    assert health.next_check_at == jobs.domain.clock.now() + timedelta(hours=1)
    assert (await _ingest(jobs, source))["new"] == 1
    assert (await jobs.domain.health(source)).status is HealthStatus.OK


# Captions


async def test_description_replaces_missing_captions(jobs: Jobs) -> None:
    source = await _channel(jobs)
    told, silent = _listed(jobs, 3)[1:]
    silent = replace(silent, description="")
    _put(jobs.web, [told, silent])
    jobs.captions.put(told.id, None)
    jobs.captions.put(silent.id, None)
    assert (await _ingest(jobs, source))["items"] == {"processed": 1, "no_text_extracted": 1}
    items = await jobs.domain.items(source)
    content = await jobs.domain.content(items[told.id].id)
    assert content.text == video_text(told, None)
    assert (content.transcript_vtt, content.language) == (None, None)
    assert items[silent.id].status is ItemStatus.NO_TEXT


async def test_captions_are_awaited_for_twelve_hours(jobs: Jobs) -> None:
    source = await _channel(jobs)
    late, never = (replace(one, published_at=jobs.domain.clock.now()) for one in _listed(jobs, 2))
    _put_once(jobs, [late, never])
    jobs.captions.put(late.id, None)
    jobs.captions.put(never.id, None)
    assert (await _ingest(jobs, source))["items"] == {"pending": 2}
    spoken = await ScriptedCaptions().captions(late.id)
    jobs.captions.put(late.id, spoken)
    jobs.domain.clock.advance(6 * HOUR)
    assert (await _ingest(jobs, source))["items"] == {"processed": 1, "pending": 1}
    jobs.domain.clock.advance(6 * HOUR)
    assert (await _ingest(jobs, source))["items"] == {"processed": 1}
    items = await jobs.domain.items(source)
    contents = [await jobs.domain.verbs.content(items[one.id].id) for one in (late, never)]
    assert [content and content.text for content in contents] == [
        video_text(late, spoken),
        video_text(never, None),
    ]
    assert {item.attempts for item in items.values()} == {1}


async def test_premiere_is_checked_for_a_week(jobs: Jobs) -> None:
    source = await _channel(jobs)
    (premiere,) = _listed(jobs, 1)
    _put_once(jobs, [premiere])
    jobs.captions.put(premiere.id, NotOutYet(premiere.url, "a premiere", retry_after=3600))
    for _ in range(3):
        assert (await _ingest(jobs, source))["items"] == {"pending": 1}
        jobs.domain.clock.advance(48 * HOUR)
    jobs.domain.clock.advance(48 * HOUR)
    assert (await jobs.domain.items(source))[premiere.id].attempts == 0
    with pytest.raises(Retry, match="a premiere"):
        await _ingest(jobs, source)
    assert (await jobs.domain.items(source))[premiere.id].attempts == 1


async def test_video_with_failing_captions_stays_pending(jobs: Jobs) -> None:
    source = await _channel(jobs)
    one, other = _listed(jobs, 2)
    _put_once(jobs, [one, other])
    jobs.captions.put(other.id, Transient(other.url, "YouTube blocks us", retry_after=3600))
    with pytest.raises(Retry, match="1 of 2 items are left") as raised:
        await _ingest(jobs, source)
    assert raised.value.after == 3600
    items = await jobs.domain.items(source)
    assert (items[one.id].status, items[other.id].status) == (ItemStatus.PROCESSED, ItemStatus.PENDING)
    assert (items[other.id].attempts, "blocks us" in (items[other.id].error or "")) == (1, True)
    assert (await jobs.domain.health(source)).status is HealthStatus.OK

    # The feed does not list the video again, and it is read with all that was known of it.
    jobs.domain.clock.advance(HOUR)
    spoken = await ScriptedCaptions().captions(other.id)
    jobs.captions.put(other.id, spoken)
    assert (await _ingest(jobs, source))["items"] == {"processed": 1}
    content = await jobs.domain.content(items[other.id].id)
    assert content.text == video_text(other, spoken)


async def test_restricted_video_fails_alone(jobs: Jobs) -> None:
    source = await _channel(jobs)
    _put(jobs.web, listed := _listed(jobs, 2))
    jobs.captions.put(listed[0].id, Permanent(listed[0].url, "the video is shown to some only"))
    assert (await _ingest(jobs, source))["items"] == {"failed": 1, "processed": 1}


# Searches


async def test_videos_of_search_become_stories(jobs: Jobs) -> None:
    source = await _search(jobs, query="bees", order="date", duration="long", team="somebody else's")
    now = jobs.domain.clock.now()
    found = [
        replace(video(number, published_at=now - number * 100 * DAY), duration_seconds=1500)
        for number in range(12)
    ]
    jobs.search.put("bees", replace(video(20, published_at=now), duration_seconds=60), *found)
    told = await _ingest(jobs, source)
    assert (told["videos"], told["new"], told["items"]) == (10, 10, {"processed": 10})
    items = await jobs.domain.items(source)
    assert items.keys() == {one.id for one in found[:10]}
    content = await jobs.domain.content(items[found[0].id].id)
    assert content.duration_seconds == 1500
    assert (await jobs.domain.health(source)).status is HealthStatus.OK
    assert jobs.web.asked == []


async def test_video_of_channel_and_search_is_one_story(jobs: Jobs) -> None:
    (one,) = _listed(jobs, 1)
    _put(jobs.web, [one])
    jobs.search.put("bees", replace(one, duration_seconds=700, view_count=1))
    await _ingest(jobs, await _channel(jobs))
    await _ingest(jobs, await _search(jobs, query="bees"))
    assert len(await jobs.domain.verbs.newest_stories(10)) == 1
    assert len(await jobs.sent("analyze-story")) == 1


async def test_failed_search_is_retried_after_the_requested_time(jobs: Jobs) -> None:
    busy = ScriptedSearch(retry_after=3600)
    busy.fail("bees")
    jobs.resources = replace(jobs.resources, youtube=YouTube(ScriptedCaptions(), busy))
    source = await _search(jobs, query="bees")
    with pytest.raises(Retry) as raised:
        await _ingest(jobs, source)
    assert raised.value.after == 3600
    assert (await jobs.domain.health(source)).status is HealthStatus.ERROR


async def test_search_without_key_is_skipped_with_setting(jobs: Jobs) -> None:
    jobs.resources = replace(jobs.resources, youtube=YouTube(ScriptedCaptions()))
    source = await _search(jobs, query="bees")
    assert "YOUTUBE_API_KEY" in (await _ingest(jobs, source))["skipped"]
    health = await jobs.domain.health(source)
    assert health.status is HealthStatus.ERROR
    assert "YOUTUBE_API_KEY" in (health.message or "")
    assert health.next_check_at == jobs.domain.clock.now() + timedelta(hours=1)


@each(
    ({}, "query"),
    ({"query": ""}, "query"),
    ({"query": "bees", "order": "best"}, "order"),
    ({"query": "bees", "duration": 4}, "duration"),
)
async def test_search_with_invalid_metadata_is_skipped_with_field(
    metadata: dict[str, Any], field: str
) -> None:
    jobs = memory_jobs()
    source = await _search(jobs, **metadata)
    assert f"{field}: " in (await _ingest(jobs, source))["skipped"]
    assert f"{field}: " in ((await jobs.domain.health(source)).message or "")
    assert jobs.search.asked == []


async def test_search_needs_only_its_query(jobs: Jobs) -> None:
    jobs.search.put("bees", video(1, published_at=jobs.domain.clock.now()))
    assert (await _ingest(jobs, await _search(jobs, query="bees", order=None)))["new"] == 1


# Neither of the two


async def test_source_without_videos_is_skipped(jobs: Jobs) -> None:
    no_url = await jobs.domain.source(None, type=SourceType.YOUTUBE_CHANNEL)
    feed = await jobs.domain.source("https://a.example/feed")
    for source in (UUID(int=1), no_url, feed):
        assert (await _ingest(jobs, source))["skipped"]
    # The task has an alias too.
    alias = await jobs.run("ingest-youtube-channel", {"sourceId": UUID(int=1), "reason": "manual"})
    assert alias["skipped"]
    assert jobs.web.asked == []


async def test_worker_without_youtube_skips_source(jobs: Jobs) -> None:
    jobs.resources = replace(jobs.resources, youtube=None)
    source = await _channel(jobs)
    assert "no YouTube" in (await _ingest(jobs, source))["skipped"]
    assert (await jobs.domain.health(source)).status is HealthStatus.ERROR


async def test_video_can_be_restored_from_its_item(jobs: Jobs) -> None:
    source = await _channel(jobs)
    now = jobs.domain.clock.now()
    for one in (video(1, published_at=now), replace(video(2, published_at=now), channel=None, title="")):
        new = item_of(one)
        about = {"kind": new.kind, "url": new.url, "title": new.title}
        key = await jobs.domain.item(
            source, new.external_id, published_at=new.published_at, body=new.body, **about
        )
        assert video_of(await jobs.domain.look(key)) == one


# Killed


class Validating(ScriptedWeb):
    """A web with validators: an unchanged body is not sent again."""

    async def fetch(self, url: str, **how: Any) -> Fetched:
        answer = await super().fetch(url, **how)
        known = answer.etag is not None and answer.etag == how.get("etag")
        return fetched(url, not_modified=True, etag=answer.etag) if known else answer


async def test_killed_check_of_channel_leaves_what_a_whole_one_leaves() -> None:
    async def run(*fuses: Fuse) -> dict[str, list[Any]]:
        domain, web = memory_domain(), Validating()
        listed = videos(3, newest=domain.clock.now(), every=DAY)
        web.put(HANDLE, f'<link rel="canonical" href="{CHANNEL}">')
        _put(web, listed, etag='"1"')
        source = await domain.source(HANDLE, type=SourceType.YOUTUBE_CHANNEL)
        payload = {"sourceId": source.id, "reason": "manual"}
        for fuse in fuses[:-1]:
            with pytest.raises((Killed, BaseExceptionGroup)):
                await BurningJobs(domain, web, fuse).run("ingest-from-youtube", payload, job_id=JOB)
            domain.clock.advance(1)
        await BurningJobs(domain, web, fuses[-1]).run("ingest-from-youtube", payload, job_id=JOB)
        return await domain.everything(times=False)

    once = await check_every_point(run)
    assert len(once["stories"]) == 3


# While YouTube blocks this machine


async def test_block_of_this_machine_counts_against_no_video(jobs: Jobs) -> None:
    source = await jobs.domain.source(CHANNEL, type=SourceType.YOUTUBE_CHANNEL)
    listed = _listed(jobs, 6)
    _put_once(jobs, listed)
    for one in listed:
        jobs.captions.put(one.id, Blocked(one.url, "YouTube blocks this machine", retry_after=3 * HOUR))
    for _ in range(ITEM_ATTEMPTS + 1):
        jobs.captions.asked.clear()
        with pytest.raises(Retry, match="YouTube blocks this machine") as raised:
            await _ingest(jobs, source)
        assert raised.value.after == 3 * HOUR
        assert len(jobs.captions.asked) <= AT_ONCE
        health = await jobs.domain.health(source)
        assert (health.status, health.etag) == (HealthStatus.ERROR, '"1"')
        assert "YouTube blocks this machine" in (health.message or "")
        assert health.next_check_at == jobs.domain.clock.now() + timedelta(hours=3)
        jobs.domain.clock.advance(3 * HOUR)
    items = await jobs.domain.items(source)
    assert {(item.status, item.attempts) for item in items.values()} == {(ItemStatus.PENDING, 0)}

    # The feed does not list them again, and each is read.
    spoken = await ScriptedCaptions().captions(listed[0].id)
    for one in listed:
        jobs.captions.put(one.id, spoken)
    assert (await _ingest(jobs, source))["items"] == {"processed": 6}
    assert (await jobs.domain.health(source)).status is HealthStatus.OK
    assert len(await jobs.sent("analyze-story")) == 6


async def test_videos_read_before_a_block_are_kept(jobs: Jobs) -> None:
    source = await jobs.domain.source(CHANNEL, type=SourceType.YOUTUBE_CHANNEL)
    one, other, broken = _listed(jobs, 3)
    jobs.web.put(FEED, channel_feed("The Bees", [one, other, broken]).decode())
    jobs.captions.put(other.id, Blocked(other.url, "YouTube blocks this machine"))
    jobs.captions.put(broken.id, Transient(broken.url, "no answer"))
    with pytest.raises(Retry, match="blocks this machine"):
        await _ingest(jobs, source)
    items = await jobs.domain.items(source)
    assert [(items[video.id].status, items[video.id].attempts) for video in (one, other, broken)] == [
        (ItemStatus.PROCESSED, 1),
        (ItemStatus.PENDING, 0),
        (ItemStatus.PENDING, 1),
    ]


async def test_killed_check_during_a_block_leaves_what_a_whole_one_leaves() -> None:
    async def run(*fuses: Fuse) -> dict[str, list[Any]]:
        domain, web, captions = memory_domain(), ScriptedWeb(), ScriptedCaptions()
        youtube = YouTube(captions, ScriptedSearch())
        listed = videos(3, newest=domain.clock.now(), every=DAY)
        web.put(FEED, fetched(FEED, channel_feed("The Bees", listed).decode(), etag='"1"'))
        for one in listed[1:]:
            captions.put(one.id, Blocked(one.url, "YouTube blocks this machine", retry_after=HOUR))
        source = await domain.source(CHANNEL, type=SourceType.YOUTUBE_CHANNEL)
        payload = {"sourceId": source.id, "reason": "manual"}
        for fuse in fuses[:-1]:
            with pytest.raises((Killed, BaseExceptionGroup)):
                await BurningJobs(domain, web, fuse, youtube=youtube).run(
                    "ingest-from-youtube", payload, job_id=JOB
                )
            domain.clock.advance(1)
        last = BurningJobs(domain, web, fuses[-1], youtube=youtube)
        with pytest.raises(Retry, match="blocks this machine"):
            await last.run("ingest-from-youtube", payload, job_id=JOB)
        return await domain.everything(times=False)

    once = await check_every_point(run)
    assert len(once["stories"]) == 1
