"""Servers on this machine that a user named: they are read, and no others on it."""

from __future__ import annotations

import pytest

from tests.cases import check_each_async
from tests.tasks.scripted_web import ScriptedWeb, fetched, page
from zeke_tasks.fetch import AddressRefused, UrlRefused
from zeke_tasks.ingest.named import NamedServers

NAMED = ("http://127.0.0.1:8080/feed", "http://localhost/a", "https://blog.example/feed", "no URL")


async def _who_is_asked(url: str, refused: str | None = None) -> str:
    """Return which web client fetches a URL; the public one refuses the given URL."""
    web, local = ScriptedWeb(), ScriptedWeb()
    web.put(
        url, AddressRefused(refused, "127.0.0.1", "loopback") if refused else fetched(url, page("W", "w"))
    )
    local.put(url, fetched(url, page("L", "l")))
    got = await NamedServers(web, local, NAMED).fetch(url, kind="page")
    return "local" if b"<title>L" in got.body else "web"


async def test_only_named_local_servers_are_fetched_locally() -> None:
    async def check(url: str, asked: str) -> None:
        assert await _who_is_asked(url) == asked

    cases = [
        ("http://127.0.0.1:8080/other?page=2", "local"),
        ("http://LOCALHOST:80/", "local"),
        ("http://127.0.0.1:8081/feed", "web"),
        ("http://127.0.0.1/feed", "web"),
        ("https://127.0.0.1:8080/feed", "web"),
        ("http://localhost:8080/feed", "web"),
        ("http://127.0.0.2:8080/feed", "web"),
        ("https://news.example/feed", "web"),
        # It is on the internet, and is shown what all servers there are.
        ("https://blog.example/feed", "web"),
    ]
    await check_each_async(cases, check)


async def test_named_host_that_resolves_to_loopback_is_fetched() -> None:
    assert await _who_is_asked("https://blog.example/a", "https://blog.example/a") == "local"


async def test_redirect_to_unnamed_local_server_is_refused() -> None:
    async def check(url: str, refused: str) -> None:
        with pytest.raises(AddressRefused):
            await _who_is_asked(url, refused)

    cases = [
        ("https://news.example/a", "https://news.example/a"),
        ("https://blog.example/a", "http://127.0.0.1:9000/admin"),
        ("https://news.example/a", "http://127.0.0.1:8080/feed"),
        ("http://127.0.0.1:9000/admin", "http://127.0.0.1:9000/admin"),
    ]
    await check_each_async(cases, check)


async def test_invalid_url_is_refused() -> None:
    web = ScriptedWeb()
    web.put("no URL", UrlRefused("no URL", "must be an absolute URL"))
    with pytest.raises(UrlRefused):
        await NamedServers(web, ScriptedWeb(), NAMED).fetch("no URL", kind="page")
