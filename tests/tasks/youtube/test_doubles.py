"""The scripted YouTube is deterministic, fails as often as set, and can be read."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.cases import check_each_async
from tests.clocks import START
from zeke_tasks.fetch import Permanent, Transient
from zeke_tasks.testing.youtube import ScriptedCaptions, ScriptedSearch, channel_feed, video, videos
from zeke_tasks.youtube import Captions, Cue, Duration, Order, parse_channel_feed, video_id_of

LISTED = videos(5, newest=START, every=timedelta(days=1))


async def test_captions_follow_from_the_seed_and_the_video() -> None:
    one, again, other = ScriptedCaptions(1), ScriptedCaptions(1), ScriptedCaptions(2)
    said = [await one.captions(listed.id) for listed in LISTED]
    assert [await again.captions(listed.id) for listed in LISTED[::-1]] == said[::-1]
    assert len(set(said)) == 5
    assert await other.captions(LISTED[0].id) != said[0]
    assert all(captions and captions.text and "-->" in captions.vtt for captions in said)


async def test_some_videos_have_no_captions() -> None:
    some = ScriptedCaptions(silent=3)
    said = [await some.captions(str(number)) for number in range(60)]
    assert 5 < said.count(None) < 40


async def test_configured_captions_are_returned() -> None:
    source, spoken = ScriptedCaptions(), Captions("en", generated=False, cues=(Cue(0, 1, "Bees"),))
    source.put("a", spoken)
    source.put("b", None)
    source.put("c", Permanent("c", "gone"))
    assert [await source.captions(one) for one in "ab"] == [spoken, None]
    with pytest.raises(Permanent):
        await source.captions("c")


async def test_configured_number_of_calls_fails() -> None:
    source, search = ScriptedCaptions(retry_after=5), ScriptedSearch()
    source.fail("a", 2)
    search.fail("bees")
    for _ in range(2):
        with pytest.raises(Transient) as raised:
            await source.captions("a")
        assert raised.value.retry_after == 5
    assert await source.captions("a")
    with pytest.raises(Transient):
        await search.search("bees", order="date", duration="any", limit=5)
    assert await search.search("bees", order="date", duration="any", limit=5) == []
    assert (source.asked, search.asked) == (["a"] * 3, ["bees"] * 2)


async def test_search_keeps_order_duration_and_limit() -> None:
    async def check(order: Order, duration: Duration, limit: int, found: str) -> None:
        got = await search.search("bees", order=order, duration=duration, limit=limit)
        assert "".join(one.id for one in got) == found

    search = ScriptedSearch()
    a, b, c = (
        replace(video(n, published_at=START - timedelta(n)), id=name, duration_seconds=seconds, view_count=n)
        for n, (name, seconds) in enumerate([("a", 239), ("b", 240), ("c", 1201)])
    )
    search.put("bees", b, c, a)
    cases = [
        ("relevance", "any", 9, "bca"),
        ("rating", "any", 2, "bc"),
        ("date", "any", 9, "abc"),
        ("viewCount", "any", 9, "cba"),
        ("date", "short", 9, "a"),
        ("date", "medium", 9, "b"),
        ("date", "long", 9, "c"),
    ]
    await check_each_async(cases, check)


def test_videos_differ() -> None:
    assert len({listed.id for listed in LISTED}) == 5
    assert all(video_id_of(listed.url) == listed.id for listed in LISTED)
    assert [listed.published_at for listed in LISTED] == [START - timedelta(days=n) for n in range(5)]
    assert videos(6, newest=START + timedelta(days=1), every=timedelta(days=1))[1:] == LISTED


def test_channel_feed_can_be_read() -> None:
    channel = parse_channel_feed(channel_feed("Bees & <wasps>", LISTED), "text/xml", "https://a.example/")
    assert channel.title == "Bees & <wasps>"
    assert channel.videos == tuple(replace(listed, duration_seconds=None) for listed in LISTED)
