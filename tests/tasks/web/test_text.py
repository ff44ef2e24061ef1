"""Decoding, where a claim is believed if the bytes bear it out, and the plain text of HTML fragments."""

from __future__ import annotations

import codecs
import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each, each
from zeke_tasks.fetch.fragments import flat_text, lined_text
from zeke_tasks.fetch.text import charset_of, decode, one_line

FEED = "<?xml version='1.0'?><a>Grüße, naïve café</a>"

# Characters that XML can contain, which a decoder must return.
characters = st.characters(
    codec="utf-8", exclude_categories=["Cs"], exclude_characters="\ufffe\uffff\ufeff"
).filter(lambda c: c >= " " or c in "\t\n\r")


def test_byte_order_mark_overrides_every_claim() -> None:
    def check(mark: tuple[bytes, str], claim: str | None) -> None:
        assert decode(mark[0] + FEED.encode(mark[1]), claim) == FEED

    marks = [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ]
    check_each(itertools.product(marks, [None, "utf-8", "iso-8859-1", "utf-16", "koi8-r"]), check)


@each("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
def test_wide_characters_are_recognised_without_a_mark(codec: str) -> None:
    assert decode(FEED.encode(codec), None) == FEED


@each("utf-8", "utf-16-le", "utf-32-be")
def test_repeated_mark_is_removed(codec: str) -> None:
    assert decode(("\ufeff\ufeff" + FEED).encode(codec), None) == FEED


def test_false_claims_are_ignored() -> None:
    def check(body: bytes, claim: str | None, text: str) -> None:
        assert decode(body, claim) == text

    plain, western = (
        "<a>plain text, an even number</a>",
        "<a>à côté: ça et là, été — où déjà, né à là-bas, à ça, é è à</a>",
    )
    cut, pair = FEED.encode() + "é".encode()[:1] + b"...", "<a>Ã© is what é becomes, à côté de ça</a>"
    wide = ("utf-16", "UTF-16LE", "utf-32", "ucs-2")
    multibyte = ("shift_jis", "gb2312", "euc-jp", "euc-kr", "big5")
    no_charsets = ("utf-7", "hex", "zlib", "unicode_escape", "idna", "undefined", "no-such", "\0", "")
    cases = [
        *((plain.encode(), claim, plain) for claim in wide),
        *((FEED.encode(), claim, FEED) for claim in ("iso-8859-1", "us-ascii", "windows-1252", "latin1")),
        # UTF-8 with a character cut in two is still UTF-8.
        *((cut, claim, FEED + "Ã...") for claim in ("iso-8859-1", "utf-8", None)),
        *((western.encode("cp1252"), claim, western) for claim in multibyte),
        *(("<a>é +ADw-</a>".encode(), claim, "<a>é +ADw-</a>") for claim in no_charsets),
        ("<a>café crème</a>".encode("latin-1"), "utf-8", "<a>café crème</a>"),
        ("<a>Grüße</a>".encode() + b"it\x92s 5 \x80", "utf-8", "<a>Grüße</a>it\u2019s 5 €"),
        # Western with a pair of bytes that could be UTF-8; and valid UTF-8 by chance.
        (pair.encode("cp1252"), "iso-8859-1", pair),
        ("联通".encode("gb2312"), "GB2312", "联通"),
    ]
    check_each(cases, check)


def test_document_is_believed_about_itself() -> None:
    def check(head: str) -> None:
        body = f"{head.format('windows-1251')}привет"
        assert decode(body.encode("cp1251"), None) == body

    prologs = ["<?xml version='1.0' encoding='{}'?><a>", '<?xml version="1.0" encoding="{}"?><a>']
    tags = ['<meta charset="{}">', "<meta http-equiv=x content='text/html; charset={}'>"]
    check_each([*prologs, *(f"<html><head>{tag}</head>" for tag in tags)], check)


def test_server_is_believed_before_the_prolog() -> None:
    body = "<?xml version='1.0' encoding='iso-8859-5'?><a>привет</a>".encode("koi8-r")
    assert decode(body, "koi8-r").endswith("<a>привет</a>")


def test_latin_1_is_read_as_windows_1252() -> None:
    body = b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\x93\xe9\x94</a>"
    assert decode(body, None).endswith("<a>“é”</a>")


@each(
    ("gb2312", "gb18030", "春眠不觉晓。处处闻啼鸟。夜来风雨声。花落知多少。"),
    ("shift_jis", "cp932", "いろはにほへとちりぬるをわかよたれそつねならむ"),
    ("windows-1251", "cp1251", "съешь же ещё этих мягких французских булок"),
)
def test_one_broken_byte_does_not_change_the_charset(label: str, codec: str, text: str) -> None:
    # 0x98 is nothing in Windows-1251; in the others no character can begin so.
    assert decode(b"<a>" + text.encode(codec) + b"\x98</a>", label).startswith(f"<a>{text}")


@each(
    ("windows-874", "cp874", "สวัสดี"),
    ("cp737", "cp737", "καλημέρα"),
    ("cspc775baltic", "cp775", "Ćłū"),
    ("mac", "mac-roman", "Größe"),
    ("csMacintosh", "mac-roman", "Größe"),
    ("ISO-8859-11", "cp874", "“สวัสดี”"),
    ("x-sjis", "cp932", "①こんにちは"),
    ("Windows-31J", "cp932", "①こんにちは"),
    ("x-gbk", "gbk", "你好"),
    ("x-euc-jp", "euc_jp", "こんにちは"),
    ("windows-949", "cp949", "안녕하세요"),
    ("x-x-big5", "big5", "你好"),
    ("x-cp1251", "cp1251", "привет"),
    ("x-mac-cyrillic", "mac-cyrillic", "привет"),
    ("iso-8859-8-i", "iso8859-8", "שלום"),
    ("iso-8859-9", "cp1254", "“şğı”"),
)
def test_charset_labels_of_browsers_are_known(label: str, codec: str, text: str) -> None:
    assert decode(f"<a>{text}</a>".encode(codec), label) == f"<a>{text}</a>"


@given(st.binary(), st.none() | st.sampled_from(["utf-8", "utf-16", "latin-1", "shift_jis", "gb18030", "x"]))
def test_any_bytes_are_decoded_to_text_that_postgres_can_store(body: bytes, claim: str | None) -> None:
    text = decode(body, claim)
    assert "\0" not in text
    text.encode("utf-8")


@given(st.text(characters), st.sampled_from(["utf-8", "utf-16", "utf-32"]))
def test_unicode_is_decoded_without_a_claim(text: str, codec: str) -> None:
    assert decode(("<" + text).encode(codec), None) == "<" + text


@each(
    ("text/html; charset=utf-8", "utf-8"),
    ('text/html;charset="UTF-8"', "UTF-8"),
    ("text/html; CHARSET='utf-8'; x=y", "utf-8"),
    ("text/html; x=y; charset = utf-8 ", "utf-8"),
    ("text/html", None),
    ("text/html; charset=", None),
    ("", None),
)
def test_charset_of_a_content_type(header: str, charset: str | None) -> None:
    assert charset_of(header) == charset


def test_one_line_has_single_blanks() -> None:
    assert one_line("  a\t\n b\0\u00a0c ") == "a b c"


@each(
    ("<p>One.</p><p>Two.</p>", "One.", "Two."),
    ("One<br>two<BR/>three", "One", "two", "three"),
    ("<ul><li>a</li><li>b</li></ul>", "a", "b"),
    ("<dl><dt>a</dt><dd>b</dd></dl>", "a", "b"),
    ("<dl><dt>a<dt>b<dd>c<dd>d</dl>", "a", "b", "c", "d"),
    ("<h2>Title</h2>text", "Title", "text"),
    ("<div>a</div>b", "a", "b"),
    ("<table><tr><td>a</td><td>b</td></tr><tr><th>c</th></tr></table>", "a b", "c"),
    (
        "a line\n that is\twrapped <b>in the</b>\nsource<p>next",
        "a line that is wrapped in the source",
        "next",
    ),
    ("<pre>def f():\n    return 1</pre>after\nit", "def f():", "return 1", "after it"),
    ("so<b>me</b>thing", "something"),
    ("<p>R&amp;D &lt;b&gt;</p>", "R&D <b>"),
    ("a\x00b", "ab"),
    ("",),
    (" <p> </p> ",),
)
def test_fragment_has_the_lines_that_a_reader_sees(fragment: str, *lines: str) -> None:
    assert lined_text(fragment).splitlines() == list(lines)
    assert flat_text(fragment) == " ".join(lines)


@each("<pre>", "</pre", "<p ", "<pre><p>", "&#x", "<!--")
def test_hostile_fragment_takes_linear_time(tag: str) -> None:
    assert lined_text("words " + tag * 100_000).startswith("words")


@given(st.text())
def test_any_text_is_a_fragment(fragment: str) -> None:
    assert "\n" not in flat_text(fragment)
    lined = lined_text(fragment)
    assert all(line.strip() == line != "" for line in lined.split("\n") if lined)
