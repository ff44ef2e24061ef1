"""Articles: the text without surrounding elements, and the page's metadata."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each, each
from tests.clocks import START
from zeke_tasks.fetch import Article, PageError, articles, content_hash, extract_article

URL = "https://example.org/2025/page"
TEXT = (
    "The first paragraph has a number of words in it, enough to be taken for an article and not for a menu.",
    "The second one goes on about the same thing, at the same length, so that nobody doubts what this is.",
    "The third comes to a conclusion, which is that three paragraphs are enough for a test of this kind.",
)


def page(head: str = "", body: str = "", attributes: str = ' lang="en"') -> str:
    paragraphs = "".join(f"<p>{text}</p>" for text in TEXT)
    return (
        f"<!DOCTYPE html><html{attributes}><head><title>A title</title>{head}</head><body>"
        "<nav><a href='/'>Home</a> <a href='/about'>About us</a></nav>"
        f"<article><h1>A title</h1>{paragraphs}{body}</article>"
        "<footer>Imprint and privacy</footer><script>track()</script></body></html>"
    )


def read(html: str | bytes, charset: str | None = None) -> Article | None:
    return extract_article(html.encode() if isinstance(html, str) else html, URL, charset, now=START)


def found(html: str | bytes, charset: str | None = None) -> Article:
    article = read(html, charset)
    assert article
    return article


def test_text_is_extracted_without_navigation() -> None:
    article = found(page())
    assert all(paragraph in article.text.splitlines() for paragraph in TEXT)
    assert not any(word in article.text for word in ("About us", "Imprint", "track()"))


def test_code_lists_and_tables_are_kept() -> None:
    body = "<pre><code>def f(x):\n    return x</code></pre><ul><li>one thing</li><li>another</li></ul>"
    body += "<table><tr><th>name</th><th>price</th></tr><tr><td>tea</td><td>3</td></tr></table>"
    text = found(page(body=body)).text
    assert "def f(x):\n    return x" in text
    assert all(word in text for word in ("one thing", "another", "price", "tea"))


def test_metadata_of_the_page_is_read() -> None:
    head = '<meta name="author" content="Ann Example"><meta property="og:site_name" content="The Site">'
    article, bare = found(page(head)), found(page(attributes=""))
    assert (article.title, article.author, article.site) == ("A title", "Ann Example", "The Site")
    assert (bare.author, bare.language, bare.published_at) == (None, None, None)


@each(
    (' lang="pt-BR"', "pt-br"),
    (" lang=de", "de"),
    (' class="a" dir="ltr" lang="en-GB"', "en-gb"),
    (' xml:lang="fr"', "fr"),
    (' lang=""', None),
    (' data-lang="x"', None),
)
def test_language_of_the_page_is_read(attributes: str, language: str | None) -> None:
    assert found(page(attributes=attributes)).language == language


def test_file_name_is_not_a_title() -> None:
    html = page('<meta property="og:title" content="site-title-autumn-2018">')
    assert found(html).title == "A title"


def published(content: str) -> str:
    return f'<meta property="article:published_time" content="{content}">'


def test_publication_date_is_read_as_utc() -> None:
    def check(head: str, moment: datetime | None) -> None:
        assert found(page(head)).published_at == moment

    json_ld = '<script type="application/ld+json">{"datePublished": "2025-03-04T10:00:00Z"}</script>'
    related = """<meta name="related" content='{"datePublished": "2024-01-01T10:00:00Z"}'>"""
    day = datetime(2025, 3, 4, tzinfo=UTC)
    cases = {
        "meta": (published("2025-03-04T23:30:00+02:00"), datetime(2025, 3, 4, 21, 30, tzinfo=UTC)),
        "JSON-LD": (json_ld, datetime(2025, 3, 4, 10, tzinfo=UTC)),
        "only the day": (published("2025-03-04"), day),
        "no such hour": (published("2025-03-04T25:61:00Z"), day),
        "of another page": (published("2025-03-04") + related, day),
        "no date": (published("soon"), None),
    }
    check_each(cases, check)


def test_date_in_the_future_is_ignored() -> None:
    html = page(published("2025-03-04T10:00:00Z")).encode()
    moment = datetime(2025, 3, 4, 10, tzinfo=UTC)
    for now, believed in ((moment, True), (datetime(2025, 3, 1, tzinfo=UTC), False)):
        article = extract_article(html, URL, now=now)
        assert article
        assert (article.published_at == moment) is believed


def test_page_is_decoded() -> None:
    def check(body: bytes, charset: str | None = None) -> None:
        assert "Größe, naïve café" in found(body, charset).text

    plain = page(body="<p>Größe, naïve café</p>")
    cases = {
        "utf-8": plain.encode(),
        "header": (plain.encode("latin-1"), "iso-8859-1"),
        "meta": page('<meta charset="latin1">', "<p>Größe, naïve café</p>").encode("latin-1"),
        "false header": (plain.encode(), "iso-8859-1"),
        "utf-16": plain.encode("utf-16"),
        "false prolog": ("<?xml version='1.0' encoding='utf-16'?>" + plain).encode(),
        "another false prolog": ("<?xml version='1.0' encoding='latin1'?>" + plain).encode(),
    }
    check_each(cases, check)


def test_page_without_text_has_no_article() -> None:
    def check(html: str) -> None:
        assert read(html) is None

    empty = ["", "\0\1\2", "<html></html>", "<html><head><title>x</title></head><body></body></html>"]
    script = "<html><body><script>var a = 'no text of a page';</script></body></html>"
    check_each([*empty, "<img src=x>", script], check)


def test_short_page_is_an_article() -> None:
    assert "We moved." in found("<html><body><article><p>We moved.</p></article></body></html>").text


def test_hostile_page_is_an_article_or_none() -> None:
    def check(html: str) -> None:
        article = read(html)
        assert article is None or article.text

    cases = {
        "deep": "<div>" * 100_000,
        "unclosed": "<p>" + "a<b>" * 50_000,
        "no ends": page().replace("</p>", ""),
        "truncated": page()[:400],
        "tables": "<table>" * 5000 + "x",
        "ampersands": "&" * 100_000,
        "attributes": "<html " + "a=b " * 50_000 + ">",
        "comments": "<!--" * 50_000,
    }
    check_each(cases, check)


@each("<h1 ", "<h1>", "<h1>x", "<html ", "<html lang", "datePublished'  :  ")
def test_hostile_page_takes_linear_time(tag: str) -> None:
    # The title looks like a file's name, so a heading is used.
    start = page(attributes="").replace("A title", "a-file-name").replace("h1>", "h2>")
    article = found(start.replace("</body>", tag * 200_000 + "</body>"))
    assert (article.title, article.language) == ("a-file-name", None)


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda junk: page(body=junk).encode()))
def test_any_bytes_are_text_that_can_be_stored(body: bytes) -> None:
    article = read(body)
    assert article is None or "\0" not in article.text


def test_extractor_failure_is_a_page_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("not expected")

    monkeypatch.setattr(articles, "extract_text", fail)
    with pytest.raises(PageError, match="AssertionError: not expected"):
        read(page())


def test_hash_ignores_whitespace_alone() -> None:
    assert content_hash("a b\nc") == content_hash("  a\t\tb c\n") == content_hash("a\u00a0b c")
    assert len({content_hash(text) for text in ("a b", "ab", "a B", "b a", "")}) == 5
    assert content_hash(" abc ") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
