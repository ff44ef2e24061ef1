"""Parsing of PDFs: the text, one paragraph per line, and the metadata.

PDFium is C++ code that parses untrusted files, and is not thread-safe. So call this through
`zeke_tasks.fetch.parser_pool`, in a process with limits. PDFium is imported when a PDF is first read.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from statistics import median_low, quantiles
from typing import Final, NamedTuple, Protocol, cast

from zeke_tasks.fetch.errors import PageError
from zeke_tasks.fetch.libraries import is_of_this_machine
from zeke_tasks.fetch.text import one_line, printable

PAGES: Final = 500
"""Maximum pages that are read; the rest is left out."""

CHARACTERS: Final = 1_000_000
"""Maximum characters that are kept, about as many as in a book of 400 pages."""

MAGIC: Final = b"%PDF-"
_MAGIC_WITHIN: Final = 1024
_MEDIA_TYPES: Final = frozenset({"application/pdf", "application/x-pdf"})

# PDFium's character for a hyphen at the end of a line; no line break follows it.
_HYPHEN: Final = "\ufffe"
_BROKEN_WORD: Final = re.compile(r"(\w+)[\ufffe\xad](\w+)")
_WORD: Final = re.compile(r"\w+(?:-\w+)?")
_SENTENCE_END: Final = re.compile("[.!?:\u2026][\"'\u201d\u2019\u00bb)\\]]*\\Z")

_LINE: Final = re.compile(r"[^\s][^\r\n]*")

# The length of a full line is the 90th percentile of its page. A line shorter than this share of it ends a
# paragraph; a line less short does so if it ends a sentence.
_SHORT: Final = 0.6
_NOT_FULL: Final = 0.85
# A distance of more than this factor of the usual line distance is a gap between paragraphs.
_APART: Final = 1.35
_INDENTED: Final = 0.5

_DATE: Final = re.compile(
    r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:Z|([+-])(\d\d)'?(\d\d)?)?.*", re.DOTALL
)
_FIRST_YEAR: Final = 1993
"""The year of the format's release; earlier dates come from clocks that were never set."""

_NO_TITLE: Final = re.compile(
    r".*\.(?:pdf|docx?|odt|rtf|tex|dvi|e?ps|indd|qxd|pptx?|xlsx?|html?|txt)|microsoft \w+ - .*|untitled.*"
    r"|powerpoint presentation|title|(?:slide|document|page|presentation) ?\d*|[\W\d_]*"
    r"|[a-z0-9]+(?:[-_][a-z0-9]+){2,}",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pdf:
    """A parsed PDF.

    Attributes:
        title: plain text on one line; None if it is missing, or only a file name.
        text: plain text, one paragraph per line, page by page; rows and headings are lines of their own.
        published_at: the time of creation, aware, UTC; None if missing or impossible.
    """

    title: str | None
    text: str
    published_at: datetime | None


def is_pdf(body: bytes, media_type: str) -> bool:
    """Return whether a body is a PDF, regardless of the server's media type.

    Args:
        body: the whole body.
        media_type: without parameters, in lower case; ``""`` if there is none.
    """
    if media_type in _MEDIA_TYPES:
        return True
    # An HTML article about the format may quote the signature, but only after a tag.
    before, mark, _ = body[:_MAGIC_WITHIN].partition(MAGIC)
    return bool(mark) and b"<" not in before


def read_pdf(body: bytes, url: str, *, now: datetime | None = None) -> Pdf | None:
    """Parse a PDF. Takes some milliseconds per page.

    Args:
        body: all of it.
        url: the document's URL, for messages.
        now: later dates are ignored.

    Returns:
        The PDF; None if it has no text, such as a scanned document.

    Raises:
        PageError: the document is broken or needs a password.
        Exception: an error for which `is_of_this_machine` is true; the document may be valid.
    """
    library = cast("_Library", importlib.import_module("pypdfium2"))
    try:
        with closing(library.PdfDocument(body)) as document:
            about = document.get_metadata_dict()
            text = _text(document)
    except Exception as error:
        if is_of_this_machine(error):
            raise
        raise PageError(url, _reason(error)) from error
    if not text:
        return None
    return Pdf(title=_title(about), text=text, published_at=_created(about, now))


def _reason(error: Exception) -> str:
    """Return why a document can't be read, in place of the library's own message."""
    match getattr(error, "err_code", None):
        case 0 | 3:
            return "the PDF is broken, or has no pages"
        case 4:
            return "the PDF can't be read without a password"
        case _:
            return f"the PDF can't be read: {type(error).__name__}: {error}"


class _TextPage(Protocol):
    """PDFium's text of a page."""

    def get_text_range(self) -> str: ...

    def count_chars(self) -> int: ...

    def get_charbox(self, index: int, *, loose: bool) -> tuple[float, float, float, float]: ...

    def close(self) -> None: ...


class _Page(Protocol):
    def get_textpage(self) -> _TextPage: ...

    def close(self) -> None: ...


class _Document(Protocol):
    """The part of a document's interface that is used here."""

    def get_metadata_dict(self) -> Mapping[str, str]: ...

    def get_page(self, index: int) -> _Page: ...

    def close(self) -> None: ...

    def __len__(self) -> int: ...


class _Library(Protocol):
    """The part of pypdfium2 that is used here; the library has no types."""

    PdfDocument: Callable[[bytes], _Document]


def _text(document: _Document) -> str:
    """Return the text of the pages that are read; ``""`` if there is none.

    Raises:
        Exception: the library's error, if no page can be read.
    """
    pages: list[list[_Line]] = []
    failed: Exception | None = None
    left = CHARACTERS
    for number in range(min(len(document), PAGES)):
        try:
            page = _lines(document, number)
        except Exception as error:
            if is_of_this_machine(error):
                raise
            # Other pages may be readable although this one is broken.
            failed = error
            continue
        pages.append(page)
        left -= sum(len(line.text) + 1 for line in page)
        if left <= 0:
            break
    if failed and not any(pages):
        raise failed
    known = _words(line.text for page in pages for line in page)
    return "\n".join(paragraph for page in pages for paragraph in _paragraphs(page, known))[:CHARACTERS]


class _Place(NamedTuple):
    """The start of a line, in points from the left and from the bottom."""

    left: float
    bottom: float


class _Line(NamedTuple):
    """A line as typeset, with its place if known."""

    text: str
    place: _Place | None


def _lines(document: _Document, number: int) -> list[_Line]:
    """Return the lines of a page that are not blank."""
    with ExitStack() as stack:
        page = stack.enter_context(closing(document.get_page(number)))
        shown = stack.enter_context(closing(page.get_textpage()))
        text = shown.get_text_range()
        # If some characters have no text, the positions of the others are unknown.
        placed = len(text) == shown.count_chars()
        return [
            _Line(found.group(), _place(shown, found.start()) if placed else None)
            for found in _LINE.finditer(text)
        ]


def _place(page: _TextPage, index: int) -> _Place | None:
    """Return the place of a character; None if the library raises RuntimeError."""
    try:
        left, bottom, _, _ = page.get_charbox(index, loose=True)
    except RuntimeError:
        return None
    return _Place(left, bottom)


def _words(lines: Iterable[str]) -> frozenset[str]:
    """Return the unhyphenated words of the document in lower case, for `_mended`."""
    whole = (_BROKEN_WORD.sub(" ", line) for line in lines)
    return frozenset(word.lower() for line in whole for word in _WORD.findall(line))


def _paragraphs(page: Sequence[_Line], known: frozenset[str]) -> Iterator[str]:
    """Yield a page's paragraphs, joined from their lines."""
    texts = [one_line(_mended(line.text, known)) for line in page]
    full, step = _full_length(texts), _step(page)
    start = 0
    for end in range(1, len(page) + 1):
        if end == len(page) or _ends_early(texts[end - 1], full) or _begins_apart(page, end, step):
            yield " ".join(texts[start:end])
            start = end


def _ends_early(text: str, full: float) -> bool:
    """Return whether a line ends so far from the margin that the next line is not its continuation."""
    return len(text) < full * _SHORT or (len(text) < full * _NOT_FULL and bool(_SENTENCE_END.search(text)))


def _begins_apart(page: Sequence[_Line], at: int, step: float | None) -> bool:
    """Return whether a line is below a gap, or indented more than the lines around it."""
    before, place = page[at - 1].place, page[at].place
    after = page[at + 1].place if at + 1 < len(page) else None
    if step is None or before is None or place is None:
        return False
    indented = place.left - max(before.left, after.left if after else before.left) > step * _INDENTED
    return indented or before.bottom - place.bottom > step * _APART


def _full_length(texts: Sequence[str]) -> float:
    """Return the number of characters in a full line."""
    if len(texts) < 2:  # noqa: PLR2004 - quantiles need two values
        return 0.0
    return quantiles((len(text) for text in texts), n=10, method="inclusive")[-1]


def _step(page: Sequence[_Line]) -> float | None:
    """Return the line distance within paragraphs in points; None if unknown."""
    places = [line.place.bottom for line in page if line.place]
    steps = [above - below for above, below in pairwise(places) if above > below]
    return median_low(steps) if steps else None


def _mended(line: str, known: frozenset[str]) -> str:
    """Return a line with hyphenated words joined where possible."""
    return printable(_BROKEN_WORD.sub(lambda found: _word(found, known), line).replace(_HYPHEN, "-"))


def _word(broken: re.Match[str], known: frozenset[str]) -> str:
    """Join a word that was hyphenated at the end of a line.

    The hyphen stays if the document has the word elsewhere only with a hyphen, and if the second part does
    not begin with a lower-case letter: ``COVID-19``, ``Anglo-Saxon``.
    """
    first, last = broken.groups()
    parted, whole = f"{first}-{last}", f"{first}{last}"
    # Digits and characters of scripts without hyphenation have no case.
    if not (first[-1].islower() and last[0].islower()):
        return parted
    return parted if parted.lower() in known and whole.lower() not in known else whole


def _title(about: Mapping[str, str]) -> str | None:
    """Return the document's title; None if it is a file name or a program's placeholder."""
    title = one_line(about.get("Title", ""))
    return None if not title or _NO_TITLE.fullmatch(title) else title


def _created(about: Mapping[str, str], now: datetime | None) -> datetime | None:
    """Return the time of creation if it is plausible.

    Source: ISO 32000-1, section 7.9.4.
    """
    found = _DATE.fullmatch(one_line(about.get("CreationDate", "")))
    if not found:
        return None
    *fields, sign, hours, minutes = found.groups()
    year, month, day, hour, minute, second = (int(field) if field else None for field in fields)
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    try:
        zone = timezone(-offset if sign == "-" else offset)
        moment = datetime(
            year or 0, month or 1, day or 1, hour or 0, minute or 0, second or 0, tzinfo=zone
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year >= _FIRST_YEAR and (now is None or moment <= now) else None
