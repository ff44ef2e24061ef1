"""``zeke ingest URL…``: ingest a user's feeds and articles, and collect the results."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from zeke_queue.errors import JobConflictError, UsageError
from zeke_queue.model import ENDED, JobStatus
from zeke_queue.system.subprocess_pool import ChildEnded
from zeke_queue.task.task import Send
from zeke_tasks.ai.settings import AISettings
from zeke_tasks.cli.report import Outcome, findings, is_snoozed, why_it_failed
from zeke_tasks.cli.run_jobs import JobRunner, open_job_runner
from zeke_tasks.context import read
from zeke_tasks.fetch import AddressRefused, UrlRefused, WebError
from zeke_tasks.fetch.guard import METADATA_SERVICES, Guard
from zeke_tasks.fetch.settings import FetchSettings
from zeke_tasks.fetch.urls import parse_http_url
from zeke_tasks.ingest.checks import new_place
from zeke_tasks.ingest.content import CHUNK
from zeke_tasks.ingest.oneoff import place_of, take_in
from zeke_tasks.ingest.recognise import feed_of
from zeke_tasks.payloads import FetchContent, IngestSource
from zeke_tasks.store.model import ItemStatus, NewSource, SourceType
from zeke_tasks.stories.view import views
from zeke_tasks.youtube import video_id_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from rich.console import Console

    from zeke_queue.model import Job
    from zeke_queue.system.settings import Settings
    from zeke_tasks.cli.report import Finding
    from zeke_tasks.fetch import Feed, Fetched, WebOptions
    from zeke_tasks.store.analysis import Spending
    from zeke_tasks.store.model import Source
    from zeke_tasks.stories.view import StoryView


LONG: Final = 10.0
"""Seconds from which a limit is worth a hint."""

REQUESTS: Final = 3
"""Requests to the AI for a story: its analysis, its embedding and its brief."""


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of taking in one URL.

    Attributes:
        url: as the user gave it.
        what: ``feed``, ``article`` or ``video``; None if it could not be fetched.
        source_id: the source with this URL, or the source of its item.
        item_id: the article or video.
        job_id: the job that reads it or continues with its story; None if there is nothing to do.
        again: the jobs that read a feed's earlier items that were not read.
        error: why it was not taken.
    """

    url: str
    what: str | None = None
    source_id: UUID | None = None
    item_id: UUID | None = None
    job_id: UUID | None = None
    again: tuple[UUID, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Ingested:
    """The results of ingesting some URLs.

    Attributes:
        outcomes: of each URL.
        found: the items that were read.
        stories: their stories, with all details.
        jobs: all jobs that were waited for.
        spent: the AI usage of these jobs.
    """

    outcomes: list[Outcome]
    found: list[Finding]
    stories: list[StoryView]
    jobs: list[Job]
    spent: list[Spending]

    @property
    def is_complete(self) -> bool:
        """Whether everything was read, analysed and summarized."""
        return all(seen.analysed for seen in self.stories) and not (
            any(outcome.error for outcome in self.outcomes)
            or any(job.status is not JobStatus.COMPLETED for job in self.jobs)
            or any(finding.item.status is ItemStatus.FAILED for finding in self.found)
        )


async def ingest(
    urls: Sequence[str],
    settings: Settings,
    *,
    allow_private: bool = False,
    timeout: float = 120.0,
    console: Console | None = None,
) -> Ingested:
    """Ingest feeds and articles, and analyse their stories.

    Args:
        urls: feeds and articles in any order; duplicates are ignored.
        settings: name the database.
        allow_private: whether to fetch from the servers of these URLs even if they are on this machine, for
            testing; other servers on it stay forbidden, also to redirects.
        timeout: maximum seconds to wait for the jobs.
        console: shows the progress; None to show nothing.

    Raises:
        ImportError: a parser is not completely installed; nothing was fetched.
    """
    async with open_job_runner(settings, reach=urls if allow_private else ()) as runner:
        ingestion = Ingestion(runner, allow_private=allow_private)
        taken = await asyncio.gather(*(ingestion.take(url) for url in dict.fromkeys(urls)))
        if console is not None:
            for hint in ingestion.limits(urls if allow_private else ()):
                console.print(hint, highlight=False)
        roots = [job_id for one in taken for job_id in (one.job_id, *one.again) if job_id is not None]
        jobs = await runner.run(
            roots,
            timeout=timeout,
            console=console,
            items=lambda jobs: _found(runner, taken, jobs),
        )
        found = await _found(runner, taken, jobs)
        async with runner.rows() as rows:
            stories = await views(rows, (finding.story for finding in found if finding.story))
        outcomes = _outcomes(taken, jobs, found, stories)
        return Ingested(outcomes, found, stories, jobs, await runner.spending(jobs))


def limits_of_pages(pages: Iterable[str], options: WebOptions, named: Collection[str]) -> list[str]:
    """Return hints at the hosts whose pages take long because of the pause between requests.

    Args:
        pages: the URLs of the pages that are going to be read.
        options: has the pause.
        named: URLs of servers without a pause.
    """
    guard, hosts = Guard(options.allow), Counter[str]()
    origins = {parse_http_url(url).origin for url in named}
    for url in pages:
        target = parse_http_url(url)
        if target.origin not in origins and not guard.lists(target):
            hosts[target.host] += 1
    return [
        f"{host}: {count} pages take up to {count * options.gap:.0f} s: there are {options.gap:g} s between"
        " the starts of two requests (ZEKE_FETCH_GAP)"
        for host, count in hosts.items()
        if count * options.gap >= LONG
    ]


def limit_of_ai(stories: int, per_minute: int) -> str | None:
    """Return a hint at the limit of requests to the AI if these stories take longer than a minute."""
    minutes = max(0, stories * REQUESTS - 1) // per_minute
    if not minutes:
        return None
    return (
        f"AI: {stories} stories take at least {minutes * 60} s: they need {stories * REQUESTS} requests, of"
        f" which {per_minute} are made per minute (ZEKE_AI_PER_MINUTE)"
    )


def check_urls(urls: Sequence[str]) -> None:
    """Validate the URLs before anything is done.

    Raises:
        UsageError: some URLs are never fetched; the message says which and why.
    """
    wrong: list[str] = []
    for url in urls:
        try:
            place_of(url)
        except UrlRefused as refused:
            wrong.append(str(refused))
    if wrong:
        raise UsageError(f"URL: {'; '.join(wrong)}. Nothing was ingested: correct or omit it.")


class Ingestion:
    """Recognises and stores URLs, and sends the jobs that read them."""

    def __init__(self, runner: JobRunner, *, allow_private: bool) -> None:
        self._runner = runner
        self._allow_private = allow_private
        self.pages: list[str] = []
        """The pages of the feeds."""
        self._queue = runner.queue
        self._repository = runner.context.repository
        self._web = runner.web
        self._compute = runner.context.compute
        self._new_id = runner.new_id

    def limits(self, named: Collection[str]) -> list[str]:
        """Return hints at the limits that make reading the feeds take long."""
        hints = limits_of_pages(self.pages, FetchSettings.load().options, named)
        if self._runner.asks_ai:
            hints += filter(None, [limit_of_ai(len(self.pages), AISettings.load().zeke_ai_per_minute)])
        return hints

    async def take(self, url: str) -> Taken:
        """Recognise and store one URL, and send its job."""
        try:
            place = place_of(url)
            if video_id_of(place) is not None:
                return await self._page(url, place)
            fetched = await self._web.fetch_and_keep(place)
            feed = await read(self._compute, place, feed_of, fetched)
        except WebError as error:
            return Taken(url, error=self._with_advice(error, url))
        except ChildEnded as error:
            return Taken(url, error=str(error))
        return await (self._page(url, place) if feed is None else self._feed(url, fetched, feed))

    async def _feed(self, url: str, fetched: Fetched, feed: Feed) -> Taken:
        source = await self._source(fetched, feed)
        self.pages += [entry.url for entry in feed.entries if entry.url]
        if source.url is not None and source.url != fetched.url:
            self._web.keep_as(source.url, fetched.url)
        # The job of the feed adds new items, so the earlier unread ones are collected before it is sent.
        again = await self._read_again(source.id)
        payload = IngestSource(source_id=source.id, reason="manual")
        try:
            job_id = (await self._queue.trigger("ingest-source", payload, singleton_key=str(source.id))).id
        except JobConflictError as refused:
            # Another job reads the same feed already, so wait for that one.
            job_id = refused.holder
        return Taken(url, "feed", source.id, job_id=job_id, again=again)

    async def _source(self, fetched: Fetched, feed: Feed) -> Source:
        """Return the source of a feed: the one with its url, else the one at its permanent new url.

        An existing source moves when it is read; a new source for the old url would duplicate the feed.
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
        """Send jobs for the items of a feed that failed or are not read yet; returns the jobs.

        A user who ingests a feed again has fixed the cause, or wants to know whether it persists. Items that
        another process reads now are waited for; of two jobs that have an item, only one finishes it.
        """
        jobs: list[UUID] = []
        async with self._queue.transaction() as transaction:
            rows = self._repository.within(transaction)
            items = await rows.items_of(source_id)
            pending = {str(item.id) for item in items if item.status is ItemStatus.PENDING}
            async with self._queue.outside_transaction():
                for job in await self._runner.running_elsewhere("fetch-content"):
                    if pending.intersection(of_job := _item_ids(job.data)):
                        jobs.append(job.id)
                        self._runner.elsewhere.add(job.id)
                        pending.difference_update(of_job)
            failed = [item.id for item in items if item.status is ItemStatus.FAILED]
            unread = [*await rows.reopen_items(failed), *sorted(map(UUID, pending))]
            sent = await transaction.send_many(
                Send("fetch-content", FetchContent(raw_item_ids=unread[start : start + CHUNK]))
                for start in range(0, len(unread), CHUNK)
            )
        return (*jobs, *(run.id for run in sent))

    async def _page(self, url: str, place: str) -> Taken:
        async with self._queue.transaction() as transaction:
            rows = self._repository.within(transaction)
            named = await take_in(rows, place)
            key = named.item_id
            # A user who ingests a page again wants it retried.
            await rows.reopen_items([key])
            (item,) = await rows.items([key])
            story = (await rows.stories_of([key])).get(key)
            job_id = None
            if named.new or item.status is ItemStatus.PENDING:
                job_id = (await transaction.send("fetch-content", FetchContent(raw_item_ids=[key]))).id
        if job_id is None and story is not None:
            job_id = await self._runner.send_missing_job(story.id)
        what = "article" if video_id_of(place) is None else "video"
        return Taken(url, what, named.source_id, key, job_id)

    def _with_advice(self, error: WebError, url: str) -> str:
        """Return an error's text with the option that avoids it, if any.

        The text is shown next to the given URL, so it names a URL only if that differs, as after a redirect.
        """
        told = error.reason if error.url == url else str(error)
        if not isinstance(error, AddressRefused) or self._allow_private:
            return told
        if ip_address(error.address) in METADATA_SERVICES:
            return f"{told}; it is the metadata service of a cloud, which no setting allows"
        if error.why == "loopback":
            return f"{told}; pass --allow-private to fetch from this machine"
        return f"{told}; if this server is yours, add its host to ZEKE_FETCH_ALLOW"


async def _found(runner: JobRunner, taken: Sequence[Taken], jobs: Sequence[Job]) -> list[Finding]:
    """Return the items of these jobs, and the requested articles."""
    ids = {UUID(key) for job in jobs for key in _item_ids(job.data)}
    ids |= {one.item_id for one in taken if one.item_id is not None}
    sources = list(dict.fromkeys(one.source_id for one in taken if one.source_id is not None))
    known = await findings(runner.queue, runner.context.repository, sources)
    return [finding for finding in known if finding.item.id in ids]


def _item_ids(data: Any) -> list[str]:
    return cast("dict[str, Any]", data).get("rawItemIds", []) if isinstance(data, dict) else []


def _outcomes(
    taken: Sequence[Taken], jobs: Sequence[Job], found: Sequence[Finding], seen: Sequence[StoryView]
) -> list[Outcome]:
    by_id = {job.id: job for job in jobs}
    all_done = all(job.status is JobStatus.COMPLETED for job in jobs)
    # If a job did not complete, its own outcome explains the missing analysis.
    lost = {one.story.id for one in seen if all_done and not one.analysed}
    outcomes: list[Outcome] = []
    for one in taken:
        mine = [finding for finding in found if finding.source.id == one.source_id]
        if one.item_id is not None:
            mine = [finding for finding in mine if finding.item.id == one.item_id]
        job = by_id.get(one.job_id) if one.job_id else None
        stories = {finding.story.id for finding in mine if finding.story}
        outcomes.append(
            Outcome(
                one.url,
                one.what,
                len(mine),
                len(stories),
                one.error
                or _job_error(job)
                or _reading_error(jobs, mine)
                or _page_error(one, job, mine)
                or (_no_analysis(len(lost & stories)) if lost & stories else None),
            )
        )
    return outcomes


def _job_error(job: Job | None) -> str | None:
    """Return why a feed was not read; an article's error is in its item."""
    if job is None or job.name != "ingest-source" or job.status is JobStatus.COMPLETED:
        return None
    if job.status not in ENDED:
        last = job.history[-1].error.get("message") if job.history else None
        return f"not read yet: {last or 'its job still waits'}"
    output: dict[str, Any] = job.output or {}
    return str(output.get("message") or f"its job ended {job.status.value}")


def _reading_error(jobs: Sequence[Job], mine: Sequence[Finding]) -> str | None:
    """Return why a job ended with unread items; an error of a page is in its item."""
    left = {str(finding.item.id) for finding in mine if finding.item.status is ItemStatus.PENDING}
    for job in jobs:
        ended_badly = job.status in ENDED - {JobStatus.COMPLETED}
        if ended_badly and left.intersection(_item_ids(job.data)):
            return f"not all of it was read: {why_it_failed(job)}"
    return None


def _page_error(one: Taken, job: Job | None, mine: Sequence[Finding]) -> str | None:
    if one.item_id is None or any(finding.story for finding in mine):
        return None
    if not mine:
        return "it was not read"
    if one.what == "video" and is_snoozed(job) and mine[0].item.status is ItemStatus.PENDING:
        again = f"{job.start_after:%Y-%m-%d %H:%M} UTC"
        return f"not yet: the video or its captions are not available; retried from {again} on"
    return mine[0].outcome


def _no_analysis(stories: int) -> str:
    """Return the error of stories whose analysis was lost before: reading their text again sends none."""
    whose = "its story has" if stories == 1 else f"{stories} of its stories have"
    return f"{whose} no analysis; `zeke brief ID --regenerate` requests it"
