"""``ingest-from-youtube``: the items of channels and searches, and their recorded health."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.tasks.domain import memory_domain
from tests.tasks.fuse import BurningJobs, Fuse, Killed
from tests.tasks.ingest.videos import CHANNEL, FEED
from tests.tasks.jobs import Jobs, memory_jobs
from tests.tasks.scripted_web import Asked, ScriptedWeb, fetched
from zeke_queue.task.signals import Fail, Retry
from zeke_tasks.fetch import Fetched, Permanent, Transient
from zeke_tasks.ingest.pace import HOUR
from zeke_tasks.store.model import HealthStatus, ItemStatus, Kind, Source, SourceType
from zeke_tasks.testing.youtube import ScriptedCaptions, ScriptedSearch, channel_feed, video, videos
from zeke_tasks.youtube import NotOutYet, Video, YouTube, video_text
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


# Channels


async def test_new_video_becomes_story_to_analyse_once(
    jobs: Jobs, web: ScriptedWeb, captions: ScriptedCaptions
) -> None:
    source = await _channel(jobs)
    _put(web, listed := _listed(jobs, 2))
    assert await _ingest(jobs, source) == {
        "sourceId": source.id,
        "videos": 2,
        "new": 2,
        "notModified": False,
        "items": {"processed": 2},
        "stories": 2,
    }
    items = await jobs.domain.items(source)
    assert items.keys() == {one.id for one in listed} == set(captions.asked)
    first = items[listed[0].id]
    assert (first.kind, first.title, first.url) == (Kind.VIDEO, listed[0].title, listed[0].url)
    content = await jobs.domain.content(first.id)
    spoken = await captions.captions(listed[0].id)
    assert spoken is not None
    assert content.text == video_text(listed[0], spoken)
    assert all(f"{name}\n" in content.text for name in ("VIDEO INFORMATION", "CAPTION", "TRANSCRIPT"))
    assert (content.transcript_vtt, content.view_count) == (spoken.vtt, listed[0].view_count)
    story = await jobs.domain.story_of(first.id)
    about = (Kind.VIDEO, listed[0].title, listed[0].published_at)
    assert (story.kind, story.title, story.published_at) == about
    sent = [job.data for job in await jobs.sent("analyze-story")]
    assert {"storyId": str(story.id), "trigger": "auto"} in sent
    # Known videos are not asked for again.
    captions.asked.clear()
    assert (await _ingest(jobs, source))["new"] == 0
    assert captions.asked == []
    assert len(await jobs.sent("analyze-story")) == len(sent) == 2


async def test_newest_ten_videos_of_a_week_are_taken(jobs: Jobs, web: ScriptedWeb) -> None:
    busy, slow = await _channel(jobs), await _channel(jobs, "https://youtube.com/user/bees")
    _put(web, listed := _listed(jobs, 15, every=DAY / 10))
    seldom = "https://www.youtube.com/feeds/videos.xml?user=bees"
    web.put(seldom, channel_feed("The Bees", _listed(jobs, 5, every=3 * DAY)).decode())
    assert (await _ingest(jobs, busy))["videos"] == 10
    assert (await jobs.domain.items(busy)).keys() == {one.id for one in listed[:10]}
    assert (await _ingest(jobs, slow))["videos"] == 3


async def test_unmodified_feed_is_not_read_again(jobs: Jobs, web: ScriptedWeb) -> None:
    source = await _channel(jobs)
    told = channel_feed("The Bees", _listed(jobs, 2)).decode()
    web.put(FEED, fetched(FEED, told, etag='"1"'), fetched(FEED, not_modified=True, etag='"1"'))
    await _ingest(jobs, source)
    again = await _ingest(jobs, source)
    assert (again["videos"], again["notModified"], again["items"]) == (0, True, {})
    assert web.asked == [Asked(FEED, "feed", None, None), Asked(FEED, "feed", '"1"', None)]


async def test_channel_of_page_is_found_once(jobs: Jobs, web: ScriptedWeb) -> None:
    source = await _channel(jobs, HANDLE)
    web.put(HANDLE, f'<link rel="canonical" href="{CHANNEL}">')
    _put(web, _listed(jobs, 1))
    assert (await _ingest(jobs, source))["new"] == 1
    await _ingest(jobs, source)
    assert [asked.url for asked in web.asked] == [HANDLE, FEED, FEED]
    assert (await jobs.domain.health(source)).status is HealthStatus.OK


async def test_page_of_channel_that_is_another_source_warns(jobs: Jobs, web: ScriptedWeb) -> None:
    await _channel(jobs, FEED)
    source = await _channel(jobs, HANDLE)
    web.put(HANDLE, f'<link rel="canonical" href="{CHANNEL}">')
    _put(web, _listed(jobs, 1), etag='"1"')
    assert (await _ingest(jobs, source))["new"] == 1
    health = await jobs.domain.health(source)
    assert (health.status, health.etag) == (HealthStatus.WARN, None)
    assert FEED in (health.message or "")


async def test_url_without_channel_fails_job() -> None:
    async def check(url: str, why: str) -> None:
        web = ScriptedWeb()
        jobs = memory_jobs(web=web)
        source = await _channel(jobs, url)
        for page in (HANDLE, FEED):
            web.put(page, "<html></html>")
        with pytest.raises(Fail, match=why):
            await _ingest(jobs, source)
        assert why in ((await jobs.domain.health(source)).message or "")

    cases = [
        ("https://a.example/bees", "must be a page of YouTube"),
        (HANDLE, "must name a channel"),
        (CHANNEL, "not the feed of a channel"),
    ]
    await check_each_async(cases, check)


async def test_feed_error_is_retried_and_health_recovers() -> None:
    async def check(error: Exception) -> None:
        web = ScriptedWeb()
        jobs = memory_jobs(web=web)
        source = await _channel(jobs)
        told = fetched(FEED, channel_feed("The Bees", _listed(jobs, 1)).decode())
        web.put(FEED, error, told)
        with pytest.raises(Retry):
            await _ingest(jobs, source)
        health = await jobs.domain.health(source)
        assert health.status is HealthStatus.ERROR
        assert health.next_check_at == jobs.domain.clock.now() + timedelta(hours=1)
        assert (await _ingest(jobs, source))["new"] == 1
        assert (await jobs.domain.health(source)).status is HealthStatus.OK

    cases = [
        Permanent(FEED, "the server answered 404 Not Found", status=404),
        Transient(FEED, "the server answered 500", status=500),
    ]
    await check_each_async(cases, check)


# Captions


async def test_description_replaces_missing_captions(
    jobs: Jobs, web: ScriptedWeb, captions: ScriptedCaptions
) -> None:
    source = await _channel(jobs)
    told, silent = _listed(jobs, 3)[1:]
    silent = replace(silent, description="")
    _put(web, [told, silent])
    captions.put(told.id, None)
    captions.put(silent.id, None)
    assert (await _ingest(jobs, source))["items"] == {"processed": 1, "no_text_extracted": 1}
    items = await jobs.domain.items(source)
    content = await jobs.domain.content(items[told.id].id)
    assert (content.text, content.transcript_vtt) == (video_text(told, None), None)
    assert items[silent.id].status is ItemStatus.NO_TEXT


async def test_captions_are_awaited_for_twelve_hours(
    jobs: Jobs, web: ScriptedWeb, captions: ScriptedCaptions
) -> None:
    source = await _channel(jobs)
    late, never = (replace(one, published_at=jobs.domain.clock.now()) for one in _listed(jobs, 2))
    told = fetched(FEED, channel_feed("The Bees", [late, never]).decode(), etag='"1"')
    web.put(FEED, told, fetched(FEED, not_modified=True, etag='"1"'))
    captions.put(late.id, None)
    captions.put(never.id, None)
    assert (await _ingest(jobs, source))["items"] == {"pending": 2}
    spoken = await ScriptedCaptions().captions(late.id)
    captions.put(late.id, spoken)
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


async def test_premiere_is_checked_for_a_week(
    jobs: Jobs, web: ScriptedWeb, captions: ScriptedCaptions
) -> None:
    source = await _channel(jobs)
    (premiere,) = _listed(jobs, 1)
    told = fetched(FEED, channel_feed("The Bees", [premiere]).decode(), etag='"1"')
    web.put(FEED, told, fetched(FEED, not_modified=True, etag='"1"'))
    captions.put(premiere.id, NotOutYet(premiere.url, "a premiere", retry_after=3600))
    for _ in range(3):
        assert (await _ingest(jobs, source))["items"] == {"pending": 1}
        jobs.domain.clock.advance(48 * HOUR)
    jobs.domain.clock.advance(48 * HOUR)
    assert (await jobs.domain.items(source))[premiere.id].attempts == 0
    with pytest.raises(Retry, match="a premiere"):
        await _ingest(jobs, source)
    assert (await jobs.domain.items(source))[premiere.id].attempts == 1


async def test_video_with_failing_captions_stays_pending(
    jobs: Jobs, web: ScriptedWeb, captions: ScriptedCaptions
) -> None:
    source = await _channel(jobs)
    one, other = _listed(jobs, 2)
    told = fetched(FEED, channel_feed("The Bees", [one, other]).decode(), etag='"1"')
    web.put(FEED, told, fetched(FEED, not_modified=True, etag='"1"'))
    captions.put(other.id, Transient(other.url, "YouTube blocks us", retry_after=3600))
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
    captions.put(other.id, spoken)
    assert (await _ingest(jobs, source))["items"] == {"processed": 1}
    content = await jobs.domain.content(items[other.id].id)
    assert content.text == video_text(other, spoken)


async def test_restricted_video_fails_alone(jobs: Jobs, web: ScriptedWeb, captions: ScriptedCaptions) -> None:
    source = await _channel(jobs)
    _put(web, listed := _listed(jobs, 2))
    captions.put(listed[0].id, Permanent(listed[0].url, "the video is shown to some only"))
    assert (await _ingest(jobs, source))["items"] == {"failed": 1, "processed": 1}


# Searches


async def test_videos_of_search_become_stories(jobs: Jobs, search: ScriptedSearch, web: ScriptedWeb) -> None:
    source = await _search(jobs, query="bees", order="date", duration="long", team="somebody else's")
    now = jobs.domain.clock.now()
    found = [
        replace(video(number, published_at=now - number * 100 * DAY), duration_seconds=1500)
        for number in range(12)
    ]
    search.put("bees", replace(video(20, published_at=now), duration_seconds=60), *found)
    told = await _ingest(jobs, source)
    assert (told["videos"], told["new"], told["items"]) == (10, 10, {"processed": 10})
    items = await jobs.domain.items(source)
    assert items.keys() == {one.id for one in found[:10]}
    content = await jobs.domain.content(items[found[0].id].id)
    assert content.duration_seconds == 1500
    assert (await jobs.domain.health(source)).status is HealthStatus.OK
    assert web.asked == []


async def test_video_of_channel_and_search_is_one_story(
    jobs: Jobs, web: ScriptedWeb, search: ScriptedSearch
) -> None:
    (one,) = _listed(jobs, 1)
    _put(web, [one])
    search.put("bees", replace(one, duration_seconds=700, view_count=1))
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


async def test_search_with_invalid_metadata_is_skipped_with_field() -> None:
    async def check(metadata: dict[str, Any], field: str) -> None:
        search = ScriptedSearch()
        jobs = memory_jobs(search=search)
        source = await _search(jobs, **metadata)
        assert f"{field}: " in (await _ingest(jobs, source))["skipped"]
        assert f"{field}: " in ((await jobs.domain.health(source)).message or "")
        assert search.asked == []

    cases = [
        ({}, "query"),
        ({"query": ""}, "query"),
        ({"query": "bees", "order": "best"}, "order"),
        ({"query": "bees", "duration": 4}, "duration"),
    ]
    await check_each_async(cases, check)


async def test_search_needs_only_its_query(jobs: Jobs, search: ScriptedSearch) -> None:
    search.put("bees", video(1, published_at=jobs.domain.clock.now()))
    assert (await _ingest(jobs, await _search(jobs, query="bees", order=None)))["new"] == 1


# Neither of the two


async def test_source_without_videos_is_skipped(jobs: Jobs, web: ScriptedWeb) -> None:
    no_url = await jobs.domain.source(None, type=SourceType.YOUTUBE_CHANNEL)
    feed = await jobs.domain.source("https://a.example/feed")
    for source in (UUID(int=1), no_url, feed):
        assert (await _ingest(jobs, source))["skipped"]
    # The task has an alias too.
    alias = await jobs.run("ingest-youtube-channel", {"sourceId": UUID(int=1), "reason": "manual"})
    assert alias["skipped"]
    assert web.asked == []


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

    whole = Fuse()
    once = await run(whole)
    assert len(once["stories"]) == 3
    for point in range(whole.passed):
        assert await run(Fuse(point), Fuse()) == once, point
