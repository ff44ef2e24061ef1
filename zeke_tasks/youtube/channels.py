"""Channels: their feeds' URLs, and the videos in the feeds."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qs
from xml.etree import ElementTree as ET

from zeke_tasks.fetch.errors import FeedError, Transient, UrlRefused, WebError
from zeke_tasks.fetch.text import charset_of, decode, one_line, printable
from zeke_tasks.fetch.urls import parse_http_url
from zeke_tasks.youtube.model import HOSTS, Video, is_video_id, watch_url

NEWEST: Final = 10
"""Maximum videos per check of a channel."""

RECENT: Final = timedelta(days=7)
"""Maximum age of these videos."""

_FEEDS: Final = "https://www.youtube.com/feeds/videos.xml"
_CHANNEL: Final = re.compile(r"UC[\w-]{22}", re.ASCII)
_NAME: Final = re.compile(r"[\w-]{1,100}", re.ASCII)
_NAMES_OF_FEEDS: Final = {"channel_id": _CHANNEL, "playlist_id": _NAME, "user": _NAME}
_PATH: Final = re.compile(r"/(channel|user)/([^/]+)(?:/.*)?")
_TAG: Final = re.compile(r"<(?:link|meta)\b[^<>]{1,2000}>", re.IGNORECASE)
_TELLS: Final = re.compile(
    r"\brel\s*=\s*[\"']?(?:canonical|alternate)\b|\bitemprop\s*=\s*[\"']?(?:identifier|channelId)\b",
    re.IGNORECASE,
)
_CHANNEL_NAMED: Final = re.compile(
    r"[\"'=](?:https://www\.youtube\.com/(?:channel/|feeds/videos\.xml\?channel_id=))?(UC[\w-]{22})(?![\w-])",
    re.ASCII,
)
_DECLARATION: Final = re.compile(r"\A\s*<\?xml.*?\?>", re.DOTALL)
_NOT_FOUND: Final = 404

_SPACES: Final = {
    "atom": "http://www.w3.org/2005/Atom",
    "yt": "http://www.youtube.com/xml/schemas/2015",
    "media": "http://search.yahoo.com/mrss/",
}


@dataclass(frozen=True, slots=True)
class Channel:
    """The feed of a channel or playlist.

    Attributes:
        title: plain text on one line; may be empty.
        videos: in the order of the feed, usually newest first.
    """

    title: str
    videos: tuple[Video, ...]


def channel_feed_url(source_url: str) -> str | None:
    """Return the feed's URL for the URL of a channel, user or playlist.

    Returns:
        The feed's canonical URL; None if the URL does not contain the id, such as
        ``https://www.youtube.com/@handle``, which has to be fetched for `feed_url_on_page`, or is not a
        YouTube page.

    >>> channel_feed_url("https://m.youtube.com/channel/UCabcdefghijklmnopqrstuv/videos")
    'https://www.youtube.com/feeds/videos.xml?channel_id=UCabcdefghijklmnopqrstuv'
    """
    try:
        parsed = parse_http_url(source_url)
    except UrlRefused:
        return None
    if parsed.hostname not in HOSTS:
        return None
    given = {name: values[0] for name, values in parse_qs(parsed.search.removeprefix("?")).items()}
    if parsed.pathname == "/feeds/videos.xml":
        names = given
    elif parsed.pathname == "/playlist":
        names = {"playlist_id": given.get("list", "")}
    elif found := _PATH.fullmatch(parsed.pathname):
        names = {{"channel": "channel_id"}.get(found.group(1), found.group(1)): found.group(2)}
    else:
        return None
    for name, form in _NAMES_OF_FEEDS.items():
        if form.fullmatch(names.get(name, "")):
            return f"{_FEEDS}?{name}={names[name]}"
    return None


def is_youtube(url: str) -> bool:
    """Return whether a URL is a YouTube page, on which a channel may be found."""
    try:
        return parse_http_url(url).hostname in HOSTS
    except UrlRefused:
        return False


def feed_url_on_page(body: bytes, charset: str | None = None) -> str | None:
    """Return the feed's URL of the channel of a page, from its link and meta tags, if any.

    Such a page shows other channels too, so other ids on it are ignored.

    Args:
        body: the page, such as that of a ``@handle``.
        charset: the encoding claimed by the server.
    """
    for tag in _TAG.finditer(decode(body, charset)):
        if _TELLS.search(tag.group()) and (found := _CHANNEL_NAMED.search(html.unescape(tag.group()))):
            return f"{_FEEDS}?channel_id={found.group(1)}"
    return None


def channel_error(error: WebError) -> WebError:
    """Convert an error of a channel's feed: a 404 may be temporary.

    YouTube sometimes answers 404 for existing channels. A deleted channel keeps failing, and is checked less
    and less often, like any failing source.
    """
    if error.status != _NOT_FOUND or isinstance(error, Transient):
        return error
    reason = f"{error.reason}, as YouTube does at times for channels that are there"
    return Transient(error.url, reason, status=error.status)


def parse_channel_feed(body: bytes, content_type: str, url: str) -> Channel:
    """Parse the feed of a channel or playlist. Takes a millisecond or two.

    Args:
        body: the document, decompressed.
        content_type: the server's header, or ``""``; only its charset is used.
        url: the document's URL, for messages.

    Raises:
        FeedError: the document is not such a feed, or has a document type, which could declare entities.
    """
    text = _DECLARATION.sub("", decode(body, charset_of(content_type)), count=1).strip()
    if "<!doctype" in text.lower() or "<!entity" in text.lower():
        raise FeedError(url, "the body is not the feed of a channel: it has a document type")
    try:
        # This parser's risks with untrusted documents need a document type, which is rejected.
        root = ET.fromstring(text)  # noqa: S314
    except ET.ParseError as error:
        raise FeedError(url, f"the body is not the feed of a channel: {error}") from error
    if root.tag != f"{{{_SPACES['atom']}}}feed":
        raise FeedError(url, f"the body is not the feed of a channel: its first element is {root.tag}")
    title = one_line(_text(root, "atom:title"))
    videos = (_video(entry, title) for entry in root.findall("atom:entry", _SPACES))
    return Channel(title, tuple(dict.fromkeys(video for video in videos if video)))


def newest(videos: Iterable[Video], now: datetime) -> list[Video]:
    """Return the newest videos, at most ten, that were published within a week, newest first.

    Videos without a date, or with one in the future, are left out: they may be old or are not published yet.
    """
    dated = [(video.published_at, video) for video in videos if video.published_at]
    recent = [(moment, video) for moment, video in dated if now - RECENT <= moment <= now]
    recent.sort(key=lambda one: (-one[0].timestamp(), one[1].id))
    return [video for _, video in recent[:NEWEST]]


def _video(entry: ET.Element, channel: str) -> Video | None:
    """Return an entry's video; None if it has none."""
    video_id = _text(entry, "yt:videoId").strip()
    if not is_video_id(video_id):
        return None
    statistics = entry.find(".//media:statistics", _SPACES)
    views = statistics.get("views", "") if statistics is not None else ""
    return Video(
        id=video_id,
        title=one_line(_text(entry, "atom:title") or _text(entry, "media:group/media:title")),
        url=watch_url(video_id),
        description=printable(_text(entry, "media:group/media:description")).strip(),
        channel=one_line(_text(entry, "atom:author/atom:name")) or channel or None,
        published_at=moment_of(_text(entry, "atom:published")),
        view_count=number_of(views),
    )


def _text(element: ET.Element, path: str) -> str:
    return element.findtext(path, "", _SPACES) or ""


def moment_of(written: str) -> datetime | None:
    """Parse a time in YouTube's ISO 8601 format, to UTC; None if it is invalid."""
    try:
        moment = datetime.fromisoformat(written.strip())
        return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def number_of(written: str) -> int | None:
    """Parse a count that can be stored; None if it is invalid."""
    return int(written) if re.fullmatch(r"\d{1,18}", written, re.ASCII) else None
