"""Read a PDF: its text, a paragraph a line, and what the document says of itself.

PDFium is C++ that reads untrusted files: call this by `zeke_tasks.fetch.parser_pool`, in a process with
limits, and not in threads, which PDFium does not support. It is imported when a PDF is first read.
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
"""Pages of a document that are read; what comes after them is left out."""

CHARACTERS: Final = 1_000_000
"""Characters of a document that are kept: a book of 400 pages has about as many."""

MAGIC: Final = b"%PDF-"
_MAGIC_WITHIN: Final = 1024
_MEDIA_TYPES: Final = frozenset({"application/pdf", "application/x-pdf"})

# What PDFium answers for a hyphen at which a line ends; the line after it follows at once.
_HYPHEN: Final = "\ufffe"
_BROKEN_WORD: Final = re.compile(r"(\w+)[\ufffe\xad](\w+)")
_WORD: Final = re.compile(r"\w+(?:-\w+)?")
_SENTENCE_END: Final = re.compile("[.!?:\u2026][\"'\u201d\u2019\u00bb)\\]]*\\Z")

_LINE: Final = re.compile(r"[^\s][^\r\n]*")

# A line that is as long as nine in ten of its page goes from margin to margin. Those that are shorter by so
# much end a paragraph, the less short ones if they end a sentence.
_SHORT: Final = 0.6
_NOT_FULL: Final = 0.85
# Of the usual distance of two lines: more than which a gap is, and an indent.
_APART: Final = 1.35
_INDENTED: Final = 0.5

_DATE: Final = re.compile(
    r"(?:D:)?(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?(?:Z|([+-])(\d\d)'?(\d\d)?)?.*", re.DOTALL
)
_FIRST_YEAR: Final = 1993
"""The format's own; dates before it are those of clocks that were never set."""

_NO_TITLE: Final = re.compile(
    r".*\.(?:pdf|docx?|odt|rtf|tex|dvi|e?ps|indd|qxd|pptx?|xlsx?|html?|txt)|microsoft \w+ - .*|untitled.*"
    r"|powerpoint presentation|title|(?:slide|document|page|presentation) ?\d*|[\W\d_]*"
    r"|[a-z0-9]+(?:[-_][a-z0-9]+){2,}",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pdf:
    """A PDF as it was read.

    Attributes:
        title: plain text on one line; None if there is none, or one for machines only.
        text: plain text, a paragraph a line, for each page in turn; rows and headings are lines of their own.
        published_at: when it was made; aware, UTC; None if it does not say, or says what can't be.
    """

    title: str | None
    text: str
    published_at: datetime | None


def is_pdf(body: bytes, media_type: str) -> bool:
    """Return whether a body is to be read as a PDF, whatever its server calls it.

    Args:
        body: all of it.
        media_type: without parameters, in lower case; ``""`` if the server named none.
    """
    if media_type in _MEDIA_TYPES:
        return True
    # An article about the format may quote the mark, but only after a tag.
    before, mark, _ = body[:_MAGIC_WITHIN].partition(MAGIC)
    return bool(mark) and b"<" not in before


def read_pdf(body: bytes, url: str, *, now: datetime | None = None) -> Pdf | None:
    """Read a PDF. Takes some milliseconds a page.

    Args:
        body: all of it.
        url: where it was found, for messages.
        now: no date after it is believed.

    Returns:
        What was read; None if there is no text in it, as in a document that was scanned.

    Raises:
        PageError: it is broken, or needs a password.
        Exception: what `is_of_this_machine` knows, as it was raised; the document may be sound.
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
    """Return why a document can't be read; the library's own messages are about the library."""
    match getattr(error, "err_code", None):
        case 0 | 3:
            return "the PDF is broken, or has no pages"
        case 4:
            return "the PDF can't be read without a password"
        case _:
            return f"the PDF can't be read: {type(error).__name__}: {error}"


class _TextPage(Protocol):
    """What PDFium knows of the text of a page."""

    def get_text_range(self) -> str: ...

    def count_chars(self) -> int: ...

    def get_charbox(self, index: int, *, loose: bool) -> tuple[float, float, float, float]: ...

    def close(self) -> None: ...


class _Page(Protocol):
    def get_textpage(self) -> _TextPage: ...

    def close(self) -> None: ...


class _Document(Protocol):
    """The little of a document that is used here."""

    def get_metadata_dict(self) -> Mapping[str, str]: ...

    def get_page(self, index: int) -> _Page: ...

    def close(self) -> None: ...

    def __len__(self) -> int: ...


class _Library(Protocol):
    """PDFium by way of pypdfium2, which carries no types."""

    PdfDocument: Callable[[bytes], _Document]


def _text(document: _Document) -> str:
    """Return the text of as many pages as are read; ``""`` if there is none.

    Raises:
        Exception: of the library's, if no page can be read.
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
            # A page that is broken says nothing of those beside it.
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
    """Where a line begins, in points from the left and from below."""

    left: float
    bottom: float


class _Line(NamedTuple):
    """A line as it was set, and where, if that is known."""

    text: str
    place: _Place | None


def _lines(document: _Document, number: int) -> list[_Line]:
    """Return the lines of a page that are not blank."""
    with ExitStack() as stack:
        page = stack.enter_context(closing(document.get_page(number)))
        shown = stack.enter_context(closing(page.get_textpage()))
        text = shown.get_text_range()
        # Where not every character has a text, nobody can tell which is where.
        placed = len(text) == shown.count_chars()
        return [
            _Line(found.group(), _place(shown, found.start()) if placed else None)
            for found in _LINE.finditer(text)
        ]


def _place(page: _TextPage, index: int) -> _Place | None:
    """Return where a character stands, if the library, whose errors are RuntimeErrors, can tell."""
    try:
        left, bottom, _, _ = page.get_charbox(index, loose=True)
    except RuntimeError:
        return None
    return _Place(left, bottom)


def _words(lines: Iterable[str]) -> frozenset[str]:
    """Return the words that stand in the document unbroken, in lower case, for `_mended`."""
    whole = (_BROKEN_WORD.sub(" ", line) for line in lines)
    return frozenset(word.lower() for line in whole for word in _WORD.findall(line))


def _paragraphs(page: Sequence[_Line], known: frozenset[str]) -> Iterator[str]:
    """Yield a page's paragraphs: lines that were broken for want of room are put together again."""
    texts = [one_line(_mended(line.text, known)) for line in page]
    full, step = _full_length(texts), _step(page)
    start = 0
    for end in range(1, len(page) + 1):
        if end == len(page) or _ends_early(texts[end - 1], full) or _begins_apart(page, end, step):
            yield " ".join(texts[start:end])
            start = end


def _ends_early(text: str, full: float) -> bool:
    """Return whether a line ends so far from the margin that the next one is not its continuation."""
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
    """Return how many characters a line has that goes from margin to margin."""
    if len(texts) < 2:  # noqa: PLR2004 - of fewer there are no tenths
        return 0.0
    return quantiles((len(text) for text in texts), n=10, method="inclusive")[-1]


def _step(page: Sequence[_Line]) -> float | None:
    """Return how far apart lines of a paragraph are, in points; None if that is not known."""
    places = [line.place.bottom for line in page if line.place]
    steps = [above - below for above, below in pairwise(places) if above > below]
    return median_low(steps) if steps else None


def _mended(line: str, known: frozenset[str]) -> str:
    """Return a line with the words whole that were broken at a hyphen, as far as that can be told."""
    return printable(_BROKEN_WORD.sub(lambda found: _word(found, known), line).replace(_HYPHEN, "-"))


def _word(broken: re.Match[str], known: frozenset[str]) -> str:
    """Return a word whose hyphen was at the end of a line.

    The hyphen stays if the document has the word with a hyphen elsewhere and not without, and where what
    follows begins in no small letter: ``COVID-19``, ``Anglo-Saxon``.
    """
    first, last = broken.groups()
    parted, whole = f"{first}-{last}", f"{first}{last}"
    # What is no letter has no case, as the characters of scripts that don't hyphenate.
    if not (first[-1].islower() and last[0].islower()):
        return parted
    return parted if parted.lower() in known and whole.lower() not in known else whole


def _title(about: Mapping[str, str]) -> str | None:
    """Return the document's title, unless it is a file's name or what a program writes when there is none."""
    title = one_line(about.get("Title", ""))
    return None if not title or _NO_TITLE.fullmatch(title) else title


def _created(about: Mapping[str, str], now: datetime | None) -> datetime | None:
    """Return when the document was made, if that can be.

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
