"""Decoding of bodies to text that can be parsed and stored, even with a wrong charset.

Claimed charsets may be wrong: a prolog claims UTF-16 for plain ASCII, a server claims ISO-8859-1 for UTF-8.
So a claim is only a candidate that must fit the bytes. The last candidate, UTF-8 with Windows-1252 for stray
bytes, fits all.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BOMS = (
    # The byte order mark of UTF-32 begins with that of UTF-16, so it is checked first.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# A document starts with an ASCII character, which in a wide encoding has zeros at known places.
_WIDE_STARTS = (
    (re.compile(rb"[^\0]\0\0\0"), "utf-32-le"),
    (re.compile(rb"\0\0\0[^\0]"), "utf-32-be"),
    (re.compile(rb"[^\0]\0"), "utf-16-le"),
    (re.compile(rb"\0[^\0]"), "utf-16-be"),
)
_WESTERN = "cp1252"
# Python's names of encodings used in documents. Its other codecs (utf-7, idna, unicode_escape, hex, …) are
# not charsets, and some are dangerous.
_CHARSETS = re.compile(
    r"utf-8|cp(?:125[0-8]|437|7[237]\d|8\d\d|9\d\d|10\d\d|1[14]\d\d)|iso8859-(?:[2-9]|1\d)|koi8-[rut]|mac-\w+|tis-620"
    r"|gbk|gb18030|hz|big5(?:hkscs)?|euc_\w+|shift_jis\w*|iso2022_\w+|johab|ptcp154|kz1048"
)
# Supersets that browsers use in place of the claimed encoding.
_SUPERSETS = {
    "ascii": _WESTERN,
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso8859-1": _WESTERN,
    "iso8859-11": "cp874",
    "iso8859-9": "cp1254",
    "shift_jis": "cp932",
    "tis-620": "cp874",
}
# Names known to browsers but not to Python, except those that begin with "x-". Source: WHATWG Encoding.
_NAMES = {
    "cn-big5": "big5",
    "csmacintosh": "mac-roman",
    "dos-874": "cp874",
    "gb_2312-80": "gb2312",
    "iso-8859-8-i": "iso8859-8",
    "ks_c_5601-1989": "euc_kr",
    "mac": "mac-roman",
    "sun_eu_greek": "iso8859-7",
    "unicode-1-1-utf-8": "utf-8",
    "windows-31j": "cp932",
    "windows-874": "cp874",
    "windows-949": "cp949",
    "x-big5": "big5",
}
# Minimum number of valid non-ASCII characters per invalid one. Other bytes hardly ever form valid UTF-8, so
# few are sufficient there; in most other encodings almost any two bytes are a character.
_WHOLE_TO_BROKEN = {"utf-8": 2}
_WHOLE_TO_BROKEN_ELSEWHERE = 20

_PARAMETER = re.compile(r";\s*charset\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|([^\s;,\"']+))", re.IGNORECASE)
_PROLOG = re.compile(rb"\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]{1,40})[\"']")
_META = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{1,40})", re.IGNORECASE)

# Characters invalid in XML 1.0 or Postgres: NUL and other control characters, lone surrogates.
_UNPRINTABLE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_CONTROLS = re.compile("[\0-\x1f\x7f-\x9f]+")
_BLANKS = re.compile(r"\s+")


def _stray_byte(error: UnicodeError) -> tuple[str, int]:
    """Decode bytes that are not UTF-8 as Windows-1252, since few such bytes are usually pasted text."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    strays = error.object[error.start : error.end]
    return "".join(_WESTERN_CHARACTERS[byte] for byte in strays), error.end


_WESTERN_CHARACTERS = [bytes([n]).decode(_WESTERN, "ignore") or chr(n) for n in range(256)]
codecs.register_error("zeke-stray-byte", _stray_byte)


def charset_of(content_type: str) -> str | None:
    """Return the charset parameter of a Content-Type header as written, or None.

    >>> charset_of('text/xml; charset="UTF-8"')
    'UTF-8'
    """
    found = _PARAMETER.search(content_type)
    return next((group for group in found.groups() if group), None) if found else None


def decode(body: bytes, charset: str | None) -> str:
    """Decode a document; never fails, and loses no decodable character.

    The encoding is the first of these that fits the bytes, except for a few invalid ones: a byte order mark;
    zeros where a wide encoding has them; the server's charset; that of the XML prolog or the page's
    ``<meta>``; UTF-8; Windows-1252.

    Args:
        body: the whole document.
        charset: the server's claim, or None.

    Returns:
        The text without a byte order mark and without characters that are invalid in XML or Postgres.
    """
    for mark, name in _BOMS:
        if body.startswith(mark):
            # Some publishing systems add their byte order mark before that of the template.
            return printable(body.decode(name, "replace").lstrip("\ufeff"))
    for start, name in _WIDE_STARTS:
        if start.match(body):
            return printable(body.decode(name, "replace"))
    claims = list(_claims(body, charset))
    # Bytes above 127 hardly ever form valid UTF-8 by chance, so UTF-8 takes precedence over a Western claim,
    # which is the most common wrong one. Short texts in East Asian encodings can be valid UTF-8, so those
    # claims are used.
    if not claims or claims[0] == _WESTERN or "utf-8" in claims:
        claims.insert(0, "utf-8")
    for name in claims:
        if (text := _as_claimed(body, name)) is not None:
            return printable(text)
    return printable(body.decode("utf-8", "zeke-stray-byte"))


def _as_claimed(body: bytes, name: str) -> str | None:
    """Return the text if the bytes fit the claim, except for a few invalid ones; else None.

    An excerpt cut after a number of bytes may end inside a character, although the claim is right.
    """
    try:
        return body.decode(name)
    except UnicodeDecodeError:
        text = body.decode(name, "replace")
    broken = text.count("\ufffd")
    whole = len(text) - len(text.encode("ascii", "ignore")) - broken
    if name == _WESTERN or whole < broken * _WHOLE_TO_BROKEN.get(name, _WHOLE_TO_BROKEN_ELSEWHERE):
        return None
    return body.decode(name, "zeke-stray-byte") if name == "utf-8" else text


def _claims(body: bytes, charset: str | None) -> Iterator[str]:
    """Yield the codecs that the server and the document claim, if they exist and are plausible."""
    found = _PROLOG.match(body) or _META.search(body, 0, 4096)
    inside = found.group(1).decode("ascii", "replace") if found else None
    for label in (charset, inside):
        known = (label or "").strip().lower().removeprefix("x-")
        try:
            name = codecs.lookup(_NAMES.get(known, known)).name
        except (LookupError, ValueError):
            continue
        name = _SUPERSETS.get(name, name)
        if _CHARSETS.fullmatch(name):
            yield name


def printable(text: str) -> str:
    """Return the text without characters that are invalid in XML or Postgres."""
    return _UNPRINTABLE.sub("", text)


def without_controls(text: str) -> str:
    """Return the text with control characters, which a terminal would interpret, replaced by blanks."""
    return _CONTROLS.sub(" ", text)


def one_line(text: str) -> str:
    """Collapse each run of whitespace to one space, and strip the ends."""
    return _BLANKS.sub(" ", printable(text)).strip()
