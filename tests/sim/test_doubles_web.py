"""A scripted web returns configured answers, and a reply means the same as in production."""

from __future__ import annotations

import asyncio

import pytest

from tests.cases import check_each_async
from zeke_sim.loop.event_loop import VirtualLoop
from zeke_tasks.fetch import Permanent, Transient, parse_feed
from zeke_tasks.testing.web import (
    TIMEOUT,
    Asked,
    Reply,
    ScriptedWeb,
    busy,
    feed,
    fetched,
    moved,
    page,
    silent,
)

A, B, C = "https://a.example/", "https://b.example/", "https://c.example/"


@pytest.fixture
def web() -> ScriptedWeb:
    return ScriptedWeb()


async def test_answers_are_used_in_order_and_the_last_repeats(web: ScriptedWeb) -> None:
    web.put(A, "one", b"two")
    assert [(await web.fetch(A, kind="page")).body for _ in range(3)] == [b"one", b"two", b"two"]


async def test_new_answers_replace_old_ones(web: ScriptedWeb) -> None:
    web.put(A, "one")
    web.put(A, "other")
    assert (await web.fetch(A, kind="page")).body == b"other"


async def test_unknown_url_is_missing(web: ScriptedWeb) -> None:
    with pytest.raises(Permanent) as caught:
        await web.fetch(A, kind="page")
    assert caught.value.status == 404


async def test_requests_are_recorded(web: ScriptedWeb) -> None:
    web.put(A, "one")
    await web.fetch(A, kind="feed", etag='"1"', last_modified="yesterday")
    await web.fetch(A, kind="page")
    assert web.asked == [Asked(A, "feed", '"1"', "yesterday"), Asked(A, "page", None, None)]
    assert web.requests(B) == []


async def test_function_answers_by_the_request(web: ScriptedWeb) -> None:
    web.put(A, lambda asked: f"a {asked.kind}")
    assert [(await web.fetch(A, kind=kind)).body for kind in ("page", "feed")] == [b"a page", b"a feed"]


async def test_error_and_fetched_answer_are_returned_unchanged(web: ScriptedWeb) -> None:
    error, answer = Transient(A, "no"), fetched(A, "one", etag='"1"')
    web.put(A, error, answer)
    with pytest.raises(Transient) as caught:
        await web.fetch(A, kind="page")
    assert caught.value is error
    assert await web.fetch(A, kind="page") == answer


async def test_known_validators_get_not_modified(web: ScriptedWeb) -> None:
    web.put(A, Reply(body="one", etag='"1"', last_modified="yesterday"))
    first = await web.fetch(A, kind="feed")
    again = await web.fetch(A, kind="feed", etag=first.etag)
    by_date = await web.fetch(A, kind="feed", last_modified=first.last_modified)
    other = await web.fetch(A, kind="feed", etag='"0"')
    assert [one.not_modified for one in (first, again, by_date, other)] == [False, True, True, False]
    assert (again.status, again.body, again.etag) == (304, b"", '"1"')


async def test_status_means_the_same_as_in_production() -> None:
    async def check(reply: Reply, kind: type[Exception], wait: float | None) -> None:
        web = ScriptedWeb()
        web.put(A, reply)
        with pytest.raises(kind) as caught:
            await web.fetch(A, kind="page")
        assert getattr(caught.value, "status", None) == reply.status
        assert getattr(caught.value, "retry_after", None) == wait

    await check_each_async(
        [
            (busy(retry_after=30), Transient, 30.0),
            (busy(status=429), Transient, None),
            (Reply(status=500), Transient, None),
            (Reply(status=410), Permanent, None),
        ],
        check,
    )


async def test_redirect_is_permanent_only_if_each_is(web: ScriptedWeb) -> None:
    web.put(A, moved(B), moved(B, status=302))
    web.put(B, moved(C, status=308))
    web.put(C, "there")
    for_good, for_now = await web.fetch(A, kind="page"), await web.fetch(A, kind="page")
    assert (for_good.url, for_good.body, for_good.permanent_url) == (A, b"there", C)
    assert (for_now.body, for_now.permanent_url) == (b"there", None)


async def test_redirect_loop_ends(web: ScriptedWeb) -> None:
    web.put(A, moved(B))
    web.put(B, moved(A))
    with pytest.raises(Permanent, match="redirects"):
        await web.fetch(A, kind="page")


def test_late_reply_takes_virtual_time() -> None:
    loop, web, times = VirtualLoop(), ScriptedWeb(), []
    web.put(A, Reply(body="one", late=5), silent())

    async def ask() -> None:
        assert (await web.fetch(A, kind="page")).body == b"one"
        times.append(loop.time())
        with pytest.raises(Transient, match="no complete answer"):
            await web.fetch(A, kind="page")
        times.append(loop.time())

    asyncio.set_event_loop(None)
    loop.run_until_complete(ask())
    loop.close()
    assert times == [5, 5 + TIMEOUT]


def test_feeds_and_pages_can_be_parsed() -> None:
    read = parse_feed(feed(("Bees", A), ("Wasps", "")).encode(), "application/rss+xml", B)
    assert [(entry.title, entry.url) for entry in read.entries] == [("Bees", A), ("Wasps", None)]
    assert "bees" in page("Bees", "bees")
