"""Choice of the AI clients by the settings."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from zeke_queue.system.clock import Clock
from zeke_tasks.ai.client import AIClient, AIOptions, Embeds, Paired
from zeke_tasks.ai.limited import Limited
from zeke_tasks.ai.prices import load_prices
from zeke_tasks.ai.settings import AISettings
from zeke_tasks.ai.stub import StubClient

if TYPE_CHECKING:
    from zeke_tasks.fetch.parser_pool import Compute


@asynccontextmanager
async def open_ai(
    settings: AISettings, clock: Clock, *, compute: Compute | None = None
) -> AsyncGenerator[AIClient]:
    """Open the clients that answer and embed; only OpenAI is called over the network, within the rate limit.

    Args:
        settings: which clients, and the key.
        clock: gives the time and sleeps.
        compute: runs wordllama; threads by default.

    Raises:
        SettingsError: the settings name OpenAI without a key, wordllama although it is not installed, or a
            file of prices that can't be read. It is raised before anything is opened.
    """
    async with AsyncExitStack() as stack:
        who = {settings.asks, settings.embeds}
        clients: dict[str, AIClient] = {"stub": StubClient()}
        if "openai" in who:
            clients["openai"] = await stack.enter_async_context(_open_openai(settings, clock))
        embeds: Embeds = clients[settings.embeds] if settings.embeds != "wordllama" else _words(compute)
        yield Paired(clients[settings.asks], embeds)


@asynccontextmanager
async def _open_openai(settings: AISettings, clock: Clock) -> AsyncGenerator[AIClient]:
    options = options_of(settings)
    key = settings.require_key()
    from zeke_tasks.ai.openai import OpenAIClient  # noqa: PLC0415 - it takes half a second

    async with OpenAIClient(key, options, clock=clock) as client:
        yield Limited(
            client,
            clock,
            requests_per_minute=options.requests_per_minute,
            at_once=options.at_once,
            patience=options.patience,
        )


def _words(compute: Compute | None) -> Embeds:
    from zeke_tasks.ai.wordllama import WordLlama, in_a_thread  # noqa: PLC0415 - an extra

    return WordLlama(compute or in_a_thread)


def options_of(settings: AISettings) -> AIOptions:
    """Convert the settings to options.

    Raises:
        SettingsError: the file of prices can't be read.
    """
    return AIOptions(
        model=settings.openai_model,
        embedding_model=settings.openai_embedding_model,
        base_url=settings.openai_base_url,
        timeout=settings.zeke_ai_timeout,
        requests_per_minute=settings.zeke_ai_per_minute,
        at_once=settings.zeke_ai_at_once,
        prices=load_prices(settings.zeke_ai_prices),
    )
