"""Search for videos with the YouTube Data API, version 3, through our web client.

A search costs 101 of a key's 10,000 units per day: one request finds ids, another gets the videos' metadata,
since the first returns titles as HTML and truncated descriptions.

Source: https://developers.google.com/youtube/v3/docs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Final, cast
from urllib.parse import quote, urlencode

from pydantic import SecretStr

from zeke_tasks.fetch.client import Fetcher
from zeke_tasks.fetch.errors import BodyRefused, Permanent, Transient, WebError
from zeke_tasks.fetch.libraries import as_mapping, as_mappings
from zeke_tasks.fetch.text import one_line, printable
from zeke_tasks.youtube.channels import moment_of, number_of
from zeke_tasks.youtube.model import Duration, Order, Video, is_video_id, watch_url

API: Final = "https://www.googleapis.com/youtube/v3"
MOST: Final = 50
"""Maximum videos per request."""

ANSWER_MAX: Final = 2 * 2**20
"""Maximum bytes of an answer, since the parser blocks the event loop; 50 long descriptions have less."""

QUOTA_USED_UP: Final = 3600.0
"""Seconds to wait after the key is refused, most likely because its units for the day are used up."""

_REFUSED: Final = 403
_BAD_REQUEST: Final = 400
_NOT_YET: Final = frozenset({"live", "upcoming"})
_LONGEST: Final = 2**31 - 1
_DURATION: Final = re.compile(
    r"P(?:(\d{1,4})W)?(?:(\d{1,6})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,8})M)?(?:(\d{1,9})(?:\.\d+)?S)?)?", re.ASCII
)


class YouTubeSearch:
    """A `VideoSearch` with an API key.

    Args:
        web: sends the requests.
        key: of a Google project with this API. It appears in no error, ``repr`` or log line;
            `zeke_queue.system.logging` drops the request lines of HTTP clients.
    """

    def __init__(self, web: Fetcher, key: SecretStr) -> None:
        self._web = web
        self._key = key

    async def search(self, query: str, *, order: Order, duration: Duration, limit: int) -> list[Video]:
        """Return watchable videos, best first, without live and scheduled ones.

        Raises:
            Transient: there is no answer, or the key's units for the day are used up.
            Permanent: the query or the key is rejected.
            ValueError: ``limit`` is not from 1 to 50.
        """
        if not 1 <= limit <= MOST:
            raise ValueError(f"limit is {limit}; it goes from 1 to {MOST}")
        found = await self._ask(
            "search",
            part="snippet",
            type="video",
            q=query,
            order=order,
            videoDuration=duration,
            maxResults=str(limit),
        )
        ids = [str(as_mapping(item.get("id")).get("videoId")) for item in found]
        ids = list(dict.fromkeys(one for one in ids if is_video_id(one)))[:limit]
        if not ids:
            return []
        told = await self._ask(
            "videos", part="snippet,contentDetails,statistics", id=",".join(ids), maxResults=str(MOST)
        )
        videos = {video.id: video for video in map(_video, told) if video}
        return [videos[one] for one in ids if one in videos]

    async def _ask(self, what: str, **parameters: str) -> list[Mapping[str, Any]]:
        """Return the items of an answer."""
        url = f"{API}/{what}?{urlencode(parameters, quote_via=quote)}"
        key = self._key.get_secret_value()
        try:
            fetched = await self._web.fetch(f"{url}&key={quote(key, safe='')}", kind="page")
        except WebError as error:
            # The original error has the URL with the key, so it is not chained.
            raise _without_key(url, error, error.reason.replace(key, "…")) from None
        if len(fetched.body) > ANSWER_MAX:
            raise BodyRefused(url, f"the answer has {len(fetched.body)} bytes; at most {ANSWER_MAX} are read")
        try:
            answer: Any = json.loads(fetched.body)
        except (ValueError, RecursionError) as error:
            raise Transient(url, f"the answer is not JSON: {error}") from None
        return as_mappings(as_mapping(answer).get("items"))


def _without_key(url: str, error: WebError, reason: str) -> WebError:
    """Return a copy of an error with the URL and reason that may be shown."""
    if error.status == _REFUSED:
        reason = "YouTube refuses the key: its units for the day are used up, or it is not for this API"
        return Transient(url, reason, status=error.status, retry_after=QUOTA_USED_UP)
    if error.status == _BAD_REQUEST:
        reason = "YouTube refuses the question or the key: see that YOUTUBE_API_KEY is a valid one"
        return Permanent(url, reason, status=error.status)
    if isinstance(error, Transient):
        return Transient(url, reason, status=error.status, retry_after=error.retry_after)
    return Permanent(url, reason, status=error.status)


def _video(item: Mapping[str, Any]) -> Video | None:
    """Return the video of an item, or None if it can't be watched yet."""
    about, details = as_mapping(item.get("snippet")), as_mapping(item.get("contentDetails"))
    video_id = str(item.get("id"))
    if not is_video_id(video_id) or about.get("liveBroadcastContent") in _NOT_YET:
        return None
    return Video(
        id=video_id,
        title=one_line(_text(about, "title")),
        url=watch_url(video_id),
        description=printable(_text(about, "description")).strip(),
        channel=one_line(_text(about, "channelTitle")) or None,
        published_at=moment_of(_text(about, "publishedAt")),
        duration_seconds=seconds_of(_text(details, "duration")),
        view_count=number_of(_text(as_mapping(item.get("statistics")), "viewCount")),
    )


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = cast("object", fields.get(name))
    return value if isinstance(value, str) else ""


def seconds_of(duration: str) -> int | None:
    """Parse an ISO 8601 duration to whole seconds; None if it is invalid or too large.

    Months and years have no fixed length and are invalid.

    >>> seconds_of("PT1H2M3S")
    3723
    """
    found = _DURATION.fullmatch(duration)
    if not found or not any(found.groups()):
        return None
    weeks, days, hours, minutes, seconds = (int(number or 0) for number in found.groups())
    total = (((weeks * 7 + days) * 24 + hours) * 60 + minutes) * 60 + seconds
    return total if total <= _LONGEST else None
