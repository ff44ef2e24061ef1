"""Briefs by an AI with 40 % faulty answers: each is whole, and no delivered variant is requested again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from tests.tasks.ai.faulty import BRIEF, FAULTS, FaultyAI, over_streams, over_threads
from tests.tasks.domain import memory_domain
from tests.tasks.jobs import CALM, Jobs
from tests.tasks.store.samples import MODELS
from zeke_queue.model import JobQuery, JobStatus
from zeke_queue.worker import Worker
from zeke_tasks.ai.client import AIOptions
from zeke_tasks.ai.openai import OpenAIClient
from zeke_tasks.store.analysis import VARIANTS

NAMES: Final = tuple(f"{kind}{letter}" for kind in ("Bees", "Wasps", "Ants") for letter in "ABCDEFGHIJ")

TIMEOUT: Final = 1.0
"""Seconds after which a silent server is given up; its other answers take some milliseconds."""

ROUNDS: Final = 20
"""More than a job's retries and its waits for a rate limit take."""


async def test_faulty_answers_lose_no_brief_and_no_paid_variant() -> None:
    async def check(serve: Callable[[FaultyAI], AbstractAsyncContextManager[str]], seed: int) -> None:
        ai, domain = FaultyAI(seed, NAMES), memory_domain()
        stories = {name: await domain.told_story(f"{name} fly.", title=name) for name in NAMES}
        async with serve(ai) as url, OpenAIClient("a", AIOptions(base_url=url, timeout=TIMEOUT)) as client:
            queue = Jobs(domain, ai=client).worked()
            for story in stories.values():
                await domain.verbs.put_analysis(story.id, MODELS)
                await queue.send("generate-brief", {"storyId": story.id, "reason": "new_story"})
            for _ in range(ROUNDS):
                await Worker(queue, tasks=["generate-brief"], **CALM).drain()
                domain.clock.advance(60)
            jobs = (await queue.find(JobQuery(names=("generate-brief",), limit=1000))).jobs
        assert [job.status for job in jobs] == [JobStatus.COMPLETED] * len(NAMES)
        for name, story in stories.items():
            brief = (await domain.overlay(story)).brief
            told = {one: getattr(brief, one) for one in VARIANTS}
            assert told == {one: text.format(name) for one, text in BRIEF.items()}
        assert ai.again == []
        # Otherwise the test is about less than it says.
        assert set(FAULTS) <= set(ai.faults)

    # Both at once, since each waits for a time-out.
    await asyncio.gather(check(over_streams, 1), check(over_threads, 8))
