"""Typed wrappers of the parser libraries that have no types.

Importing the libraries takes a second, so each is imported when it is first needed. They must not be used by
several threads of a process, in which lxml has crashed. `zeke_tasks.fetch.parser_pool` runs them in processes
that read one document at a time.
"""
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import errno
import importlib
import io
import logging
from collections.abc import Mapping
from datetime import date
from itertools import islice
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

# Element around a fragment, so that it has one root and keeps leading text.
_WRAPPER = "div"

ANCESTORS_MAX: Final = 40
"""Ancestors of a paragraph by which it is compared with others."""

# Errors raised for a date out of range, which are the document's fault.
_OF_A_DATE: Final = frozenset({None, errno.EINVAL, errno.EOVERFLOW})


def load_parsers() -> None:
    """Import every parser, so that a missing one is reported before a document is read. Takes a second.

    Raises:
        ImportError: a parser or one of its dependencies is not completely installed.
    """
    for name in ("feedparser", "lxml.html", "pypdfium2", "trafilatura"):
        _library(name)


def is_of_this_machine(error: Exception) -> bool:
    """Return whether a parser's error is caused by this machine and not by the document.

    Such errors are a missing or incomplete library, lack of memory, or an unreadable file. All others are
    blamed on the document, since the parsers have no error classes of their own.
    """
    if isinstance(error, AttributeError):
        return isinstance(error.obj, ModuleType)
    if isinstance(error, OSError):
        return error.errno not in _OF_A_DATE
    return isinstance(error, ImportError | MemoryError)


def _library(name: str) -> Any:
    return importlib.import_module(name)


class Parsed(Protocol):
    """A result of feedparser: a dictionary whose keys depend on the feed."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value by any of its names in the feed formats."""
        ...

    def __contains__(self, key: str) -> bool: ...


def parse_xml_feed(text: str) -> Parsed:
    """Parse RSS, Atom or RDF, even if malformed.

    With the document's URL the parser would resolve identifiers as if they were links, and all items would
    become new ones when a feed moves; so it does not get the URL. ``xml:base`` is honoured.

    Args:
        text: the document without an XML declaration.

    Raises:
        Exception: any kind; the parser has no error classes of its own.
    """
    parse = _library("feedparser").parse
    # The parser tries bytes and strings as a file name first, so it gets a stream.
    body = io.BytesIO(text.encode("utf-8"))
    headers = {"content-type": "application/xml; charset=utf-8"}
    return cast(
        "Parsed", parse(body, response_headers=headers, resolve_relative_uris=True, sanitize_html=True)
    )


class _Element(Protocol):
    """The part of lxml's elements that is used here."""

    tag: Any

    def text_content(self) -> str: ...

    def get(self, key: str) -> str | None: ...

    def iter(self, tag: str) -> Iterator[_Element]: ...

    def iterancestors(self) -> Iterator[_Element]: ...

    def make_links_absolute(self, base_url: str, *, handle_failures: str) -> None: ...


def text_of_html(html: str) -> str:
    """Return the text of an HTML fragment with resolved entities and unchanged whitespace.

    Raises:
        ValueError: the fragment can't be parsed.
    """
    return _fragment(html).text_content()


def absolute_links(html: str, base: str) -> str:
    """Return an HTML fragment with its relative links made absolute.

    Raises:
        ValueError: the fragment can't be parsed.
    """
    root = _fragment(html)
    root.make_links_absolute(base, handle_failures="ignore")
    whole = cast("str", _library("lxml.html").tostring(root, encoding="unicode"))
    return whole.removeprefix(f"<{_WRAPPER}>").removesuffix(f"</{_WRAPPER}>")


_HEADINGS: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})

BOUNDARIES: Final = _HEADINGS | {
    *("article", "section", "aside", "nav", "header", "footer", "form"),
    *("ul", "ol", "dl", "table", "pre", "hr"),
}
"""Elements at which other prose than that of an article may begin, or text that is no prose."""


class Paragraph(NamedTuple):
    """A paragraph of a page.

    Attributes:
        place: the tags and classes of its ancestors.
        text: on one line.
        article: number of the element ``article`` around it, and of the titles before it: a title is an
            ``h1``, or a heading with a link to a page.
        piece: number of the boundaries before it.
    """

    place: str
    text: str
    article: tuple[int, int] = (0, 0)
    piece: int = 0


def prose_of(html: str, longer_than: int) -> list[Paragraph]:
    """Return the paragraphs of a page that are not mostly links, in order.

    Args:
        html: the page.
        longer_than: if all of them together have no more characters, none is returned.

    Raises:
        Exception: any kind; the library has no error classes of its own.
    """
    library = _library("lxml.html")
    # A string with an encoding declaration is refused, whatever it declares.
    parser = library.HTMLParser(encoding="utf-8")
    root = cast("_Element", library.document_fromstring(html.encode(), parser=parser))
    if sum(len(" ".join(element.text_content().split())) for element in root.iter("p")) <= longer_than:
        return []
    prose = dict[str, Paragraph]()
    around, articles, titles, pieces = [0], 0, 0, 0
    walk = _library("lxml.etree").iterwalk(root, events=("start", "end"))
    for event, element in cast("Iterator[tuple[str, _Element]]", walk):
        if event == "end":
            if element.tag == "article":
                around.pop()
            continue
        if element.tag in BOUNDARIES:
            pieces += 1
            titles += _is_title(element)
        if element.tag == "article":
            articles += 1
            around.append(articles)
        if element.tag == "p":
            text = " ".join(element.text_content().split())
            linked = sum(len(link.text_content()) for link in element.iter("a"))
            if text not in prose and 2 * linked <= len(text):
                ancestors = [element, *islice(element.iterancestors(), ANCESTORS_MAX)]
                place = " < ".join(f"{one.tag}.{one.get('class')}" for one in ancestors)
                prose[text] = Paragraph(place, text, (around[-1], titles), pieces)
    return list(prose.values())


def _is_title(element: _Element) -> bool:
    """Return whether a boundary is the title of an article: links of sections lead to their own page."""
    if element.tag == "h1":
        return True
    heading = element.tag in _HEADINGS
    return heading and any(not (link.get("href") or "#").startswith("#") for link in element.iter("a"))


def _fragment(html: str) -> _Element:
    lxml_error = cast("type[Exception]", _library("lxml.etree").LxmlError)
    try:
        return cast("_Element", _library("lxml.html").fragment_fromstring(html, create_parent=_WRAPPER))
    except lxml_error as error:
        raise ValueError(f"no HTML: {error}") from error


def as_mapping(value: Any) -> Mapping[str, Any]:
    """Return a value of a parsed feed if it is a mapping, else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def as_mappings(value: Any) -> list[Mapping[str, Any]]:
    """Return the mappings in a value of a parsed feed that should be a list of them."""
    return [as_mapping(item) for item in cast("list[Any]", value)] if isinstance(value, list) else []


class Extracted(Protocol):
    """A result of trafilatura."""

    title: str | None
    author: str | None
    date: str | None
    sitename: str | None
    text: str | None


def extract_text(html: str, url: str, latest: date | None) -> Extracted | None:
    """Extract a page's main text and metadata; None if there is no text.

    Args:
        html: the page.
        url: the page's URL.
        latest: later dates are ignored; by default the machine's current day.

    Raises:
        Exception: any kind; the library has no error classes of its own.
    """
    extract = _library("trafilatura").bare_extraction
    # The library logs a page without text as an error, but that is a normal result here.
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    dates: dict[str, Any] = {"original_date": True, "extensive_search": False}
    if latest:
        dates["max_date"] = latest.isoformat()
    return cast(
        "Extracted | None",
        extract(
            html, url=url, fast=True, with_metadata=True, include_comments=False, date_extraction_params=dates
        ),
    )
