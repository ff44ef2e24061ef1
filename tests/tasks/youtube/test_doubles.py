"""The scripted YouTube is deterministic and fails as often as set."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.cases import check_each_async
from tests.clocks import START
from zeke_tasks.fetch import Transient
from zeke_tasks.testing.youtube import ScriptedCaptions, ScriptedSearch, video, videos
from zeke_tasks.youtube import Duration, Order

LISTED = videos(5, newest=START, every=timedelta(days=1))


async def test_captions_follow_from_the_seed_and_the_video() -> None:
    one, again, other = ScriptedCaptions(1), ScriptedCaptions(1), ScriptedCaptions(2)
    said = [await one.captions(listed.id) for listed in LISTED]
    assert [await again.captions(listed.id) for listed in LISTED[::-1]] == said[::-1]
    assert len(set(said)) == 5
    assert await other.captions(LISTED[0].id) != said[0]
    assert all(captions and captions.text and "-->" in captions.vtt for captions in said)


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
