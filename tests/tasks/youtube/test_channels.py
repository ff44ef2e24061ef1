"""Channels: where their feeds are, what is in them, and which of it is new."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clocks import START
from zeke_sim.doubles.youtube import channel_feed, video, videos
from zeke_tasks.web import AddressRefused, FeedError, Permanent, Transient, WebError
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


# Where the feed is


@pytest.mark.parametrize(
    ("url", "feed"),
    [
        (f"https://www.youtube.com/channel/{CHANNEL}", FEED),
        (f"http://youtube.com/channel/{CHANNEL}/videos?view=0#x", FEED),
        (f"https://m.youtube.com/channel/{CHANNEL}/", FEED),
        (f"https://www.youtube.com/feeds/videos.xml?channel_id={CHANNEL}", FEED),
        (f"https://www.youtube.com/feeds/videos.xml?x=1&channel_id={CHANNEL}", FEED),
        (
            "https://www.youtube.com/feeds/videos.xml?playlist_id=PLabc-_123",
            "https://www.youtube.com/feeds/videos.xml?playlist_id=PLabc-_123",
        ),
        (
            "https://www.youtube.com/playlist?list=PLabc-_123&si=x",
            "https://www.youtube.com/feeds/videos.xml?playlist_id=PLabc-_123",
        ),
        (
            "https://www.youtube.com/user/TheBees/videos",
            "https://www.youtube.com/feeds/videos.xml?user=TheBees",
        ),
    ],
)
def test_a_url_that_names_a_channel_leads_to_its_feed(url: str, feed: str) -> None:
    assert channel_feed_url(url) == feed
    assert channel_feed_url(feed) == feed


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/@bees",
        "https://www.youtube.com/c/bees",
        "https://www.youtube.com/bees",
        "https://www.youtube.com/channel/UCshort",
        f"https://www.youtube.com/channel/{CHANNEL}x",
        "https://www.youtube.com/feeds/videos.xml",
        "https://www.youtube.com/playlist",
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ",
        f"https://youtube.com.example.org/channel/{CHANNEL}",
        f"ftp://www.youtube.com/channel/{CHANNEL}",
        "bees",
    ],
)
def test_other_urls_do_not_say_which_channel_it_is(url: str) -> None:
    assert channel_feed_url(url) is None


NEIGHBOUR = f'<a href="/channel/{OTHER}">x</a><script>{{"channelId":"{OTHER}"}}</script>'


@pytest.mark.parametrize(
    "head",
    [
        f'<link rel="canonical" href="https://www.youtube.com/channel/{CHANNEL}">',
        f"<LINK href='https://www.youtube.com/channel/{CHANNEL}' rel='canonical'/>",
        f'<link rel="alternate" type="application/rss+xml" title="RSS" href="{FEED}">',
        f'<meta itemprop="identifier" content="{CHANNEL}">',
        f'<meta itemprop="channelId" content="{CHANNEL}">',
        f'<link rel="alternate" href="/@bees?hl=de"><meta itemprop="identifier" content="{CHANNEL}">',
    ],
)
def test_a_page_says_whose_it_is(head: str) -> None:
    page = f"<html><head><title>Bees</title>{NEIGHBOUR}{head}</head><body>{NEIGHBOUR}</body></html>"
    assert feed_url_on_page(page.encode()) == FEED


@pytest.mark.parametrize(
    "head",
    [
        "",
        f'<link rel="stylesheet" href="https://www.youtube.com/channel/{CHANNEL}">',
        f'<link rel="canonical" href="https://evil.example/channel/{CHANNEL}">',
        f'<link rel="canonical" href="https://www.youtube.com/channel/{CHANNEL}x">',
        '<link rel="canonical" href="https://www.youtube.com/@bees">',
        "<link " * 100_000,
    ],
)
def test_a_page_that_does_not_say_it_has_none(head: str) -> None:
    assert feed_url_on_page(f"<html><head>{head}</head><body>{NEIGHBOUR}</body></html>".encode()) is None


# What is in it


def test_a_channels_feed_is_read() -> None:
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


def test_a_feed_without_videos_is_one() -> None:
    assert parse_channel_feed(channel_feed("Bees", []), "", FEED).videos == ()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "no channel's feed"),
        ("<html><body>Before you continue</html>", "no channel's feed"),
        ("<rss version='2.0'/>", "its first element is rss"),
        (SAMPLE[:900], "no channel's feed"),
        ('<!DOCTYPE feed [<!ENTITY a "b">]>' + SAMPLE.partition("?>")[2], "document type"),
        ('<!DOCTYPE feed SYSTEM "file:///etc/passwd">' + SAMPLE.partition("?>")[2], "document type"),
    ],
)
def test_what_is_no_channels_feed_is_an_error_that_says_so(body: str, reason: str) -> None:
    with pytest.raises(FeedError, match=reason):
        parse_channel_feed(body.encode(), "", FEED)


@given(st.integers(0, len(SAMPLE)), st.binary(max_size=6))
def test_whatever_comes_is_a_channel_or_an_error_of_ours(at: int, put: bytes) -> None:
    body = SAMPLE.encode()
    try:
        channel = parse_channel_feed(body[:at] + put + body[at + len(put) :], "", FEED)
    except FeedError:
        return
    assert all(len(one.id) == 11 for one in channel.videos)


# What is new in it


def test_the_newest_ten_of_the_last_week_count() -> None:
    listed = videos(30, newest=START, every=timedelta(hours=6))
    assert newest(listed[::-1], START) == listed[:10]
    assert newest(listed, START + timedelta(days=6)) == listed[:5]
    assert newest(listed, START + timedelta(days=8)) == []


def test_the_week_includes_its_ends() -> None:
    at_once, a_week_ago = (video(n, published_at=START - n * timedelta(days=7)) for n in (0, 1))
    assert newest([a_week_ago, at_once], START) == [at_once, a_week_ago]


def test_what_is_to_come_or_says_no_date_is_not_new() -> None:
    undated = Video(id="A" * 11, title="?", url=watch_url("A" * 11))
    assert newest([undated, video(1, published_at=START + timedelta(seconds=1))], START) == []


# What its errors mean


def test_a_channel_that_is_not_found_may_be_there_a_minute_later() -> None:
    error = channel_error(Permanent(FEED, "the server answered 404 Not Found", status=404))
    assert isinstance(error, Transient)
    assert (error.url, error.status) == (FEED, 404)
    assert "404 Not Found" in error.reason


@pytest.mark.parametrize(
    "error",
    [
        Transient(FEED, "the server answered 500", status=500, retry_after=5),
        Permanent(FEED, "the server answered 410 Gone", status=410),
        AddressRefused(FEED, "10.0.0.1", "it is private"),
        FeedError(FEED, "the body is no feed"),
    ],
)
def test_other_errors_mean_what_they_say(error: WebError) -> None:
    assert channel_error(error) is error
