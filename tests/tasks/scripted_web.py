"""A web that answers as a test says, and remembers what it was asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from zeke_tasks.web import Fetched, Permanent

if TYPE_CHECKING:
    from zeke_tasks.web import Kind


class Asked(NamedTuple):
    """A request: its URL, what was hoped for, and the validators that were given back."""

    url: str
    kind: str
    etag: str | None
    last_modified: str | None


class ScriptedWeb:
    """Answers a URL with what was put there: each answer once, and the last one for ever."""

    def __init__(self) -> None:
        self._answers: dict[str, list[Fetched | Exception]] = {}
        self.asked: list[Asked] = []

    def put(self, url: str, *answers: Fetched | Exception | str) -> None:
        """Say what a URL answers, one after the other; a string is a body."""
        self._answers[url] = [fetched(url, one) if isinstance(one, str) else one for one in answers]

    async def fetch(
        self, url: str, *, kind: Kind, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched:
        """Answer; a URL that nobody put is missing."""
        self.asked.append(Asked(url, kind, etag, last_modified))
        answers = self._answers.get(url, [])
        if not answers:
            raise Permanent(url, "answered 404 Not Found", status=404)
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def fetched(
    url: str,
    body: str = "",
    *,
    content_type: str = "text/html; charset=utf-8",
    permanent_url: str | None = None,
    etag: str | None = None,
    last_modified: str | None = None,
    not_modified: bool = False,
) -> Fetched:
    """Return an answer."""
    return Fetched(
        url=url,
        final_url=permanent_url or url,
        permanent_url=permanent_url,
        status=304 if not_modified else 200,
        body=body.encode(),
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
