"""The session for captions: connects to YouTube's own hosts only, at addresses that the guard allows.

youtube-transcript-api uses requests and not our web client. Its session rejects other hosts, and connects as
the web client does: it resolves the name itself, checks every address, and connects to one of the checked
addresses. TLS and the Host header still use the name.
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
"""Seconds to connect to one address, and to wait for each read."""

HOST: Final = "youtube.com"
_REDIRECTS: Final = 5


class HostRefused(requests.RequestException):
    """The library, or a redirect by YouTube, requested another host."""


class YouTubeSession(requests.Session):
    """A session for requests to YouTube only: TLS, time-outs, and no proxies of the environment."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.max_redirects = _REDIRECTS
        self.adapters.clear()
        self.mount("https://", GuardedAdapter(Guard()))

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        """Send one request; redirects are sent through here too.

        Raises:
            HostRefused: it is for another host or not https; nothing was sent.
            AddressRefused: the host's name resolves to a forbidden address; nothing was sent.
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
        guard: decides which addresses are allowed.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        super().__init__()

    def init_poolmanager(self, *sizes: Any, **options: Any) -> None:
        """Guard every connection; connections without TLS are not supported."""
        super().init_poolmanager(*sizes, **options)
        self.poolmanager.pool_classes_by_scheme = {"https": _guarded(self._guard)}


def _guarded(guard: Guard) -> type[HTTPSConnectionPool]:
    """Return a pool class whose connections use the guard; the library can't pass the guard on to them."""

    class Connection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            where = f"{self.host}:{self.port}"
            try:
                found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            except socket.gaierror as error:
                raise NameResolutionError(self.host, self, error) from error
            # Legitimate names don't mix public and private addresses, so a single forbidden one rejects the
            # name.
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
