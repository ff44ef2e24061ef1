"""Videos and their captions as values, and the protocols of the clients."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal, Protocol
from urllib.parse import parse_qs

from zeke_tasks.fetch.errors import Transient, UrlRefused
from zeke_tasks.fetch.text import one_line
from zeke_tasks.fetch.urls import parse_http_url

Order = Literal["relevance", "date", "viewCount", "rating"]
Duration = Literal["any", "short", "medium", "long"]

HOSTS: Final = frozenset({"youtube.com", "www.youtube.com", "m.youtube.com", "music.youtube.com"})
_SHORT_HOSTS: Final = frozenset({"youtu.be", "www.youtu.be"})
_HOSTS_OF_VIDEOS: Final = HOSTS | {"youtube-nocookie.com", "www.youtube-nocookie.com"}
_ID: Final = re.compile(r"[\w-]{11}", re.ASCII)
_PATH_OF_VIDEO: Final = re.compile(r"/(?:shorts|live|embed|v)/([^/]+)/?")

PAUSE: Final = 3.0
"""Seconds of silence after which a new paragraph begins."""

PARAGRAPH: Final = 600
"""Characters after which a paragraph ends with the next sentence."""

LONGEST: Final = 1500
"""Characters after which a paragraph ends anyway, since automatic captions have no sentences."""

_SENTENCE_END: Final = re.compile(r"[.!?]\W*\Z")


@dataclass(frozen=True, slots=True)
class Video:
    """A video with the metadata of a feed or a search.

    Attributes:
        id: eleven characters, case-sensitive.
        title: plain text on one line.
        url: the canonical URL of its page.
        description: plain text with the author's line breaks; may be empty.
        channel: the name of the channel, or None.
        published_at: aware, UTC; None if unknown.
        duration_seconds, view_count: None if unknown.
    """

    id: str
    title: str
    url: str
    description: str = ""
    channel: str | None = None
    published_at: datetime | None = None
    duration_seconds: int | None = None
    view_count: int | None = None


@dataclass(frozen=True, slots=True)
class Cue:
    """A timed caption.

    Attributes:
        start, duration: seconds, finite and not negative; cues may overlap.
        text: plain text, of one or more lines.
    """

    start: float
    duration: float
    text: str


@dataclass(frozen=True, slots=True)
class Captions:
    """The captions of a video.

    Attributes:
        language: such as ``en`` or ``pt-BR``.
        generated: whether the captions are automatic.
        cues: sorted by time.
    """

    language: str
    generated: bool
    cues: tuple[Cue, ...]

    @property
    def text(self) -> str:
        """The captions as plain text, one paragraph per line; ``""`` if there are none."""
        return "\n".join(_paragraphs(self.cues))

    @property
    def vtt(self) -> str:
        """The captions as WebVTT.

        Source: https://www.w3.org/TR/webvtt1/.
        """
        blocks = [f"WEBVTT\nKind: captions\nLanguage: {one_line(self.language)}"]
        for cue in self.cues:
            begin = round(cue.start * 1000)
            end = max(begin + 1, round((cue.start + cue.duration) * 1000))
            # A blank line would end the cue, and an unescaped tag would be interpreted.
            lines = [html.escape(one_line(line), quote=False) for line in cue.text.splitlines()]
            words = "\n".join(line for line in lines if line)
            if words:
                blocks.append(f"{_timestamp(begin)} --> {_timestamp(end)}\n{words}")
        return "\n\n".join(blocks) + "\n"


class NotOutYet(Transient):
    """A premiere or a live event has not ended; it can be watched afterwards."""


class Blocked(Transient):
    """YouTube answers no request of this machine, which is blocked or can't reach it."""


class CaptionSource(Protocol):
    """A client for captions of videos."""

    async def captions(self, video_id: str) -> Captions | None:
        """Return a video's captions, or None if it has none.

        Raises:
            NotOutYet: the video is a premiere or a live event that has not ended.
            Blocked: all requests fail, for any video.
            Transient: there is no answer, or a temporary refusal.
            Permanent: the video does not exist or is restricted.
        """
        ...


class VideoSearch(Protocol):
    """A client for searches."""

    async def search(self, query: str, *, order: Order, duration: Duration, limit: int) -> list[Video]:
        """Return watchable videos, best first.

        Args:
            query: the search words.
            order: the order of the results.
            duration: less than four minutes, up to twenty, or more.
            limit: maximum number of results, from 1 to 50.

        Raises:
            Transient: a later attempt may succeed.
            Permanent: the query or the key is rejected.
        """
        ...


@dataclass(frozen=True, slots=True)
class YouTube:
    """The YouTube clients of the tasks.

    Attributes:
        search: None without a key, which searches need.
    """

    captions: CaptionSource
    search: VideoSearch | None = None


def watch_url(video_id: str) -> str:
    """Return the canonical URL of a video's page."""
    return f"https://www.youtube.com/watch?v={video_id}"


def video_id_of(url: str) -> str | None:
    """Return the id of the video in a URL, or None if it is not a video's URL.

    >>> video_id_of("https://youtu.be/dQw4w9WgXcQ?t=42")
    'dQw4w9WgXcQ'
    """
    try:
        parsed = parse_http_url(url)
    except UrlRefused:
        return None
    if parsed.hostname in _SHORT_HOSTS:
        named = parsed.pathname.strip("/")
    elif parsed.hostname not in _HOSTS_OF_VIDEOS:
        return None
    elif parsed.pathname in {"/watch", "/watch/"}:
        # Hand-edited links with a time may have a second question mark.
        named = parse_qs(parsed.search.removeprefix("?")).get("v", [""])[0].partition("?")[0]
    else:
        found = _PATH_OF_VIDEO.fullmatch(parsed.pathname)
        named = found.group(1) if found else ""
    return named if _ID.fullmatch(named) else None


def is_video_id(text: str) -> bool:
    """Return whether a text has the form of a video's id."""
    return _ID.fullmatch(text) is not None


def _paragraphs(cues: Sequence[Cue]) -> Iterator[str]:
    paragraph, end = "", 0.0
    for cue in cues:
        words = one_line(cue.text)
        if not words:
            continue
        full = len(paragraph) >= PARAGRAPH and _SENTENCE_END.search(paragraph)
        if paragraph and (full or len(paragraph) >= LONGEST or cue.start - end >= PAUSE):
            yield paragraph
            paragraph = ""
        paragraph = f"{paragraph} {words}".lstrip()
        end = cue.start + cue.duration
    if paragraph:
        yield paragraph


def _timestamp(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}.{rest:03}"
