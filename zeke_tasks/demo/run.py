"""From two feeds to a table of stories, on a database of its own, by workers that may be killed."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import typer
from rich.console import Console

from zeke_queue import log
from zeke_queue.clock import SystemClock
from zeke_queue.config import Settings
from zeke_queue.errors import ZekeError
from zeke_queue.queue import Queue
from zeke_queue.rng import Ids, SystemEntropy
from zeke_queue.storage import postgres
from zeke_queue.storage.embedded import EmbeddedPostgres
from zeke_tasks.demo.children import Child, Children
from zeke_tasks.demo.worker import demo_catalog
from zeke_tasks.demo_site import DemoSite
from zeke_tasks.progress import display, standing
from zeke_tasks.report import failures_table, findings, jobs_table, stories_table, wide_console
from zeke_tasks.store.model import NewSource, SourceType
from zeke_tasks.store.postgres import PostgresRepository, migrate
from zeke_tasks.web import canonicalise_url

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_tasks.report import Finding

LONGEST: Final = 120.0
"""Seconds after which the demo gives up."""

LOOK_EVERY: Final = 0.2


class Demo:
    """The demo's parts while it runs."""

    def __init__(self, console: Console, workers: int, gap: float) -> None:
        self._console = console
        self._workers = workers
        self._gap = gap
        self._clock = SystemClock()
        self._repository = PostgresRepository()

    async def run(self, *, keep: bool) -> int:
        """Run it; returns the exit code: 0 if every story that the site has was found."""
        async with AsyncExitStack() as stack:
            server = await asyncio.to_thread(EmbeddedPostgres.start, ephemeral=True, fsync=False)
            stack.push_async_callback(asyncio.to_thread, server.stop)
            site = await stack.enter_async_context(DemoSite())
            settings = Settings.load(database_primary_url=server.dsn)
            await asyncio.to_thread(postgres.migrate.migrate, server.dsn, settings.jobs_schema)
            await asyncio.to_thread(migrate.migrate, server.dsn)
            self._say(f"Database {server.dsn}", f"Data directory {server.directory}", f"Site {site.base_url}")
            queue = await stack.enter_async_context(Queue.connect(demo_catalog(self._gap), settings=settings))
            sources = await self._add_sources(queue, site)
            command = ["-m", "zeke_tasks.demo.worker", server.dsn, str(self._gap)]
            children = [
                Child(f"Worker {number}", command, server.directory / f"worker-{number}.log")
                for number in range(1, self._workers + 1)
            ]
            crew = await stack.enter_async_context(Children(children, self._say, self._clock))
            await queue.trigger("ingest-pull", {"reason": "manual"})
            found = await self._watch(queue, crew, sources)
            await self._report(queue, found)
            missing = _missing(site, found)
            if missing:
                self._say(f"These pages became no story: {', '.join(missing)}")
            if keep:
                await self._wait(server.dsn)
            else:
                self._say("The database goes with the demo. With --keep it stays up, to be looked at.")
            return 1 if missing else 0

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
        return [source.id for source in sources]

    async def _watch(self, queue: Queue, crew: Children, sources: list[UUID]) -> list[Finding]:
        """Show how far it is until no job waits or runs; returns what was found."""
        with display(self._console) as shown:
            async with asyncio.timeout(LONGEST):
                while True:
                    # Jobs first: whatever a job that has ended wrote is there when the rows are read.
                    counts = await queue.count()
                    found = await findings(queue, self._repository, sources)
                    now = standing(counts, found)
                    shown.show(now)
                    if now.quiet:
                        return found
                    crew.check()
                    await self._clock.sleep(LOOK_EVERY)

    async def _report(self, queue: Queue, found: list[Finding]) -> None:
        self._console.print()
        self._console.print(stories_table(found))
        if (failures := failures_table(found)) is not None:
            self._console.print(failures)
        self._console.print(jobs_table(await queue.count()))

    async def _wait(self, dsn: str) -> None:
        self._say(
            "The database stays up until you press Ctrl-C. Look at it from a second terminal:",
            f"  zeke --database '{dsn}' doctor",
        )
        await asyncio.Event().wait()

    def _say(self, *lines: str) -> None:
        for line in lines:
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _missing(site: DemoSite, found: list[Finding]) -> list[str]:
    """Return the pages of the site that became no story."""
    told = {canonicalise_url(f.item.url) for f in found if f.item.url and f.story is not None}
    return [url for url in site.page_urls if url not in told]


def main(workers: int, gap: float, *, keep: bool) -> int:
    """Run the demo, and say what went wrong if something did; returns the exit code.

    Args:
        workers: how many worker processes.
        gap: seconds between two requests to the site.
        keep: whether to keep the database up at the end, until interrupted.
    """
    log.configure_logging(level="warning")
    # To be told to end is to be interrupted: the children and the database must not stay behind. A shell
    # starts what it runs in the background with interrupts ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    try:
        return asyncio.run(Demo(wide_console(), workers, gap).run(keep=keep))
    except KeyboardInterrupt:
        return 0 if keep else 130
    except TimeoutError:
        told = f"The demo did not end within {LONGEST:g} seconds."
    except ZekeError as error:
        told = str(error)
    typer.secho(told, err=True, fg="red")
    return 1
