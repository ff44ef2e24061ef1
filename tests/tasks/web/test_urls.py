"""The one spelling under which a page is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeke_tasks.web import UrlRefused, canonicalise_url
from zeke_tasks.web.urls import resolve_link

paths = st.text("abc/%. ?#&=é", max_size=30)


@pytest.mark.parametrize(
    ("url", "canonical"),
    [
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
    ],
)
def test_spellings_of_one_page_are_one(url: str, canonical: str) -> None:
    assert canonicalise_url(url) == canonical


@pytest.mark.parametrize(
    "parameter",
    [
        "utm_source=x",
        "UTM_Medium=y",
        "%75tm_campaign=x",
        "utm_id",
        "fbclid=1",
        "gclid=1",
        "msclkid=2",
        "mc_cid=3",
        "mc_eid=4",
        "igshid=5",
        "_hsenc=1",
        "yclid=1",
        "srsltid=1",
    ],
)
def test_parameters_that_track_readers_go(parameter: str) -> None:
    assert canonicalise_url(f"http://a.org/?{parameter}") == "http://a.org/"
    assert canonicalise_url(f"http://a.org/?id=1&{parameter}&p=2") == "http://a.org/?id=1&p=2"


@pytest.mark.parametrize(
    "query",
    ["b=2&a=1", "a=1&a=2", "q=a+b%20c", "a", "a=", "=a", "utm=1", "outm_source=1", "id=utm_source", "?"],
)
def test_other_parameters_stay_as_they_are_and_where_they_are(query: str) -> None:
    assert canonicalise_url(f"http://a.org/?{query}") == f"http://a.org/?{query}"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://a.org/", "https://a.org/"),
        ("http://a.org/b", "http://a.org/b/"),
        ("http://a.org/", "http://www.a.org/"),
        ("http://a.org/B", "http://a.org/b"),
        ("http://a.org/?a=1&b=2", "http://a.org/?b=2&a=1"),
    ],
)
def test_what_may_be_two_pages_stays_two(one: str, other: str) -> None:
    assert canonicalise_url(one) != canonicalise_url(other)


@given(paths)
def test_a_canonical_url_is_its_own_canonical_url(path: str) -> None:
    once = canonicalise_url(f"https://example.org/{path}")
    assert canonicalise_url(once) == once


@pytest.mark.parametrize("url", ["", "a.org", "/a", "mailto:a@b.org", "http://user:pass@a.org/", "\ud800"])
def test_what_is_no_web_url_has_no_canonical_form(url: str) -> None:
    with pytest.raises(UrlRefused):
        canonicalise_url(url)


@pytest.mark.parametrize(
    ("link", "absolute"),
    [
        ("b", "http://a.org/x/b"),
        ("/b", "http://a.org/b"),
        ("//b.org", "http://b.org/"),
        ("?q", "http://a.org/x/y?q"),
        ("http://b.org/#c", "http://b.org/#c"),
        ("mailto:a@b.org", None),
        ("javascript:void(0)", None),
        ("http://", None),
        ("", None),
        ("  ", None),
        (None, None),
    ],
)
def test_links_are_resolved_to_web_urls(link: str | None, absolute: str | None) -> None:
    assert resolve_link(link, "http://a.org/x/y") == absolute
