"""``ingest-from-youtube`` while YouTube blocks this machine: no video counts as failed, and none is lost."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.tasks.domain import memory_domain
from tests.tasks.fuse import BurningJobs, Fuse, Killed
from tests.tasks.ingest.videos import CHANNEL, FEED
from tests.tasks.jobs import Jobs
from tests.tasks.scripted_web import ScriptedWeb, fetched
from zeke_queue.task.signals import Retry
from zeke_tasks.fetch import Transient
from zeke_tasks.ingest.pace import HOUR
from zeke_tasks.store.model import HealthStatus, ItemStatus, Source, SourceType
from zeke_tasks.stories.items import AT_ONCE, ITEM_ATTEMPTS
from zeke_tasks.testing.youtube import ScriptedCaptions, ScriptedSearch, channel_feed, videos
from zeke_tasks.youtube import Blocked, Video, YouTube

DAY = timedelta(days=1)
JOB = UUID(int=7)


async def _ingest(jobs: Jobs, source: Source) -> dict[str, Any]:
    return await jobs.run("ingest-from-youtube", {"sourceId": source.id, "reason": "schedule"})


def _listed(jobs: Jobs, count: int) -> list[Video]:
    return videos(count, newest=jobs.domain.clock.now() - timedelta(minutes=5), every=DAY / 2)


async def test_block_of_this_machine_counts_against_no_video(
    jobs: Jobs, web: ScriptedWeb, captions: ScriptedCaptions
) -> None:
    source = await jobs.domain.source(CHANNEL, type=SourceType.YOUTUBE_CHANNEL)
    listed = _listed(jobs, 6)
    told = fetched(FEED, channel_feed("The Bees", listed).decode(), etag='"1"')
    web.put(FEED, told, fetched(FEED, not_modified=True, etag='"1"'))
    for one in listed:
        captions.put(one.id, Blocked(one.url, "YouTube blocks this machine", retry_after=3 * HOUR))
    for _ in range(ITEM_ATTEMPTS + 1):
        captions.asked.clear()
        with pytest.raises(Retry, match="YouTube blocks this machine") as raised:
            await _ingest(jobs, source)
        assert raised.value.after == 3 * HOUR
        assert len(captions.asked) <= AT_ONCE
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
        captions.put(one.id, spoken)
    assert (await _ingest(jobs, source))["items"] == {"processed": 6}
    assert (await jobs.domain.health(source)).status is HealthStatus.OK
    assert len(await jobs.sent("analyze-story")) == 6


async def test_videos_read_before_a_block_are_kept(
    jobs: Jobs, web: ScriptedWeb, captions: ScriptedCaptions
) -> None:
    source = await jobs.domain.source(CHANNEL, type=SourceType.YOUTUBE_CHANNEL)
    one, other, broken = _listed(jobs, 3)
    web.put(FEED, channel_feed("The Bees", [one, other, broken]).decode())
    captions.put(other.id, Blocked(other.url, "YouTube blocks this machine"))
    captions.put(broken.id, Transient(broken.url, "no answer"))
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

    whole = Fuse()
    once = await run(whole)
    assert len(once["stories"]) == 1
    for point in range(whole.passed):
        assert await run(Fuse(point), Fuse()) == once, point
