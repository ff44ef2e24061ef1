"""Clients of the application, and ways to it on which requests and answers are lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from tests.web.conftest import Web
from zeke_queue.api_client import JobsClient
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import SeededEntropy


class Hasty(SystemClock):
    """A clock whose pauses are noted, and last no longer than others need to take a step."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await super().sleep(0.001)


class Way(httpx2.AsyncBaseTransport):
    """A transport to a server; the test's faults apply to the next requests, one each.

    An error is raised instead of the request, or (``lose_answer``) after it was served; a
    response is given instead of the server's.
    """

    def __init__(self, way: httpx2.AsyncBaseTransport) -> None:
        self._way = way
        self._next: list[httpx2.Response | Exception | None] = []
        self.requests: list[httpx2.Request] = []

    def meet(self, *what: httpx2.Response | Exception) -> None:
        self._next.extend(what)

    def lose_answer(self) -> None:
        self._next.append(None)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        if not self._next:
            return await self._way.handle_async_request(request)
        what = self._next.pop(0)
        if what is None:
            await (await self._way.handle_async_request(request)).aread()
            raise httpx2.ReadError("the connection was reset")
        if isinstance(what, Exception):
            raise what
        return what


@pytest.fixture
def hasty() -> Hasty:
    """What clients pause by."""
    return Hasty()


@pytest.fixture
def way(call: Web) -> Way:
    """The way to the application."""
    return Way(httpx2.ASGITransport(call.app, raise_app_exceptions=False, client=("127.0.0.1", 50_000)))


@pytest.fixture
def client(way: Way, hasty: Hasty) -> Callable[..., JobsClient]:
    """Makes clients that go that way."""

    def client(token: str | None = None, **how: Any) -> JobsClient:
        own: dict[str, Any] = {"transport": way, "clock": hasty, "entropy": SeededEntropy(1), **how}
        return JobsClient("http://localhost", token, **own)

    return client


@pytest.fixture
async def jobs(client: Callable[..., JobsClient]) -> AsyncIterator[JobsClient]:
    """A client on the server's machine, of a server that has no keys."""
    async with client() as jobs:
        yield jobs
