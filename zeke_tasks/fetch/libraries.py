"""The parsers that carry no types, each behind a function that has them.

They take a second to import, which a command that only sends a job should not wait for; so they are imported
when one is first needed. They must not be used by several threads of a process: lxml has ended processes for
that. `readers` gives each document to a process that reads one at a time.
"""
# pyright: reportMissingTypeStubs=false

from __future__ import annotations

import errno
import importlib
import io
import logging
from collections.abc import Mapping
from datetime import date
from types import ModuleType
from typing import Any, Final, Protocol, cast

# What a fragment is wrapped in, so that it has one root and text at its start is not lost.
_WRAPPER = "div"

# What a date that no clock can show raises; it is the document that has it.
_OF_A_DATE: Final = frozenset({None, errno.EINVAL, errno.EOVERFLOW})


def load_parsers() -> None:
    """Import every parser, so that what is missing is known before a document is read. Takes a second.

    Raises:
        ImportError: one of them, or something that it needs, is not installed whole.
    """
    for name in ("feedparser", "lxml.html", "pypdfium2", "trafilatura"):
        _library(name)


def is_of_this_machine(error: Exception) -> bool:
    """Return whether what a parser raised says nothing of the document: it would read it on a sound machine.

    That is a library that is not there or not whole, memory that has run out, or a file that can't be read.
    All else is taken for the document's doing, since the parsers expect none of what they fail on.
    """
    if isinstance(error, AttributeError):
        return isinstance(error.obj, ModuleType)
    if isinstance(error, OSError):
        return error.errno not in _OF_A_DATE
    return isinstance(error, ImportError | MemoryError)


def _library(name: str) -> Any:
    return importlib.import_module(name)


class Parsed(Protocol):
    """What feedparser returns: a dictionary whose keys depend on the feed."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value, under any of the names that the feed formats have for it."""
        ...

    def __contains__(self, key: str) -> bool: ...


def parse_xml_feed(text: str) -> Parsed:
    """Parse RSS, Atom, RDF or what is left of it.

    The parser is not told the document's URL. It would resolve identifiers against it as if they were links,
    and every item would become a new one when a feed moves. ``xml:base`` is honoured.

    Args:
        text: the document without an XML declaration.

    Raises:
        Exception: of any kind; the parser has no errors of its own for what it does not expect.
    """
    parse = _library("feedparser").parse
    # A stream, for bytes and strings are taken for a file's name first.
    body = io.BytesIO(text.encode("utf-8"))
    headers = {"content-type": "application/xml; charset=utf-8"}
    return cast(
        "Parsed", parse(body, response_headers=headers, resolve_relative_uris=True, sanitize_html=True)
    )


class _Element(Protocol):
    """The little of lxml's elements that is used here."""

    def text_content(self) -> str: ...

    def make_links_absolute(self, base_url: str, *, handle_failures: str) -> None: ...


def text_of_html(html: str) -> str:
    """Return the text of an HTML fragment, entities resolved, blanks as they are.

    Raises:
        ValueError: it can't be parsed.
    """
    return _fragment(html).text_content()


def absolute_links(html: str, base: str) -> str:
    """Return an HTML fragment with its relative links made absolute.

    Raises:
        ValueError: it can't be parsed.
    """
    root = _fragment(html)
    root.make_links_absolute(base, handle_failures="ignore")
    whole = cast("str", _library("lxml.html").tostring(root, encoding="unicode"))
    return whole.removeprefix(f"<{_WRAPPER}>").removesuffix(f"</{_WRAPPER}>")


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
    """What trafilatura finds on a page."""

    title: str | None
    author: str | None
    date: str | None
    sitename: str | None
    text: str | None


def extract_text(html: str, url: str, latest: date | None) -> Extracted | None:
    """Extract a page's main text and what it says about itself, or None if there is none.

    Args:
        html: the page.
        url: where it was found.
        latest: no later date is believed; by default the machine's today.

    Raises:
        Exception: of any kind; the library has no errors of its own for what it does not expect.
    """
    extract = _library("trafilatura").bare_extraction
    # It logs a page without text as an error, which for us is one of the answers.
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
