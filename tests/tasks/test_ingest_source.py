"""``ingest-source``: the items of a feed, and its recorded health."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from uuid import UUID

import pytest

from tests.cases import each
from tests.tasks.jobs import Jobs, memory_jobs
from zeke_queue.task.signals import Fail, Retry
from zeke_tasks.fetch import Fetched, Permanent, Transient, WebOptions
from zeke_tasks.ingest.content import FORGOTTEN_AFTER
from zeke_tasks.ingest.pace import HOUR, after_failure
from zeke_tasks.store.model import HealthStatus, ItemStatus, RawItem, Source, SourceType
from zeke_tasks.testing.web import Asked, feed, fetched

FEED = "https://a.example/feed"
ONE = ("One", "https://a.example/1")


async def _ingest(jobs: Jobs, source: Source | UUID) -> dict[str, object]:
    source_id = source if isinstance(source, UUID) else source.id
    return await jobs.run("ingest-source", {"sourceId": source_id, "reason": "schedule"})


async def _source(jobs: Jobs, *answers: Fetched | Exception | str) -> Source:
    """Add a feed whose server gives these answers, one after the other."""
    jobs.web.put(FEED, *answers)
    return await jobs.domain.source(FEED)


async def _items(jobs: Jobs, source: Source) -> list[RawItem]:
    return await jobs.domain.verbs.items_of(source.id)


async def _chunks(jobs: Jobs) -> list[set[UUID]]:
    return [{UUID(key) for key in job.data["rawItemIds"]} for job in await jobs.sent("fetch-content")]


async def test_new_entries_become_items_to_fetch(jobs: Jobs) -> None:
    """The text of an entry is kept only where there is no page."""
    source = await _source(jobs, feed(ONE, ("Two", "")))
    assert await _ingest(jobs, source) == {
        "sourceId": source.id,
        "entries": 2,
        "new": 2,
        "notModified": False,
    }
    items = await _items(jobs, source)
    assert {(item.title, item.url, item.body, item.status) for item in items} == {
        ("One", "https://a.example/1", None, ItemStatus.PENDING),
        ("Two", None, "The text of Two.", ItemStatus.PENDING),
    }
    assert await _chunks(jobs) == [{item.id for item in items}]


async def test_known_entries_are_not_fetched_again(jobs: Jobs) -> None:
    source = await _source(jobs, feed(ONE), feed(("New title", "https://a.example/1")))
    await _ingest(jobs, source)
    assert (await _ingest(jobs, source))["new"] == 0
    assert [item.title for item in await _items(jobs, source)] == ["New title"]
    assert len(await _chunks(jobs)) == 1


async def test_new_entries_are_fetched_in_chunks_of_twenty(jobs: Jobs) -> None:
    source = await _source(
        jobs, feed(*((str(number), f"https://a.example/{number}") for number in range(45)))
    )
    await _ingest(jobs, source)
    chunks = await _chunks(jobs)
    assert sorted(map(len, chunks)) == [5, 20, 20]
    assert set().union(*chunks) == {item.id for item in await _items(jobs, source)}


async def test_job_that_runs_again_fetches_what_came_meanwhile(jobs: Jobs) -> None:
    source = await _source(jobs, feed(ONE), feed(("New", "https://a.example/new"), ONE))
    for _ in range(2):
        payload = {"sourceId": source.id, "reason": "schedule"}
        await jobs.run("ingest-source", payload, job_id=UUID(int=7))
    assert set().union(*await _chunks(jobs)) == {item.id for item in await _items(jobs, source)}
    assert len(await _chunks(jobs)) == 2


async def test_pending_items_are_fetched_again_once_their_job_is_lost(jobs: Jobs) -> None:
    source = await _source(jobs, feed(ONE))
    await _ingest(jobs, source)
    longest = WebOptions().max_retry_after
    # Twice the wait that a server may ask for, so that a job is sure to have had its turn.
    assert 2 * longest <= FORGOTTEN_AFTER
    jobs.domain.clock.advance(2 * longest)
    await _ingest(jobs, source)
    assert len(await _chunks(jobs)) == 1
    jobs.domain.clock.advance(13 * HOUR - 2 * longest)
    await _ingest(jobs, source)
    await _ingest(jobs, source)
    first, again = await _chunks(jobs)
    assert first == again


async def test_unmodified_feed_refreshes_validators(jobs: Jobs) -> None:
    known = fetched(FEED, feed(ONE), etag='"1"', last_modified="Mon")
    source = await _source(jobs, known, fetched(FEED, not_modified=True, etag='"1"', last_modified="Tue"))
    await _ingest(jobs, source)
    assert (await _ingest(jobs, source))["notModified"]
    assert jobs.web.asked == [Asked(FEED, "feed", None, None), Asked(FEED, "feed", '"1"', "Mon")]
    health = await jobs.domain.health(source)
    assert (health.status, health.etag, health.last_modified) == (HealthStatus.OK, '"1"', "Tue")


async def test_moved_feed_is_saved_and_links_are_relative_to_its_new_url(jobs: Jobs) -> None:
    source = await jobs.domain.source(FEED)
    jobs.web.put(
        FEED, fetched(FEED, feed(("One", "/1")), permanent_url="https://b.example/feed?utm_source=a")
    )
    await _ingest(jobs, source)
    assert [each.url for each in await jobs.domain.verbs.every_source()] == ["https://b.example/feed"]
    assert [item.url for item in await _items(jobs, source)] == ["https://b.example/1"]


async def test_feed_that_moved_onto_another_source_warns_until_it_can_move(jobs: Jobs) -> None:
    source, other = await jobs.domain.source(FEED), await jobs.domain.source("https://b.example/feed")
    listing = feed(ONE)
    jobs.web.put(FEED, fetched(FEED, listing, permanent_url="https://b.example/feed", etag='"1"'))
    assert (await _ingest(jobs, source))["new"] == 1
    health = await jobs.domain.health(source)
    assert health.status is HealthStatus.WARN
    assert "https://b.example/feed" in (health.message or "")
    # With validators the next answer would be 304, and the warning would stay forever.
    assert ((await jobs.domain.health(source)).etag, jobs.web.asked[0].etag) == (None, None)
    await jobs.domain.verbs.move_source(other.id, "https://c.example/feed")
    await _ingest(jobs, source)
    health = await jobs.domain.health(source)
    assert (health.status, health.message, health.etag) == (HealthStatus.OK, None, '"1"')


async def test_feed_that_moved_to_a_too_long_url_is_read_with_warning(jobs: Jobs) -> None:
    endless = "https://b.example/" + "x" * 3000
    source = await _source(jobs, fetched(FEED, feed(ONE), permanent_url=endless))
    assert (await _ingest(jobs, source))["new"] == 1
    health = await jobs.domain.health(source)
    assert (health.status, "2048 characters" in (health.message or "")) == (HealthStatus.WARN, True)


async def test_malformed_feed_is_read_with_warning(jobs: Jobs) -> None:
    broken = feed(ONE).removesuffix("</channel></rss>")
    source = await _source(jobs, fetched(FEED, broken, etag="1"), fetched(FEED, not_modified=True, etag="1"))
    assert (await _ingest(jobs, source))["new"] == 1
    health = await jobs.domain.health(source)
    assert health.status is HealthStatus.WARN
    assert health.message
    await _ingest(jobs, source)
    assert await jobs.domain.health(source) == health


async def test_transient_error_is_retried_after_the_time_of_the_server_or_the_policy(jobs: Jobs) -> None:
    busy = Transient(FEED, "answered 503", status=503, retry_after=7200)
    source = await _source(jobs, busy, Transient(FEED, "no answer"))
    with pytest.raises(Retry) as raised:
        await _ingest(jobs, source)
    assert raised.value.after == 7200
    health = await jobs.domain.health(source)
    assert (health.status, health.message) == (HealthStatus.ERROR, f"{FEED}: answered 503")
    assert health.next_check_at == jobs.domain.clock.now() + timedelta(hours=2)
    with pytest.raises(Retry) as raised:
        await _ingest(jobs, source)
    assert raised.value.after is None


@each(
    Permanent(FEED, "answered 410 Gone", status=410), Permanent(FEED, "x" * 600), "<html>no feed</html>", ""
)
async def test_permanent_error_is_recorded_and_fails_job(answer: Permanent | str) -> None:
    jobs = memory_jobs()
    source = await _source(jobs, answer)
    with pytest.raises(Fail) as raised:
        await _ingest(jobs, source)
    health = await jobs.domain.health(source)
    assert (health.status, health.message) == (HealthStatus.ERROR, raised.value.reason[:512])


async def test_internal_error_does_not_change_health_of_feed(jobs: Jobs) -> None:
    source = await _source(jobs, feed(), ImportError("no feedparser"))
    await _ingest(jobs, source)
    before = await jobs.domain.health(source)
    with pytest.raises(ImportError):
        await _ingest(jobs, source)
    assert await jobs.domain.health(source) == before


async def test_error_keeps_validators_and_success_clears_it(jobs: Jobs) -> None:
    body = fetched(FEED, feed(), etag='"1"')
    source = await _source(jobs, body, Transient(FEED, "no answer"), body)
    await _ingest(jobs, source)
    with pytest.raises(Retry):
        await _ingest(jobs, source)
    assert (await jobs.domain.health(source)).etag == '"1"'
    await _ingest(jobs, source)
    health = await jobs.domain.health(source)
    assert (health.status, health.message, health.failing_for) == (HealthStatus.OK, None, None)


async def _waits_for(jobs: Jobs, source: Source, hours: float) -> float:
    """Check a source after some hours; return the hours until its next check."""
    jobs.domain.clock.advance(hours * HOUR)
    with suppress(Retry):
        await _ingest(jobs, source)
    due = (await jobs.domain.health(source)).next_check_at
    assert due is not None
    return (due - jobs.domain.clock.now()).total_seconds() / HOUR


async def test_failing_source_is_checked_less_and_less_often(jobs: Jobs) -> None:
    source = await _source(jobs, Transient(FEED, "no answer"))
    waits = [await _waits_for(jobs, source, hours) for hours in (0, 5, 4, 30)]
    failing_for = (None, 5 * HOUR, 9 * HOUR, 39 * HOUR)
    assert waits == [after_failure(source, seconds) / HOUR for seconds in failing_for]
    assert waits == [1, 5, 9, 24]


async def test_success_resets_the_wait_after_failures(jobs: Jobs) -> None:
    broken = Transient(FEED, "no answer")
    source = await _source(jobs, broken, broken, feed(), broken, broken)
    assert [await _waits_for(jobs, source, 5) for _ in range(5)] == [1, 5, 1, 1, 5]


async def test_source_that_is_not_a_feed_is_skipped(jobs: Jobs) -> None:
    no_url = await jobs.domain.source(None)
    manual = await jobs.domain.source(FEED, type=SourceType.MANUAL)
    for source in (UUID(int=1), no_url, manual):
        assert (await _ingest(jobs, source))["skipped"]
    assert jobs.web.asked == []
