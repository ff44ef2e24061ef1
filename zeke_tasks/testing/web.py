"""A web that a test or a simulation writes, and that remembers what it was asked for.

What a server sends is a `Reply`; what that means for whoever asked is decided as for a real server's answer.
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
"""Seconds after which the web's client gives a server up."""

LONGEST_WAIT: Final = 86400.0
"""Seconds that a server can ask to wait at most."""

MOST_REDIRECTS: Final = 5


class Asked(NamedTuple):
    """A request: its URL, what was hoped for, and the validators that were given back."""

    url: str
    kind: str
    etag: str | None
    last_modified: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a server sends.

    Attributes:
        body: text, which is sent as UTF-8, or bytes.
        content_type: the header.
        status: of HTTP. 304 is sent by itself to whoever has this etag or date already.
        etag, last_modified: validators.
        location: where a redirect leads, to what was put there.
        retry_after: the header, as seconds, or as the text of a date.
        late: seconds until the whole reply is there; a client gives up after ``TIMEOUT``.
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
"""A body, what a server sends, what a client makes of that, or what it raises."""

Answers: TypeAlias = "Answer | Callable[[Asked], Answer]"

_NEVER: Final = datetime.min.replace(tzinfo=UTC)

MISSING: Final = Reply(status=404)


class ScriptedWeb:
    """Answers a URL with what was put there; a ``zeke_tasks.fetch.Fetcher``.

    ::

        web = ScriptedWeb()
        web.put("https://a.example/feed", busy(retry_after=30), feed(("Bees", "https://a.example/1")))
        web.put("https://a.example/1", page("Bees", "bees"))

    Of several answers each is given once, and the last one for ever.

    Args:
        clock: by which a Retry-After that is a date is read; the machine's by default. Late replies take
            their time by the running loop, in a simulation in virtual time.

    Attributes:
        asked: every request so far, redirects that were followed too.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        # What reads pages is loaded now: to do so later would reach outside of a simulation.
        load_parsers()
        self._clock = clock or SystemClock()
        self._answers: dict[str, list[Answers]] = {}
        self.asked: list[Asked] = []

    def put(self, url: str, *answers: Answers) -> None:
        """Set the answers of a URL, one after the other, in place of those before.

        Args:
            url: absolute.
            *answers: see ``Answer``, or functions that make one of the request; none lets the URL be missing.
        """
        self._answers[url] = list(answers)

    def requests(self, url: str) -> list[Asked]:
        """Return the requests for a URL."""
        return [one for one in self.asked if one.url == url]

    async def fetch(
        self, url: str, *, kind: Kind, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched:
        """Answer; a URL that nobody put is missing.

        Raises:
            Transient, Permanent: as the web's client does for such a reply.
        """
        place, for_good = url, True
        for hop in range(MOST_REDIRECTS + 1):
            reply = await self._reply(place, kind, etag, last_modified)
            if isinstance(reply, Fetched):
                moved = place if hop and for_good else reply.permanent_url
                return replace(reply, url=url, permanent_url=moved)
            assert reply.location is not None  # noqa: S101 - anything else became an answer
            for_good = for_good and reply.status in MOVED_FOR_GOOD
            place = reply.location
        raise Permanent(place, f"more than {MOST_REDIRECTS} redirects lead here")

    async def _reply(
        self, url: str, kind: Kind, etag: str | None, last_modified: str | None
    ) -> Fetched | Reply:
        """Return what one URL answers, or a redirect that is to be followed."""
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
            raise Transient(url, f"no whole answer within {TIMEOUT:g} seconds")
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
            # No clock is read but for a date: a simulation has its own.
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
    """Return the reply of a server that can't answer for now, and may say how long."""
    return Reply(status=status, retry_after=retry_after, late=late)


def silent() -> Reply:
    """Return the reply of a server that says nothing until the client gives up."""
    return Reply(late=TIMEOUT)


def moved(to: str, *, status: int = 301) -> Reply:
    """Return a redirect: 301 and 308 are for good, 302, 303 and 307 are not."""
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
    """Return what the web's client makes of a reply."""
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
    """Return an RSS feed of entries, each a title and a URL, which is its guid too; without one, a text."""
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
    """Return a page with an article about a topic; the same topic is the same text."""
    paragraphs = "".join(
        f"<p>What is to be said about {topic} takes a paragraph, and this is number {number} of those."
        f" It goes on for a while, for nobody reads an article about {topic} that has a single sentence.</p>"
        for number in range(4)
    )
    return (
        f"<html lang='en'><head><title>{title}</title></head>"
        f"<body><article><h1>{title}</h1>{paragraphs}</article></body></html>"
    )


def _phrase(status: int) -> str:
    known: dict[int, Any] = {one.value: one.phrase for one in HTTPStatus}
    return str(known.get(status, ""))
