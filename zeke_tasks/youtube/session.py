"""The session that captions are asked for with: YouTube's own hosts, at addresses that the guard lets pass.

youtube-transcript-api uses requests, so what it asks does not go through our web client. Its session refuses
other hosts, and connects as the web client does: it resolves the name itself, checks every address, and
connects to one of those very addresses. TLS and the Host header still use the name.
"""

from __future__ import annotations

import socket
from typing import Any, ClassVar, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool
from urllib3.exceptions import NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

from zeke_tasks.fetch.errors import WebError
from zeke_tasks.fetch.guard import Guard
from zeke_tasks.fetch.urls import parse_http_url

TIMEOUT: Final = (5.0, 15.0)
"""Seconds to connect to one address, and to wait for more of an answer."""

HOST: Final = "youtube.com"
_REDIRECTS: Final = 5


class HostRefused(requests.RequestException):
    """The library, or an answer of YouTube's, wants to go elsewhere."""


class YouTubeSession(requests.Session):
    """A session that asks YouTube only, over TLS, with time-outs, and past the environment's proxies."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.max_redirects = _REDIRECTS
        self.adapters.clear()
        self.mount("https://", GuardedAdapter(Guard()))

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send one request; each redirect comes through here too.

        Raises:
            HostRefused: it is for another host, or not for https; nothing was sent.
            AddressRefused: the host's name leads to an address that may not be reached; nothing was sent.
        """
        try:
            target = parse_http_url(request.url or "")
        except WebError as error:
            raise HostRefused(str(error)) from None
        name = target.hostname
        if target.protocol != "https:" or target.port or not (name == HOST or name.endswith(f".{HOST}")):
            raise HostRefused(f"{target.origin} is not asked for captions, only https://www.{HOST} is")
        return super().send(request, **{**kwargs, "timeout": TIMEOUT})


class GuardedAdapter(HTTPAdapter):
    """Sends requests over TLS, and connects to checked addresses only.

    Args:
        guard: what may be reached.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        super().__init__()

    def init_poolmanager(self, *sizes: Any, **options: Any) -> None:
        """Guard every connection; there is none without TLS."""
        super().init_poolmanager(*sizes, **options)
        self.poolmanager.pool_classes_by_scheme = {"https": _guarded(self._guard)}


def _guarded(guard: Guard) -> type[HTTPSConnectionPool]:
    """Return a pool whose connections ask the guard; the library makes both, and hands nothing on to them."""

    class Connection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            where = f"{self.host}:{self.port}"
            try:
                found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            except socket.gaierror as error:
                raise NameResolutionError(self.host, self, error) from error
            # One address that is refused refuses the name: honest names don't mix public and private ones.
            addresses = [guard.check_address(where, str(entry[4][0])) for entry in found]
            failure: OSError | None = None
            for address in dict.fromkeys(addresses):
                try:
                    return create_connection(
                        (address, self.port),
                        self.timeout,
                        source_address=self.source_address,
                        socket_options=self.socket_options,
                    )
                except OSError as error:
                    failure = error
            raise NewConnectionError(self, f"no address of {self.host} answers: {failure}") from failure

    class Pool(HTTPSConnectionPool):
        ConnectionCls: ClassVar[Any] = Connection

    return Pool
