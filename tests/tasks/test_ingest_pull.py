"""``ingest-pull`` and ``ingest-pull-youtube``: which sources get a job, and that pulls do not accumulate."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from tests.cases import check_each, each
from tests.tasks.ingest.videos import CHANNEL
from tests.tasks.jobs import Jobs, memory_jobs
from zeke_queue.errors import PayloadValidationError
from zeke_tasks.catalog import build_catalog
from zeke_tasks.ingest.pace import DAY, HOUR, after_expense, after_failure, after_success
from zeke_tasks.store.model import HealthStatus, Source, SourceType

RSS = ("ingest-pull", "ingest-source", SourceType.RSS)
CHANNELS = ("ingest-pull-youtube", "ingest-from-youtube", SourceType.YOUTUBE_CHANNEL)


async def test_pull_sends_every_active_feed_once(jobs: Jobs) -> None:
    source = await jobs.domain.source()
    await jobs.domain.source("https://b.example/feed", is_active=False)
    await jobs.domain.source("https://c.example/feed", type=SourceType.MANUAL)
    assert await jobs.run("ingest-pull") == {"due": 1, "sent": 1}
    # A source that still waits is not sent again.
    assert await jobs.run("ingest-pull") == {"due": 1, "sent": 0}
    (sent,) = await jobs.sent("ingest-source")
    assert sent.data == {"sourceId": str(source.id), "reason": "schedule", "cursor": None}


async def test_pull_of_youtube_sends_channels_and_searches_once(jobs: Jobs) -> None:
    channel = await jobs.domain.source(CHANNEL, type=SourceType.YOUTUBE_CHANNEL)
    search = await jobs.domain.source(None, type=SourceType.YOUTUBE_SEARCH, metadata={"query": "bees"})
    await jobs.domain.source("https://a.example/feed")
    assert await jobs.run("ingest-pull-youtube") == {"due": 2, "sent": 2}
    assert await jobs.run("ingest-pull-youtube") == {"due": 2, "sent": 0}
    sent = await jobs.sent("ingest-from-youtube")
    assert {job.data["sourceId"] for job in sent} == {str(channel.id), str(search.id)}
    assert await jobs.sent("ingest-source") == []


async def test_source_is_due_after_its_check_frequency(jobs: Jobs) -> None:
    source = await jobs.domain.source(check_frequency_hours=6)
    # Checked a little after the pull, which must not delay the next one.
    jobs.domain.clock.advance(20)
    await _checked(jobs, source)
    jobs.domain.clock.advance(5 * HOUR)
    assert (await jobs.run("ingest-pull"))["due"] == 0
    jobs.domain.clock.advance(HOUR - 20)
    assert (await jobs.run("ingest-pull"))["due"] == 1


@each(RSS, CHANNELS)
async def test_manual_pull_takes_sources_that_are_not_due_and_its_rerun_none_twice(
    pull: str, task: str, kind: SourceType
) -> None:
    jobs = memory_jobs()
    source = await jobs.domain.source(CHANNEL, type=kind)
    await _checked(jobs, source)
    assert await jobs.run(pull) == {"due": 0, "sent": 0}
    job_id, manual = jobs.domain.new_id(), {"reason": "manual"}
    assert await jobs.run(pull, manual, job_id=job_id) == {"due": 1, "sent": 1}
    (sent,) = await jobs.sent(task)
    assert sent.data == {"sourceId": str(source.id), "reason": "manual", "cursor": None}
    # The worker was killed once the pull's sends were there, and the source was read meanwhile.
    assert await jobs.domain.storage.cancel([sent.id])
    await jobs.run(pull, manual, job_id=job_id, retries=1)
    assert [job.id for job in await jobs.sent(task)] == [sent.id]
    # Another pull is another one.
    assert await jobs.run(pull, manual) == {"due": 1, "sent": 1}
    assert [job.data["sourceId"] for job in await jobs.sent(task)] == [str(source.id)] * 2


async def test_unknown_reason_is_refused_by_field(jobs: Jobs) -> None:
    with pytest.raises(PayloadValidationError, match="reason"):
        await jobs.run("ingest-pull", {"reason": "whim"})


def test_schedules_pull_feeds_every_five_minutes_and_youtube_every_six_hours() -> None:
    def check(name: str, cron: str) -> None:
        schedule = schedules[name]
        assert (schedule.task, schedule.cron, schedule.zone) == (name, cron, "Europe/Berlin")
        assert json.loads(schedule.data or "") == {"reason": "schedule"}
        assert schedule.description

    schedules = {each.name: each for each in build_catalog().stored_schedules("Europe/Berlin")}
    check_each([("ingest-pull", "*/5 * * * *"), ("ingest-pull-youtube", "0 */6 * * *")], check)


# Pace


def _source(hours: int) -> Source:
    return Source(
        id=UUID(int=1),
        type=SourceType.RSS,
        name="a",
        url="https://a.example",
        authority_score=None,
        is_active=True,
        check_frequency_hours=hours,
        metadata={},
    )


@each(
    (1, None, HOUR),
    (1, HOUR, HOUR),
    (1, 3 * HOUR, 3 * HOUR),
    (1, 100 * DAY, DAY),
    (48, HOUR, 48 * HOUR),
    (48, 100 * DAY, 48 * HOUR),
)
def test_failing_source_waits_as_long_as_it_has_failed(
    hours: int, failing_for: float | None, wait: float
) -> None:
    assert after_failure(_source(hours), failing_for) == wait


@each(
    (1, None, DAY),
    (1, HOUR, DAY),
    (1, 2 * DAY, 2 * DAY),
    (1, 100 * DAY, 7 * DAY),
    (24 * 10, None, 10 * DAY),
)
def test_source_that_is_too_expensive_waits_a_day_to_a_week(
    hours: int, failing_for: float | None, wait: float
) -> None:
    assert after_expense(_source(hours), failing_for) == wait


def test_healthy_source_waits_its_frequency_and_retry_after_is_a_minimum() -> None:
    assert after_success(_source(6)) == 6 * HOUR
    assert after_failure(_source(1), None, retry_after=5 * HOUR) == 5 * HOUR
    assert after_failure(_source(6), None, retry_after=HOUR) == 6 * HOUR


async def _checked(jobs: Jobs, source: Source) -> None:
    await jobs.domain.verbs.record_success(
        source.id, next_check_in=after_success(source), etag=None, last_modified=None, status=HealthStatus.OK
    )
