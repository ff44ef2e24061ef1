"""Briefs by an AI with 40 % faulty answers: each is whole, and no delivered variant is requested again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

import pytest

from tests.tasks.ai.faulty import BRIEF, FAULTS, FaultyAI, over_streams, over_threads
from tests.tasks.briefs.rounds import NAMES, brief_all
from zeke_queue.model import JobStatus

pytestmark = pytest.mark.nightly

TIMEOUT: Final = 5.0
"""Seconds after which a silent server is given up; its others take up to a second on a busy machine."""


async def test_faulty_answers_lose_no_brief_and_no_paid_variant() -> None:
    async def check(serve: Callable[[FaultyAI], AbstractAsyncContextManager[str]], seed: int) -> None:
        ai = FaultyAI(seed, NAMES)
        async with serve(ai) as url:
            jobs, briefs = await brief_all(url, TIMEOUT)
        assert [job.status for job in jobs] == [JobStatus.COMPLETED] * len(NAMES)
        assert briefs == {name: {one: text.format(name) for one, text in BRIEF.items()} for name in NAMES}
        assert ai.again == []
        # Otherwise the test is about less than it says.
        assert set(FAULTS) <= set(ai.faults)

    # Both at once, since each waits for a time-out.
    await asyncio.gather(check(over_streams, 1), check(over_threads, 8))
