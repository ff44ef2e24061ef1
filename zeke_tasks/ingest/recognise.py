"""What a URL of a user's leads to: a feed or a page."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from zeke_tasks.fetch import FeedError, parse_feed

if TYPE_CHECKING:
    from zeke_tasks.fetch import Feed, Fetched, Fetcher, Kind

_FEED_TYPE: Final = re.compile(r"\b(?:rss|atom|rdf|feed)\b|^(?:text|application)/xml\b", re.IGNORECASE)


def feed_of(fetched: Fetched) -> Feed | None:
    """Return the feed that a URL answered with, or None if it is a page.

    The body decides, since servers send feeds under every media type, HTML's too.

    Raises:
        FeedError: the server says that it is a feed, but it can't be read as one.
    """
    try:
        return parse_feed(fetched.body, fetched.content_type, fetched.final_url)
    except FeedError:
        if _FEED_TYPE.search(fetched.content_type.partition(";")[0]):
            raise
        return None


class Foretold:
    """A web that gives what it was asked for already a second time, once, without asking again.

    To tell a feed from a page takes a look at it; the job that reads it then takes what that look brought.
    """

    def __init__(self, web: Fetcher) -> None:
        self._web = web
        self._known: dict[str, Fetched] = {}

    async def look(self, url: str) -> Fetched:
        """Fetch a URL, and keep the answer for whoever fetches it next."""
        self._known[url] = fetched = await self._web.fetch(url, kind="page")
        return fetched

    def keep_as(self, url: str, looked_at: str) -> None:
        """Give what ``look`` brought to whoever fetches another URL, to which the first one moved."""
        if (known := self._known.pop(looked_at, None)) is not None:
            self._known[url] = known

    async def fetch(
        self, url: str, *, kind: Kind, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched:
        """Fetch a URL, or give what ``look`` brought."""
        known = self._known.pop(url, None)
        if known is not None:
            return known
        return await self._web.fetch(url, kind=kind, etag=etag, last_modified=last_modified)
