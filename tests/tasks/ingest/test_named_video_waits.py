"""A video that a user named and that cannot be read yet, in a worker: how long it waits, and what then."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from typing import Final
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.tasks.jobs import CALM, Jobs, memory_jobs
from tests.tasks.youtube.pages import watch_page
from zeke_queue.client.queue import Queue
from zeke_queue.model import Job, JobQuery, RowState
from zeke_queue.worker import Worker
from zeke_tasks.fetch import Transient
from zeke_tasks.store.model import ItemStatus, RawItem, SourceType, Story
from zeke_tasks.stories.video import CAPTIONS_WITHIN
from zeke_tasks.testing.youtube import video
from zeke_tasks.youtube import NotOutYet, Video, watch_url
from zeke_tasks.youtube.channels import RECENT

SOON: Final = timedelta(minutes=5)


@dataclass
class Office:
    """A worker that runs whenever something is due."""

    jobs: Jobs
    queue: Queue

    async def work(self, during: timedelta = timedelta()) -> None:
        """Run due jobs, and those that become due within a time."""
        clock = self.jobs.domain.clock
        end, step = clock.now() + during, max(900.0, during.total_seconds() / 24)
        await Worker(self.queue, **CALM).drain()
        while clock.now() < end:
            clock.advance(min(step, (end - clock.now()).total_seconds()))
            await Worker(self.queue, **CALM).drain()

    async def name(self, url: str) -> None:
        await self.queue.send("ingest-oneoff", {"url": url})
        await self.work()

    async def reading(self) -> list[Job]:
        return (await self.queue.find(JobQuery(names=("fetch-content",)))).jobs

    async def items(self) -> list[RawItem]:
        return [
            item
            for each in await self.jobs.domain.verbs.every_source()
            for item in await self.jobs.domain.verbs.items_of(each.id)
        ]

    async def told(self) -> list[Story]:
        return await self.jobs.domain.verbs.newest_stories(10)


@pytest.fixture
def office(jobs: Jobs) -> Office:
    return Office(jobs, jobs.worked())


def _published(office: Office, after: timedelta) -> Video:
    """Serve a video that is published that much after now."""
    made = video(1, published_at=office.jobs.domain.clock.now() + after)
    office.jobs.web.put(made.url, watch_page(made))
    return made


async def test_missing_captions_are_awaited_for_twelve_hours(office: Office) -> None:
    late = _published(office, -SOON)
    office.jobs.captions.put(late.id, None)
    await office.name(late.url)
    await office.work(timedelta(hours=8))
    await office.work(CAPTIONS_WITHIN - SOON - timedelta(hours=8, minutes=1))
    assert await office.told() == []
    (item,) = await office.items()
    assert (item.status, item.attempts, item.error) == (ItemStatus.PENDING, 0, None)
    await office.work(timedelta(minutes=1))
    assert [story.title for story in await office.told()] == [late.title]
    (reading,) = await office.reading()
    assert (reading.row_state, reading.retry_count) == (RowState.COMPLETED, 0)
    assert len(office.jobs.captions.asked) <= CAPTIONS_WITHIN / timedelta(hours=1) + 1


async def test_late_captions_are_read(office: Office) -> None:
    late = _published(office, -SOON)
    spoken = await office.jobs.captions.captions(late.id)
    office.jobs.captions.put(late.id, None)
    await office.name(late.url)
    await office.work(timedelta(hours=5))
    office.jobs.captions.put(late.id, spoken)
    await office.work(timedelta(hours=1))
    (item,) = await office.items()
    content = await office.jobs.domain.content(item.id)
    assert spoken is not None
    assert content.transcript_vtt == spoken.vtt


async def test_repeated_requests_change_nothing(office: Office) -> None:
    late = _published(office, -SOON)
    office.jobs.captions.put(late.id, None)
    await office.name(late.url)
    (item,) = await office.items()
    for _ in range(20):
        await office.queue.send("fetch-content", {"rawItemIds": [str(item.id)]})
        await office.work()
    (item,) = await office.items()
    assert (item.status, item.attempts) == (ItemStatus.PENDING, 0)
    await office.work(CAPTIONS_WITHIN)
    assert len(await office.told()) == 1
    assert {job.row_state for job in await office.reading()} == {RowState.COMPLETED}


async def test_premiere_is_read_when_it_is_out(office: Office) -> None:
    announced = _published(office, timedelta(days=1))
    spoken = await office.jobs.captions.captions(announced.id)
    office.jobs.captions.put(announced.id, NotOutYet(announced.url, "is still to come"))
    await office.name(announced.url)
    await office.work(timedelta(days=1))
    assert await office.told() == []
    office.jobs.captions.put(announced.id, spoken)
    await office.work(timedelta(hours=1))
    assert [story.title for story in await office.told()] == [announced.title]


async def test_premiere_that_never_comes_out_fails() -> None:
    async def check(out_in: timedelta) -> None:
        jobs = memory_jobs()
        office = Office(jobs, jobs.worked())
        announced = _published(office, out_in)
        office.jobs.captions.put(announced.id, NotOutYet(announced.url, "is still to come"))
        await office.name(announced.url)
        await office.work(RECENT)
        (reading,) = await office.reading()
        assert reading.row_state is RowState.FAILED
        (item,) = await office.items()
        assert item.error == f"{announced.url}: is still to come"

    await check_each_async({"yesterday": timedelta(days=-1), "some day": timedelta(days=400)}, check)


async def test_captions_of_video_of_far_future_are_not_awaited(office: Office) -> None:
    odd = _published(office, timedelta(days=400))
    office.jobs.captions.put(odd.id, None)
    await office.name(odd.url)
    assert [story.title for story in await office.told()] == [odd.title]


async def test_reason_for_waiting_is_logged_once(office: Office, logged: StringIO) -> None:
    announced = _published(office, timedelta(days=1))
    office.jobs.captions.put(announced.id, NotOutYet(announced.url, "is still to come"))
    await office.name(announced.url)
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    (put_off,) = [line for line in lines if line["message"] == "item postponed"]
    assert (put_off["url"], put_off["reason"]) == (announced.url, "is still to come")


async def test_failing_page_is_retried_while_video_waits(office: Office) -> None:
    late = _published(office, -SOON)
    office.jobs.captions.put(late.id, None)
    domain = office.jobs.domain
    source = await domain.source(None, type=SourceType.MANUAL)
    page = "https://a.example/bees"
    items: list[UUID] = [
        await domain.item(source, "video", url=watch_url(late.id)),
        await domain.item(source, "page", url=page),
    ]
    office.jobs.web.put(page, Transient(page, "no answer"), "<title>Bees</title><p>Bees make honey.</p>")
    await office.queue.send("fetch-content", {"rawItemIds": list(map(str, items))})
    await office.work(SOON)
    assert [(await domain.look(key)).status for key in items] == [ItemStatus.PENDING, ItemStatus.PROCESSED]
    await office.work(CAPTIONS_WITHIN)
    assert [(await domain.look(key)).status for key in items] == [ItemStatus.PROCESSED] * 2
