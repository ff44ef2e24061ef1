"""``ingest-pull-youtube``: channels and searches, and no feeds."""

from __future__ import annotations

from tests.tasks.ingest.videos import CHANNEL
from tests.tasks.jobs import Jobs
from zeke_tasks.catalog import build_catalog
from zeke_tasks.store.model import SourceType


async def test_pull_checks_channels_and_searches_once(jobs: Jobs) -> None:
    channel = await jobs.domain.source(CHANNEL, type=SourceType.YOUTUBE_CHANNEL)
    search = await jobs.domain.source(None, type=SourceType.YOUTUBE_SEARCH, metadata={"query": "bees"})
    await jobs.domain.source("https://a.example/feed")
    assert await jobs.run("ingest-pull-youtube") == {"due": 2, "sent": 2}
    # Those that still wait are not sent again.
    assert await jobs.run("ingest-pull-youtube") == {"due": 2, "sent": 0}
    sent = await jobs.sent("ingest-from-youtube")
    assert {job.data["sourceId"] for job in sent} == {str(channel.id), str(search.id)}
    assert await jobs.sent("ingest-source") == []


async def test_only_manual_pull_takes_sources_that_are_not_due(jobs: Jobs) -> None:
    source = await jobs.domain.source(None, type=SourceType.YOUTUBE_SEARCH, metadata={"query": "bees"})
    await jobs.run("ingest-from-youtube", {"sourceId": source.id, "reason": "schedule"})
    assert await jobs.run("ingest-pull-youtube") == {"due": 0, "sent": 0}
    assert await jobs.run("ingest-pull-youtube", {"reason": "manual"}) == {"due": 1, "sent": 1}


async def test_rerun_of_manual_pull_sends_no_source_twice(jobs: Jobs) -> None:
    await jobs.domain.source(CHANNEL, type=SourceType.YOUTUBE_CHANNEL)
    pull = jobs.domain.new_id()
    await jobs.run("ingest-pull-youtube", {"reason": "manual"}, job_id=pull)
    (sent,) = await jobs.sent("ingest-from-youtube")
    assert await jobs.domain.storage.cancel([sent.id])
    await jobs.run("ingest-pull-youtube", {"reason": "manual"}, job_id=pull, retries=1)
    assert [job.id for job in await jobs.sent("ingest-from-youtube")] == [sent.id]


def test_schedule_pulls_every_six_hours() -> None:
    schedules = {each.name: each for each in build_catalog().stored_schedules("UTC")}
    schedule = schedules["ingest-pull-youtube"]
    assert (schedule.task, schedule.cron) == ("ingest-pull-youtube", "0 */6 * * *")
    assert schedule.description
