"""Conversion of JSON Feed to Atom, so that one parser sanitises, dates and identifies entries of all formats.

Source: https://www.jsonfeed.org/version/1.1/
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, cast
from xml.sax.saxutils import escape, quoteattr

from zeke_tasks.fetch.errors import FeedError
from zeke_tasks.fetch.text import printable

_VERSION = re.compile(r"https?://(?:www\.)?jsonfeed\.org/version/(\d)(?:\.(\d))?")


def as_atom(text: str, url: str, items_max: int) -> tuple[str, str]:
    """Return the version (``json1`` or ``json11``) and the feed as an Atom document.

    Args:
        text: the JSON document.
        url: the document's URL, for messages.
        items_max: limit of its items.

    Raises:
        FeedError: the document is not JSON, not a JSON Feed, or has too many items.
    """
    try:
        # Hand-written and templated feeds have line breaks in strings, which strict parsing rejects.
        feed: Any = json.loads(text, strict=False)
    except (ValueError, RecursionError) as error:
        raise FeedError(
            url, f"the body is not a feed: it looks like JSON, but cannot be read: {error}"
        ) from error
    version = _VERSION.match(_text(feed, "version"))
    items = cast("Mapping[str, Any]", feed).get("items") if isinstance(feed, Mapping) else None
    if not version or not isinstance(items, list):
        raise FeedError(
            url, "the body is not a feed: it is JSON without the version and items of a JSON Feed"
        )
    if len(cast("list[Any]", items)) > items_max:
        raise FeedError(url, f"the feed has more than {items_max} items, the limit")
    lines = ['<feed xmlns="http://www.w3.org/2005/Atom">']
    lines += _element("title", _text(feed, "title"))
    lines += _link(_text(feed, "home_page_url"))
    for item in cast("list[Any]", items):
        lines += ["<entry>", *_item(item), "</entry>"]
    lines.append("</feed>")
    return "json" + "".join(part for part in version.groups() if part and part != "0"), "\n".join(lines)


def _item(item: Any) -> Iterator[str]:
    yield from _element("id", _text(item, "id"))
    # ``external_url`` is the page that an entry comments on, so the entry's own page takes precedence.
    yield from _link(_text(item, "url") or _text(item, "external_url"))
    yield from _element("title", _text(item, "title"))
    yield from _element("summary", _text(item, "summary"))
    for kind, field in (("html", "content_html"), ("text", "content_text")):
        yield from _element("content", _text(item, field), kind)
    yield from _element("published", _text(item, "date_published"))
    yield from _element("updated", _text(item, "date_modified"))
    if isinstance(item, Mapping):
        fields = cast("Mapping[str, Any]", item)
        authors: Any = fields.get("authors")
        for author in cast("list[Any]", authors) if isinstance(authors, list) else [fields.get("author")]:
            for name in _element("name", _text(author, "name")):
                yield f"<author>{name}</author>"


def _text(fields: Any, name: str) -> str:
    """Return a field as text; convert numbers, which some feeds use as ids, and ignore other types."""
    value: Any = cast("Mapping[str, Any]", fields).get(name) if isinstance(fields, Mapping) else None
    return printable(str(value)).strip() if isinstance(value, str | int | float) else ""


def _element(name: str, value: str, kind: str = "") -> list[str]:
    attribute = f" type={quoteattr(kind)}" if kind else ""
    return [f"<{name}{attribute}>{escape(value)}</{name}>"] if value else []


def _link(value: str) -> list[str]:
    return [f'<link rel="alternate" href={quoteattr(value)}/>'] if value else []
