"""The one spelling under which a page is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each
from zeke_tasks.fetch import UrlRefused, canonicalise_url
from zeke_tasks.fetch.urls import resolve_link


def test_url_has_one_canonical_form() -> None:
    def check(url: str, canonical: str) -> None:
        assert canonicalise_url(url) == canonical

    cases = [
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
    ]
    check_each(cases, check)


def test_tracking_parameters_are_removed() -> None:
    def check(parameter: str) -> None:
        assert canonicalise_url(f"http://a.org/?{parameter}") == "http://a.org/"
        assert canonicalise_url(f"http://a.org/?id=1&{parameter}&p=2") == "http://a.org/?id=1&p=2"

    campaign = ["utm_source=x", "UTM_Medium=y", "%75tm_campaign=x", "utm_id"]
    names = ["fbclid", "gclid", "msclkid", "mc_cid", "mc_eid", "igshid", "_hsenc", "yclid", "srsltid"]
    check_each([*campaign, *(f"{name}=1" for name in names)], check)


def test_other_parameters_keep_their_order_and_spelling() -> None:
    def check(query: str) -> None:
        assert canonicalise_url(f"http://a.org/?{query}") == f"http://a.org/?{query}"

    odd = ["a", "a=", "=a", "utm=1", "outm_source=1", "id=utm_source", "?"]
    check_each(["b=2&a=1", "a=1&a=2", "q=a+b%20c", *odd], check)


@given(st.text("abc/%. ?#&=é", max_size=30))
def test_canonical_form_is_stable(path: str) -> None:
    once = canonicalise_url(f"https://example.org/{path}")
    assert canonicalise_url(once) == once


def test_other_than_web_urls_are_refused() -> None:
    def check(url: str) -> None:
        with pytest.raises(UrlRefused):
            canonicalise_url(url)

    check_each(["", "a.org", "/a", "mailto:a@b.org", "http://user:pass@a.org/", "\ud800"], check)


def test_links_are_resolved_to_web_urls() -> None:
    def check(link: str | None, absolute: str | None) -> None:
        assert resolve_link(link, "http://a.org/x/y") == absolute

    cases = [
        ("b", "http://a.org/x/b"),
        ("/b", "http://a.org/b"),
        ("//b.org", "http://b.org/"),
        ("?q", "http://a.org/x/y?q"),
        ("http://b.org/#c", "http://b.org/#c"),
        *((link, None) for link in ("mailto:a@b.org", "javascript:void(0)", "http://", "", "  ", None)),
    ]
    check_each(cases, check)
