"""Parsing of a video's page, for metadata of videos that no feed or search has returned."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from zeke_tasks.fetch.libraries import as_mapping
from zeke_tasks.fetch.text import decode, one_line, printable
from zeke_tasks.youtube.channels import moment_of, number_of
from zeke_tasks.youtube.model import Video, watch_url

_PLAYER: Final = re.compile(r"\bytInitialPlayerResponse\s*=\s*(?=\{)")
_LONGEST: Final = 2**31 - 1


def parse_watch_page(body: bytes, charset: str | None, video_id: str) -> Video:
    """Parse the metadata on a video's page, in the same form as in its channel's feed.

    The page contains the player's data as JSON. From a page without it, such as one that asks for consent,
    the video gets neither title nor channel.

    Args:
        body: the page.
        charset: the encoding claimed by the server.
        video_id: id of the video; data of other videos is ignored.
    """
    told = _player_data(decode(body, charset))
    details = as_mapping(told.get("videoDetails"))
    about = as_mapping(as_mapping(told.get("microformat")).get("playerMicroformatRenderer"))
    if details.get("videoId") != video_id:
        return Video(video_id, "", watch_url(video_id))
    seconds = number_of(_text(details.get("lengthSeconds")))
    return Video(
        id=video_id,
        title=one_line(_text(details.get("title"))),
        url=watch_url(video_id),
        description=printable(_text(details.get("shortDescription"))).strip(),
        channel=one_line(_text(details.get("author"))) or None,
        published_at=moment_of(_text(about.get("publishDate"))),
        duration_seconds=seconds if seconds and seconds <= _LONGEST else None,
        view_count=number_of(_text(details.get("viewCount"))),
    )


def _player_data(page: str) -> dict[str, Any]:
    """Return the player's data; empty if the page has none."""
    found = _PLAYER.search(page)
    if found is None:
        return {}
    try:
        told, _ = json.JSONDecoder().raw_decode(page, found.end())
    except (ValueError, RecursionError):
        return {}
    return dict(as_mapping(told))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
