"""Articles: the text without what stands around it, and what the page says of itself."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.clocks import START
from zeke_tasks.web import Article, PageError, articles, content_hash, extract_article

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


def test_the_text_is_found_and_what_stands_around_it_is_not() -> None:
    article = found(page())
    assert all(paragraph in article.text.splitlines() for paragraph in TEXT)
    assert not any(word in article.text for word in ("About us", "Imprint", "track()"))


def test_code_lists_and_tables_are_kept() -> None:
    body = "<pre><code>def f(x):\n    return x</code></pre><ul><li>one thing</li><li>another</li></ul>"
    body += "<table><tr><th>name</th><th>price</th></tr><tr><td>tea</td><td>3</td></tr></table>"
    text = found(page(body=body)).text
    assert "def f(x):\n    return x" in text
    assert all(word in text for word in ("one thing", "another", "price", "tea"))


def test_what_the_page_says_of_itself_is_kept() -> None:
    head = '<meta name="author" content="Ann Example"><meta property="og:site_name" content="The Site">'
    article = found(page(head))
    assert (article.title, article.author, article.site, article.language) == (
        "A title",
        "Ann Example",
        "The Site",
        "en",
    )


def test_what_the_page_does_not_say_is_none() -> None:
    article = found(page(attributes=""))
    assert (article.author, article.language, article.published_at) == (None, None, None)


@pytest.mark.parametrize(
    ("attributes", "language"),
    [
        (' lang="pt-BR"', "pt-br"),
        (" lang=de", "de"),
        (' class="a" dir="ltr" lang="en-GB"', "en-gb"),
        (' xml:lang="fr"', "fr"),
        (' lang=""', None),
        (' data-lang="x"', None),
    ],
)
def test_the_language_is_the_pages_own(attributes: str, language: str | None) -> None:
    assert found(page(attributes=attributes)).language == language


def test_a_name_for_machines_is_no_title() -> None:
    html = page('<meta property="og:title" content="site-title-autumn-2018">')
    assert found(html).title == "A title"


# Dates


@pytest.mark.parametrize(
    ("head", "moment"),
    [
        (
            '<meta property="article:published_time" content="2025-03-04T23:30:00+02:00">',
            datetime(2025, 3, 4, 21, 30, tzinfo=UTC),
        ),
        (
            '<script type="application/ld+json">{"datePublished": "2025-03-04T10:00:00Z"}</script>',
            datetime(2025, 3, 4, 10, tzinfo=UTC),
        ),
        ('<meta property="article:published_time" content="2025-03-04">', datetime(2025, 3, 4, tzinfo=UTC)),
        (
            '<meta property="article:published_time" content="2025-03-04T25:61:00Z">',
            datetime(2025, 3, 4, tzinfo=UTC),
        ),
        (
            """<meta property="article:published_time" content="2025-03-04">
            <meta name="related" content='{"datePublished": "2024-01-01T10:00:00Z"}'>""",
            datetime(2025, 3, 4, tzinfo=UTC),
        ),
        ('<meta property="article:published_time" content="soon">', None),
    ],
    ids=["meta", "JSON-LD", "only the day", "no such hour", "of another page", "no date"],
)
def test_the_moment_of_publication_is_kept_as_utc(head: str, moment: datetime | None) -> None:
    assert found(page(head)).published_at == moment


def test_a_date_in_the_future_is_not_believed() -> None:
    html = page('<meta property="article:published_time" content="2025-03-04T10:00:00Z">').encode()
    published = datetime(2025, 3, 4, 10, tzinfo=UTC)
    on_the_day = extract_article(html, URL, now=published)
    earlier = extract_article(html, URL, now=datetime(2025, 3, 1, tzinfo=UTC))
    assert on_the_day
    assert on_the_day.published_at == published
    assert earlier
    assert earlier.published_at != published


# Encodings


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        (page(body="<p>Größe, naïve café</p>").encode(), None),
        (page(body="<p>Größe, naïve café</p>").encode("latin-1"), "iso-8859-1"),
        (page('<meta charset="latin1">', "<p>Größe, naïve café</p>").encode("latin-1"), None),
        (page(body="<p>Größe, naïve café</p>").encode(), "iso-8859-1"),
        (page(body="<p>Größe, naïve café</p>").encode("utf-16"), None),
        (("<?xml version='1.0' encoding='utf-16'?>" + page(body="<p>Größe, naïve café</p>")).encode(), None),
        (("<?xml version='1.0' encoding='latin1'?>" + page(body="<p>Größe, naïve café</p>")).encode(), None),
    ],
    ids=["utf-8", "header", "meta", "false header", "utf-16", "false prolog", "another false prolog"],
)
def test_a_page_is_read_in_whatever_it_is_encoded(body: bytes, charset: str | None) -> None:
    assert "Größe, naïve café" in found(body, charset).text


# Pages that are none


@pytest.mark.parametrize(
    "html",
    [
        "",
        "\0\1\2",
        "<html></html>",
        "<html><head><title>x</title></head><body></body></html>",
        "<img src=x>",
        "<html><body><script>var a = 'no text of a page';</script></body></html>",
    ],
)
def test_a_page_without_text_has_no_article(html: str) -> None:
    assert read(html) is None


def test_a_short_page_is_an_article_all_the_same() -> None:
    assert "We moved." in found("<html><body><article><p>We moved.</p></article></body></html>").text


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 100_000,
        "<p>" + "a<b>" * 50_000,
        page().replace("</p>", ""),
        page()[:400],
        "<table>" * 5000 + "x",
        "&" * 100_000,
        "<html " + "a=b " * 50_000 + ">",
        "<!--" * 50_000,
    ],
    ids=["deep", "unclosed", "no ends", "cut off", "tables", "ampersands", "attributes", "comments"],
)
def test_a_hostile_page_is_an_article_or_none(html: str) -> None:
    assert read(html) is None or found(html).text


@pytest.mark.parametrize("tag", ["<h1 ", "<h1>", "<h1>x", "<html ", "<html lang", "datePublished'  :  "])
def test_a_hostile_page_takes_no_more_time_than_its_length_allows(tag: str) -> None:
    # The title looks like a file's name, so that a heading is looked for.
    start = page(attributes="").replace("A title", "a-file-name").replace("h1>", "h2>")
    article = found(start.replace("</body>", tag * 500_000 + "</body>"))
    assert (article.title, article.language) == ("a-file-name", None)


@given(st.binary(max_size=200) | st.text(max_size=100).map(lambda junk: page(body=junk).encode()))
def test_whatever_comes_is_text_that_can_be_kept(body: bytes) -> None:
    article = read(body)
    assert article is None or "\0" not in article.text


def test_when_the_extractor_fails_the_error_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("not expected")

    monkeypatch.setattr(articles, "extract_text", fail)
    with pytest.raises(PageError, match="AssertionError: not expected"):
        read(page())


# The hash of the text


def test_equal_words_have_one_hash_however_they_are_set() -> None:
    assert content_hash("a b\nc") == content_hash("  a\t\tb c\n") == content_hash("a\u00a0b c")


def test_other_words_have_another_hash() -> None:
    assert len({content_hash(text) for text in ("a b", "ab", "a B", "b a", "")}) == 5


def test_the_hash_is_the_sha256_of_the_collapsed_text() -> None:
    assert content_hash(" abc ") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
