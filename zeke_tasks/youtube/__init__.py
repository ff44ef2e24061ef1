"""YouTube videos: feeds of channels, captions, and the text made from both.

Network access is behind two protocols, `CaptionSource` and `VideoSearch`. Production's implementations are in
`captions` and `search`, which are slow to import, so only `zeke_tasks.youtube.choose` imports them.
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
