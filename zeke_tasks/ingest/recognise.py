"""Recognition of users' URLs as feeds or pages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from zeke_tasks.fetch import FeedError, parse_feed

if TYPE_CHECKING:
    from zeke_tasks.fetch import Feed, Fetched, Fetcher, Kind

_FEED_TYPE: Final = re.compile(r"\b(?:rss|atom|rdf|feed)\b|^(?:text|application)/xml\b", re.IGNORECASE)


def feed_of(fetched: Fetched) -> Feed | None:
    """Parse the feed in an answer; None if it is a page.

    The body decides, since servers send feeds with any media type, even HTML's.

    Raises:
        FeedError: the media type is a feed's, but the body can't be parsed as one.
    """
    try:
        return parse_feed(fetched.body, fetched.content_type, fetched.final_url)
    except FeedError:
        if _FEED_TYPE.search(fetched.content_type.partition(";")[0]):
            raise
        return None


class ReplayingClient:
    """A web client that returns an answer once more without a second request.

    A URL must be fetched to recognise it as feed or page; the job that reads it then gets the same answer.
    """

    def __init__(self, web: Fetcher) -> None:
        self._web = web
        self._known: dict[str, Fetched] = {}

    async def fetch_and_keep(self, url: str) -> Fetched:
        """Fetch a URL, and keep the answer for the next fetch of it."""
        self._known[url] = fetched = await self._web.fetch(url, kind="page")
        return fetched

    def keep_as(self, url: str, looked_at: str) -> None:
        """Keep the answer for the next fetch of another URL, to which the first one moved."""
        if (known := self._known.pop(looked_at, None)) is not None:
            self._known[url] = known

    async def fetch(
        self, url: str, *, kind: Kind, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched:
        """Return the answer kept by ``look``, or fetch the URL."""
        known = self._known.pop(url, None)
        if known is not None:
            return known
        return await self._web.fetch(url, kind=kind, etag=etag, last_modified=last_modified)
