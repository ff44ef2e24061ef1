"""Work that a command has done while somebody waits: it sends jobs, runs them, and shows how far they are.

The jobs are the catalog's and are kept in the queue as all others. What is left when the time is up, a worker
elsewhere goes on with.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from rich.console import Console

from zeke_queue.client.queue import Queue
from zeke_queue.errors import JobConflictError, ResultTimeoutError, ZekeError
from zeke_queue.maintenance.runner import Supervisor
from zeke_queue.model import FINAL, JobState
from zeke_queue.system.entropy import Ids, SystemEntropy
from zeke_queue.worker import Worker
from zeke_tasks.ai.settings import AISettings
from zeke_tasks.catalog import build_catalog
from zeke_tasks.cli.follow import Family, counts_of, follow
from zeke_tasks.cli.hints import see_job, worker_goes_on
from zeke_tasks.cli.progress import display, standing
from zeke_tasks.cli.report import why_it_failed
from zeke_tasks.context import open_context
from zeke_tasks.ingest.named import reach_named
from zeke_tasks.ingest.recognise import Foretold
from zeke_tasks.payloads import AnalyzeStory, GenerateBrief
from zeke_tasks.store.analysis import AnalysisState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
    from uuid import UUID

    from zeke_queue.model import Job
    from zeke_queue.system.settings import Settings
    from zeke_tasks.cli.report import Finding
    from zeke_tasks.context import Context
    from zeke_tasks.store.analysis import Spending
    from zeke_tasks.store.repository import Rows

    FindsItems = Callable[[Sequence[Job]], Awaitable[list[Finding]]]
    """Returns the items that some jobs are about, with what has become of them."""

ASKING: Final = ("analyze-story", "generate-brief")
"""The queues whose jobs ask the AI."""

TELLING: Final = (*ASKING, "extract-highlights", "score-relevance")
"""The queues whose jobs make of a story what is told of it."""

READING: Final = ("ingest-source", "fetch-content", *TELLING)
"""The queues whose jobs take in feeds and pages, and make stories of them."""

TEND_EVERY: Final = 5.0

ITEMS_EVERY: Final = 1.0
"""Seconds between two looks at the items while jobs run: each look reads all that the items hold."""

GRACE: Final = 2.0
"""Seconds that a job may go on once nobody waits for it any more."""


class Errand:
    """A queue, and what its jobs need, in this process.

    Attributes:
        queue: takes the jobs.
        context: what they get as ``job.resources``; its web is ``web``.
        web: gives what a look at a URL brought to the job that reads it.
        asks_ai: whether an AI is asked, and no stub.
        new_id: makes ids for rows.
    """

    def __init__(self, queue: Queue, context: Context, web: Foretold) -> None:
        self.queue = queue
        self.context = context
        self.web = web
        self.asks_ai = AISettings.load().asks != "stub"
        self.new_id = Ids(queue.clock, SystemEntropy())

    @asynccontextmanager
    async def rows(self) -> AsyncGenerator[Rows]:
        """Open a transaction on the domain's rows."""
        async with self.queue.transaction() as transaction:
            yield self.context.repository.within(transaction)

    async def run(
        self,
        roots: Collection[UUID],
        *,
        tasks: Collection[str],
        timeout: float,
        console: Console | None = None,
        items: FindsItems | None = None,
    ) -> list[Job]:
        """Run jobs and all that follows from them, and show how far they are.

        Args:
            roots: the jobs.
            tasks: the names of theirs and of those that follow: only such jobs are run here.
            timeout: seconds after which nobody waits any more.
            console: where to show it; None to show nothing.
            items: finds the items that are shown as being read; none by default.

        Returns:
            The jobs as they are then, parents before their children. Not all of them need have ended.
        """
        jobs: list[Job] = []
        found: list[Finding] = []
        # Where nobody watches, nothing is read to be shown.
        find = items if console is not None and not console.quiet else None
        tending = asyncio.create_task(self._tend())
        try:
            async with Worker(self.queue, queues=sorted(tasks), grace=GRACE):
                with display(console or Console(quiet=True)) as shown:
                    look_at = self.queue.clock.monotonic()
                    async for jobs in follow(Family(self.queue, roots), self.queue, timeout):
                        if find is not None and self.queue.clock.monotonic() >= look_at:
                            found = await find(jobs)
                            look_at = self.queue.clock.monotonic() + ITEMS_EVERY
                        shown.show(standing(counts_of(jobs), found))
                    if find is not None:
                        shown.show(standing(counts_of(jobs), await find(jobs)))
        finally:
            tending.cancel()
            await asyncio.wait([tending])
        return jobs

    async def _tend(self) -> None:
        """Give back what a worker held that was killed, such as an earlier command's: it is waited for.

        Archiving is left to the workers: how long rows are kept is their deployment's to say.
        """
        supervisor = Supervisor(self.queue)
        while True:
            await supervisor.sweep(("give_back", "wake"))
            await self.queue.clock.sleep(TEND_EVERY)

    async def have_told(self, story_id: UUID, *, anew: bool = False) -> UUID | None:
        """Send jobs for a story's missing analysis and briefs, unless there are some already.

        Args:
            story_id: the story, which exists.
            anew: whether its brief is to be made again although it is there, and its analysis too if that is
                a stub's and there is an AI now.

        Returns:
            The job to wait for; None if nothing is missing.
        """
        async with self.rows() as rows:
            overlay = await rows.overlay(story_id)
        state = overlay.analysis_state if overlay else AnalysisState.PENDING
        outdated = anew and state is AnalysisState.STUB and self.asks_ai
        if overlay is None or not overlay.why_it_matters or outdated:
            analysis = AnalyzeStory(story_id=story_id, trigger="auto")
            try:
                return (await self.queue.trigger("analyze-story", analysis, singleton_key=str(story_id))).id
            except JobConflictError as refused:
                return refused.holder
        if anew or overlay.brief_one_liner is None:
            brief = GenerateBrief(story_id=story_id, reason="regenerate" if anew else "new_story")
            return (await self.queue.trigger("generate-brief", brief)).id
        return None

    async def spending(self, jobs: Sequence[Job]) -> list[Spending]:
        """Return what the AI took for some jobs."""
        async with self.rows() as rows:
            return [one for job in jobs if job.name in ASKING for one in await rows.spending(job.id)]


@asynccontextmanager
async def open_errand(settings: Settings, *, reach: Collection[str] = ()) -> AsyncGenerator[Errand]:
    """Open a queue and what its jobs need.

    Args:
        settings: name the database.
        reach: URLs whose servers may be fetched from although they are on this machine.

    Raises:
        ImportError: a parser is not installed whole.
        SettingsError: a setting of the tasks can't be read, or says OpenAI and there is no key.
        StorageError: the database can't be worked with.
    """
    async with open_context() as opened, reach_named(opened.web, reach) as reached:
        web = Foretold(reached)
        context = replace(opened, web=web)

        @asynccontextmanager
        async def resources() -> AsyncGenerator[Context]:
            yield context

        async with Queue.connect(build_catalog(resources, scheduled=False), settings=settings) as queue:
            yield Errand(queue, context, web)


def require_done(jobs: Sequence[Job], timeout: float, *, embedded: bool) -> None:
    """Check that jobs have completed.

    Args:
        jobs: as ``Errand.run`` returned them.
        timeout: how long they were waited for.
        embedded: whether the database is the user's private one, for the time of the command.

    Raises:
        ZekeError: one failed or was cancelled; the message says why.
        ResultTimeoutError: one has not ended; the message says how to go on.
    """
    for job in jobs:
        if job.state in FINAL and job.state is not JobState.COMPLETED:
            raise ZekeError(f"{job.name} failed: {why_it_failed(job)} ({see_job(job.id, embedded=embedded)})")
    for job in jobs:
        if job.state not in FINAL:
            last = job.history[-1].error.get("message") if job.history else None
            told = f"; its last attempt failed: {last}" if last else ""
            raise ResultTimeoutError(
                f"{job.name} ({see_job(job.id, embedded=embedded)}) did not end within {timeout:g} s{told}."
                f" {worker_goes_on(embedded=embedded)}; or give it longer by --timeout."
            )
