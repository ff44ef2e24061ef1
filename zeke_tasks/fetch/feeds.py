"""Parsing of feeds: RSS, Atom and RDF by feedparser; JSON Feed is converted to Atom first.

Feeds in the wild are malformed, mislabelled, or not feeds. Malformed feeds are read as far as possible. A
document that declares entities, which could expand without bounds, is rejected before it is parsed.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final, cast

from zeke_tasks.fetch.dates import read_date
from zeke_tasks.fetch.entries import Claim, Entry, Feed, identify
from zeke_tasks.fetch.errors import FeedError
from zeke_tasks.fetch.fragments import flat_text
from zeke_tasks.fetch.json_feed import as_atom
from zeke_tasks.fetch.libraries import (
    Parsed,
    absolute_links,
    as_mapping,
    as_mappings,
    is_of_this_machine,
    parse_xml_feed,
)
from zeke_tasks.fetch.text import charset_of, decode, one_line, printable
from zeke_tasks.fetch.urls import resolve_link

_DECLARATION = re.compile(r"\A\s*<\?xml.*?\?>", re.DOTALL)
_NUMERIC_REFERENCE = re.compile(r"&#(?:[xX]([0-9a-fA-F]+)|([0-9]+));")
_LAST_CHARACTER = 0x10FFFF
_RELATIVE_LINK = re.compile(
    r"\b(?:href|src|poster|cite)\s*=\s*[\"']?(?![a-z][a-z0-9+.-]*:|#|[\"'])", re.IGNORECASE
)
_LAST_TAG = re.compile(r"<([\w:.-]+)(?:\s[^<>]*)?>\s*\Z")
_PREFIXED_ITEM = re.compile(r"<([A-Za-z][\w.-]*):(?:item|entry)\b")


ATTRIBUTES_MAX: Final = 1000
"""Maximum attributes of one element; the parser's time grows with their square."""

ITEMS_MAX: Final = 20_000
"""Maximum items of a feed; reading that many takes some seconds."""

_ITEM = re.compile(r"<(?:[\w.-]+:)?(?:item|entry)\b")
_VALUE = r"""(?:"[^"<]*+"|'[^'<]*+'|[^\s<>"']++)"""
CROWDED = re.compile(rf"""<[^\s<>/!?]++(?:\s++[^\s=<>"'/]++\s*+=\s*+{_VALUE}){{{ATTRIBUTES_MAX + 1}}}""")
"""The beginning of an element with too many attributes; possessive, so that the search takes linear time."""


def parse_feed(body: bytes, content_type: str, url: str) -> Feed:
    """Parse a feed. Takes milliseconds to a second; call it through `ParserPool`, not in threads.

    Args:
        body: the document, decompressed.
        content_type: the server's header, or ``""``; only its charset is used, since the type is often wrong.
        url: the document's URL, after redirects; base of relative links.

    Returns:
        The feed, with an entry for each nonempty item.

    Raises:
        FeedError: the document is not a feed, declares entities, or would be too expensive to read.
        Exception: an error for which `is_of_this_machine` is true; the feed may be valid.
    """
    text = decode(body, charset_of(content_type)).strip()
    if not text:
        raise FeedError(url, "the body is empty")
    version = None
    if text.startswith("{"):
        version, text = as_atom(text, url, ITEMS_MAX)
    _refuse(text, url)
    _refuse_expensive(text, url)
    text = _mended(text)
    parsed, items = _parse(text, url)
    version = version or str(parsed.get("version") or "")
    if not version and not items:
        raise FeedError(url, f"the body is not a feed: {_looks_like(text)}")
    home = as_mapping(parsed.get("feed"))
    damage = parsed.get("bozo_exception") if parsed.get("bozo") else None
    return Feed(
        title=_plain(home, "title"),
        url=resolve_link(cast("str | None", home.get("link")), url),
        entries=tuple(_entries(items, url)),
        version=version,
        damage=one_line(str(damage)) if damage else None,
    )


def _mended(text: str) -> str:
    """Remove parts of the document at which the parsers would stop or lose the rest."""
    text = _NUMERIC_REFERENCE.sub(_readable_reference, _DECLARATION.sub("", text, count=1)).lstrip()
    cut = text.rfind("<![CDATA[")
    if cut > text.rfind("]]>"):
        # The document is truncated inside a section; the part before that is still read.
        element = _LAST_TAG.search(text, max(0, cut - 1000), cut)
        text += "]]>" + (f"</{element.group(1)}>" if element else "")
    return text


def _parse(text: str, url: str) -> tuple[Parsed, list[Parsed]]:
    """Return the feed and its items, including those in a namespace unknown to the parser."""
    try:
        parsed = parse_xml_feed(text)
        if not parsed.get("entries") and (prefixed := _PREFIXED_ITEM.search(text)):
            parsed = parse_xml_feed(re.sub(rf"(</?){re.escape(prefixed.group(1))}:", r"\1", text))
    except Exception as error:
        if is_of_this_machine(error):
            raise
        # The parser has no error classes of its own, so any exception can occur.
        raise FeedError(url, f"the feed can't be read: {type(error).__name__}: {error}") from error
    return parsed, cast("list[Parsed]", parsed.get("entries") or [])


def _refuse(text: str, url: str) -> None:
    """Reject a document that declares entities or is a web page.

    Only a document type before the first element can declare entities; a declaration quoted in an article's
    text is harmless. But a parser that recovers from errors is less strict about the place, so anything
    before the first tag is checked too.

    Raises:
        FeedError: the document is rejected.
    """
    doctype, root = _prolog(text)
    first_tag = re.search(r"<\w", text)
    head = text if doctype else text[: first_tag.start() if first_tag else None]
    if "<!entity" in head.lower():
        raise FeedError(url, "the feed declares entities (<!ENTITY), which could expand without bounds")
    if root.lower() == "html":
        raise FeedError(url, f"the body is not a feed: {_looks_like(text)}")


def _refuse_expensive(text: str, url: str) -> None:
    """Reject a document that would keep the parser busy for minutes.

    Raises:
        FeedError: an element has too many attributes, or the feed too many items.
    """
    if CROWDED.search(text):
        raise FeedError(url, f"an element has more than {ATTRIBUTES_MAX} attributes, the limit")
    if sum(1 for _ in islice(_ITEM.finditer(text), ITEMS_MAX + 1)) > ITEMS_MAX:
        raise FeedError(url, f"the feed has more than {ITEMS_MAX} items, the limit")


def _prolog(text: str) -> tuple[bool, str]:
    """Return whether a document has a document type, and the name of its first element or ``""``."""
    at, doctype = 0, False
    # A single pattern would take quadratic time on a hostile document, so search step by step.
    while (at := text.find("<", at)) >= 0:
        if text.startswith("<!--", at):
            end = text.find("-->", at + 4)
        elif text.startswith("<?", at):
            end = text.find("?>", at + 2)
        elif text.startswith("<!", at):
            doctype = doctype or text[at : at + 9].lower() == "<!doctype"
            end = text.find(">", at)
        else:
            name = re.match(r"[\w:.-]+", text[at + 1 : at + 100])
            return doctype, name.group() if name else ""
        if end < 0:
            break
        at = end + 1
    return doctype, ""


def _looks_like(text: str) -> str:
    doctype, root = _prolog(text)
    if root.lower() == "html" or (doctype and not root):
        return "it is a web page; pass the URL of its feed instead"
    if root:
        return f"its first element is <{root}>, not <rss>, <feed> or <rdf:RDF>"
    return f"it is neither XML nor JSON, but starts with {text[:40]!r}"


def _readable_reference(found: re.Match[str]) -> str:
    """Replace a reference to an invalid character, which stops the strict parser, with a blank."""
    hexadecimal, decimal = found.groups()
    code = int(hexadecimal, 16) if hexadecimal else int(decimal[:8])
    return found.group() if code <= _LAST_CHARACTER and printable(chr(code)) else " "


def _entries(items: Sequence[Parsed], url: str) -> Iterator[Entry]:
    told = [(item, _claim(item, url)) for item in items]
    told = [(item, claim) for item, claim in told if claim.url or claim.title or claim.content]
    seen: set[str] = set()
    for (item, claim), external_id in zip(told, identify([claim for _, claim in told]), strict=True):
        if external_id in seen:
            continue
        seen.add(external_id)
        authors = [one_line(str(author.get("name") or "")) for author in as_mappings(item.get("authors"))]
        yield Entry(
            external_id=external_id,
            url=claim.url or None,
            title=claim.title,
            summary=_plain(item, "summary"),
            content=_absolute(claim.content, url),
            published_at=_moment(item),
            authors=tuple(dict.fromkeys(name for name in authors if name)),
        )


def _claim(item: Parsed, url: str) -> Claim:
    guid = printable(str(item.get("id") or "")).strip()
    link = printable(str(item.get("link") or "")).strip()
    # The parser uses the guid in place of a missing link, but few guids are URLs.
    is_link = any(one.get("href") == link for one in as_mappings(item.get("links")))
    if not is_link and not re.match(r"https?:", link, re.IGNORECASE):
        link = ""
    return Claim(
        guid=guid, url=resolve_link(link, url) or "", title=_plain(item, "title"), content=_content(item)
    )


def _content(item: Parsed) -> str:
    """Return the longest form of the entry's text, as HTML."""
    forms = [*as_mappings(item.get("content")), as_mapping(item.get("summary_detail"))]
    return max((_as_html(form) for form in forms), key=len)


def _as_html(form: Any) -> str:
    value = printable(str(form.get("value") or ""))
    return html.escape(value, quote=False) if form.get("type") == "text/plain" else value


def _plain(item: Any, field: str) -> str:
    """Return a field as plain text on one line, from any format."""
    value = str(item.get(field) or "")
    if as_mapping(item.get(f"{field}_detail")).get("type") == "text/plain" or not value.strip():
        return one_line(value)
    return flat_text(value)


def _absolute(content: str, url: str) -> str:
    if not _RELATIVE_LINK.search(content):
        return content
    try:
        return absolute_links(content, url)
    except ValueError:
        return content


def _moment(item: Parsed) -> datetime | None:
    for field in ("published", "updated", "created"):
        # For a missing "updated" the parser would warn and return "published".
        guess = item.get(f"{field}_parsed") if f"{field}_parsed" in item else None
        written = str(item.get(field) or "") if field in item else ""
        if (moment := read_date(written, cast("Sequence[int] | None", guess))) is not None:
            return moment
    return None
