"""``zeke ingest URL…``: take in a user's own feeds and articles, and show what came of them.

The jobs are the catalog's and are kept in the queue as all others; a worker in this process runs them. What
is left when the time is up, a worker elsewhere goes on with.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit
from uuid import UUID

from rich.console import Console

from zeke_queue.children import ChildEnded
from zeke_queue.clock import SystemClock
from zeke_queue.errors import Refused, UsageError
from zeke_queue.model import FINAL, JobFilter, JobState, QueueCount
from zeke_queue.queue import Queue
from zeke_queue.rng import Ids, SystemEntropy
from zeke_queue.sending import Send
from zeke_queue.signals import Retry
from zeke_queue.worker import Worker
from zeke_tasks.ai.choose import open_ai
from zeke_tasks.ai.settings import AISettings
from zeke_tasks.catalog import build_catalog
from zeke_tasks.context import Context, read
from zeke_tasks.ingest.checks import new_place
from zeke_tasks.ingest.content import CHUNK
from zeke_tasks.ingest.recognise import Foretold, feed_of
from zeke_tasks.payloads import FetchContent, IngestSource
from zeke_tasks.progress import display, standing
from zeke_tasks.readers import Readers
from zeke_tasks.report import Outcome, failures_table, findings, stories_table, urls_table, wide_console
from zeke_tasks.store.model import URL_CHARACTERS, ItemStatus, NewItem, NewSource, SourceType, item_id
from zeke_tasks.store.postgres import PostgresRepository
from zeke_tasks.web import AddressRefused, UrlRefused, WebClient, WebError, WebOptions, canonicalise_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Sequence

    from zeke_queue.config import Settings
    from zeke_queue.model import Job
    from zeke_tasks.context import Compute
    from zeke_tasks.report import Finding
    from zeke_tasks.store.model import Source
    from zeke_tasks.store.repository import Repository
    from zeke_tasks.web import Feed, Fetched

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")
LOOK_EVERY: Final = 0.2
QUEUES: Final = ("ingest-source", "fetch-content")
LIVING: Final = tuple(state for state in JobState if state not in FINAL)


@dataclass(frozen=True, slots=True)
class Taken:
    """What one URL led to.

    Attributes:
        url: as the user gave it.
        what: ``feed`` or ``article``; None if it could not be fetched.
        source_id: the source that it is, or that it belongs to.
        item_id: the article.
        job_id: the job that reads it; None if there is nothing to be read.
        again: the jobs that read what was left of a feed's earlier items.
        error: why it was not taken.
    """

    url: str
    what: str | None = None
    source_id: UUID | None = None
    item_id: UUID | None = None
    job_id: UUID | None = None
    again: tuple[UUID, ...] = ()
    error: str | None = None


async def ingest(
    urls: Sequence[str],
    settings: Settings,
    *,
    allow_private: bool = False,
    timeout: float = 120.0,
    console: Console | None = None,
) -> tuple[list[Outcome], list[Finding]]:
    """Take in feeds and articles.

    Args:
        urls: feeds and articles in any order; one that is given twice is taken once.
        settings: name the database.
        allow_private: whether loopback may be fetched, for testing.
        timeout: seconds to wait for the jobs at most.
        console: where to show how far it is; None to show nothing.

    Returns:
        What became of each URL, and the items that were read.

    Raises:
        ImportError: a parser is not installed whole; nothing was fetched.
    """
    # This machine needs none of the politeness that strangers' servers are shown.
    options = WebOptions(allow=LOOPBACK, gap=0.0) if allow_private else WebOptions()
    clock, repository, ai_settings = SystemClock(), PostgresRepository(), AISettings.load()
    async with (
        Readers() as readers,
        WebClient(options, clock=clock) as client,
        open_ai(ai_settings, clock, compute=readers) as ai,
    ):
        await readers.start()
        web = Foretold(client)

        @asynccontextmanager
        async def resources() -> AsyncGenerator[Context]:
            yield Context(repository, web, clock, readers, ai)

        catalog = build_catalog(resources, scheduled=False)
        async with Queue.connect(catalog, settings=settings) as queue:
            intake = Intake(queue, repository, web, readers)
            taken = await asyncio.gather(*(intake.take(url) for url in dict.fromkeys(urls)))
            async with Worker(queue, queues=QUEUES, grace=2.0):
                jobs = await _watch(queue, repository, taken, timeout, console or Console(quiet=True))
            return await _outcomes(queue, repository, taken, jobs)


def check_urls(urls: Sequence[str]) -> None:
    """See that what is to be taken in are URLs, before anything is done.

    Raises:
        UsageError: some are none that are fetched, whatever they lead to; the message says which, and why.
    """
    wrong: list[str] = []
    for url in urls:
        try:
            _place(url)
        except UrlRefused as refused:
            wrong.append(str(refused))
    if wrong:
        raise UsageError(f"URL: {'; '.join(wrong)}. Nothing was taken in: correct it, or leave it out.")


def _place(url: str) -> str:
    """Return the form of a URL by which it is known and kept.

    Raises:
        UrlRefused: it is none that is fetched, or is too long to be kept.
    """
    place = canonicalise_url(url)
    if len(place) > URL_CHARACTERS:
        raise UrlRefused(f"{place[:80]}…", f"has {len(place)} characters; {URL_CHARACTERS} at most are kept")
    return place


class Intake:
    """Decides what URLs are, stores them, and sends the jobs that read them."""

    def __init__(self, queue: Queue, repository: Repository, web: Foretold, compute: Compute) -> None:
        self._queue = queue
        self._repository = repository
        self._web = web
        self._compute = compute
        self._new_id = Ids(queue.clock, SystemEntropy())

    async def take(self, url: str) -> Taken:
        """Take in one URL."""
        try:
            place = _place(url)
            fetched = await self._web.look(place)
            feed = await read(self._compute, place, feed_of, fetched)
        except WebError as error:
            return Taken(url, error=_with_advice(error, url))
        except ChildEnded as error:
            return Taken(url, error=str(error))
        return await (self._page(url, place) if feed is None else self._feed(url, fetched, feed))

    async def _feed(self, url: str, fetched: Fetched, feed: Feed) -> Taken:
        source = await self._source(fetched, feed)
        if source.url is not None and source.url != fetched.url:
            self._web.keep_as(source.url, fetched.url)
        # Before the feed is read, so that what is left is told from what is new.
        again = await self._read_again(source.id)
        payload = IngestSource(source_id=source.id, reason="manual")
        try:
            job_id = (await self._queue.trigger("ingest-source", payload, singleton_key=str(source.id))).id
        except Refused as refused:
            # Somebody else has it read already, which will do.
            job_id = refused.holder
        return Taken(url, "feed", source.id, job_id=job_id, again=again)

    async def _source(self, fetched: Fetched, feed: Feed) -> Source:
        """Return the source of a feed: the one that has its url, else the one where it moved for good.

        The former will move when it is read; a source made for the old url would be a second one of the feed.
        """
        place = new_place(fetched) or fetched.url
        async with self._queue.transaction() as transaction:
            rows = self._repository.within(transaction)
            known = [each for each in await rows.sources([SourceType.RSS]) if each.url == fetched.url]
            if known:
                return known[0]
            return await rows.ensure_source(
                self._new_id(), NewSource(SourceType.RSS, feed.title or place, place)
            )

    async def _read_again(self, source_id: UUID) -> tuple[UUID, ...]:
        """Have those items of a feed read that failed, or that no job is left for; returns the jobs.

        Whoever asks for a feed once more has mended what was wrong, or wants to see whether it still is.
        """
        living = await self._queue.find(JobFilter(names=("fetch-content",), states=LIVING, limit=1000))
        jobs: list[UUID | None] = []
        async with self._queue.transaction() as transaction:
            rows = self._repository.within(transaction)
            items = await rows.items_of(source_id)
            pending = {str(item.id) for item in items if item.status is ItemStatus.PENDING}
            for job in living:
                if pending.intersection(of_job := _item_ids(job.data)):
                    jobs.append(job.id)
                    pending.difference_update(of_job)
            failed = [item.id for item in items if item.status is ItemStatus.FAILED]
            unread = [*await rows.reopen_items(failed), *sorted(map(UUID, pending))]
            jobs += await transaction.send_many(
                Send("fetch-content", FetchContent(raw_item_ids=unread[start : start + CHUNK]))
                for start in range(0, len(unread), CHUNK)
            )
        return tuple(job_id for job_id in jobs if job_id is not None)

    async def _page(self, url: str, place: str) -> Taken:
        async with self._queue.transaction() as transaction:
            rows = self._repository.within(transaction)
            site = urlsplit(place).hostname or place
            source = await rows.ensure_source(self._new_id(), NewSource(SourceType.MANUAL, site, place))
            new = await rows.put_items(source.id, [NewItem(external_id=place, url=place)])
            key = item_id(source.id, NewItem(external_id=place).external_id)
            # Whoever asks for a page once more wants it tried once more.
            await rows.reopen_items([key])
            (item,) = await rows.items([key])
            job_id = None
            if new or item.status is ItemStatus.PENDING:
                job_id = await transaction.send("fetch-content", FetchContent(raw_item_ids=[key]))
        return Taken(url, "article", source.id, key, job_id)


async def _watch(
    queue: Queue, repository: Repository, taken: Sequence[Taken], timeout: float, console: Console
) -> list[Job]:
    """Show how far the jobs are until they have ended or the time is up; returns them, children included."""
    until = queue.clock.monotonic() + timeout
    roots = [job_id for one in taken for job_id in (one.job_id, *one.again) if job_id is not None]
    with display(console) as shown:
        while True:
            jobs = await _family(queue, roots)
            shown.show(standing(_counts(jobs), await _found(queue, repository, taken, jobs)))
            left = until - queue.clock.monotonic()
            soon = queue.clock.now() + timedelta(seconds=left)
            # A job that waits longer than we do is not waited for either.
            if left <= 0 or all(job.state in FINAL or job.start_after > soon for job in jobs):
                return jobs
            await queue.clock.sleep(LOOK_EVERY)


async def _family(queue: Queue, roots: Collection[UUID]) -> list[Job]:
    """Return jobs and their children. Parents first: the children of one that has ended are all there."""
    found = await queue.storage.get(list(roots))
    children = [await queue.find(JobFilter(parent=root, limit=1000)) for root in roots]
    return [*found.values(), *(child for each in children for child in each)]


def _counts(jobs: Sequence[Job]) -> list[QueueCount]:
    states: dict[str, Counter[JobState]] = {}
    for job in jobs:
        states.setdefault(job.name, Counter())[job.state] += 1
    return [QueueCount(name, counter) for name, counter in states.items()]


async def _found(
    queue: Queue, repository: Repository, taken: Sequence[Taken], jobs: Sequence[Job]
) -> list[Finding]:
    """Return the items that these jobs are about, and the articles that were asked for."""
    ids = {UUID(key) for job in jobs for key in _item_ids(job.data)}
    ids |= {one.item_id for one in taken if one.item_id is not None}
    sources = list(dict.fromkeys(one.source_id for one in taken if one.source_id is not None))
    return [finding for finding in await findings(queue, repository, sources) if finding.item.id in ids]


def _item_ids(data: Any) -> list[str]:
    return cast("dict[str, Any]", data).get("rawItemIds", []) if isinstance(data, dict) else []


async def _outcomes(
    queue: Queue, repository: Repository, taken: Sequence[Taken], jobs: Sequence[Job]
) -> tuple[list[Outcome], list[Finding]]:
    found = await _found(queue, repository, taken, jobs)
    by_id = {job.id: job for job in jobs}
    outcomes: list[Outcome] = []
    for one in taken:
        mine = [finding for finding in found if finding.source.id == one.source_id]
        job = by_id.get(one.job_id) if one.job_id else None
        stories = {finding.story.id for finding in mine if finding.story}
        outcomes.append(
            Outcome(
                one.url,
                one.what,
                len(mine),
                len(stories),
                one.error or _job_error(job) or _reading_error(jobs, mine) or _page_error(one, mine),
            )
        )
    return outcomes, found


def _job_error(job: Job | None) -> str | None:
    """Return why a feed was not read; an article's error is its item's."""
    if job is None or job.name != "ingest-source" or job.state is JobState.COMPLETED:
        return None
    if job.state not in FINAL:
        last = job.history[-1].error.get("message") if job.history else None
        return f"not read yet: {last or 'its job still waits'}"
    output: dict[str, Any] = job.output or {}
    return str(output.get("message") or f"its job ended {job.state.value}")


def _reading_error(jobs: Sequence[Job], mine: Sequence[Finding]) -> str | None:
    """Return why a job left items unread when it ended; what a page is to blame for stands in its item."""
    left = {str(finding.item.id) for finding in mine if finding.item.status is ItemStatus.PENDING}
    for job in jobs:
        ended_badly = job.state in FINAL and job.state is not JobState.COMPLETED
        if ended_badly and left.intersection(_item_ids(job.data)):
            output: dict[str, Any] = job.output or {}
            # What is no error but a verdict says all in its message.
            parts = ("message",) if output.get("type") == Retry.__name__ else ("type", "message")
            told = ": ".join(str(output[part]) for part in parts if output.get(part))
            return f"not all of it was read: {told or f'a job ended {job.state.value}'}"
    return None


def _with_advice(error: WebError, url: str) -> str:
    """Return an error in the command's words: what can be done about it here is an option.

    It stands beside the URL that was given, and names it only if it is another's, to which that one led.
    """
    said = error.reason if error.url == url else str(error)
    if isinstance(error, AddressRefused) and error.why == "loopback":
        return f"{said}; give --allow-private to fetch from this machine"
    return said


def _page_error(one: Taken, mine: Sequence[Finding]) -> str | None:
    if one.what != "article" or any(finding.story for finding in mine):
        return None
    return mine[0].outcome if mine else "it was not read"


def show(outcomes: Sequence[Outcome], found: Sequence[Finding]) -> None:
    """Print what was found, for people."""
    console = wide_console()
    if any(finding.story for finding in found):
        console.print(stories_table(found))
    from_feeds = [finding for finding in found if finding.source.type is SourceType.RSS]
    if (failures := failures_table(from_feeds)) is not None:
        console.print(failures)
    console.print(urls_table(outcomes))
