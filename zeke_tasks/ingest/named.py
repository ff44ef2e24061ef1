"""The servers on this machine that somebody named, and may have read: those alone, and no others on it."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from zeke_tasks.web import AddressRefused, UrlRefused, WebClient, WebOptions
from zeke_tasks.web.urls import parse_http_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from zeke_tasks.web import Fetched, Fetcher, Kind

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")

_THIS_MACHINE = re.compile(r"127\.[\d.]+|\[::1\]|(?:.+\.)?localhost")


class NamedServers:
    """A web that reaches this machine too, but only where a URL leads to a server that was named.

    What a feed of a stranger's links to, or redirects to, is fetched as ever, and so is what other people's
    jobs want that are run here as well.

    Args:
        web: fetches what it may, with the pauses that strangers' servers are shown.
        local: fetches from this machine, which needs none of them.
        named: URLs; a server is one's scheme, host and port. What is no URL names none.
    """

    def __init__(self, web: Fetcher, local: Fetcher, named: Iterable[str]) -> None:
        self._web = web
        self._local = local
        self._named = {origin for url in named if (origin := _origin(url)) is not None}

    async def fetch(
        self, url: str, *, kind: Kind, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched:
        """Fetch a URL; from this machine if its server was named."""
        named = _origin(url) in self._named
        if not (named and _is_this_machine(url)):
            try:
                return await self._web.fetch(url, kind=kind, etag=etag, last_modified=last_modified)
            except AddressRefused as refused:
                # Not where a server that was named redirects to: that is another one's choice.
                if not named or refused.why != "loopback" or _origin(refused.url) != _origin(url):
                    raise
        return await self._local.fetch(url, kind=kind, etag=etag, last_modified=last_modified)


@asynccontextmanager
async def reach_named(web: Fetcher, named: Iterable[str]) -> AsyncGenerator[NamedServers]:
    """Let a web reach servers on this machine that somebody named.

    Args:
        web: fetches all else.
        named: URLs of theirs.
    """
    async with WebClient(WebOptions(allow=LOOPBACK, gap=0.0)) as local:
        yield NamedServers(web, local, named)


def _origin(url: str) -> str | None:
    try:
        return parse_http_url(url).origin
    except UrlRefused:
        return None


def _is_this_machine(url: str) -> bool:
    """Tell whether a URL leads to this machine wherever its name leads: others are asked for by the way."""
    return _THIS_MACHINE.fullmatch(parse_http_url(url).hostname) is not None
