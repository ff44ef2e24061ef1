"""Feeds of every format, and every kind of breakage that is met in the wild."""

from __future__ import annotations

import codecs
import json
from datetime import UTC, datetime
from xml.sax.saxutils import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each, each
from zeke_tasks.fetch import Entry, Feed, FeedError, parse_feed
from zeke_tasks.fetch.entries import Claim, identify

URL = "https://example.org/blog/feed"
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def read(body: str | bytes, content_type: str = "", url: str = URL) -> Feed:
    return parse_feed(body.encode() if isinstance(body, str) else body, content_type, url)


def rss(*items: str, head: str = "") -> str:
    listed = "".join(f"<item>{item}</item>" for item in items)
    return f'<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"><channel>{head}{listed}</channel></rss>'


def atom(*entries: str, head: str = "") -> str:
    listed = "".join(f"<entry>{entry}</entry>" for entry in entries)
    return f'<feed xmlns="http://www.w3.org/2005/Atom">{head}{listed}</feed>'


def described(html: str) -> str:
    return f"<title>t</title><description><![CDATA[{html}]]></description>"


def only(feed: Feed) -> Entry:
    assert len(feed.entries) == 1
    return feed.entries[0]


def test_rss_is_read() -> None:
    feed = read(
        rss(
            "<guid>https://example.org/1</guid><link>https://example.org/1</link>"
            "<title>One &amp; only</title>"
            "<description>&lt;p&gt;Short&lt;/p&gt;&lt;p&gt;words&lt;/p&gt;</description>"
            "<content:encoded><![CDATA[<p>All the <b>words</b> of it</p>]]></content:encoded>"
            "<author>Ann</author><pubDate>Mon, 05 Jan 2026 12:00:00 +0100</pubDate>",
            head="<title>The &lt;b&gt;Feed&lt;/b&gt;</title><link>/</link>",
        )
    )
    about = (feed.title, feed.url, feed.version, feed.damage)
    assert about == ("The Feed", "https://example.org/", "rss20", None)
    assert only(feed) == Entry(
        external_id="https://example.org/1",
        url="https://example.org/1",
        title="One & only",
        summary="Short words",
        content="<p>All the <b>words</b> of it</p>",
        published_at=datetime(2026, 1, 5, 11, tzinfo=UTC),
        authors=("Ann",),
    )


def test_atom_is_read() -> None:
    feed = read(
        atom(
            '<id>urn:1</id><link href="one"/><title type="html">A &amp;lt;tag&amp;gt;</title>'
            "<summary>short</summary><content>1 &lt; 2</content>"
            "<author><name>Ann</name></author><author><name>Bob</name></author><author><name>Ann</name></author>"
            "<published>2026-01-05T12:00:00Z</published><updated>2026-01-06T12:00:00Z</updated>",
            head='<title>Feed</title><link rel="self" href="/feed"/><link href="/"/>',
        )
    )
    assert (feed.title, feed.url, feed.version) == ("Feed", "https://example.org/", "atom10")
    assert only(feed) == Entry(
        external_id="urn:1",
        url="https://example.org/blog/one",
        title="A <tag>",
        summary="short",
        content="1 &lt; 2",
        published_at=datetime(2026, 1, 5, 12, tzinfo=UTC),
        authors=("Ann", "Bob"),
    )


def test_rdf_is_read() -> None:
    feed = read(
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/" '
        'xmlns:dc="http://purl.org/dc/elements/1.1/"><channel rdf:about="https://example.org/"><title>Feed</title>'
        '<link>https://example.org/</link></channel><item rdf:about="https://example.org/1"><title>One</title>'
        "<link>https://example.org/1</link><description>words</description><dc:date>2026-01-05</dc:date>"
        "<dc:creator>Ann</dc:creator></item></rdf:RDF>"
    )
    assert (feed.title, feed.version) == ("Feed", "rss10")
    entry = only(feed)
    assert (entry.external_id, entry.title, entry.authors) == ("https://example.org/1", "One", ("Ann",))
    assert entry.published_at == datetime(2026, 1, 5, tzinfo=UTC)


def json_feed(*items: object, **fields: object) -> str:
    return json.dumps({"version": "https://jsonfeed.org/version/1.1", "items": items, **fields})


def test_json_feed_is_read() -> None:
    feed = read(
        json_feed(
            {
                "id": 7,
                "url": "/one",
                "title": "1 < 2 & so on",
                "summary": "short",
                "content_html": "<p>All <b>words</b></p><script>alert(1)</script>",
                "date_published": "2026-01-05T13:00:00+01:00",
                "authors": [{"name": "Ann"}, {"url": "https://ann.example"}],
            },
            title="Feed",
            home_page_url="https://example.org/",
        )
    )
    assert (feed.title, feed.url, feed.version) == ("Feed", "https://example.org/", "json11")
    assert only(feed) == Entry(
        external_id="7",
        url="https://example.org/one",
        title="1 < 2 & so on",
        summary="short",
        content="<p>All <b>words</b></p>",
        published_at=datetime(2026, 1, 5, 12, tzinfo=UTC),
        authors=("Ann",),
    )


def test_json_feed_of_version_1_is_read() -> None:
    item = {"id": "a", "content_text": "x", "author": {"name": "A"}}
    feed = read(json_feed(item, version="https://jsonfeed.org/version/1"))
    assert (feed.version, only(feed).authors) == ("json1", ("A",))


WRONG = {"id": {}, "title": ["x"], "url": "https://example.org/1", "authors": "Ann"}


@each(
    (json_feed({"id": "1", "external_url": "https://b.org/x"}), "url", "https://b.org/x"),
    (json_feed({"id": "1", "url": "/y", "external_url": "https://b.org/"}), "url", "https://example.org/y"),
    (json_feed({"id": "1", "content_text": "if a < b & c:"}), "content", "if a &lt; b &amp; c:"),
    (json_feed({"id": "1", "content_text": "if a < b & c:"}), "summary", "if a < b & c:"),
    (json_feed({"id": "1", "content_html": "<p>a|b</p>"}).replace("|", "\n\t"), "content", "<p>a\n\tb</p>"),
    (json_feed("no object", None, WRONG), "url", "https://example.org/1"),
    (json_feed("no object", None, WRONG), "title", ""),
    (json_feed("no object", None, WRONG), "authors", ()),
)
def test_json_item_has_the_expected_field(body: str, field: str, value: object) -> None:
    assert getattr(only(read(body)), field) == value


XML_BASE = '<feed xmlns="http://www.w3.org/2005/Atom" xml:base="/x/"><entry><link href="y"/></entry></feed>'
ABSOLUTE = '<a href="https://a.org/">a</a> <a href="#b">b</a>'
RELATIVE = '<a href="x">a</a> <img src="/i.png">'
RESOLVED = '<a href="https://example.org/blog/x">a</a> <img src="https://example.org/i.png">'
ACTIVE = '<p onclick="x()">a</p><script>x()</script><iframe src="https://a.org"></iframe>'
DOCTYPE = '<!DOCTYPE rss PUBLIC "-//Netscape Communications//DTD RSS 0.91//EN" "http://a.org/rss-0.91.dtd">'


@each(
    (rss(described(ABSOLUTE)), "content", ABSOLUTE),
    (rss(described(RELATIVE)), "content", RESOLVED),
    (rss(described(ACTIVE)), "content", "<p>a</p>"),
    (rss(described(ACTIVE)), "summary", "a"),
    (XML_BASE, "url", "https://example.org/x/y"),
    (rss("<guid>https://example.org/1</guid>"), "url", "https://example.org/1"),
    (atom('<id>1</id><link href="/1"/>'), "url", "https://example.org/1"),
    *(
        (rss(f"<title>t</title><link>{link}</link>"), "url", None)
        for link in ("javascript:alert(1)", "mailto:a@b.org", "http://user:pass@a.org/", "http://[::1")
    ),
    *(
        (rss(f"<guid>{guid}</guid><title>t</title>"), field, value)
        for guid in ("123", "tag:example.org,2026:1", "urn:uuid:1")
        for field, value in (("external_id", guid), ("url", None))
    ),
    (atom("<title>t</title><updated>2026-01-05T12:00:00Z</updated>"), "published_at", NOON),
    # It was encoded twice.
    (rss("<title>cafÃ©</title>"), "title", "café"),
    (rss(described("<pre>&lt;!ENTITY</pre> <!ENTITY x>")), "title", "t"),
    (DOCTYPE + rss("<title>t</title>"), "title", "t"),
    # In quadratic time this would not end.
    ("<!-- x --><?y?>" * 50_000 + rss("<title>t</title>"), "title", "t"),
)
def test_entry_has_the_expected_field(body: str, field: str, value: object) -> None:
    assert getattr(only(read(body)), field) == value


def test_identifiers_do_not_change_when_a_feed_moves() -> None:
    body = rss(
        "<guid>12</guid><title>a</title>", '<title>b</title><description>&lt;img src="/x"&gt;</description>'
    )
    before, after = read(body, url="http://old.example/a/feed"), read(body, url="https://new.example/feed")
    assert [entry.external_id for entry in before.entries] == [entry.external_id for entry in after.entries]
    assert before.entries[0].external_id == "12"


def test_entries_that_share_a_guid_are_identified_by_url() -> None:
    feed = read(rss(*(f"<guid>same</guid><link>/{n}</link><title>{n}</title>" for n in range(3))))
    assert [entry.external_id for entry in feed.entries] == [f"https://example.org/{n}" for n in range(3)]


def test_entries_are_kept_once_unless_empty() -> None:
    feed = read(rss("<title>a</title>", "<title>b</title>", "<description>c</description>"))
    assert len({entry.external_id for entry in feed.entries}) == 3
    item = "<guid>1</guid><link>/1</link><title>t</title>"
    assert len(read(rss(item, item)).entries) == 1
    with_empty = read(rss("", "<guid>1</guid>", "<title>t</title>"))
    assert with_empty.entries == read(rss("<title>t</title>")).entries


@each(
    ("Mon, 05 Jan 2026 12:00:00 GMT", NOON),
    ("05 Jan 26 12:00 -0500", NOON.replace(hour=17)),
    ("2026-01-05T12:00:00+02:00", NOON.replace(hour=10)),
    ("2026-01-05", NOON.replace(hour=0)),
    ("Mon, 05 Jan 2026 12:00:00", NOON),
    ("Mon, 05 Jan 2026 12:00:00 CET", NOON.replace(hour=11)),
    ("Sun, 05 Jul 2026 12:00:00 cest", datetime(2026, 7, 5, 10, tzinfo=UTC)),
    ("Mon, 05 Jan 2026 12:00:00 JST", NOON.replace(hour=3)),
    ("Mon, 05 Jan 2026 12:00:00 EST", NOON.replace(hour=17)),
    ("Mon, 05 Jan 2026 12:00:00 UTC+02:00", NOON.replace(hour=10)),
    *((date, None) for date in ("", "yesterday", "2026/01/05 12:00:00", "1767614400")),
    ("Mon, 32 Foo 2026 12:00:00 GMT", None),
    # Out of range.
    *((date, None) for date in ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0000-00-00T00:00:00Z")),
)
def test_dates_are_read_as_utc(date: str, moment: datetime | None) -> None:
    assert only(read(rss(f"<title>t</title><pubDate>{date}</pubDate>"))).published_at == moment


GREETING = '<?xml version="1.0" encoding="{}"?>' + rss("<title>Grüße, naïve “café”</title>")


def test_feed_is_decoded() -> None:
    def check(body: bytes, content_type: str = "") -> None:
        feed = read(body, content_type)
        assert (only(feed).title, feed.damage) == ("Grüße, naïve “café”", None)

    cases = {
        "utf-8": GREETING.format("utf-8").encode(),
        "BOM over a false prolog": codecs.BOM_UTF8 + GREETING.format("iso-8859-1").encode(),
        "utf-16 with BOM": (GREETING.format("utf-16").encode("utf-16"), "application/rss+xml"),
        "utf-16 without BOM": GREETING.format("utf-16").encode("utf-16-be"),
        "utf-16 that claims utf-8": (GREETING.format("utf-8").encode("utf-16-le"), "text/xml; charset=utf-8"),
        "utf-8 that claims utf-16": GREETING.format("utf-16").encode(),
        "windows-1252": GREETING.format("windows-1252").encode("cp1252"),
        "windows-1252 that claims latin-1": (GREETING.format("ISO-8859-1").encode("cp1252"), "text/xml"),
        "utf-8 that claims ascii": (GREETING.format("us-ascii").encode(), "text/xml; charset=us-ascii"),
        "a charset that does not exist": GREETING.format("no-such-charset").encode(),
        "blanks before the prolog": b"\n\n  " + GREETING.format("utf-8").encode(),
    }
    check_each(cases, check)


def test_malformed_xml_is_read() -> None:
    def check(broken: str, *titles: str) -> None:
        assert [entry.title for entry in read(broken).entries] == list(titles)

    cases = [
        (rss("<title>a & b</title>", "<title>c</title>"), "a & b", "c"),
        (rss("<title>a</title><b>unclosed", "<title>c</title>"), "a", "c"),
        (rss("<title>a&nbsp;b &eacute;</title>"), "a b é"),
        (rss("<title>a</title>").removesuffix("</channel></rss>"), "a"),
        (rss("<title>a</title><foo:bar>x</foo:bar>"), "a"),
        (rss("<title>a\x0b\x1b b</title>"), "a b"),
        (rss("<title>a&#0;&#x1F;&#xD800;&#99999999;&#xFFFFFFFFFF;b</title>"), "a b"),
        ("<!-- made by x -->\n" + rss("<title>a</title>"), "a"),
        ("Warning: mysql\n" + rss("<title>a</title>"), "a"),
        (rss("<title>a</title>") + "<script>x</script>", "a"),
        (rss('<title attr=1 "x>a</title>'), "a"),
        ("<rss version=2.0><x:channel><x:item><x:title>a</x:title></x:item></x:channel></rss>", "a"),
    ]
    check_each(cases, check)
    assert "not well-formed" in (read(rss("<title>a & b</title>")).damage or "")


def test_truncated_feed_keeps_the_entries_before_its_end() -> None:
    whole = rss("<title>a</title>", "<title>b</title><content:encoded><![CDATA[<p>first words and more")
    feed = read(whole.partition(" and more")[0])
    assert [entry.title for entry in feed.entries] == ["a", "b"]
    assert "first words" in feed.entries[1].content


def test_feed_without_entries_is_read() -> None:
    assert read(rss(head="<title>Empty</title>")) == Feed(
        title="Empty", url=None, entries=(), version="rss20"
    )
    assert read(json_feed()).entries == ()


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_title_keeps_every_printable_character(words: str) -> None:
    shown = "".join(c for c in words if c >= " " and c not in "\ufffe\uffff" and not "\x7f" <= c <= "\x9f")
    # The arrow is beyond Latin-1: a title within it may be taken for text that was encoded twice, and mended.
    title = only(read(atom(f"<id>1</id><title>{escape(shown)} →</title>"))).title
    assert title == " ".join(f"{shown} →".split())


@given(
    st.binary(max_size=300)
    | st.binary(max_size=100).map(lambda junk: rss("<title>t</title>").encode()[:60] + junk)
)
def test_any_bytes_are_a_feed_or_a_feed_error(body: bytes) -> None:
    try:
        feed = read(body)
    except FeedError:
        return
    assert all(entry.external_id for entry in feed.entries)


@each(
    (b"", "empty"),
    (b" \n\xef\xbb\xbf", "."),
    (b"<!DOCTYPE html><html><head><title>x</title></head><body><item>no</item></body></html>", "web page"),
    (b"<html><body>404</body></html>", "web page"),
    (b"<?xml version='1.0'?><!DOCTYPE html PUBLIC '-//W3C//DTD XHTML 1.0//EN' 'x'><html/>", "web page"),
    (b"just words", "neither XML nor JSON"),
    (b"%PDF-1.7", "neither XML nor JSON"),
    (b"<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'><url/></urlset>", "<urlset>"),
    (b"{}", "JSON"),
    (b'{"version": "https://jsonfeed.org/version/1.1"}', "JSON"),
    (b'{"items": [', "JSON"),
    (b"[" * 100_000, "neither"),
    (b'{"a":' * 100_000, "JSON"),
)
def test_other_documents_are_refused_with_what_they_are(body: bytes, reason: str) -> None:
    with pytest.raises(FeedError, match=reason) as caught:
        read(body)
    assert caught.value.url == URL


BOMB = (
    '<!DOCTYPE rss [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {x} "{f"&{y};" * 10}">' for x, y in zip("bcdefg", "abcdef", strict=True))
    + "]>"
    + rss("<title>&g;</title>")
)


@each(
    BOMB.encode(),
    ("<?xml version='1.0'?>" + BOMB).encode(),
    BOMB.encode("utf-16"),
    BOMB.replace("ENTITY", "entity").encode(),
    b"<!-- <a> --><?pi <b> ?>" + BOMB.encode(),
    b"<!-- <rss --> words " + BOMB.encode(),
    b'<!DOCTYPE rss SYSTEM "x" [<!ENTITY x SYSTEM "file:///etc/passwd">]><rss version="2.0"/>',
    b'<!DOCTYPE rss [<!ENTITY % x SYSTEM "http://a.org/">%x;]><rss version="2.0"/>',
    b"<!ENTITY x 'y'>" + rss("<title>&x;</title>").encode(),
)
def test_feed_that_declares_entities_is_refused(body: bytes) -> None:
    with pytest.raises(FeedError, match="ENTITY"):
        read(body)


# Few values, so that they repeat; some guids are URLs, and some of another entry.
names = st.sampled_from(["", "1", "2", "3", "http://a.org/1", "http://a.org/2"])
claims = st.builds(Claim, guid=names, url=names, title=names, content=names)
feeds = st.lists(claims, max_size=8)


def test_identifier_is_guid_else_url_else_content() -> None:
    one, other = "http://a.org/x", "http://a.org/y"
    assert identify([Claim("1", one, "t", "c"), Claim("2", one, "t", "c")]) == ["1", "2"]
    assert identify([Claim("1", one, "t", "c"), Claim("1", other, "t", "c")]) == [one, other]
    assert identify([Claim("", one, "t", "c")]) == [one]
    first, second = identify([Claim("", one, "t", "c"), Claim("", one, "t", "d")])
    assert first.startswith("sha256:")
    assert first != second
    # A URL that is another entry's guid is not used twice.
    first, second = identify([Claim(one, "", "t", "c"), Claim("", one, "u", "d")])
    assert first == one
    assert second.startswith("sha256:")


def test_content_is_compared_without_whitespace_and_apart_from_the_title() -> None:
    assert identify([Claim("", "", "a b", "c")]) == identify([Claim("", "", " a\nb", "c ")])
    assert identify([Claim("", "", "a", "b c")]) != identify([Claim("", "", "a b", "c")])


def test_long_guids_are_shortened() -> None:
    one, other = identify([Claim("x" * 5000, "", "t", "c"), Claim("x" * 4999 + "y", "", "t", "c")])
    assert len(one) < 100
    assert one != other


@given(feeds)
def test_entries_with_one_identifier_are_equal(feed: list[Claim]) -> None:
    by_id: dict[str, Claim] = {}
    for claim, name in zip(feed, identify(feed), strict=True):
        first = by_id.setdefault(name, claim)
        assert (first.title, first.content) == (claim.title, claim.content)


@given(feeds)
def test_different_entries_have_different_identifiers(feed: list[Claim]) -> None:
    distinct = {(claim.guid, claim.url, claim.title, claim.content): claim for claim in feed}
    by_words = {(claim.title, claim.content) for claim in distinct.values()}
    assert len(set(identify(list(distinct.values())))) >= len(by_words)


@given(feeds.flatmap(lambda feed: st.tuples(st.just(feed), st.permutations(feed))))
def test_identifiers_do_not_depend_on_order(orders: tuple[list[Claim], list[Claim]]) -> None:
    feed, shuffled = orders
    assert sorted(identify(shuffled)) == sorted(identify(feed))


@given(feeds)
def test_repeated_entries_keep_their_identifiers(feed: list[Claim]) -> None:
    assert identify([*feed, *feed]) == identify(feed) * 2


@given(feeds, claims)
def test_unique_guid_is_kept_beside_any_entries(feed: list[Claim], mine: Claim) -> None:
    mine = Claim("mine", mine.url, mine.title, mine.content)
    assert identify([*feed, mine])[-1] == "mine"


@given(feeds, st.integers(0, 8))
def test_guids_are_kept_when_old_entries_drop_out(feed: list[Claim], gone: int) -> None:
    before = dict(zip(feed, identify(feed), strict=True))
    rest = feed[gone:]
    for claim, name in zip(rest, identify(rest), strict=True):
        if before[claim] == claim.guid:
            assert name == claim.guid
