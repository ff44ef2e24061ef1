"""Channels: the URLs of their feeds, their videos, and which are new."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each, each
from tests.clocks import START
from zeke_tasks.fetch import AddressRefused, FeedError, Permanent, Transient, WebError
from zeke_tasks.testing.youtube import channel_feed, video, videos
from zeke_tasks.youtube import (
    Video,
    channel_error,
    channel_feed_url,
    feed_url_on_page,
    newest,
    parse_channel_feed,
    watch_url,
)

CHANNEL = "UCabcdefghijklmnopqr_-12"
OTHER = "UCzzzzzzzzzzzzzzzzzzzzzz"
FEED = f"https://www.youtube.com/feeds/videos.xml?channel_id={CHANNEL}"
CONTENT = 'type="application/x-shockwave-flash" width="640" height="390"'
SAMPLE = f"""<?xml version="1.0" encoding="UTF-8"?>
<feed xmlns:yt="http://www.youtube.com/xml/schemas/2015" xmlns:media="http://search.yahoo.com/mrss/"
 xmlns="http://www.w3.org/2005/Atom">
 <link rel="self" href="http://www.youtube.com/feeds/videos.xml?channel_id={CHANNEL}"/>
 <id>yt:channel:{CHANNEL[2:]}</id>
 <yt:channelId>{CHANNEL[2:]}</yt:channelId>
 <title>Bees &amp; more</title>
 <link rel="alternate" href="https://www.youtube.com/channel/{CHANNEL}"/>
 <author>
  <name>Bees &amp; more</name>
  <uri>https://www.youtube.com/channel/{CHANNEL}</uri>
 </author>
 <published>2011-11-11T11:11:11+00:00</published>
 <entry>
  <id>yt:video:dQw4w9WgXcQ</id>
  <yt:videoId>dQw4w9WgXcQ</yt:videoId>
  <yt:channelId>{CHANNEL}</yt:channelId>
  <title>Why &lt;i&gt; hum</title>
  <link rel="alternate" href="https://www.youtube.com/shorts/dQw4w9WgXcQ"/>
  <author>
   <name>Bees &amp; more</name>
   <uri>https://www.youtube.com/channel/{CHANNEL}</uri>
  </author>
  <published>2026-01-05T14:00:06+02:00</published>
  <updated>2026-01-06T10:00:00+00:00</updated>
  <media:group>
   <media:title>Why &lt;i&gt; hum</media:title>
   <media:content url="https://www.youtube.com/v/dQw4w9WgXcQ?version=3" {CONTENT}/>
   <media:thumbnail url="https://i1.ytimg.com/vi/dQw4w9WgXcQ/hqdefault.jpg" width="480" height="360"/>
   <media:description>First line

0:00 Start</media:description>
   <media:community>
    <media:starRating count="31" average="5.00" min="1" max="5"/>
    <media:statistics views="1234"/>
   </media:community>
  </media:group>
 </entry>
 <entry><yt:videoId>no id</yt:videoId><title>?</title></entry>
 <entry><title>nothing</title></entry>
 <entry><yt:videoId>AAAAAAAAAAA</yt:videoId><published>soon</published></entry>
</feed>"""


def test_feed_of_a_channel_url() -> None:
    def check(url: str, feed: str | None) -> None:
        assert channel_feed_url(url) == feed
        if feed:
            assert channel_feed_url(feed) == feed

    youtube, feeds = "https://www.youtube.com", "https://www.youtube.com/feeds/videos.xml"
    others = ("@bees", "c/bees", "bees", "channel/UCshort", f"channel/{CHANNEL}x", "feeds/videos.xml")
    cases = [
        (f"{youtube}/channel/{CHANNEL}", FEED),
        (f"http://youtube.com/channel/{CHANNEL}/videos?view=0#x", FEED),
        (f"https://m.youtube.com/channel/{CHANNEL}/", FEED),
        (f"{feeds}?channel_id={CHANNEL}", FEED),
        (f"{feeds}?x=1&channel_id={CHANNEL}", FEED),
        (f"{feeds}?playlist_id=PLabc-_123", f"{feeds}?playlist_id=PLabc-_123"),
        (f"{youtube}/playlist?list=PLabc-_123&si=x", f"{feeds}?playlist_id=PLabc-_123"),
        (f"{youtube}/user/TheBees/videos", f"{feeds}?user=TheBees"),
        *((f"{youtube}/{path}", None) for path in (*others, "playlist", "watch?v=dQw4w9WgXcQ")),
        (f"https://youtube.com.example.org/channel/{CHANNEL}", None),
        (f"ftp://www.youtube.com/channel/{CHANNEL}", None),
        ("bees", None),
    ]
    check_each(cases, check)


NEIGHBOUR = f'<a href="/channel/{OTHER}">x</a><script>{{"channelId":"{OTHER}"}}</script>'


def test_page_names_its_channel_in_its_head() -> None:
    def check(head: str, feed: str | None) -> None:
        page = f"<html><head><title>Bees</title>{NEIGHBOUR}{head}</head><body>{NEIGHBOUR}</body></html>"
        assert feed_url_on_page(page.encode()) == feed

    channel, identifier = (
        f"https://www.youtube.com/channel/{CHANNEL}",
        f'<meta itemprop="identifier" content="{CHANNEL}">',
    )
    canonical = '<link rel="canonical" href="{}">'
    naming = [
        canonical.format(channel),
        f"<LINK href='{channel}' rel='canonical'/>",
        f'<link rel="alternate" type="application/rss+xml" title="RSS" href="{FEED}">',
        identifier,
        f'<meta itemprop="channelId" content="{CHANNEL}">',
        f'<link rel="alternate" href="/@bees?hl=de">{identifier}',
    ]
    silent = [
        "",
        f'<link rel="stylesheet" href="{channel}">',
        canonical.format(f"https://evil.example/channel/{CHANNEL}"),
        canonical.format(f"{channel}x"),
        canonical.format("https://www.youtube.com/@bees"),
        "<link " * 100_000,
    ]
    check_each([*((head, FEED) for head in naming), *((head, None) for head in silent)], check)


def test_channel_feed_is_read() -> None:
    channel = parse_channel_feed(SAMPLE.encode(), "text/xml; charset=UTF-8", FEED)
    assert channel.title == "Bees & more"
    first, second = channel.videos
    assert first == Video(
        id="dQw4w9WgXcQ",
        title="Why <i> hum",
        url="https://www.youtube.com/watch?v=dQw4w9WgXcQ",
        description="First line\n\n0:00 Start",
        channel="Bees & more",
        published_at=datetime(2026, 1, 5, 12, 0, 6, tzinfo=UTC),
        duration_seconds=None,
        view_count=1234,
    )
    assert second == Video(id="AAAAAAAAAAA", title="", url=watch_url("AAAAAAAAAAA"), channel="Bees & more")


def test_feed_without_videos_is_read() -> None:
    assert parse_channel_feed(channel_feed("Bees", []), "", FEED).videos == ()


@each(
    ("", "not the feed of a channel"),
    ("<html><body>Before you continue</html>", "not the feed of a channel"),
    ("<rss version='2.0'/>", "its first element is rss"),
    (SAMPLE[:900], "not the feed of a channel"),
    ('<!DOCTYPE feed [<!ENTITY a "b">]>' + SAMPLE.partition("?>")[2], "document type"),
    ('<!DOCTYPE feed SYSTEM "file:///etc/passwd">' + SAMPLE.partition("?>")[2], "document type"),
)
def test_other_documents_are_refused_with_reason(body: str, reason: str) -> None:
    with pytest.raises(FeedError, match=reason):
        parse_channel_feed(body.encode(), "", FEED)


@given(st.integers(0, len(SAMPLE)), st.binary(max_size=6))
def test_any_bytes_are_a_channel_or_a_feed_error(at: int, put: bytes) -> None:
    body = SAMPLE.encode()
    try:
        channel = parse_channel_feed(body[:at] + put + body[at + len(put) :], "", FEED)
    except FeedError:
        return
    assert all(len(one.id) == 11 for one in channel.videos)


def test_newest_ten_of_the_last_week_are_new() -> None:
    listed = videos(30, newest=START, every=timedelta(hours=6))
    assert newest(listed[::-1], START) == listed[:10]
    assert newest(listed, START + timedelta(days=6)) == listed[:5]
    assert newest(listed, START + timedelta(days=8)) == []
    # The week includes its ends.
    at_once, a_week_ago = (video(n, published_at=START - n * timedelta(days=7)) for n in (0, 1))
    assert newest([a_week_ago, at_once], START) == [at_once, a_week_ago]
    undated = Video(id="A" * 11, title="?", url=watch_url("A" * 11))
    assert newest([undated, video(1, published_at=START + timedelta(seconds=1))], START) == []


def test_missing_channel_is_transient() -> None:
    error = channel_error(Permanent(FEED, "the server answered 404 Not Found", status=404))
    assert isinstance(error, Transient)
    assert (error.url, error.status) == (FEED, 404)
    assert "404 Not Found" in error.reason


@each(
    Transient(FEED, "the server answered 500", status=500, retry_after=5),
    Permanent(FEED, "the server answered 410 Gone", status=410),
    AddressRefused(FEED, "10.0.0.1", "it is private"),
    FeedError(FEED, "the body is not a feed"),
)
def test_other_errors_are_unchanged(error: WebError) -> None:
    assert channel_error(error) is error
