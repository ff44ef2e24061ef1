"""Access to the servers on this machine that a user named explicitly, and to no others on it."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, cast

import httpcore2

from zeke_tasks.fetch import AddressRefused, UrlRefused, WebClient, WebOptions
from zeke_tasks.fetch.urls import parse_http_url

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection, Iterable

    from zeke_tasks.fetch import Fetched, Fetcher, Kind

LOOPBACK: Final = ("127.0.0.0/8", "::1/128")

_THIS_MACHINE = re.compile(r"127\.[\d.]+|\[::1\]|(?:.+\.)?localhost")


class NamedServers:
    """A web client that also reaches named servers on this machine.

    All other URLs, such as links and redirects of an untrusted feed, and URLs of other users' jobs that run
    here, are fetched as usual.

    Args:
        web: fetches within its restrictions, with pauses between requests.
        local: fetches from this machine, without pauses.
        named: URLs; a server is a URL's scheme, host and port. Invalid URLs are ignored.
    """

    def __init__(self, web: Fetcher, local: Fetcher, named: Iterable[str]) -> None:
        self._web = web
        self._local = local
        self._named = {origin for url in named if (origin := _origin(url)) is not None}

    async def fetch(
        self, url: str, *, kind: Kind, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched:
        """Fetch a URL, from this machine if its server is named."""
        named = _origin(url) in self._named
        if not (named and _is_this_machine(url)):
            try:
                return await self._web.fetch(url, kind=kind, etag=etag, last_modified=last_modified)
            except AddressRefused as refused:
                # The target of a named server's redirect was not chosen by the user, so it stays forbidden.
                if not named or refused.why != "loopback" or _origin(refused.url) != _origin(url):
                    raise
        return await self._local.fetch(url, kind=kind, etag=etag, last_modified=last_modified)


@asynccontextmanager
async def reach_named(web: Fetcher, named: Iterable[str]) -> AsyncGenerator[Fetcher]:
    """Return a web client that also reaches the named servers on this machine.

    Args:
        web: fetches all other URLs.
        named: URLs of the servers.
    """
    named = tuple(named)
    if not named:
        yield web
        return
    ports = {port for url in named if (port := _port(url)) is not None}
    # Requests to this machine need no pauses.
    async with WebClient(WebOptions(allow=LOOPBACK, gap=0.0), network=_NamedPorts(ports)) as local:
        yield NamedServers(web, local, named)


class _NamedPorts(httpcore2.AsyncNetworkBackend):
    """Opens connections on this machine to some ports only, even after redirects."""

    def __init__(self, ports: Collection[int]) -> None:
        self._ports = ports
        # The library's fallback for a missing anyio hides the type, so it is cast.
        self._network = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Connect to an address.

        Raises:
            AddressRefused: it is an address of this machine and the port is not allowed; nothing was sent.
        """
        if ip_address(host).is_loopback and port not in self._ports:
            raise AddressRefused(f"{host}:{port}", host, "loopback")
        return await self._network.connect_tcp(
            host, port, timeout=timeout, local_address=local_address, socket_options=socket_options
        )


def _origin(url: str) -> str | None:
    try:
        return parse_http_url(url).origin
    except UrlRefused:
        return None


def _port(url: str) -> int | None:
    try:
        parsed = parse_http_url(url)
    except UrlRefused:
        return None
    return int(parsed.port or (443 if parsed.protocol == "https:" else 80))


def _is_this_machine(url: str) -> bool:
    """Return whether a URL's host is this machine by its name alone, without resolving it."""
    return _THIS_MACHINE.fullmatch(parse_http_url(url).hostname) is not None
