"""Feeds that would keep the parser busy for minutes are refused before they are parsed."""

from __future__ import annotations

from typing import NoReturn

import pytest

from tests.cases import check_each
from zeke_tasks.fetch import FeedError, feeds, parse_feed

URL = "https://example.org/feed"
CHANNEL = '<rss version="2.0"><channel><title>bees</title>%s</channel></rss>'


def element(attributes: int, value: str = '"1"') -> str:
    return "<item " + " ".join(f"a{n}={value}" for n in range(attributes)) + "><title>x</title></item>"


def test_feed_that_is_too_expensive_is_refused_before_it_is_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(_: str) -> NoReturn:
        raise AssertionError("it is parsed")

    monkeypatch.setattr(feeds, "parse_xml_feed", parse)

    def check(document: str, reason: str) -> None:
        with pytest.raises(FeedError, match=reason):
            parse_feed(document.encode(), "", URL)

    cases = {
        "attributes": (CHANNEL % element(200_000), "more than 1000 attributes"),
        "with brackets": (CHANNEL % element(1001, '">"'), "more than 1000 attributes"),
        "in single quotes": (CHANNEL % element(1001, "'\"'"), "more than 1000 attributes"),
        "without quotes": (CHANNEL % element(1001, "1"), "more than 1000 attributes"),
        "items": (CHANNEL % ("<item/>" * 20_001), "more than 20000 items"),
        "entries": ('<feed xmlns="http://www.w3.org/2005/Atom">' + "<entry/>" * 20_001, "20000 items"),
        "numbers": (
            '{"version": "https://jsonfeed.org/version/1.1", "items": [' + "1e308," * 20_000 + "1]}",
            "20000 items",
        ),
    }
    check_each(cases, check)


def test_large_feed_within_the_limits_is_read() -> None:
    read = parse_feed((CHANNEL % (element(1000) + "<item><guid>b</guid></item>" * 50)).encode(), "", URL)
    assert read.title == "bees"
    assert read.entries


def test_search_for_crowded_elements_takes_linear_time() -> None:
    """A pattern that goes back would take hours on each of these."""

    def check(text: str) -> None:
        assert feeds.CROWDED.search(text) is None

    cases = {
        "unclosed": "<a " * 500_000,
        "blanks": "<a" + " " * 1_000_000,
        "before a value": "<a b" + " " * 1_000_000 + "=",
        "unended": "<a b='" + "x" * 1_000_000,
        "many unended": "<a b='" * 300_000,
        "almost": ("<a " + 'b="c" ' * 999 + '"') * 300,
        "brackets": "<" * 1_000_000,
    }
    check_each(cases, check)
