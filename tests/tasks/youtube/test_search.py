"""Searches by the Data API: requests, answers, and the meaning of each refusal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from io import StringIO
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.cases import check_each, check_each_async, each
from tests.tasks.web.doubles import client
from zeke_queue.system import logging as log
from zeke_tasks.demo.site import Answer, LoopbackServer, Request
from zeke_tasks.fetch import Fetched, Kind, Permanent, Transient, WebError
from zeke_tasks.fetch.errors import BodyRefused
from zeke_tasks.testing.web import fetched
from zeke_tasks.youtube import Video, watch_url
from zeke_tasks.youtube import search as module
from zeke_tasks.youtube.search import ANSWER_MAX, QUOTA_USED_UP, YouTubeSearch, seconds_of

KEY = "AIza+/secret"
ONE, TWO, THREE = "A" * 11, "B" * 11, "C" * 11


class Api:
    """An API with given answers to its two requests, which it records."""

    def __init__(self, search: str | Exception, videos: str | Exception = "{}") -> None:
        self._answers = {"search": search, "videos": videos}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.urls: list[str] = []

    async def fetch(
        self, url: str, *, kind: Kind, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched:
        parts = urlsplit(url)
        assert (kind, etag, last_modified) == ("page", None, None)
        assert (parts.scheme, parts.netloc) == ("https", "www.googleapis.com")
        what = parts.path.removeprefix("/youtube/v3/")
        self.asked.append((what, {name: values[0] for name, values in parse_qs(parts.query).items()}))
        self.urls.append(url)
        answer = self._answers[what]
        if isinstance(answer, Exception):
            raise answer
        return fetched(url, answer, content_type="application/json; charset=UTF-8")


def found(*ids: object) -> str:
    return json.dumps({"items": [{"id": {"kind": "youtube#video", "videoId": one}} for one in ids]})


def item(video_id: str, **snippet: Any) -> dict[str, Any]:
    return {
        "id": video_id,
        "snippet": {
            "publishedAt": "2026-01-05T12:00:06Z",
            "title": "Why <i> & hum",
            "description": "First line\n\nSecond\x00",
            "channelTitle": "The Bees",
            "liveBroadcastContent": "none",
            **snippet,
        },
        "contentDetails": {"duration": "PT1H2M3S"},
        "statistics": {"viewCount": "1234"},
    }


def told(*items: dict[str, Any]) -> str:
    return json.dumps({"items": items})


async def search(api: Api, limit: int = 10) -> list[Video]:
    return await YouTubeSearch(api, SecretStr(KEY)).search(
        "bees & honey", order="viewCount", duration="medium", limit=limit
    )


async def test_search_returns_videos_in_order() -> None:
    api = Api(found(TWO, ONE), told(item(ONE), item(TWO, title="Two")))
    two, one = await search(api)
    assert (two.id, two.title) == (TWO, "Two")
    assert one == Video(
        id=ONE,
        title="Why <i> & hum",
        url=watch_url(ONE),
        description="First line\n\nSecond",
        channel="The Bees",
        published_at=datetime(2026, 1, 5, 12, 0, 6, tzinfo=UTC),
        duration_seconds=3723,
        view_count=1234,
    )


async def test_questions_of_a_search() -> None:
    api = Api(found(TWO, ONE), told(item(ONE)))
    await search(api, limit=7)
    wanted = {"type": "video", "q": "bees & honey", "order": "viewCount", "videoDuration": "medium"}
    details = {"part": "snippet,contentDetails,statistics", "id": f"{TWO},{ONE}"}
    assert api.asked == [
        ("search", {"part": "snippet", **wanted, "maxResults": "7", "key": KEY}),
        ("videos", {**details, "maxResults": "50", "key": KEY}),
    ]


async def test_empty_search_requests_no_details() -> None:
    api = Api(found())
    assert await search(api) == []
    assert len(api.asked) == 1


async def test_upcoming_missing_and_repeated_videos_are_left_out() -> None:
    api = Api(
        found(ONE, TWO, ONE, THREE, "no id", None),
        told(item(ONE), item(TWO, liveBroadcastContent="upcoming"), item("no id")),
    )
    assert [video.id for video in await search(api)] == [ONE]


async def test_limit_is_kept_and_in_range() -> None:
    async def check(limit: int) -> None:
        with pytest.raises(ValueError, match="1 to 50"):
            await search(Api(found()), limit)

    assert len(await search(Api(found(ONE, TWO, THREE), told(item(ONE), item(TWO))), limit=1)) == 1
    await check_each_async([0, 51, -1], check)


async def test_missing_details_are_none() -> None:
    (video,) = await search(Api(found(ONE), told({"id": ONE})))
    assert video == Video(id=ONE, title="", url=watch_url(ONE))
    for answer in ("[]", "null", '{"items": 3}', '{"items": [3, {"id": 4}, {"id": {}}]}'):
        assert await search(Api(answer)) == [], answer


LEAK = f"https://www.googleapis.com/youtube/v3/search?key={KEY}"


@each(
    (Permanent(LEAK, "the server answered 403 Forbidden", status=403), Transient, "units", QUOTA_USED_UP),
    (Permanent(LEAK, "the server answered 400", status=400), Permanent, "YOUTUBE_API_KEY", None),
    (Permanent(LEAK, "the server answered 404", status=404), Permanent, "404", None),
    (Transient(LEAK, "busy", status=503, retry_after=7.0), Transient, "busy", 7.0),
    (Permanent(LEAK, f"can't ask for {LEAK}"), Permanent, "can't ask", None),
)
async def test_refusal_says_what_to_do_and_not_the_key(
    error: WebError, kind: type[WebError], reason: str, wait: float | None
) -> None:
    with pytest.raises(kind, match=reason) as raised:
        await search(Api(error))
    assert raised.value.status == error.status
    assert getattr(raised.value, "retry_after", None) == wait
    shown = f"{raised.value} {raised.value.url} {raised.value.__cause__!r} {raised.value.__dict__!r}"
    assert KEY not in shown
    assert raised.value.__suppress_context__


async def test_other_answers_than_json_are_transient() -> None:
    with pytest.raises(Transient, match="not JSON") as raised:
        await search(Api("<html>"))
    assert KEY not in str(raised.value)


async def test_long_answers_are_not_parsed() -> None:
    empty = '{"items": []}'
    assert await search(Api(empty.ljust(ANSWER_MAX))) == []
    with pytest.raises(BodyRefused, match=f"at most {ANSWER_MAX} are read") as raised:
        await search(Api(empty.ljust(ANSWER_MAX + 1)))
    assert KEY not in str(raised.value)


async def test_key_is_not_logged(logged: StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    """The HTTP library logs each request with its whole URL."""
    asked: list[str] = []

    async def answer(request: Request) -> Answer:
        asked.append(request.query)
        return Answer(body=found(ONE).encode(), content_type="application/json")

    async with LoopbackServer(answer) as server, client() as web:
        monkeypatch.setattr(module, "API", server.base_url)
        await YouTubeSearch(web, SecretStr("hunter2")).search("bees", order="date", duration="any", limit=1)
    log.get_logger().info("over")
    assert len(asked) == 2
    assert all("key=hunter2" in query for query in asked)
    assert "over" in logged.getvalue()
    assert "hunter2" not in logged.getvalue()


def test_durations_are_read() -> None:
    def check(written: str, seconds: int | None) -> None:
        assert seconds_of(written) == seconds

    cases = [
        ("PT0S", 0),
        ("PT59S", 59),
        ("PT4M", 240),
        ("PT1H", 3600),
        ("P1DT2H3M4S", 93784),
        ("P0D", 0),
        ("P2W", 1209600),
        ("PT1.9S", 1),
        ("PT90M90S", 5490),
    ]
    other_units = ("", "P", "PT", "P1M", "P1Y", "PT1S2M", "1:02", "PT-5S", "PT\u0661S")
    too_long = ("P999999D", "PT" + "9" * 5000 + "S")
    check_each([*cases, *((written, None) for written in other_units + too_long)], check)


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_duration_is_the_sum_of_its_parts(hours: int, minutes: int, seconds: int) -> None:
    assert seconds_of(f"PT{hours}H{minutes}M{seconds}S") == hours * 3600 + minutes * 60 + seconds
