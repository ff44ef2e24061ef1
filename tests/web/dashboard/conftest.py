"""A browser, as far as the pages need one: it follows forms and links, and keeps cookies."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from typing import Any

import httpx2
import pytest

from tests.web.conftest import Web
from zeke_queue.storage.access import Scope


class Browser:
    def __init__(self, client: httpx2.AsyncClient, root: str = "/dashboard") -> None:
        self.client = client
        self.root = root
        self.csrf = ""

    async def see(self, path: str, status: int = 200, **headers: str) -> str:
        """Open a page of the dashboard; returns its HTML."""
        answer = await self.client.get(self.root + path, headers=headers)
        assert answer.status_code == status, answer.text
        if found := re.search(r'name="csrf" value="([0-9a-f]*)"', answer.text):
            self.csrf = found[1]
        return answer.text

    async def send(self, path: str, status: int = 303, /, **form: Any) -> httpx2.Response:
        """Send a form, as one of this browser's pages would."""
        answer = await self.client.post(self.root + path, data={"csrf": self.csrf, **form})
        assert answer.status_code == status, answer.text
        return answer

    async def note(self, path: str, /, **form: Any) -> str:
        """Send a form; returns the note that the page behind it shows."""
        answer = await self.send(path, **form)
        page = (await self.client.get(answer.headers["location"])).text
        found = re.search(r'id="note">(.*?)</p>', page)
        assert found, page
        return unescape(found[1])

    async def sign_in(self, key: str) -> None:
        await self.send("/sign-in", key=key)
        await self.see("/")


@pytest.fixture
async def browser(call: Web) -> AsyncIterator[Browser]:
    """A browser of an application that is open to all."""
    async with call.client() as client:
        yield Browser(client)


@asynccontextmanager
async def signed_in(call: Web, scope: Scope = Scope.ADMIN, name: str = "Ada") -> AsyncIterator[Browser]:
    """Open a browser whose user has signed in with a key of this scope."""
    async with call.client() as client:
        browser = Browser(client)
        await browser.sign_in(await call.key(scope, name=name))
        yield browser


@pytest.fixture
async def admin(call: Web) -> AsyncIterator[Browser]:
    """A browser whose user has signed in with a key that may do everything."""
    async with signed_in(call) as browser:
        yield browser


@pytest.fixture
async def reader(call: Web) -> AsyncIterator[Browser]:
    """A browser whose user has signed in with a key that may only read."""
    async with signed_in(call, Scope.READ, "Rita") as browser:
        yield browser
