"""Which words of a URL are not shown."""

from __future__ import annotations

import json
from io import StringIO

import pytest

from tests.cases import check_each
from tests.tasks.domain import Domain
from tests.tasks.jobs import Jobs
from tests.tasks.scripted_web import ScriptedWeb, feed
from zeke_queue.task.signals import Retry
from zeke_tasks.fetch import Permanent, Transient
from zeke_tasks.fetch.secrets import without_secrets

FEED = "https://a.example/feed"
NAMES = (
    *("token", "key", "auth", "authorization", "secret", "sig", "signature", "pass", "password", "passwd"),
    *("pwd", "jwt", "session", "sid", "apikey", "ApiKey"),
)


def test_values_of_secret_parameters_are_hidden() -> None:
    def check(url: str, shown: str) -> None:
        assert without_secrets(url) == shown

    cases = [
        (f"{FEED}?a=1&access_token=abc&b=2", f"{FEED}?a=1&access_token=…&b=2"),
        (f"{FEED}?X-Amz-Signature=abc#part", f"{FEED}?X-Amz-Signature=…#part"),
        (f"{FEED}?apikey=a%20b;page=2", f"{FEED}?apikey=…;page=2"),
        (f"{FEED}?PASSWORD=abc", f"{FEED}?PASSWORD=…"),
        (f"{FEED}?accessToken=abc", f"{FEED}?accessToken=…"),
        (f"{FEED}?x=1#access_token=abc", f"{FEED}?x=1#access_token=…"),
        (f"{FEED}?token[]=abc&token%5B0%5D=def", f"{FEED}?token[]=…&token%5B0%5D=…"),
        *[(f"{FEED}?{name}=abc", f"{FEED}?{name}=…") for name in NAMES],
        (f"see {FEED}?key=abc and '{FEED}?auth=abc'", f"see {FEED}?key=… and '{FEED}?auth=…'"),
    ]
    check_each(cases, check)


def test_other_urls_are_shown_unchanged() -> None:
    def check(url: str) -> None:
        assert without_secrets(url) == url

    innocent = f"{FEED}?id=7&author=ann&keyword=bees&monkey=1&design=2"
    check_each([innocent, f"{FEED}?token=", f"{FEED}/token=abc", "https://b.example/"], check)


def test_hostile_url_takes_linear_time() -> None:
    def check(part: str) -> None:
        # Where a pattern backtracks, one of these takes minutes.
        assert without_secrets(f"{FEED}?{part * 50_000}").startswith(FEED)

    check_each(["a_", "a-", "aA", "?a_", "&a", "token", "=:"], check)


def test_error_shows_no_secret_and_keeps_the_url() -> None:
    error = Permanent(f"{FEED}?token=abc", f"moved to {FEED}?token=def")
    assert str(error) == f"{FEED}?token=…: moved to {FEED}?token=…"
    assert error.url == f"{FEED}?token=abc"


async def test_log_shows_no_secret_of_a_feed_or_page(in_memory: Domain, logged: StringIO) -> None:
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
