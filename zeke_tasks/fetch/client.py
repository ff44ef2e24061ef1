"""The web client, through which all requests to the web go, except those for captions."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Literal, ParamSpec, Protocol, Self, TypeVar

import anyio
import httpcore2
import httpx2

from zeke_queue.system.clock import Clock, SystemClock
from zeke_tasks.fetch.answers import MOVED_FOR_GOOD, NOT_MODIFIED, REDIRECTS, failure, is_success
from zeke_tasks.fetch.decoder import (
    ACCEPTED,
    BrokenCoding,
    TooLarge,
    UnknownCoding,
    codings_of,
    decode_body,
)
from zeke_tasks.fetch.errors import BodyRefused, Permanent, TooExpensiveDocument, Transient, UrlRefused
from zeke_tasks.fetch.guard import Guard, GuardedBackend, Resolver, resolve
from zeke_tasks.fetch.parser_pool import Compute, ParserKilled, TooExpensive, Unreadable
from zeke_tasks.fetch.politeness import Turns
from zeke_tasks.fetch.text import charset_of
from zeke_tasks.fetch.transport import GuardedTransport

Kind = Literal["feed", "page"]

_ACCEPT: dict[Kind, bytes] = {
    "feed": b"application/atom+xml, application/rss+xml, application/rdf+xml;q=0.9, "
    b"application/feed+json;q=0.9, application/xml;q=0.8, text/xml;q=0.8, application/json;q=0.7, */*;q=0.5",
    "page": b"text/html, application/xhtml+xml;q=0.9, */*;q=0.5",
}
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """Limits and politeness of fetching; the defaults are those of production.

    Attributes:
        user_agent: the User-Agent header.
        timeout: seconds for one fetch, including redirects and body, but neither the wait for the host's turn
            nor the decompression of the body, which the limits of documents bound.
        max_redirects: limit of redirects.
        max_bytes: cap of a body, as it is sent and after each of its codings is undone.
        max_ratio: limit of decompressed bytes per compressed byte, for bodies over a megabyte.
        max_retry_after: cap of a server's Retry-After in seconds.
        per_host: limit of concurrent requests to one host.
        gap: seconds between the starts of two requests to one host.
        allow: internal servers that may be fetched, as for ``Guard``; ``("127.0.0.1/32",)`` in tests.
        allowed_gap: the same as ``gap``, for the servers in ``allow``; None for no difference.
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
    allowed_gap: float | None = None


@dataclass(frozen=True, slots=True)
class _Moved:
    """A redirect: its target as written, and whether it is permanent."""

    location: str
    for_good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """The answer to a fetch.

    Attributes:
        url: the requested URL.
        final_url: the one that answered, after redirects.
        permanent_url: the new URL if every redirect was permanent (301 or 308), or None. Save it only after
            the body has proved valid.
        status: 200–299, or 304.
        body: decompressed; empty if ``not_modified``.
        content_type: the header as sent, ``""`` if there was none.
        etag, last_modified: opaque validators to pass to the next `fetch`. Set on a 304 too.
        not_modified: whether the content is unchanged since the given validators.
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
        """The charset claimed by the server, or None; a hint, often wrong."""
        return charset_of(self.content_type)


@dataclass(frozen=True, slots=True)
class _Received:
    """An answer whose body is as it was sent, and its Content-Encoding."""

    fetched: Fetched
    coding: str


async def _in_a_thread(function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
    return await asyncio.to_thread(function, *args, **options)


class Fetcher(Protocol):
    """Fetches URLs for tasks; implemented by `WebClient` and the simulator's web."""

    async def fetch(
        self, url: str, *, kind: Kind, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched:
        """Fetch one URL; raises `Transient` or `Permanent`."""
        ...


class WebClient:
    """Fetches users' URLs: guarded, within limits, and politely. An async context manager.

    Each redirect is an untrusted URL that must be checked like the first, so redirects are followed here and
    not by the HTTP library. Cookies are not kept; proxies and netrc files of the environment are not used.

    Args:
        options: limits and politeness.
        clock: gives the time and sleeps.
        resolver: returns a name's addresses; the system's by default.
        network: opens connections to chosen addresses; a double in tests.
        ssl_context: the trusted authorities; the usual ones by default.
        compute: runs the decoder of compressed bodies; a thread by default, in production the processes that
            read documents, which are killed if it takes too long.
    """

    def __init__(
        self,
        options: WebOptions | None = None,
        *,
        clock: Clock | None = None,
        resolver: Resolver = resolve,
        network: httpcore2.AsyncNetworkBackend | None = None,
        ssl_context: ssl.SSLContext | None = None,
        compute: Compute = _in_a_thread,
    ) -> None:
        self._compute = compute
        self._options = options or WebOptions()
        self._clock = clock or SystemClock()
        self._guard = Guard(self._options.allow)
        self._turns = Turns(self._clock, per_host=self._options.per_host, gap=self._options.gap)
        self._http = httpx2.AsyncClient(
            transport=GuardedTransport(
                GuardedBackend(self._guard, resolver=resolver, network=network), ssl_context
            ),
            # The library's time-outs are per read; ours covers redirects and body.
            timeout=None,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        """Start; connections are opened on demand."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close every connection."""
        await self._http.aclose()

    async def fetch(
        self, url: str, *, kind: Kind, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched:
        """Fetch one URL.

        Args:
            url: absolute, http or https.
            kind: the expected content, for the Accept header.
            etag: the validator of an earlier `Fetched`, unchanged.
            last_modified: the other validator.

        Raises:
            UrlRefused, AddressRefused: the URL, or one it redirects to, is forbidden.
            BodyRefused: the body is too large.
            Transient: a later attempt may succeed; ``retry_after`` says when.
            Permanent: any other unsuccessful answer, too many redirects, an invalid certificate.
        """
        headers = self._headers(kind, etag, last_modified)
        target = self._guard.check_url(url)
        moved_for_good = True
        seconds_left = self._options.timeout
        for hop in range(self._options.max_redirects + 1):
            target.hash = ""
            is_listed = self._options.allowed_gap is not None and self._guard.lists(target)
            gap = self._options.allowed_gap if is_listed else None
            async with self._turns.turn(target.host, gap=gap):
                began = self._clock.monotonic()
                # The library decodes the name for this header and fails on some names that browsers accept.
                host = {b"Host": target.host.encode("ascii")}
                answer = await self._ask_within(seconds_left, target.href, host | headers)
                seconds_left -= self._clock.monotonic() - began
            if answer is None:
                raise Transient(target.href, f"no complete answer within {self._options.timeout:g} seconds")
            if isinstance(answer, _Received):
                moved = target.href if hop and moved_for_good else None
                # Outside of the host's turn and of the server's time, since both are this machine's.
                return replace(await self._decoded(target.href, answer), url=url, permanent_url=moved)
            moved_for_good = moved_for_good and answer.for_good
            target = self._guard.check_url(answer.location, target.href)
        raise Permanent(target.href, f"it took more than {self._options.max_redirects} redirects")

    def _headers(self, kind: Kind, etag: str | None, last_modified: str | None) -> dict[bytes, bytes]:
        headers = {
            b"User-Agent": self._options.user_agent.encode("ascii", "replace"),
            b"Accept": _ACCEPT[kind],
            b"Accept-Encoding": ", ".join(ACCEPTED).encode(),
        }
        # Validators are opaque bytes; Latin-1 preserves all of them.
        if etag is not None:
            headers[b"If-None-Match"] = etag.encode("latin-1", "replace")
        if last_modified is not None:
            headers[b"If-Modified-Since"] = last_modified.encode("latin-1", "replace")
        return headers

    async def _ask_within(
        self, seconds: float, url: str, headers: dict[bytes, bytes]
    ) -> _Received | _Moved | None:
        with anyio.move_on_after(seconds):
            return await self._ask(url, headers)
        return None

    async def _ask(self, url: str, headers: dict[bytes, bytes]) -> _Received | _Moved:
        """Send one request and read the answer, up to the limits."""
        try:
            async with self._http.stream("GET", url, headers=list(headers.items())) as response:
                return await self._answer(url, headers, response)
        except httpx2.InvalidURL as error:
            raise UrlRefused(url, f"cannot be requested: {error}") from error
        except UnknownCoding as error:
            raise Permanent(url, f"the body {error}") from error

    async def _answer(
        self, url: str, headers: dict[bytes, bytes], response: httpx2.Response
    ) -> _Received | _Moved:
        status = response.status_code
        sent = {name.lower(): value.decode("latin-1") for name, value in response.headers.raw}
        if status in REDIRECTS and b"location" in sent:
            return _Moved(response.headers["location"], for_good=status in MOVED_FOR_GOOD)
        not_modified = status == NOT_MODIFIED and bool(
            {b"If-None-Match", b"If-Modified-Since"} & headers.keys()
        )
        if not not_modified and not is_success(status):
            raise failure(
                url,
                status,
                response.reason_phrase,
                sent.get(b"retry-after"),
                now=self._clock.now(),
                max_wait=self._options.max_retry_after,
            )
        body = b"" if not_modified else await self._read(url, response)
        coding = "" if not_modified else response.headers.get("content-encoding", "")
        etag, last_modified = sent.get(b"etag"), sent.get(b"last-modified")
        if not_modified:
            # A 304 may omit validators that are still valid.
            etag = etag or _text(headers.get(b"If-None-Match"))
            last_modified = last_modified or _text(headers.get(b"If-Modified-Since"))
        fetched = Fetched(
            url=url,
            final_url=url,
            permanent_url=None,
            status=status,
            body=body,
            content_type=sent.get(b"content-type", ""),
            etag=etag,
            last_modified=last_modified,
            not_modified=not_modified,
        )
        return _Received(fetched, coding if body else "")

    async def _read(self, url: str, response: httpx2.Response) -> bytes:
        """Read the body as it was sent, and stop as soon as it exceeds the limit."""
        codings_of(response.headers.get("content-encoding", ""))  # one that can't be decoded is not read
        announced, limit = response.headers.get("content-length", ""), self._options.max_bytes
        if announced.isdecimal() and int(announced) > limit:
            raise BodyRefused(url, f"the body has {announced} bytes; at most {limit} are read")
        body = bytearray()
        async with aclosing(response.aiter_raw()) as parts:
            async for part in parts:
                body += part
                if len(body) > limit:
                    raise BodyRefused(url, f"the body has more than {limit} bytes, the limit")
        return bytes(body)

    async def _decoded(self, url: str, received: _Received) -> Fetched:
        """Return the answer with its body decompressed.

        Raises:
            BodyRefused: it exceeds a limit.
            TooExpensiveDocument: it takes too much processor time or memory.
            Transient, Permanent: it can't be decompressed.
        """
        fetched = received.fetched
        if not received.coding:
            return fetched
        limits = (self._options.max_bytes, self._options.max_ratio)
        try:
            body = await self._compute(decode_body, fetched.body, received.coding, *limits)
        except TooLarge as error:
            raise BodyRefused(url, f"the body {error}") from error
        except BrokenCoding as error:
            raise Transient(url, f"the body {error}") from error
        except TooExpensive as error:
            raise TooExpensiveDocument(url, str(error)) from error
        except Unreadable as error:
            raise BodyRefused(url, str(error)) from error
        except ParserKilled as error:
            raise Transient(url, str(error)) from error
        return replace(fetched, body=body)


def _text(header: bytes | None) -> str | None:
    return None if header is None else header.decode("latin-1")
