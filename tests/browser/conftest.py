"""A server with data for every page, a browser, and windows of users, which are monitored.

These tests are collected only where their folder is named, as ``nox -s browser`` does; see the conftest
above.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.browser.chromium import launch
from tests.browser.house import House
from tests.browser.scene import furnish
from zeke_queue.storage.access import Scope
from zeke_queue.system.settings import Settings
from zeke_queue.web import WebSettings
from zeke_queue.web.access.guard import COOKIE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request

    from tests.database import Databases

PATIENCE: Final = 30_000
"""Milliseconds that a page is waited for: enough for any machine."""

expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="session", autouse=True)
def no_settings() -> Iterator[None]:
    """Remove variables of the machine that would affect the result of a test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in (*Settings.model_fields, *WebSettings.model_fields):
            patch.delenv(name.upper(), raising=False)
        yield


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture
def house(dsn: str, no_settings: None) -> Iterator[House]:
    """A server on a database of its own; a worker only once ``house.work()`` is called."""
    with House(dsn) as opened:
        yield opened


@dataclass
class Watch:
    """The console output and requests of pages.

    Attributes:
        console: the lines of the browser's console, with their kind.
        faults: errors of scripts, which nothing caught.
        elsewhere: addresses on other hosts that were asked for.
    """

    origin: str
    console: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def over(self, context: BrowserContext) -> None:
        context.on("console", self._said)
        context.on("weberror", lambda error: self.faults.append(str(error.error)))
        context.on("request", self._asked)

    def _said(self, message: ConsoleMessage) -> None:
        self.console.append(f"{message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" != self.origin:
            self.elsewhere.append(request.url)

    def violations(self) -> list[str]:
        """Return what the content security policy has refused."""
        return [said for said in self.console if "Content Security Policy" in said]


class Visits:
    """Opens windows of the browser for users with and without keys, and watches all of their pages."""

    def __init__(self, chromium: Browser, house: House) -> None:
        self._chromium = chromium
        self._house = house
        self._contexts: list[BrowserContext] = []
        self.watch = Watch(house.url)

    def stranger(self, **how: Any) -> Page:
        """Open a window for a user that is not signed in."""
        context = self._chromium.new_context(base_url=f"{self._house.url}/dashboard/", **how)
        context.set_default_timeout(PATIENCE)
        self._contexts.append(context)
        self.watch.over(context)
        return context.new_page()

    def user(self, *scopes: Scope, name: str = "Ada", **how: Any) -> Page:
        """Open a window for a user signed in with a key, by default with all scopes."""
        page = self.stranger(**how)
        key, _ = self._house.key(*scopes, name=name)
        token = self._house.session(key)
        page.context.add_cookies([{"name": COOKIE, "value": token, "url": f"{self._house.url}/dashboard"}])
        return page

    def close(self) -> None:
        """Close all windows; no page may have run forbidden code, or sent a request to another host."""
        for context in self._contexts:
            context.close()
        assert self.watch.elsewhere == []
        assert self.watch.violations() == []
        assert self.watch.faults == []


@pytest.fixture
def visits(chromium: Browser, house: House) -> Iterator[Visits]:
    opened = Visits(chromium, house)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def furnished(databases: Databases, no_settings: None) -> Iterator[tuple[House, dict[str, str]]]:
    """A server with data for every page, and the addresses of the pages; tests do not change it."""
    with databases.database() as dsn, House(dsn) as opened:
        yield opened, furnish(opened)


@pytest.fixture
def page(visits: Visits) -> Page:
    """A window of a user with all scopes."""
    return visits.user()
