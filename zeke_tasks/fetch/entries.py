"""Parsed feeds and their entries, and the identifiers of entries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256

from zeke_tasks.fetch.text import one_line

# Identifiers are indexed, and an index row of Postgres holds 2,700 bytes; so longer ones are replaced by a
# hash.
_LONGEST_ID = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One item of a feed.

    Attributes:
        external_id: identifies it within the feed, the same at each reading; unique within the feed.
        url: the absolute URL of its page, or None.
        title: plain text on one line, may be empty.
        summary: plain text on one line, may be empty.
        content: sanitised HTML with absolute links, may be empty.
        published_at: aware, UTC; the time of the last change if there is none; None if there is neither.
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
    """A parsed feed.

    Attributes:
        title: plain text on one line, may be empty.
        url: the home page it belongs to, absolute, or None.
        entries: in the feed's order.
        version: ``rss20``, ``atom10``, ``rss10``, ``json11``, …; empty if unknown.
        damage: the defect of a malformed feed that was read anyway, for its owner, if any.
    """

    title: str
    url: str | None
    entries: tuple[Entry, ...]
    version: str
    damage: str | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """The identifying fields of an entry; any of them may be empty, repeated or wrong."""

    guid: str
    url: str
    title: str
    content: str


def identify(claims: Sequence[Claim]) -> list[str]:
    """Return an identifier for each entry of a feed.

    The identifier is the feed's own (guid, id) if no other entry has the same; else the URL, if no other
    entry has it; else a hash of title and content. So other entries change an entry's identifier only if they
    claim the same. Two entries that agree in all of this are the same entry and get the same identifier.

    Args:
        claims: in any order; the result does not depend on it.

    Returns:
        One identifier for each claim, in the same order.
    """
    # An entry that is listed twice does not conflict with itself, and keeps its identifier when listed once.
    distinct = set(claims)
    guids = Counter(claim.guid for claim in distinct)
    unique_guids = {guid for guid, times in guids.items() if guid and times == 1}
    rest = [claim for claim in distinct if claim.guid not in unique_guids]
    urls = Counter(claim.url for claim in rest)
    unique_urls = {url for url, times in urls.items() if url and times == 1} - unique_guids

    def identifier(claim: Claim) -> str:
        if claim.guid in unique_guids:
            return _bounded(claim.guid)
        if claim.url in unique_urls:
            return _bounded(claim.url)
        return _hash(f"{one_line(claim.title)}\n{one_line(claim.content)}")

    return [identifier(claim) for claim in claims]


def _bounded(name: str) -> str:
    return name if len(name) <= _LONGEST_ID else _hash(name)


def _hash(text: str) -> str:
    return "sha256:" + sha256(text.encode("utf-8")).hexdigest()
