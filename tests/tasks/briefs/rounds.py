"""Briefs of thirty stories by an AI with faulty answers, in rounds with a minute between."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.tasks.domain import memory_domain
from tests.tasks.jobs import CALM, Jobs
from tests.tasks.store.samples import MODELS
from zeke_queue.model import JobQuery, JobStatus
from zeke_queue.worker import Worker
from zeke_tasks.ai.client import AIOptions
from zeke_tasks.ai.openai import OpenAIClient
from zeke_tasks.store.analysis import VARIANTS

if TYPE_CHECKING:
    from zeke_queue.model import Job

TASK: Final = "generate-brief"
NAMES: Final = tuple(f"{kind}{letter}" for kind in ("Bees", "Wasps", "Ants") for letter in "ABCDEFGHIJ")
"""The titles of the stories."""

ROUNDS: Final = 20
"""More than a job's retries and its waits for a rate limit take."""


async def brief_all(
    url: str, timeout: float, *, retries_failed: bool = False
) -> tuple[list[Job], dict[str, dict[str, Any]]]:
    """Generate a brief of each story.

    Args:
        url: the AI's.
        timeout: seconds after which a silent AI is given up.
        retries_failed: whether failed jobs are retried after each round, as an operator does.

    Returns:
        The jobs, and the variants that are stored of each story.
    """
    domain = memory_domain()
    stories = {name: await domain.told_story(f"{name} fly.", title=name) for name in NAMES}
    async with OpenAIClient("a", AIOptions(base_url=url, timeout=timeout)) as client:
        queue = Jobs(domain, ai=client).worked()
        for story in stories.values():
            await domain.verbs.put_analysis(story.id, MODELS)
            await queue.send(TASK, {"storyId": story.id, "reason": "new_story"})
        for _ in range(ROUNDS):
            await Worker(queue, tasks=[TASK], **CALM).drain()
            domain.clock.advance(60)
            failed = await queue.find(JobQuery(names=(TASK,), status=(JobStatus.FAILED,)))
            for job in failed.jobs if retries_failed else ():
                await queue.retry(job.id)
        jobs = (await queue.find(JobQuery(names=(TASK,), limit=1000))).jobs
    briefs = {name: (await domain.overlay(story)).brief for name, story in stories.items()}
    return jobs, {
        name: {one: getattr(brief, one, None) for one in VARIANTS} for name, brief in briefs.items()
    }
