"""A scripted web for tests and simulations that records its requests.

A `Reply` is handled like a real server's answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from zeke_queue.system.clock import SystemClock
from zeke_tasks.fetch import Fetched, Permanent, Transient
from zeke_tasks.fetch.answers import MOVED_FOR_GOOD, NOT_MODIFIED, REDIRECTS, failure, is_success
from zeke_tasks.fetch.libraries import load_parsers

if TYPE_CHECKING:
    from collections.abc import Callable

    from zeke_queue.system.clock import Clock
    from zeke_tasks.fetch import Kind

HTML: Final = "text/html; charset=utf-8"
RSS: Final = "application/rss+xml"

TIMEOUT: Final = 15.0
"""Seconds after which the web's client gives up on a server."""

LONGEST_WAIT: Final = 86400.0
"""Maximum seconds of a server's Retry-After."""

MOST_REDIRECTS: Final = 5


class Asked(NamedTuple):
    """A request: its URL, the expected content, and the validators."""

    url: str
    kind: str
    etag: str | None
    last_modified: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A server's reply.

    Attributes:
        body: bytes, or text that is sent as UTF-8.
        content_type: the header.
        status: the HTTP status. A request with this etag or date gets a 304 automatically.
        etag, last_modified: validators.
        location: the target of a redirect, whose answer must be put too.
        retry_after: the header, as seconds or as the text of a date.
        late: seconds until the reply is complete; a client gives up after ``TIMEOUT``.
    """

    body: str | bytes = ""
    content_type: str = HTML
    status: int = 200
    etag: str | None = None
    last_modified: str | None = None
    location: str | None = None
    retry_after: float | str | None = None
    late: float = 0.0


Answer: TypeAlias = "str | bytes | Reply | Fetched | Exception"
"""A body, a server's reply, a client's result, or an exception that the client raises."""

Answers: TypeAlias = "Answer | Callable[[Asked], Answer]"

_NEVER: Final = datetime.min.replace(tzinfo=UTC)

MISSING: Final = Reply(status=404)


class ScriptedWeb:
    """A ``zeke_tasks.fetch.Fetcher`` with prepared answers.

    ::

        web = ScriptedWeb()
        web.put("https://a.example/feed", busy(retry_after=30), feed(("Bees", "https://a.example/1")))
        web.put("https://a.example/1", page("Bees", "bees"))

    Of several answers each is given once, and the last one repeatedly.

    Args:
        clock: gives the time for a Retry-After that is a date; the machine's by default. Late replies take
            their time by the running loop, in a simulation virtual time.

    Attributes:
        asked: the requests so far, including followed redirects.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        # Importing the parsers later would leave the simulation, so they are loaded now.
        load_parsers()
        self._clock = clock or SystemClock()
        self._answers: dict[str, list[Answers]] = {}
        self.asked: list[Asked] = []

    def put(self, url: str, *answers: Answers) -> None:
        """Set the answers of a URL in order, replacing earlier ones.

        Args:
            url: absolute.
            *answers: see ``Answer``, or functions that make one from the request; with none the URL is
            missing.
        """
        self._answers[url] = list(answers)

    def requests(self, url: str) -> list[Asked]:
        """Return the requests for a URL."""
        return [one for one in self.asked if one.url == url]

    async def fetch(
        self, url: str, *, kind: Kind, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched:
        """Answer a request; unknown URLs get a 404.

        Raises:
            Transient, Permanent: as raised by the web's client for such a reply.
        """
        place, for_good = url, True
        for hop in range(MOST_REDIRECTS + 1):
            reply = await self._reply(place, kind, etag, last_modified)
            if isinstance(reply, Fetched):
                moved = place if hop and for_good else reply.permanent_url
                return replace(reply, url=url, permanent_url=moved)
            assert reply.location is not None  # noqa: S101 - all others are returned as answers
            for_good = for_good and reply.status in MOVED_FOR_GOOD
            place = reply.location
        raise Permanent(place, f"it took more than {MOST_REDIRECTS} redirects")

    async def _reply(
        self, url: str, kind: Kind, etag: str | None, last_modified: str | None
    ) -> Fetched | Reply:
        """Return the answer of one URL, or a redirect to follow."""
        asked = Asked(url, kind, etag, last_modified)
        self.asked.append(asked)
        answers = self._answers.get(url) or [MISSING]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if callable(answer):
            answer = answer(asked)
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Fetched):
            return answer
        reply = answer if isinstance(answer, Reply) else Reply(body=answer)
        if reply.late:
            await SystemClock().sleep(min(reply.late, TIMEOUT))
        if reply.late >= TIMEOUT:
            raise Transient(url, f"no complete answer within {TIMEOUT:g} seconds")
        if reply.status in REDIRECTS and reply.location is not None:
            return reply
        return self._fetched(asked, reply)

    def _fetched(self, asked: Asked, reply: Reply) -> Fetched:
        known = reply.etag is not None and reply.etag == asked.etag
        known |= reply.last_modified is not None and reply.last_modified == asked.last_modified
        not_modified = reply.status == NOT_MODIFIED or (known and is_success(reply.status))
        if not not_modified and not is_success(reply.status):
            wait = reply.retry_after
            header = wait if wait is None or isinstance(wait, str) else f"{wait:g}"
            # A simulation has its own clock, so this one is read only for a date.
            now = self._clock.now() if isinstance(wait, str) else _NEVER
            phrase = _phrase(reply.status)
            raise failure(asked.url, reply.status, phrase, header, now=now, max_wait=LONGEST_WAIT)
        return fetched(
            asked.url,
            "" if not_modified else reply.body,
            content_type=reply.content_type,
            etag=reply.etag,
            last_modified=reply.last_modified,
            not_modified=not_modified,
        )


def busy(*, retry_after: float | str | None = None, status: int = 503, late: float = 0.0) -> Reply:
    """Return the reply of an overloaded server, optionally with a Retry-After."""
    return Reply(status=status, retry_after=retry_after, late=late)


def silent() -> Reply:
    """Return the reply of a server that does not answer before the client's time-out."""
    return Reply(late=TIMEOUT)


def moved(to: str, *, status: int = 301) -> Reply:
    """Return a redirect: 301 and 308 are permanent, 302, 303 and 307 are not."""
    return Reply(status=status, location=to)


def fetched(
    url: str,
    body: str | bytes = "",
    *,
    content_type: str = HTML,
    permanent_url: str | None = None,
    etag: str | None = None,
    last_modified: str | None = None,
    not_modified: bool = False,
) -> Fetched:
    """Return a client's result."""
    return Fetched(
        url=url,
        final_url=permanent_url or url,
        permanent_url=permanent_url,
        status=NOT_MODIFIED if not_modified else 200,
        body=body.encode() if isinstance(body, str) else body,
        content_type=content_type,
        etag=etag,
        last_modified=last_modified,
        not_modified=not_modified,
    )


def feed(*entries: tuple[str, str], title: str = "A feed") -> str:
    """Return an RSS feed of (title, URL) entries; the URL is also the guid, ``""`` gives a text instead."""
    items = "".join(
        f"<item><title>{name}</title>"
        + (
            f"<link>{url}</link><guid>{url}</guid>"
            if url
            else f"<description>The text of {name}.</description>"
        )
        + "</item>"
        for name, url in entries
    )
    return f'<?xml version="1.0"?><rss version="2.0"><channel><title>{title}</title>{items}</channel></rss>'


def page(title: str, topic: str) -> str:
    """Return a page with an article about a topic; the text follows from the topic."""
    paragraphs = "".join(
        f"<p>What is to be said about {topic} takes a paragraph, and this is number {number} of those."
        f" It goes on for a while, since an article about {topic} has more than a single sentence.</p>"
        for number in range(4)
    )
    return (
        f"<html lang='en'><head><title>{title}</title></head>"
        f"<body><article><h1>{title}</h1>{paragraphs}</article></body></html>"
    )


def _phrase(status: int) -> str:
    known: dict[int, Any] = {one.value: one.phrase for one in HTTPStatus}
    return str(known.get(status, ""))
