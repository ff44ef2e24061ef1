"""What every client of the AI does, whichever it is."""

from __future__ import annotations

import json
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.tasks.ai.samples import ANALYSIS_TEXT, BRIEFS, PROMPT, TEXT
from tests.tasks.ai.server import OpenAIServer, embeddings, response
from zeke_queue.errors import ZekeError
from zeke_tasks.ai import (
    AIClient,
    AIOptions,
    AIRejected,
    Analysis,
    Briefs,
    Limited,
    Paired,
    StubClient,
)
from zeke_tasks.ai.openai import OpenAIClient
from zeke_tasks.ai.wordllama import WordLlama
from zeke_tasks.context import inline


@asynccontextmanager
async def openai() -> AsyncIterator[AIClient]:
    """OpenAI's client, and a server that answers one question of each kind."""
    async with (
        OpenAIServer(
            response(ANALYSIS_TEXT),
            response(json.dumps(BRIEFS)),
            embeddings([0.6, 0.8], [1.0, 0.0]),
            embeddings([0.6, 0.8]),
        ) as server,
        OpenAIClient("sk-1", AIOptions(base_url=server.base_url)) as client,
    ):
        yield client


@asynccontextmanager
async def opened(kind: str) -> AsyncIterator[AIClient]:
    limit, _, name = kind.rpartition(" ")
    async with AsyncExitStack() as stack:
        client: AIClient
        if name == "openai":
            client = await stack.enter_async_context(openai())
        elif name == "wordllama":
            client = Paired(StubClient(), WordLlama(inline))
        else:
            client = StubClient()
        yield Limited(client, FrozenClock(), requests_per_minute=9, at_once=9) if limit else client


KINDS = ["stub", "openai", "wordllama", "limited stub", "limited openai"]


async def test_every_client_answers_in_the_requested_form_and_embeds() -> None:
    async def check(kind: str) -> None:
        async with opened(kind) as ai:
            analysis, briefs = await ai.ask(PROMPT, TEXT, Analysis), await ai.ask(PROMPT, TEXT, Briefs)
            embedded, again = await ai.embed([TEXT, "Cake"]), await ai.embed([TEXT])

        assert isinstance(analysis.value, Analysis)
        assert isinstance(briefs.value, Briefs)
        for usage in (analysis.usage, briefs.usage, embedded.usage):
            assert usage.model
            assert usage.input_tokens >= 0
            assert usage.cost_usd is not None
        assert analysis.stub == (analysis.usage.model == "stub")
        assert len(embedded.vectors) == 2
        assert {len(vector) for vector in embedded.vectors} == {embedded.dimensions}
        assert all(math.hypot(*vector) == pytest.approx(1) for vector in embedded.vectors)
        assert again.vectors == embedded.vectors[:1], "a text's vector does not depend on its neighbours"

    await check_each_async(KINDS, check)


async def test_every_client_rejects_empty_and_too_many_texts() -> None:
    async def check(kind: str) -> None:
        async with opened(kind) as ai:
            for texts in ([], ["a", "\x00 "], ["a"] * 101):
                with pytest.raises(AIRejected):
                    await ai.embed(texts)
            with pytest.raises(AIRejected) as caught:
                await ai.ask(PROMPT, "\n \x1b", Analysis)
            assert isinstance(caught.value, ZekeError)

    await check_each_async(KINDS, check)
