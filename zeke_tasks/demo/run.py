"""The demo's run: two feeds become stories with briefs, on a private database, even if workers are killed."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from rich.console import Console

from zeke_queue.client.queue import Queue
from zeke_queue.errors import ZekeError
from zeke_queue.model import JobQuery, JobStatus
from zeke_queue.storage import postgres
from zeke_queue.storage.embedded.server import EmbeddedPostgres
from zeke_queue.system import logging as log
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import Ids, SystemEntropy
from zeke_queue.system.settings import Settings
from zeke_tasks.ai.choose import open_ai
from zeke_tasks.ai.settings import AISettings
from zeke_tasks.cli.formatting import printable_words
from zeke_tasks.cli.output import describe_ai, print_brief, print_models_and_cost, print_stories
from zeke_tasks.cli.progress import display, standing
from zeke_tasks.cli.report import (
    carriers,
    failed_jobs_table,
    failures_table,
    findings,
    jobs_table,
    wide_console,
)
from zeke_tasks.cli.spending import print_usage, usage_of
from zeke_tasks.demo.children import Child, Children
from zeke_tasks.demo.site import DemoSite
from zeke_tasks.demo.subscriptions import TEAM, read_story
from zeke_tasks.demo.worker import demo_catalog
from zeke_tasks.fetch import canonicalise_url
from zeke_tasks.store.model import NewSource, SourceType
from zeke_tasks.store.postgres import PostgresRepository, migrate
from zeke_tasks.stories.view import views

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_tasks.cli.report import Finding
    from zeke_tasks.stories.view import StoryView

LONGEST: Final = {"stub": 120.0, "openai": 900.0}
"""Seconds after which the demo gives up, by AI: a real model is slower and has a rate limit."""

LOOK_EVERY: Final = 0.2


class Demo:
    """The demo's parts while it runs."""

    def __init__(self, console: Console, workers: int, gap: float) -> None:
        self._console = console
        self._workers = workers
        self._gap = gap
        self._clock = SystemClock()
        self._repository = PostgresRepository()
        self._ai = AISettings.load()

    async def run(self, *, keep: bool) -> int:
        """Run the demo; returns the exit code: 0 if every story of the site was found and summarized."""
        async with open_ai(self._ai, self._clock):
            pass  # errors of opening the resources are reported before anything is started
        async with AsyncExitStack() as stack:
            server = await asyncio.to_thread(EmbeddedPostgres.start, ephemeral=True, fsync=False)
            stack.push_async_callback(asyncio.to_thread, server.stop)
            site = await stack.enter_async_context(DemoSite())
            settings = Settings.load(database_primary_url=server.dsn)
            await asyncio.to_thread(postgres.migrate.migrate, server.dsn, settings.jobs_schema)
            await asyncio.to_thread(migrate.migrate, server.dsn)
            self._say(f"Database {server.dsn}", f"Data directory {server.directory}", f"Site {site.base_url}")
            self._say(describe_ai(self._ai))
            queue = await stack.enter_async_context(Queue.connect(demo_catalog(self._gap), settings=settings))
            sources = await self._add_sources(queue, site)
            command = ["-m", "zeke_tasks.demo.worker", server.dsn, str(self._gap)]
            children = [
                Child(f"Worker {number}", command, server.directory / f"worker-{number}.log")
                for number in range(1, self._workers + 1)
            ]
            processes = await stack.enter_async_context(Children(children, self._say, self._clock))
            await queue.trigger("ingest-pull", {"reason": "manual"})
            found = await self._watch(queue, processes, sources)
            read = await read_story(queue, self._repository, found)
            seen = await self._report(queue, found)
            self._say(*read)
            if missing := _missing(site, found):
                self._say(f"These pages did not become stories: {', '.join(missing)}")
            if untold := [one.story.title for one in seen if not _has_brief(one)]:
                self._say(f"These stories have no brief: {', '.join(map(printable_words, untold))}")
                if self._ai.asks == "openai":
                    self._say("To see the demo without an AI, set ZEKE_AI=stub.")
            if keep:
                await self._wait(server.dsn)
            else:
                self._say("The database ends with the demo. With --keep it stays up for inspection.")
            return 1 if missing or untold else 0

    async def _add_sources(self, queue: Queue, site: DemoSite) -> list[UUID]:
        new_id = Ids(self._clock, SystemEntropy())
        async with queue.transaction() as transaction:
            rows = self._repository.within(transaction)
            sources = [
                await rows.ensure_source(
                    new_id(), NewSource(SourceType.RSS, urlsplit(url).path.split("/")[1], url)
                )
                for url in site.feed_urls
            ]
            await rows.connect(TEAM, sources[0].id)
        return [source.id for source in sources]

    async def _watch(self, queue: Queue, processes: Children, sources: list[UUID]) -> list[Finding]:
        """Show the progress until no job waits or runs; returns the items found."""
        with display(self._console) as shown:
            async with asyncio.timeout(LONGEST[self._ai.asks]):
                while True:
                    # Jobs are read first, so the rows of every job that is seen as ended are seen too.
                    counts = await queue.stats()
                    found = await findings(queue, self._repository, sources)
                    now = standing(counts, found)
                    shown.show(now)
                    if now.quiet:
                        return found
                    processes.check()
                    await self._clock.sleep(LOOK_EVERY)

    async def _report(self, queue: Queue, found: list[Finding]) -> list[StoryView]:
        """Print the items, what analysed them, and the jobs; returns the stories."""
        async with queue.transaction() as transaction:
            rows = self._repository.within(transaction)
            seen = await views(rows, (finding.story for finding in found if finding.story))
            spent, usage = await rows.spending(), await usage_of(rows, self._ai.budget, days=1)
        lost = (await queue.find(JobQuery(status=(JobStatus.FAILED,), limit=1000))).jobs
        self._console.print()
        print_stories(self._console, seen, carriers(found))
        self._console.print()
        if told := [one for one in seen if _has_brief(one)]:
            hottest = max(told, key=lambda one: one.overlay.chili or 0 if one.overlay else 0)
            self._say(f"The whole brief of {printable_words(hottest.story.title)!r}:")
            print_brief(self._console, hottest)
            self._console.print()
        print_models_and_cost(self._console, seen, spent)
        self._console.print()
        print_usage(usage)
        self._console.print()
        for table in (
            failures_table(found),
            failed_jobs_table(lost, kept=False),
            jobs_table(await queue.stats()),
        ):
            if table is not None:
                self._console.print(table)
        return seen

    async def _wait(self, dsn: str) -> None:
        self._say(
            "The database stays up until you press Ctrl-C. Inspect it from a second terminal:",
            f"  zeke --database '{dsn}' stories",
            f"  zeke --database '{dsn}' spending",
            f"  zeke --database '{dsn}' doctor",
        )
        await asyncio.Event().wait()

    def _say(self, *lines: str) -> None:
        for line in lines:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _missing(site: DemoSite, found: list[Finding]) -> list[str]:
    """Return the pages of the site without a story."""
    told = {canonicalise_url(f.item.url) for f in found if f.item.url and f.story is not None}
    return [url for url in site.page_urls if url not in told]


def _has_brief(seen: StoryView) -> bool:
    return seen.overlay is not None and seen.overlay.brief_one_liner is not None


def main(workers: int, gap: float, *, keep: bool) -> int:
    """Run the demo; returns the exit code.

    Args:
        workers: number of worker processes.
        gap: seconds between two requests to the site.
        keep: whether to keep the database running at the end, until interrupted.

    Raises:
        ZekeError: the demo failed; the message says why.
    """
    log.configure_logging(level="warning")
    # SIGTERM is handled as an interrupt, so that children and database are stopped too. A shell starts
    # background processes with SIGINT ignored, so its handler is set as well.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    try:
        shown = Demo(wide_console(), workers, gap)
        return asyncio.run(shown.run(keep=keep))
    except KeyboardInterrupt:
        return 0 if keep else 130
    except TimeoutError:
        raise ZekeError(
            "The demo did not end in time: see the workers' logs in the data directory, with --keep."
        ) from None
