"""Decoding: a claim is believed if the bytes bear it out, and no character is lost."""

from __future__ import annotations

import codecs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zeke_tasks.web.text import charset_of, decode, one_line

FEED = "<?xml version='1.0'?><a>Grüße, naïve café</a>"

# What XML can hold, which is also what a decoder must give back.
characters = st.characters(
    codec="utf-8", exclude_categories=["Cs"], exclude_characters="\ufffe\uffff\ufeff"
).filter(lambda c: c >= " " or c in "\t\n\r")


@pytest.mark.parametrize(
    ("mark", "codec"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
    ],
)
@pytest.mark.parametrize("claim", [None, "utf-8", "iso-8859-1", "utf-16", "koi8-r"])
def test_a_byte_order_mark_beats_every_claim(mark: bytes, codec: str, claim: str | None) -> None:
    assert decode(mark + FEED.encode(codec), claim) == FEED


@pytest.mark.parametrize("codec", ["utf-8", "utf-16-le", "utf-32-be"])
def test_a_mark_that_stands_twice_is_gone_twice(codec: str) -> None:
    assert decode(("\ufeff\ufeff" + FEED).encode(codec), None) == FEED


@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_wide_characters_are_seen_without_a_mark(codec: str) -> None:
    assert decode(FEED.encode(codec), None) == FEED


@pytest.mark.parametrize("claim", ["utf-16", "UTF-16LE", "utf-32", "ucs-2"])
def test_a_claim_to_be_wide_is_not_believed_of_plain_text(claim: str) -> None:
    assert decode(b"<a>plain text, an even number</a>", claim) == "<a>plain text, an even number</a>"


def test_the_server_is_believed_before_the_prolog() -> None:
    body = "<?xml version='1.0' encoding='iso-8859-5'?><a>привет</a>".encode("koi8-r")
    assert decode(body, "koi8-r").endswith("<a>привет</a>")


@pytest.mark.parametrize("quote", ["'", '"'])
def test_the_prolog_is_believed_where_the_server_says_nothing(quote: str) -> None:
    body = f"<?xml version={quote}1.0{quote} encoding={quote}windows-1251{quote}?><a>привет</a>"
    assert decode(body.encode("cp1251"), None) == body


@pytest.mark.parametrize(
    "tag", ['<meta charset="{}">', "<meta http-equiv=x content='text/html; charset={}'>"]
)
def test_a_page_is_believed_about_itself(tag: str) -> None:
    body = f"<html><head>{tag.format('windows-1251')}</head>привет"
    assert decode(body.encode("cp1251"), None) == body


def test_latin_1_is_read_as_browsers_read_it() -> None:
    assert decode(b"<?xml version='1.0' encoding='ISO-8859-1'?><a>\x93\xe9\x94</a>", None).endswith(
        "<a>“é”</a>"
    )


@pytest.mark.parametrize("claim", ["iso-8859-1", "us-ascii", "windows-1252", "latin1"])
def test_valid_utf_8_beats_a_western_claim(claim: str) -> None:
    assert decode(FEED.encode(), claim) == FEED


@pytest.mark.parametrize("claim", ["iso-8859-1", "utf-8", None])
def test_utf_8_with_a_character_cut_in_two_is_still_utf_8(claim: str | None) -> None:
    assert decode(FEED.encode() + "é".encode()[:1] + b"...", claim) == FEED + "Ã..."


def test_western_text_that_holds_a_pair_that_could_be_utf_8_stays_western() -> None:
    text = "<a>Ã© is what é becomes, à côté de ça</a>"
    assert decode(text.encode("cp1252"), "iso-8859-1") == text


@pytest.mark.parametrize("claim", ["shift_jis", "gb2312", "euc-jp", "euc-kr", "big5"])
def test_a_claim_that_much_of_the_text_denies_is_not_believed(claim: str) -> None:
    text = "<a>à côté: ça et là, été — où déjà, né à là-bas, à ça, é è à</a>"
    assert decode(text.encode("cp1252"), claim) == text


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("gb2312", "gb18030", "春眠不觉晓。处处闻啼鸟。夜来风雨声。花落知多少。"),
        ("shift_jis", "cp932", "いろはにほへとちりぬるをわかよたれそつねならむ"),
        ("windows-1251", "cp1251", "съешь же ещё этих мягких французских булок"),
    ],
)
def test_a_broken_byte_does_not_take_a_whole_document_from_its_charset(
    label: str, codec: str, text: str
) -> None:
    # 0x98 is nothing in Windows-1251; in the others no character can begin so.
    body = b"<a>" + text.encode(codec) + b"\x98</a>"
    assert decode(body, label).startswith(f"<a>{text}")


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
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
    ],
)
def test_a_charset_has_all_the_names_that_browsers_know(label: str, codec: str, text: str) -> None:
    assert decode(f"<a>{text}</a>".encode(codec), label) == f"<a>{text}</a>"


def test_text_that_happens_to_be_utf_8_too_is_read_as_claimed() -> None:
    assert decode("联通".encode("gb2312"), "GB2312") == "联通"


def test_stray_western_bytes_in_utf_8_are_told() -> None:
    assert decode("<a>Grüße</a>".encode() + b"it\x92s 5 \x80", "utf-8") == "<a>Grüße</a>it\u2019s 5 €"


def test_a_false_claim_of_utf_8_over_latin_1_is_survived() -> None:
    assert decode("<a>café crème</a>".encode("latin-1"), "utf-8") == "<a>café crème</a>"


@pytest.mark.parametrize(
    "label", ["utf-7", "hex", "zlib", "unicode_escape", "idna", "undefined", "no-such", "\0", ""]
)
def test_what_is_no_charset_is_not_believed(label: str) -> None:
    assert decode("<a>é +ADw-</a>".encode(), label) == "<a>é +ADw-</a>"


@given(st.binary(), st.none() | st.sampled_from(["utf-8", "utf-16", "latin-1", "shift_jis", "gb18030", "x"]))
def test_anything_is_decoded_to_what_postgres_can_keep(body: bytes, claim: str | None) -> None:
    text = decode(body, claim)
    assert "\0" not in text
    text.encode("utf-8")


@given(st.text(characters))
def test_utf_8_comes_back_as_it_was(text: str) -> None:
    assert decode(("<" + text).encode(), None) == "<" + text


@given(st.text(characters), st.sampled_from(["utf-16", "utf-32"]))
def test_wide_text_with_a_mark_comes_back_as_it_was(text: str, codec: str) -> None:
    assert decode(("<" + text).encode(codec), None) == "<" + text


@pytest.mark.parametrize(
    ("header", "charset"),
    [
        ("text/html; charset=utf-8", "utf-8"),
        ('text/html;charset="UTF-8"', "UTF-8"),
        ("text/html; CHARSET='utf-8'; x=y", "utf-8"),
        ("text/html; x=y; charset = utf-8 ", "utf-8"),
        ("text/html", None),
        ("text/html; charset=", None),
        ("", None),
    ],
)
def test_the_charset_of_a_content_type(header: str, charset: str | None) -> None:
    assert charset_of(header) == charset


def test_one_line_has_single_blanks() -> None:
    assert one_line("  a\t\n b\0\u00a0c ") == "a b c"
