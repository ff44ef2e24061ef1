"""Running jobs while somebody waits: how often what is shown is read."""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from rich.console import Console

from zeke_queue.config import Settings
from zeke_tasks.errand import open_errand
from zeke_tasks.payloads import ScoreRelevance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_queue.model import Job
    from zeke_tasks.report import Finding


@pytest.fixture
def settings(domain_dsn: str) -> Settings:
    return Settings.load(database_primary_url=domain_dsn)


@pytest.mark.parametrize(
    ("console", "looks"),
    [(None, {0}), (Console(quiet=True, file=StringIO()), {0}), (Console(file=StringIO()), {2, 3})],
    ids=["nobody", "quiet", "somebody"],
)
async def test_the_items_are_read_for_whoever_watches_and_not_with_every_look_at_the_jobs(
    settings: Settings, console: Console | None, looks: set[int]
) -> None:
    asked: list[int] = []

    async def items(jobs: Sequence[Job]) -> list[Finding]:
        asked.append(len(jobs))
        return []

    async with open_errand(settings) as errand:
        waits = await errand.queue.trigger("score-relevance", ScoreRelevance(story_id=UUID(int=1)))
        # Its queue is not worked, so it waits until the time is up: looked at at least four times till then.
        await errand.run([waits.id], tasks=["ingest-source"], timeout=0.7, console=console, items=items)
    assert len(asked) in looks
    assert set(asked) <= {1}
