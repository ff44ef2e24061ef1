"""What is written in a simulated newsroom: one topic is one text, in every item.

A text is long enough to be highlighted, and has something to highlight in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from xml.sax.saxutils import escape

from zeke_tasks.youtube import Video


def text(topic: str) -> str:
    return "\n".join(_paragraphs(topic))


def page(topic: str) -> str:
    article = f"<article><h1>{topic}</h1>{_html(topic)}</article>"
    return f"<html><head><title>{topic}</title></head><body>{article}</body></html>"


def feed(title: str, items: Sequence[str]) -> str:
    channel = f"<channel><title>{title}</title>{''.join(items)}</channel>"
    return f'<?xml version="1.0"?><rss version="2.0">{channel}</rss>'


def item(guid: str, topic: str, url: str | None, published: str) -> str:
    """Return an item of a feed, which has its text with it if there is no page."""
    where = f"<link>{url}</link>" if url else f"<description>{escape(_html(topic))}</description>"
    return (
        f'<item><title>{topic}</title>{where}<guid isPermaLink="false">{guid}</guid>'
        f"<pubDate>{published}</pubDate></item>"
    )


def watch_page(video: Video) -> str:
    """Return the watch page of a video, which has more data than the channel."""
    details = {
        "videoId": video.id,
        "title": video.title,
        "author": video.channel,
        "shortDescription": f"{video.description}\nMore.",
    }
    told = json.dumps({"videoDetails": details})
    return f"<html><head><script>var ytInitialPlayerResponse = {told};</script></head><body></body></html>"


def _html(topic: str) -> str:
    return "".join(f"<p>{paragraph}</p>" for paragraph in _paragraphs(topic))


def _paragraphs(topic: str) -> tuple[str, ...]:
    return (
        f"The release of {topic} matters to all who work with it. It took a year, and now it is here.",
        f"Its makers measured it: {topic} is 40% faster than it was, and needs 25 ms where it needed 90 ms.",
        f"The function `{topic}.open()` is deprecated since version 2.1, `{topic}.run()` takes its place.",
        f"Whoever has used {topic} for a while finds what else has changed in its notes, which are long.",
    )
