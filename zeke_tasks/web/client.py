"""Fetching."""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

from zeke_queue.clock import Clock, SystemClock

type_of = type
Kind = Literal["feed", "page"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """How politely and how much is fetched; the defaults are those of production.

    Attributes:
        user_agent: what we call ourselves.
        timeout: seconds for one fetch, with redirects and body; waiting for the host's turn not counted.
        max_redirects: redirects that are followed.
        max_bytes: cap of a body after decompression.
        max_ratio: how many bytes one compressed byte may become, once over a megabyte.
        max_retry_after: cap in seconds of what a server may ask us to wait.
        per_host: requests at a time to one host.
        gap: seconds between the starts of two requests to one host.
        allow: networks that are reached although they are on the deny table; ``("127.0.0.1/32",)`` in tests.
    """

    user_agent: str = "Zeke/0.1 (feed reader)"
    timeout: float = 15.0
    max_redirects: int = 5
    max_bytes: int = 15 * 2**20
    max_ratio: float = 100.0
    max_retry_after: float = 6 * 3600.0
    per_host: int = 2
    gap: float = 1.0
    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a URL answered.

    Attributes:
        url: the URL that was asked for.
        final_url: the one that answered, after redirects.
        permanent_url: where it moved for good (every redirect was a 301 or 308), or None. Save it once the body
            proved to be what was expected.
        status: 200–299, or 304.
        body: decompressed; empty if ``not_modified``.
        content_type: the header as sent, ``""`` if there was none.
        etag, last_modified: opaque; give them back to the next `fetch`. Set on a 304 too.
        not_modified: nothing new since the validators that were given.
    """

    url: str
    final_url: str
    permanent_url: str | None
    status: int
    body: bytes
    content_type: str
    etag: str | None
    last_modified: str | None
    not_modified: bool

    @property
    def charset(self) -> str | None:
        """The charset that the server claims, or None; a hint, often wrong."""
        raise NotImplementedError


class Fetcher(Protocol):
    """What tasks ask for URLs; `WebClient` is one, the simulator's web another."""

    async def fetch(
        self, url: str, *, kind: Kind, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched:
        """Fetch one URL; raises `Transient` or `Permanent`."""
        ...


class WebClient:
    """Fetches."""

    def __init__(self, options: WebOptions | None = None, *, clock: Clock | None = None) -> None:
        self._options = options or WebOptions()
        self._clock = clock or SystemClock()

    async def __aenter__(self) -> Self:
        """Open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""

    async def fetch(
        self, url: str, *, kind: Kind, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched:
        """Fetch."""
        raise NotImplementedError
