"""Videos: where a channel's feed is and what is in it, captions, and what becomes of both as a text.

What goes to the network is behind two protocols, `CaptionSource` and `VideoSearch`. Those of production are
in `captions` and `search`, to be imported by whoever opens them: their libraries take a while.
"""

from __future__ import annotations

from zeke_tasks.youtube.channels import (
    Channel,
    channel_error,
    channel_feed_url,
    feed_url_on_page,
    newest,
    parse_channel_feed,
)
from zeke_tasks.youtube.model import (
    Blocked,
    Captions,
    CaptionSource,
    Cue,
    Duration,
    NotOutYet,
    Order,
    Video,
    VideoSearch,
    YouTube,
    video_id_of,
    watch_url,
)
from zeke_tasks.youtube.transcript import video_text
from zeke_tasks.youtube.watch import parse_watch_page

__all__ = [
    "Blocked",
    "CaptionSource",
    "Captions",
    "Channel",
    "Cue",
    "Duration",
    "NotOutYet",
    "Order",
    "Video",
    "VideoSearch",
    "YouTube",
    "channel_error",
    "channel_feed_url",
    "feed_url_on_page",
    "newest",
    "parse_channel_feed",
    "parse_watch_page",
    "video_id_of",
    "video_text",
    "watch_url",
]
