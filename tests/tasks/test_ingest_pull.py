"""``ingest-pull``: which sources get a job, and that pulls don't pile up."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from tests.cases import check_each
from tests.tasks.jobs import Jobs
from tests.tasks.scripted_web import ScriptedWeb
from zeke_queue.errors import PayloadInvalid
from zeke_tasks.catalog import build_catalog
from zeke_tasks.ingest.pace import DAY, HOUR, after_failure, after_success
from zeke_tasks.store.model import HealthStatus, Source, SourceType

if TYPE_CHECKING:
    from tests.tasks.domain import Domain


@pytest.fixture
def jobs(domain: Domain) -> Jobs:
    return Jobs(domain, ScriptedWeb())


async def _sent(jobs: Jobs) -> list[dict[str, object]]:
    return [job.data for job in await jobs.sent("ingest-source")]


async def test_every_active_rss_source_with_a_url_is_read(jobs: Jobs) -> None:
    source = await jobs.domain.source()
    await jobs.domain.source("https://b.example/feed", is_active=False)
    await jobs.domain.source("https://c.example/feed", type=SourceType.MANUAL)
    assert await jobs.run("ingest-pull") == {"due": 1, "sent": 1}
    assert await _sent(jobs) == [{"sourceId": str(source.id), "reason": "schedule", "cursor": None}]


async def test_a_source_that_still_waits_is_not_sent_again(jobs: Jobs) -> None:
    await jobs.domain.source()
    await jobs.run("ingest-pull")
    assert await jobs.run("ingest-pull") == {"due": 1, "sent": 0}
    assert len(await _sent(jobs)) == 1


async def test_a_source_is_read_as_often_as_it_says(jobs: Jobs) -> None:
    source = await jobs.domain.source(check_frequency_hours=6)
    await _checked(jobs, source)
    jobs.domain.clock.advance(5 * HOUR)
    assert (await jobs.run("ingest-pull"))["due"] == 0
    jobs.domain.clock.advance(HOUR)
    assert (await jobs.run("ingest-pull"))["due"] == 1


async def test_a_check_a_little_after_its_pull_does_not_cost_the_next_one(jobs: Jobs) -> None:
    source = await jobs.domain.source(check_frequency_hours=1)
    jobs.domain.clock.advance(20)
    await _checked(jobs, source)
    jobs.domain.clock.advance(HOUR - 20)
    assert (await jobs.run("ingest-pull"))["due"] == 1


async def test_a_manual_pull_takes_sources_that_are_not_due(jobs: Jobs) -> None:
    await _checked(jobs, await jobs.domain.source())
    assert await jobs.run("ingest-pull") == {"due": 0, "sent": 0}
    assert await jobs.run("ingest-pull", {"reason": "manual"}) == {"due": 1, "sent": 1}
    assert [job["reason"] for job in await _sent(jobs)] == ["manual"]


async def test_a_manual_pull_that_is_run_again_sends_no_source_a_second_time(jobs: Jobs) -> None:
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


async def test_another_reason_is_refused_by_field(jobs: Jobs) -> None:
    with pytest.raises(PayloadInvalid, match="reason"):
        await jobs.run("ingest-pull", {"reason": "whim"})


def test_the_catalog_pulls_every_five_minutes() -> None:
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


def test_a_source_that_is_well_is_checked_as_often_as_it_says() -> None:
    assert after_success(_source(6)) == 6 * HOUR


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


def test_what_a_server_asks_for_is_the_least() -> None:
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
