"""Fetch a URL: the one client through which everything that comes from the web comes in."""

from __future__ import annotations

import ssl
from contextlib import aclosing
from dataclasses import dataclass, replace
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Literal, Protocol, Self

import anyio
import httpcore2
import httpx2

from zeke_queue.system.clock import Clock, SystemClock
from zeke_tasks.fetch.answers import MOVED_FOR_GOOD, NOT_MODIFIED, REDIRECTS, failure, is_success
from zeke_tasks.fetch.coding import ACCEPTED, BrokenCoding, Decoder, UnknownCoding
from zeke_tasks.fetch.errors import BodyRefused, Permanent, Transient, UrlRefused
from zeke_tasks.fetch.guard import Guard, GuardedBackend, Resolver, resolve
from zeke_tasks.fetch.politeness import Turns
from zeke_tasks.fetch.text import charset_of
from zeke_tasks.fetch.transport import GuardedTransport

Kind = Literal["feed", "page"]

_ACCEPT: dict[Kind, bytes] = {
    "feed": b"application/atom+xml, application/rss+xml, application/rdf+xml;q=0.9, "
    b"application/feed+json;q=0.9, application/xml;q=0.8, text/xml;q=0.8, application/json;q=0.7, */*;q=0.5",
    "page": b"text/html, application/xhtml+xml;q=0.9, */*;q=0.5",
}
# Below this a ratio says nothing: a short page of spaces is no bomb.
_RATIO_FLOOR = 2**20


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


@dataclass(frozen=True, slots=True)
class _Moved:
    """A redirect: where to, as written, and whether for good."""

    location: str
    for_good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """What a URL answered.

    Attributes:
        url: the URL that was asked for.
        final_url: the one that answered, after redirects.
        permanent_url: where it moved for good (every redirect was a 301 or 308), or None. Save it once the
            body proved to be what was expected.
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
        return charset_of(self.content_type)


class Fetcher(Protocol):
    """What tasks ask for URLs; `WebClient` is one, the simulator's web another."""

    async def fetch(
        self, url: str, *, kind: Kind, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched:
        """Fetch one URL; raises `Transient` or `Permanent`."""
        ...


class WebClient:
    """Fetches URLs that come from users: guarded, within limits, and politely. An async context manager.

    Redirects are followed here and not by the HTTP library, for each is a URL from a stranger, to be checked
    like the first. Cookies are not kept, proxies and netrc files of the environment not used.

    Args:
        options: limits and politeness.
        clock: tells the time and sleeps.
        resolver: returns a name's addresses; the system's by default.
        network: opens connections once an address is chosen; a double in tests.
        ssl_context: whom to trust; the usual authorities by default.
    """

    def __init__(
        self,
        options: WebOptions | None = None,
        *,
        clock: Clock | None = None,
        resolver: Resolver = resolve,
        network: httpcore2.AsyncNetworkBackend | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._options = options or WebOptions()
        self._clock = clock or SystemClock()
        self._guard = Guard(self._options.allow)
        self._turns = Turns(self._clock, per_host=self._options.per_host, gap=self._options.gap)
        self._http = httpx2.AsyncClient(
            transport=GuardedTransport(
                GuardedBackend(self._guard, resolver=resolver, network=network), ssl_context
            ),
            # The time-out is ours, over redirects and body; the library's are for each read.
            timeout=None,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        """Start; connections are opened when they are needed."""
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
            kind: what is hoped for; servers that have several forms of a page are told.
            etag: the validator of an earlier `Fetched`, given back unchanged.
            last_modified: the other validator.

        Raises:
            UrlRefused, AddressRefused: the URL, or one it redirects to, is not fetched.
            BodyRefused: the body is too large.
            Transient: it may work later; ``retry_after`` says when.
            Permanent: any other answer without success, too many redirects, a bad certificate.
        """
        headers = self._headers(kind, etag, last_modified)
        target = self._guard.check_url(url)
        moved_for_good = True
        seconds_left = self._options.timeout
        for hop in range(self._options.max_redirects + 1):
            target.hash = ""
            async with self._turns.turn(target.host):
                began = self._clock.monotonic()
                # The library would decode the name to write it, and fails on some that browsers take.
                host = {b"Host": target.host.encode("ascii")}
                answer = await self._ask_within(seconds_left, target.href, host | headers)
                seconds_left -= self._clock.monotonic() - began
            if answer is None:
                raise Transient(target.href, f"no whole answer within {self._options.timeout:g} seconds")
            if isinstance(answer, Fetched):
                moved = target.href if hop and moved_for_good else None
                return replace(answer, url=url, permanent_url=moved)
            moved_for_good = moved_for_good and answer.for_good
            target = self._guard.check_url(answer.location, target.href)
        raise Permanent(target.href, f"more than {self._options.max_redirects} redirects lead here")

    def _headers(self, kind: Kind, etag: str | None, last_modified: str | None) -> dict[bytes, bytes]:
        headers = {
            b"User-Agent": self._options.user_agent.encode("ascii", "replace"),
            b"Accept": _ACCEPT[kind],
            b"Accept-Encoding": ", ".join(ACCEPTED).encode(),
        }
        # Validators are opaque bytes; Latin-1 carries each of them there and back.
        if etag is not None:
            headers[b"If-None-Match"] = etag.encode("latin-1", "replace")
        if last_modified is not None:
            headers[b"If-Modified-Since"] = last_modified.encode("latin-1", "replace")
        return headers

    async def _ask_within(
        self, seconds: float, url: str, headers: dict[bytes, bytes]
    ) -> Fetched | _Moved | None:
        with anyio.move_on_after(seconds):
            return await self._ask(url, headers)
        return None

    async def _ask(self, url: str, headers: dict[bytes, bytes]) -> Fetched | _Moved:
        """Send one request and read what it answers, up to the limits."""
        try:
            async with self._http.stream("GET", url, headers=list(headers.items())) as response:
                return await self._answer(url, headers, response)
        except httpx2.InvalidURL as error:
            raise UrlRefused(url, f"is no URL that can be asked for: {error}") from error
        except UnknownCoding as error:
            raise Permanent(url, f"the body {error}") from error
        except BrokenCoding as error:
            raise Transient(url, f"the body {error}") from error

    async def _answer(
        self, url: str, headers: dict[bytes, bytes], response: httpx2.Response
    ) -> Fetched | _Moved:
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
        etag, last_modified = sent.get(b"etag"), sent.get(b"last-modified")
        if not_modified:
            # What the 304 does not repeat still stands.
            etag = etag or _text(headers.get(b"If-None-Match"))
            last_modified = last_modified or _text(headers.get(b"If-Modified-Since"))
        return Fetched(
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

    async def _read(self, url: str, response: httpx2.Response) -> bytes:
        """Read the body, and stop as soon as it is over a limit."""
        decoder = Decoder(response.headers.get("content-encoding", ""))
        announced = response.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > self._options.max_bytes:
            raise BodyRefused(
                url, f"the body has {announced} bytes; at most {self._options.max_bytes} are read"
            )
        body = bytearray()
        async with aclosing(response.aiter_raw()) as parts:
            async for part in parts:
                for piece in decoder.feed(part):
                    body += piece
                    self._check_size(url, len(body), response.num_bytes_downloaded)
        decoder.close()
        return bytes(body)

    def _check_size(self, url: str, size: int, sent: int) -> None:
        limit, ratio = self._options.max_bytes, self._options.max_ratio
        if size > limit:
            raise BodyRefused(url, f"the body goes on after {limit} bytes, the most that are read")
        if size > _RATIO_FLOOR and size > ratio * sent:
            raise BodyRefused(url, f"the body inflates to more than {ratio:g} times what was sent")


def _text(header: bytes | None) -> str | None:
    return None if header is None else header.decode("latin-1")
