"""The one spelling under which a page is kept, and which words of a URL are not shown."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each, each
from tests.tasks.domain import Domain
from tests.tasks.jobs import Jobs
from zeke_queue.task.signals import Retry
from zeke_tasks.fetch import Permanent, Transient, UrlRefused, canonicalise_url
from zeke_tasks.fetch.secrets import without_secrets
from zeke_tasks.fetch.urls import resolve_link
from zeke_tasks.testing.web import ScriptedWeb, feed


@each(
    ("HTTP://Example.ORG", "http://example.org/"),
    ("https://example.org:443/a", "https://example.org/a"),
    ("http://example.org:8080/a", "http://example.org:8080/a"),
    ("http://example.org./a", "http://example.org/a"),
    ("http://example.org/a/./b/../c", "http://example.org/a/c"),
    ("http://example.org/a#part", "http://example.org/a"),
    ("http://example.org/a?", "http://example.org/a"),
    ("  http://example.org/a\n", "http://example.org/a"),
    ("http://bücher.example/ü", "http://xn--bcher-kva.example/%C3%BC"),
    ("http://0x5DB8D822/", "http://93.184.216.34/"),
    ("http://example.org\\a", "http://example.org/a"),
    # URLs that may be different pages stay unchanged.
    *((url, url) for url in ("https://a.org/", "http://www.a.org/", "http://a.org/b/", "http://a.org/B")),
)
def test_url_has_one_canonical_form(url: str, canonical: str) -> None:
    assert canonicalise_url(url) == canonical


def test_tracking_parameters_are_removed() -> None:
    def check(parameter: str) -> None:
        assert canonicalise_url(f"http://a.org/?{parameter}") == "http://a.org/"
        assert canonicalise_url(f"http://a.org/?id=1&{parameter}&p=2") == "http://a.org/?id=1&p=2"

    campaign = ["utm_source=x", "UTM_Medium=y", "%75tm_campaign=x", "utm_id"]
    names = ["fbclid", "gclid", "msclkid", "mc_cid", "mc_eid", "igshid", "_hsenc", "yclid", "srsltid"]
    check_each([*campaign, *(f"{name}=1" for name in names)], check)


@each("b=2&a=1", "a=1&a=2", "q=a+b%20c", "a", "a=", "=a", "utm=1", "outm_source=1", "id=utm_source", "?")
def test_other_parameters_keep_their_order_and_spelling(query: str) -> None:
    assert canonicalise_url(f"http://a.org/?{query}") == f"http://a.org/?{query}"


@given(st.text("abc/%. ?#&=é", max_size=30))
def test_canonical_form_is_stable(path: str) -> None:
    once = canonicalise_url(f"https://example.org/{path}")
    assert canonicalise_url(once) == once


@each("", "a.org", "/a", "mailto:a@b.org", "http://user:pass@a.org/", "\ud800")
def test_other_than_web_urls_are_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        canonicalise_url(url)


@each(
    ("b", "http://a.org/x/b"),
    ("/b", "http://a.org/b"),
    ("//b.org", "http://b.org/"),
    ("?q", "http://a.org/x/y?q"),
    ("http://b.org/#c", "http://b.org/#c"),
    *((link, None) for link in ("mailto:a@b.org", "javascript:void(0)", "http://", "", "  ", None)),
)
def test_links_are_resolved_to_web_urls(link: str | None, absolute: str | None) -> None:
    assert resolve_link(link, "http://a.org/x/y") == absolute


FEED = "https://a.example/feed"
NAMES = (
    *("token", "key", "auth", "authorization", "secret", "sig", "signature", "pass", "password", "passwd"),
    *("pwd", "jwt", "session", "sid", "apikey", "ApiKey"),
)


@each(
    (f"{FEED}?a=1&access_token=abc&b=2", f"{FEED}?a=1&access_token=…&b=2"),
    (f"{FEED}?X-Amz-Signature=abc#part", f"{FEED}?X-Amz-Signature=…#part"),
    (f"{FEED}?apikey=a%20b;page=2", f"{FEED}?apikey=…;page=2"),
    (f"{FEED}?PASSWORD=abc", f"{FEED}?PASSWORD=…"),
    (f"{FEED}?accessToken=abc", f"{FEED}?accessToken=…"),
    (f"{FEED}?x=1#access_token=abc", f"{FEED}?x=1#access_token=…"),
    (f"{FEED}?token[]=abc&token%5B0%5D=def", f"{FEED}?token[]=…&token%5B0%5D=…"),
    *[(f"{FEED}?{name}=abc", f"{FEED}?{name}=…") for name in NAMES],
    (f"see {FEED}?key=abc and '{FEED}?auth=abc'", f"see {FEED}?key=… and '{FEED}?auth=…'"),
)
def test_values_of_secret_parameters_are_hidden(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


def test_other_urls_are_shown_unchanged() -> None:
    def check(url: str) -> None:
        assert without_secrets(url) == url

    innocent = f"{FEED}?id=7&author=ann&keyword=bees&monkey=1&design=2"
    check_each([innocent, f"{FEED}?token=", f"{FEED}/token=abc", "https://b.example/"], check)


@each("a_", "a-", "aA", "?a_", "&a", "token", "=:")
def test_hostile_url_takes_linear_time(part: str) -> None:
    # Where a pattern backtracks, one of these takes minutes.
    assert without_secrets(f"{FEED}?{part * 50_000}").startswith(FEED)


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
