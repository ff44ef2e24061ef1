"""Running jobs while a user waits: how often the displayed items are read."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from uuid import UUID

from rich.console import Console

from tests.cases import check_each_async
from zeke_queue.model import Job
from zeke_queue.system.settings import Settings
from zeke_tasks.cli.report import Finding
from zeke_tasks.cli.run_jobs import open_job_runner
from zeke_tasks.payloads import ScoreRelevance


async def test_items_are_read_only_for_a_visible_console_and_less_often_than_jobs(domain_dsn: str) -> None:
    async def check(console: Console | None, reads: set[int]) -> None:
        asked: list[int] = []

        async def items(jobs: Sequence[Job]) -> list[Finding]:
            asked.append(len(jobs))
            return []

        async with open_job_runner(Settings.load(database_primary_url=domain_dsn)) as runner:
            waits = await runner.queue.trigger("score-relevance", ScoreRelevance(story_id=UUID(int=1)))
            # Its queue is not worked, so it waits until the time is up, and is read at least four times.
            await runner.run([waits.id], tasks=["ingest-source"], timeout=0.7, console=console, items=items)
        assert len(asked) in reads
        assert set(asked) <= {1}

    cases = {
        "no console": (None, {0}),
        "quiet": (Console(quiet=True, file=StringIO()), {0}),
        "visible": (Console(file=StringIO()), {2, 3}),
    }
    await check_each_async(cases, check)
