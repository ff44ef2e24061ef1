"""What a proxy says of whom it forwards for, as the server that listens believes it, or does not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.conformance.driver import soon
from tests.web.conftest import shop_catalog
from zeke_queue.clock import SystemClock
from zeke_queue.config import Settings
from zeke_queue.queue import Queue
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.web import WebSettings
from zeke_queue.web.server import ApiServer

if TYPE_CHECKING:
    from collections.abc import Mapping

FORWARDED = {"x-forwarded-for": "198.51.100.7, 203.0.113.9", "x-forwarded-proto": "https"}
"""A proxy puts the peer that it saw last; what stands before it, anybody may have sent."""


class Seen:
    """Stands before the application, and notes whom it takes each request to be of, and how it came."""

    seen: list[tuple[str, str]]

    def __init__(self, app: Any, *, seen: list[tuple[str, str]]) -> None:
        self._app = app
        self.seen = seen

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append((scope["client"][0], scope["scheme"]))
        await self._app(scope, receive, send)


async def asked(trusted: str, headers: Mapping[str, str]) -> tuple[str, str, bool]:
    """Ask a server that trusts some proxies, from this machine.

    Returns:
        The client and the scheme that the application saw, and whether the answer keeps browsers to https.
    """
    clock = SystemClock()
    queue = Queue(shop_catalog(), MemoryStorage(clock), clock=clock, settings=Settings.load())
    server = ApiServer(queue, WebSettings.load(api_port=0, api_trusted_proxies=trusted))
    seen: list[tuple[str, str]] = []
    server.app.add_middleware(Seen, seen=seen)
    running = asyncio.ensure_future(server.run())
    try:
        async with httpx2.AsyncClient() as client:
            answer = await soon(client.get(f"{server.url}/healthz", headers=dict(headers)))
    finally:
        server.stop()
        await soon(running)
        await queue.close()
    assert answer.status_code == 200
    ((peer, scheme),) = seen
    return peer, scheme, "strict-transport-security" in answer.headers


@pytest.mark.parametrize("trusted", ["127.0.0.1", "10.0.0.1, 127.0.0.0/8"])
async def test_a_proxy_that_is_trusted_says_who_calls_and_how(trusted: str) -> None:
    assert await asked(trusted, FORWARDED) == ("203.0.113.9", "https", True)


@pytest.mark.parametrize("trusted", ["", "10.0.0.1", "127.0.0.2, 203.0.113.0/24"])
async def test_nobody_else_does(trusted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # the server's own setting, which is none of ours
    assert await asked(trusted, FORWARDED) == ("127.0.0.1", "http", False)


async def test_a_trusted_proxy_that_says_nothing_is_the_caller_itself() -> None:
    assert await asked("127.0.0.1", {}) == ("127.0.0.1", "http", False)
