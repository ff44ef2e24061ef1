"""Feeds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One item of a feed.

    Attributes:
        external_id: identifies it within the feed, the same at each reading; no two entries of a feed share one.
        url: absolute, or None.
        title: plain text, may be empty.
        summary: plain text, may be empty.
        content: HTML, may be empty.
        published_at: aware, UTC, or None.
        authors: names.
    """

    external_id: str
    url: str | None
    title: str
    summary: str
    content: str
    published_at: datetime | None
    authors: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A feed as it was read.

    Attributes:
        title: plain text, may be empty.
        url: the home page it belongs to, or None.
        entries: in the feed's order.
        version: ``rss20``, ``atom10``, ``json11``, …; ``""`` if it does not say.
        damage: what is malformed about it, or None; nothing is lost, but the owner may want to know.
    """

    title: str
    url: str | None
    entries: tuple[Entry, ...]
    version: str
    damage: str | None = None


def parse_feed(body: bytes, content_type: str, url: str) -> Feed:
    """Read a feed; raises `FeedError` if it is none."""
    raise NotImplementedError
