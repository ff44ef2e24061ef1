"""``ingest-pull``: which sources get a job, and that pulls do not accumulate."""

from __future__ import annotations

import json
from uuid import UUID

import pytest

from tests.cases import check_each
from tests.tasks.jobs import Jobs
from zeke_queue.errors import PayloadValidationError
from zeke_tasks.catalog import build_catalog
from zeke_tasks.ingest.pace import DAY, HOUR, after_failure, after_success
from zeke_tasks.store.model import HealthStatus, Source, SourceType


async def _sent(jobs: Jobs) -> list[dict[str, object]]:
    return [job.data for job in await jobs.sent("ingest-source")]


async def test_pull_sends_every_active_feed_once(jobs: Jobs) -> None:
    source = await jobs.domain.source()
    await jobs.domain.source("https://b.example/feed", is_active=False)
    await jobs.domain.source("https://c.example/feed", type=SourceType.MANUAL)
    assert await jobs.run("ingest-pull") == {"due": 1, "sent": 1}
    # A source that still waits is not sent again.
    assert await jobs.run("ingest-pull") == {"due": 1, "sent": 0}
    assert await _sent(jobs) == [{"sourceId": str(source.id), "reason": "schedule", "cursor": None}]


async def test_source_is_due_after_its_check_frequency(jobs: Jobs) -> None:
    source = await jobs.domain.source(check_frequency_hours=6)
    # Checked a little after the pull, which must not delay the next one.
    jobs.domain.clock.advance(20)
    await _checked(jobs, source)
    jobs.domain.clock.advance(5 * HOUR)
    assert (await jobs.run("ingest-pull"))["due"] == 0
    jobs.domain.clock.advance(HOUR - 20)
    assert (await jobs.run("ingest-pull"))["due"] == 1


async def test_manual_pull_takes_sources_that_are_not_due(jobs: Jobs) -> None:
    await _checked(jobs, await jobs.domain.source())
    assert await jobs.run("ingest-pull") == {"due": 0, "sent": 0}
    assert await jobs.run("ingest-pull", {"reason": "manual"}) == {"due": 1, "sent": 1}
    assert [job["reason"] for job in await _sent(jobs)] == ["manual"]


async def test_rerun_of_manual_pull_sends_no_source_twice(jobs: Jobs) -> None:
    source = await jobs.domain.source()
    pull, ingest = jobs.domain.new_id(), {"reason": "manual"}
    await jobs.run("ingest-pull", ingest, job_id=pull)
    (sent,) = await jobs.sent("ingest-source")
    # The worker was killed once the pull's sends were there, and the source was read meanwhile.
    assert await jobs.domain.storage.cancel([sent.id])
    await jobs.run("ingest-pull", ingest, job_id=pull, retries=1)
    assert [job.id for job in await jobs.sent("ingest-source")] == [sent.id]
    # Another pull is another one.
    assert (await jobs.run("ingest-pull", ingest)) == {"due": 1, "sent": 1}
    assert {job["sourceId"] for job in await _sent(jobs)} == {str(source.id)}
    assert len(await _sent(jobs)) == 2


async def test_unknown_reason_is_refused_by_field(jobs: Jobs) -> None:
    with pytest.raises(PayloadValidationError, match="reason"):
        await jobs.run("ingest-pull", {"reason": "whim"})


def test_schedule_pulls_every_five_minutes() -> None:
    schedules = {each.name: each for each in build_catalog().stored_schedules("Europe/Berlin")}
    schedule = schedules["ingest-pull"]
    assert (schedule.task, schedule.cron) == ("ingest-pull", "*/5 * * * *")
    assert schedule.zone == "Europe/Berlin"
    assert json.loads(schedule.data or "") == {"reason": "schedule"}


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


def test_failing_source_waits_as_long_as_it_has_failed() -> None:
    def check(hours: int, failing_for: float | None, wait: float) -> None:
        assert after_failure(_source(hours), failing_for) == wait

    cases = [
        (1, None, HOUR),
        (1, HOUR, HOUR),
        (1, 3 * HOUR, 3 * HOUR),
        (1, 100 * DAY, DAY),
        (48, HOUR, 48 * HOUR),
        (48, 100 * DAY, 48 * HOUR),
    ]
    check_each(cases, check)


def test_healthy_source_waits_its_frequency_and_retry_after_is_a_minimum() -> None:
    assert after_success(_source(6)) == 6 * HOUR
    assert after_failure(_source(1), None, retry_after=5 * HOUR) == 5 * HOUR
    assert after_failure(_source(6), None, retry_after=HOUR) == 6 * HOUR


async def _checked(jobs: Jobs, source: Source) -> None:
    await jobs.domain.verbs.record_success(
        source.id,
        next_check_in=after_success(source),
        etag=None,
        last_modified=None,
        status=HealthStatus.OK,
    )
