"""Forwarded headers count only from proxies that the server is set to trust."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from typing import Any

import httpx2
import pytest

from tests.cases import check_each_async
from tests.conformance.driver import soon
from tests.web.conftest import open_house, shop_catalog
from zeke_queue.client.queue import Queue
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.settings import Settings
from zeke_queue.web import WebSettings
from zeke_queue.web.server import ApiServer, listen

FORWARDED = {"x-forwarded-for": "198.51.100.7, 203.0.113.9", "x-forwarded-proto": "https"}
"""A proxy appends its peer; entries before it may come from any caller."""


class Seen:
    """Middleware that records the client and the scheme of each request."""

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
    server = ApiServer(
        queue, WebSettings.load(api_port=0, api_trusted_proxies=trusted), authenticator=open_house(queue)
    )
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


async def test_only_trusted_proxies_name_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # the server's own setting, which must not count

    async def check(trusted: str, headers: Mapping[str, str], seen: tuple[str, str, bool]) -> None:
        assert await asked(trusted, headers) == seen

    forwarded, plain = ("203.0.113.9", "https", True), ("127.0.0.1", "http", False)
    cases = [
        ("127.0.0.1", FORWARDED, forwarded),
        ("10.0.0.1, 127.0.0.0/8", FORWARDED, forwarded),
        ("", FORWARDED, plain),
        ("10.0.0.1", FORWARDED, plain),
        ("127.0.0.2, 203.0.113.0/24", FORWARDED, plain),
        ("127.0.0.1", {}, plain),
    ]
    await check_each_async(cases, check)


def test_accepted_connections_have_no_delay() -> None:
    """An answer in two pieces would wait for the client's acknowledgement of the first one."""
    with listen("127.0.0.1", 0) as server, socket.create_connection(server.getsockname()[:2]):
        accepted, _ = server.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_address_of_ipv6_has_a_socket_of_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """The socket itself is of IPv4, which each machine has."""
    asked: list[Any] = []
    create = socket.create_server

    def created(address: tuple[str, int], *, family: int, **options: Any) -> socket.socket:
        asked.append((address, family))
        return create(("127.0.0.1", 0), **options)

    monkeypatch.setattr(socket, "create_server", created)
    with listen("::1", 0) as server:
        assert server.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert asked == [(("::1", 0), socket.AF_INET6)]
