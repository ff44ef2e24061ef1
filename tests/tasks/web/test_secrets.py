"""Which words of a URL are not shown."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.tasks.jobs import Jobs
from tests.tasks.scripted_web import ScriptedWeb, feed
from zeke_queue.signals import Retry
from zeke_tasks.web import Permanent, Transient
from zeke_tasks.web.secrets import without_secrets

if TYPE_CHECKING:
    from io import StringIO

    from tests.tasks.domain import Domain

FEED = "https://a.example/feed"
NAMES = (
    *("token", "key", "auth", "authorization", "secret", "sig", "signature", "pass", "password", "passwd"),
    *("pwd", "jwt", "session", "sid", "apikey", "ApiKey"),
)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"{FEED}?token=abc", f"{FEED}?token=…"),
        (f"{FEED}?a=1&access_token=abc&b=2", f"{FEED}?a=1&access_token=…&b=2"),
        (f"{FEED}?X-Amz-Signature=abc#part", f"{FEED}?X-Amz-Signature=…#part"),
        (f"{FEED}?apikey=a%20b;page=2", f"{FEED}?apikey=…;page=2"),
        (f"{FEED}?PASSWORD=abc", f"{FEED}?PASSWORD=…"),
        (f"{FEED}?accessToken=abc", f"{FEED}?accessToken=…"),
        (f"{FEED}?x=1#access_token=abc", f"{FEED}?x=1#access_token=…"),
        (f"{FEED}?token[]=abc&token%5B0%5D=def", f"{FEED}?token[]=…&token%5B0%5D=…"),
        *[(f"{FEED}?{name}=abc", f"{FEED}?{name}=…") for name in NAMES],
        (f"see {FEED}?key=abc and '{FEED}?auth=abc'", f"see {FEED}?key=… and '{FEED}?auth=…'"),
    ],
)
def test_what_looks_secret_is_hidden(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        f"{FEED}?id=7&author=ann&keyword=bees&monkey=1&design=2",
        f"{FEED}?token=",
        f"{FEED}/token=abc",
        "https://b.example/",
    ],
)
def test_all_else_is_shown_as_it_is(url: str) -> None:
    assert without_secrets(url) == url


def test_a_stranger_s_url_takes_no_longer_than_its_length() -> None:
    # Of what backtracks, a hundred of these would outlast everybody.
    for part in ("a_", "a-", "aA", "?a_", "&a", "token", "=:"):
        url = f"{FEED}?{part * 50_000}"
        assert without_secrets(url).startswith(FEED)


def test_an_error_keeps_the_url_and_does_not_tell_its_secret() -> None:
    error = Permanent(f"{FEED}?token=abc", f"moved to {FEED}?token=def")
    assert str(error) == f"{FEED}?token=…: moved to {FEED}?token=…"
    assert error.url == f"{FEED}?token=abc"


async def test_no_line_of_the_log_tells_the_secret_of_a_feed_or_of_a_page(
    in_memory: Domain, logged: StringIO
) -> None:
    url, page = f"{FEED}?token=hunter2", "https://a.example/1?sig=hunter2"
    web = ScriptedWeb()
    jobs = Jobs(in_memory, web)
    source = await in_memory.source(url)
    check = {"sourceId": source.id, "reason": "schedule"}
    web.put(url, feed(("One", page)), Transient(url, "is overloaded"))
    web.put(page, Transient(page, "is overloaded"))
    await jobs.run("ingest-source", check)
    with pytest.raises(Retry):
        await jobs.run("ingest-source", check)
    (chunk,) = await jobs.sent("fetch-content")
    with pytest.raises(Retry):
        await jobs.run("fetch-content", chunk.data)
    lines = [json.loads(line) for line in logged.getvalue().splitlines()]
    assert {line["url"] for line in lines if "url" in line} == {
        f"{FEED}?token=…",
        "https://a.example/1?sig=…",
    }
    assert "hunter2" not in logged.getvalue()
