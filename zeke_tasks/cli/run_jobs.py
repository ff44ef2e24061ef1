"""Jobs that a command sends, runs in its own process and waits for, with a display of progress.

The jobs are the catalog's, and are stored like all others, but in private queues of the command. So they run
with its settings, whatever workers there are, and it runs no jobs of others. When it ends, those that have
not ended go to the queues of their tasks, where a worker continues them. Maintenance moves those of a command
that was killed.
"""

from __future__ import annotations

from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.core import jsonb
from zeke_queue.errors import JobConflictError, ResultTimeoutError, StorageError, ZekeError
from zeke_queue.maintenance import private_queues
from zeke_queue.model import ENDED, JobQuery, JobStatus
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import Ids, SystemEntropy
from zeke_queue.system.settings import CENTURY, Settings
from zeke_queue.worker import Worker
from zeke_tasks.ai.settings import AISettings
from zeke_tasks.catalog import build_catalog
from zeke_tasks.cli.follow import Family, counts_of, follow
from zeke_tasks.cli.formatting import printable_words
from zeke_tasks.cli.hints import see_job, worker_continues
from zeke_tasks.cli.progress import display, standing
from zeke_tasks.cli.report import is_snoozed, why_it_failed
from zeke_tasks.context import open_context
from zeke_tasks.error_policy import OVER_BUDGET, RATE_LIMITED
from zeke_tasks.ingest.named import reach_named
from zeke_tasks.ingest.recognise import ReplayingClient
from zeke_tasks.payloads import AnalyzeStory, GenerateBrief
from zeke_tasks.store.analysis import AnalysisState

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Sequence
    from uuid import UUID

    from zeke_queue.model import Job
    from zeke_tasks.cli.report import Finding
    from zeke_tasks.context import Context
    from zeke_tasks.store.analysis import Spending
    from zeke_tasks.store.repository import Rows

    FindsItems = Callable[[Sequence[Job]], Awaitable[list[Finding]]]
    """Returns the items of some jobs, with their stories."""

AI_QUEUES: Final = ("analyze-story", "generate-brief")
"""The queues whose jobs call the AI."""

ITEMS_EVERY: Final = 1.0
"""Seconds between two reads of the items while jobs run; each reads the items with all their content."""

LOGS_MAX: Final = 20
"""Number of jobs whose logs are read for the reasons to wait, 50 lines of each."""

SHUTDOWN: Final = 2.0
"""Seconds that jobs may continue after the command's timeout."""


class JobRunner:
    """A queue and the resources of its jobs in this process.

    Attributes:
        queue: the queue.
        context: the ``job.resources`` of the jobs; its web is ``web``.
        web: fetches, and passes on the answer of a recognised URL to the job that reads it.
        asks_ai: whether a real AI is used, not the stub.
        new_id: generates ids of rows.
        elsewhere: jobs for which this command waits although workers run them, with their own settings.
    """

    def __init__(self, queue: Queue, context: Context, web: ReplayingClient) -> None:
        self.queue = queue
        self.context = context
        self.web = web
        self.asks_ai = AISettings.load().asks != "stub"
        self.new_id = Ids(queue.clock, SystemEntropy())
        self.elsewhere: set[UUID] = set()

    @asynccontextmanager
    async def rows(self) -> AsyncGenerator[Rows]:
        """Open a transaction on the domain's tables."""
        async with self.queue.transaction() as transaction:
            yield self.context.repository.within(transaction)

    async def run(
        self,
        roots: Collection[UUID],
        *,
        timeout: float,
        console: Console | None = None,
        items: FindsItems | None = None,
    ) -> list[Job]:
        """Wait until jobs and all their descendants have ended, and show the progress.

        Args:
            roots: the jobs.
            timeout: seconds after which it stops waiting.
            console: shows the progress; None to show nothing.
            items: finds the items whose progress is shown; none by default.

        Returns:
            The jobs in their last state, parents before their children. Some may not have ended.
        """
        jobs: list[Job] = []
        found: list[Finding] = []
        if console is not None and self.elsewhere:
            one = len(self.elsewhere) == 1
            which = "1 of these jobs runs" if one else f"{len(self.elsewhere)} of these jobs run"
            console.print(f"{which} in a worker already, with its settings", highlight=False)
        # Without a visible display the items are not read.
        find = items if console is not None and not console.quiet else None
        with display(console or Console(quiet=True)) as shown:
            look_at = self.queue.clock.monotonic()
            async for jobs in follow(Family(self.queue, roots), self.queue, timeout):
                if find is not None and self.queue.clock.monotonic() >= look_at:
                    found = await find(jobs)
                    look_at = self.queue.clock.monotonic() + ITEMS_EVERY
                shown.show(standing(counts_of(jobs), found))
            if find is not None:
                shown.show(standing(counts_of(jobs), await find(jobs)))
        if console is not None:
            for line in await self._reasons_to_wait(jobs):
                console.print(Text(printable_words(line)), soft_wrap=True)
        return jobs

    async def _reasons_to_wait(self, jobs: Sequence[Job]) -> list[str]:
        """Return why snoozed jobs wait for the AI: a rate limit, a budget, or both.

        A snooze itself stores no reason, but the job logs it. Reasons of several jobs differ in amounts of
        dollars, so one of each kind is shown.
        """
        snoozed = {job.id: job.attempt for job in jobs if job.name in AI_QUEUES and is_snoozed(job)}
        kinds: dict[UUID, str] = {}
        reasons: dict[str, str] = {}
        with suppress(StorageError):  # the results of the jobs are shown without them
            asked = dict.fromkeys(islice(snoozed, LOGS_MAX), 0)
            for event in await parts_of(self.queue).storage.events(asked):
                line = jsonb.loads(event.data)
                message = line.get("message")
                if event.attempt == snoozed[event.job_id] and message in (RATE_LIMITED, OVER_BUDGET):
                    kinds[event.job_id], reasons[message] = message, line["reason"]
        counts = Counter(kinds.values())
        if len(counts) == 1 and len(snoozed) > LOGS_MAX:  # the others wait for the same
            counts = Counter(dict.fromkeys(counts, len(snoozed)))
        return [
            f"{'1 job waits' if count == 1 else f'{count} jobs wait'}. {message}: {reasons[message]}"
            for message, count in counts.items()
        ]

    async def running_elsewhere(self, task: str) -> list[Job]:
        """Return the jobs of a task that workers run now, with their own settings."""
        query = JobQuery(names=(task,), status=(JobStatus.EXECUTING,), limit=1000)
        return (await self.queue.find(query)).jobs

    async def send_missing_job(self, story_id: UUID, *, anew: bool = False) -> UUID | None:
        """Send the job for a story's missing analysis or brief, unless it exists already.

        Args:
            story_id: the story, which exists.
            anew: whether to replace an existing brief, and an analysis by the stub if there is an AI now.

        Returns:
            The job to wait for; None if nothing is missing.
        """
        async with self.rows() as rows:
            overlay = await rows.overlay(story_id)
        state = overlay.analysis_state if overlay else AnalysisState.PENDING
        outdated = anew and state is AnalysisState.STUB and self.asks_ai
        if overlay is None or not overlay.why_it_matters or outdated:
            for job in await self.running_elsewhere("analyze-story"):
                if job.data.get("storyId") == str(story_id):
                    self.elsewhere.add(job.id)
                    return job.id
            analysis = AnalyzeStory(story_id=story_id, trigger="auto")
            try:
                return (await self.queue.trigger("analyze-story", analysis, singleton_key=str(story_id))).id
            except JobConflictError as refused:
                return refused.holder
        if anew or overlay.brief_state is None:
            brief = GenerateBrief(story_id=story_id, reason="regenerate" if anew else "new_story")
            return (await self.queue.trigger("generate-brief", brief)).id
        return None

    async def spending(self, jobs: Sequence[Job]) -> list[Spending]:
        """Return the AI usage of some jobs."""
        async with self.rows() as rows:
            return [one for job in jobs if job.name in AI_QUEUES for one in await rows.spending(job.id)]


@asynccontextmanager
async def open_job_runner(settings: Settings, *, reach: Collection[str] = ()) -> AsyncGenerator[JobRunner]:
    """Open private queues with the resources of their jobs, and a worker that runs these.

    Args:
        settings: name the database.
        reach: URLs whose servers may be fetched from even if they are on this machine.

    Raises:
        ImportError: a parser is not completely installed.
        SettingsError: a setting of the tasks is invalid, or names OpenAI and there is no key.
        StorageError: the database can't be used.
    """
    async with open_context() as opened, reach_named(opened.web, reach) as reached:
        web = ReplayingClient(reached)
        context = replace(opened, web=web)

        @asynccontextmanager
        async def resources() -> AsyncGenerator[Context]:
            yield context

        # Maintenance rescues jobs of killed workers, for which this command may wait. How long jobs are kept
        # is left to the workers, whose settings this process may not have. It runs jobs even if
        # JOBS_CONCURRENCY is 0.
        concurrency = settings.jobs_concurrency or Settings.model_fields["jobs_concurrency"].default
        kept = settings.model_copy(
            update={
                "jobs_archive_after": CENTURY,
                "jobs_delete_after": CENTURY,
                "jobs_concurrency": concurrency,
            }
        )
        catalog = build_catalog(resources, scheduled=False, private_to=Ids(SystemClock(), SystemEntropy())())
        async with Queue.connect(catalog, settings=kept) as queue:
            storage = parts_of(queue).storage
            # Paused tasks are not run here either; their jobs go to the paused queues when the command ends.
            paused = {settings.name for settings in await storage.queues() if settings.paused_on is not None}
            tasks = [name for name in catalog.tasks if name not in paused]
            try:
                async with Worker(queue, tasks=tasks, schedules=False, shutdown_timeout=SHUTDOWN):
                    yield JobRunner(queue, context, web)
            finally:
                await private_queues.leave(storage, catalog.served)


def require_done(jobs: Sequence[Job], timeout: float, *, embedded: bool) -> None:
    """Raise unless all jobs have completed.

    Args:
        jobs: as ``JobRunner.run`` returned them.
        timeout: the seconds that were waited for them.
        embedded: whether the database is the user's private Postgres, which ends with the command.

    Raises:
        ZekeError: a job failed or was cancelled; the message says why.
        ResultTimeoutError: a job has not ended; the message says how to continue.
    """
    for job in jobs:
        if job.status in ENDED - {JobStatus.COMPLETED}:
            raise ZekeError(f"{job.name} failed: {why_it_failed(job)} ({see_job(job.id, embedded=embedded)})")
    for job in jobs:
        if job.status not in ENDED:
            last = job.history[-1].error.get("message") if job.history else None
            told = f"; its last attempt failed: {last}" if last else ""
            raise ResultTimeoutError(
                f"{job.name} ({see_job(job.id, embedded=embedded)}) did not end within {timeout:g} s{told}."
                f" {worker_continues(embedded=embedded)}; or set a longer --timeout."
            )
