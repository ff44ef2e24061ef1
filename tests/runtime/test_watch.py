"""Watching a job: its status, progress and log lines, in order, each once, through everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clocks import FrozenClock
from tests.conformance.driver import Driver, soon
from tests.conformance.storages import on_both_storages
from tests.runtime.catalogs import mail_catalog
from tests.runtime.workers.place import advance_until, turns
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.model import FINAL, Claimed, Job, JobEvent, RowState
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.watch.job_watcher import JobWatcher
from zeke_queue.watch.subscription import OUTAGE_TIMEOUT

News = AsyncGenerator["Job | JobEvent"]


def log(job_id: UUID, number: int, attempt: int = 1) -> JobEvent:
    return JobEvent(job_id, attempt, "log", f'{{"level": "info", "message": "{number}"}}')


def progress(job_id: UUID, attempt: int = 1) -> JobEvent:
    return JobEvent(job_id, attempt, "progress", '{"value": 0.5, "message": null}')


def told(news: Job | JobEvent) -> str:
    """Return a status with its attempt, or the kind of an event with its attempt."""
    if isinstance(news, Job):
        return f"{news.status.value} {news.attempt}"
    return f"{news.kind} {news.attempt}"


async def take(changes: News, number: int = 1) -> list[str]:
    return [told(await soon(anext(changes))) for _ in range(number)]


async def rest(changes: News) -> list[str]:
    async def collect() -> list[str]:
        return [told(news) async for news in changes]

    return await soon(collect())


@on_both_storages
async def test_events_come_between_the_statuses_of_their_attempt(queue: Queue, jobs: Driver) -> None:
    job_id = await jobs.send()
    async with aclosing(parts_of(queue).runs.watch(job_id)) as changes:
        assert await take(changes) == ["QUEUED 0"]
        first = await jobs.claim_one()
        assert await take(changes) == ["EXECUTING 1"]
        await jobs.storage.append_events([progress(job_id), log(job_id, 1)])
        assert await take(changes, 2) == ["progress 1", "log 1"]
        await jobs.storage.append_events([log(job_id, 2)])
        await jobs.fail(first, retry_in=0)
        assert await take(changes, 2) == ["log 1", "QUEUED 1"]
        second = await jobs.claim_one()
        await jobs.storage.append_events([log(job_id, 3, attempt=2)])
        assert await take(changes, 2) == ["EXECUTING 2", "log 2"]
        await jobs.storage.append_events([progress(job_id, attempt=2)])
        await jobs.complete(second)
        assert await rest(changes) == ["progress 2", "COMPLETED 2"]


@on_both_storages
async def test_events_of_an_ended_job_come_before_its_status(queue: Queue, jobs: Driver) -> None:
    claimed = await jobs.running()
    await jobs.storage.append_events([log(claimed.id, n) for n in range(2345)])
    await jobs.complete(claimed)
    async with aclosing(parts_of(queue).runs.watch(claimed.id)) as changes:
        numbers = [one.data async for one in changes if isinstance(one, JobEvent)]
    assert numbers == [log(claimed.id, n).data for n in range(2345)]


async def test_events_after_a_retry_by_hand_are_not_of_the_run_that_ended(queue: Queue, jobs: Driver) -> None:
    claimed = await jobs.running()
    async with aclosing(parts_of(queue).runs.watch(claimed.id)) as changes:
        await take(changes)
        await jobs.storage.append_events([log(claimed.id, 1)])
        await jobs.fail(claimed)
        await turns()
        await jobs.storage.retry([claimed.id])
        await jobs.claim_one()
        await jobs.storage.append_events([log(claimed.id, 2, attempt=2)])
        assert await rest(changes) == ["log 1", "FAILED 1"]


async def test_newer_state_reaches_the_subscriptions_before(queue: Queue, jobs: Driver) -> None:
    # A caller that has just read the job subscribes with its state before the watch loop reads it.
    job_id = await jobs.send()
    watcher: JobWatcher = parts_of(queue).watcher
    first = watcher.subscribe(job_id, lambda: None)
    await turns()
    assert first.take_status() is not None
    await jobs.claim_one()
    second = watcher.subscribe(job_id, lambda: None, known=await jobs.look(job_id))
    # The next poll may be seconds away, and finds no change.
    assert [told(one) for one in (*await first.take(), *await second.take())] == ["EXECUTING 1"] * 2
    await turns()
    first.close()
    second.close()


# Outages


class Away(MemoryStorage):
    """A storage whose reads fail, hang, or take some turns of the loop, as set by a test."""

    def __init__(self, clock: FrozenClock) -> None:
        super().__init__(clock)
        self.away = False
        self.reading: asyncio.Event | None = None
        self.delays: Any = None

    @asynccontextmanager
    async def subscribe(self) -> AsyncIterator[Any]:
        self._check()
        async with super().subscribe() as watch:
            yield watch

    async def get(self, ids: Sequence[UUID]) -> dict[UUID, Job]:
        await self._delay()
        found = await super().get(ids)
        await self._delay()
        return found

    async def events(self, after: Mapping[UUID, int]) -> list[JobEvent]:
        await self._delay()
        if self.reading is not None:
            self.reading.set()
            await asyncio.Event().wait()
        found = await super().events(after)
        await self._delay()
        return found

    async def _delay(self) -> None:
        if self.delays is not None:
            await turns(self.delays.choice((0, 0, 1, 5, 20)))
        self._check()

    def _check(self) -> None:
        if self.away:
            raise StorageUnavailableError("the server is starting up")


@pytest.fixture
def away(clock: FrozenClock) -> Away:
    return Away(clock)


@pytest.fixture
def watched(away: Away, clock: FrozenClock) -> Queue:
    return Queue(mail_catalog(), away, clock=clock)


async def test_events_are_read_after_an_outage_though_the_end_is_known(
    watched: Queue, away: Away, clock: FrozenClock
) -> None:
    jobs = Driver(away, clock)
    claimed = await jobs.running()
    async with aclosing(parts_of(watched).runs.watch(claimed.id)) as changes:
        assert await take(changes) == ["EXECUTING 1"]
        await jobs.storage.append_events([log(claimed.id, 1)])
        await jobs.complete(claimed)
        await turns()
        away.away = True
        coming = asyncio.ensure_future(rest(changes))
        await turns()
        clock.advance(OUTAGE_TIMEOUT / 2)
        await turns()
        assert not coming.done()
        away.away = False
        await advance_until(coming.done, clock, 0.5)
        assert coming.result() == ["log 1", "COMPLETED 1"]


async def test_long_outage_ends_a_watch_whose_events_are_unread(
    watched: Queue, away: Away, clock: FrozenClock
) -> None:
    jobs = Driver(away, clock)
    claimed = await jobs.running()
    async with aclosing(parts_of(watched).runs.watch(claimed.id)) as changes:
        assert await take(changes) == ["EXECUTING 1"]
        await jobs.complete(claimed)
        await turns()
        away.away = True
        coming = asyncio.ensure_future(rest(changes))
        assert OUTAGE_TIMEOUT <= await advance_until(coming.done, clock, 0.5) <= OUTAGE_TIMEOUT + 5
        with pytest.raises(StorageUnavailableError):
            coming.result()


async def test_closing_the_queue_fails_a_watch_that_reads_events(
    watched: Queue, away: Away, clock: FrozenClock
) -> None:
    claimed = await Driver(away, clock).running()
    async with aclosing(parts_of(watched).runs.watch(claimed.id)) as changes:
        assert await take(changes) == ["EXECUTING 1"]
        away.reading = asyncio.Event()
        coming = asyncio.ensure_future(anext(changes))
        await soon(away.reading.wait())
        await watched.close()
        with pytest.raises(StorageUnavailableError, match="closed"):
            await soon(coming)


# Whatever happens


class Life:
    """A job's life, step by step, while readers subscribe, read and pause, and the storage is unavailable."""

    def __init__(self, seed: int) -> None:
        self.clock = FrozenClock()
        self.away = Away(self.clock)
        self.away.delays = SeededEntropy(seed).stream("delays")
        self.jobs = Driver(self.away, self.clock)
        self.queue = Queue(mail_catalog(), self.away, clock=self.clock)
        self.claimed: Claimed | None = None
        self.ended = False
        self.readers: list[Reading] = []
        self.tell = self.away.notifier.job

    async def begin(self) -> None:
        self.job_id = await self.jobs.send(retry_limit=1000)

    async def step(self, action: str, number: int) -> None:
        if action in ("claim", "note", "retry", "release", "complete", "fail"):
            await self.work(action, number)
        elif action == "read" and len(self.readers) < READERS:
            changes = parts_of(self.queue).runs.watch(self.job_id) if number % 4 < 2 else self.in_pairs()
            self.readers.append(Reading(changes, paused=number % 2 == 1))
        elif action == "pause" and self.readers:
            self.readers[number % len(self.readers)].toggle()
        elif action == "away":
            self.away.away = not self.away.away
        elif action == "lost wake-up":
            lost = self.away.notifier.job == self.tell
            self.away.notifier.job = (lambda job_id: None) if lost else self.tell
        elif action == "wait":
            self.clock.advance((0, 0.05, 0.5, 3.0)[number % 4])
            await turns(20)
        else:
            await turns(number)

    async def work(self, action: str, number: int) -> None:
        if action == "claim" and self.claimed is None and not self.ended:
            self.claimed = await self.jobs.claim_one()
        elif action == "note" and self.claimed is not None:
            await self.away.append_events([log(self.job_id, n, self.claimed.attempt) for n in range(number)])
        elif action != "claim" and self.claimed is not None:
            claimed, self.claimed = self.claimed, None
            self.ended = action in ("complete", "fail")
            if action == "release":
                await self.jobs.release(claimed)
            elif action == "complete":
                await self.jobs.complete(claimed)
            else:
                await self.jobs.fail(claimed, retry_in=0 if action == "retry" else None)

    async def in_pairs(self) -> News:
        """Read as streams do: a few events at a time, and again in a second after a read that failed."""
        woken = asyncio.Event()
        subscription = parts_of(self.queue).watcher.subscribe(self.job_id, woken.set)
        try:
            while not subscription.ended:
                woken.clear()
                for news in await subscription.take(limit=2):
                    yield news
                    woken.set()
                await (self.clock.sleep(1) if subscription.stalled else woken.wait())
        finally:
            subscription.close()

    async def finish(self) -> None:
        self.away.away = False
        if self.claimed is None and not self.ended:
            await self.step("claim", 0)
        await self.step("complete", 0)
        await self.step("read", 0)
        for reader in self.readers:
            reader.go_on()
        for reader in self.readers:
            await advance_until(reader.task.done, self.clock, 0.5)
            reader.task.result()
        await self.queue.close()

    async def check(self) -> None:
        stored: list[JobEvent] = []
        while page := await self.away.events({self.job_id: stored[-1].seq if stored else 0}):
            stored += page
        for reader in self.readers:
            assert reader.events == stored
            check_order(reader.news)


def check_order(news: list[Job | JobEvent]) -> None:
    statuses = [one for one in news if isinstance(one, Job)]
    assert [one.row_state in FINAL for one in statuses] == [False] * (len(statuses) - 1) + [True]
    assert news[-1] is statuses[-1]
    assert news[0] is statuses[0] or len(statuses) == 1
    assert all(one.status is not other.status for one, other in pairwise(statuses))
    assert [one.attempt for one in statuses] == sorted(one.attempt for one in statuses)
    for n, job in enumerate(news):
        if not isinstance(job, Job):
            continue
        over = job.attempt if job.row_state is not RowState.ACTIVE else job.attempt - 1
        later = [one.attempt for one in news[n:] if isinstance(one, JobEvent)]
        earlier = [one.attempt for one in news[:n] if isinstance(one, JobEvent)]
        assert all(attempt <= over for attempt in earlier), news
        # Attempts whose statuses a reader skipped follow the next status that it received.
        assert n == 0 or job.row_state is RowState.ACTIVE or all(attempt > over for attempt in later), news


class Reading:
    def __init__(self, changes: News, *, paused: bool) -> None:
        self.news: list[Job | JobEvent] = []
        self._goes = asyncio.Event()
        if not paused:
            self._goes.set()
        self.task = asyncio.ensure_future(self._read(changes))

    @property
    def events(self) -> list[JobEvent]:
        return [one for one in self.news if isinstance(one, JobEvent)]

    def toggle(self) -> None:
        if self._goes.is_set():
            self._goes.clear()
        else:
            self._goes.set()

    def go_on(self) -> None:
        self._goes.set()

    async def _read(self, changes: News) -> None:
        async with aclosing(changes):
            await self._goes.wait()
            async for one in changes:
                self.news.append(one)
                await self._goes.wait()


READERS = 4
OFTEN = ("turn", "wait", "claim", "note", "read")
SELDOM = ("retry", "release", "pause", "away", "lost wake-up")
ACTIONS = (*OFTEN * 4, *SELDOM * 2, "complete", "fail")
STEPS = st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 7)), min_size=50, max_size=100)


@given(STEPS, st.integers(0, 2**32))
@settings(max_examples=150, deadline=None)
def test_each_reader_gets_everything_once_and_in_order(steps: list[tuple[str, int]], seed: int) -> None:
    async def live() -> None:
        life = Life(seed)
        await life.begin()
        for action, number in steps:
            await life.step(action, number)
        await life.finish()
        await life.check()

    asyncio.run(live())
