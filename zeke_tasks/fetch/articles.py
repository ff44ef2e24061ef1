"""Extraction of articles from pages: the text without menus, and the metadata."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256

from zeke_tasks.fetch.completeness import MISSING_SHARE, completed
from zeke_tasks.fetch.errors import PageError
from zeke_tasks.fetch.libraries import extract_text, is_of_this_machine, prose_of
from zeke_tasks.fetch.text import decode, one_line, printable

# A pattern that searches past the next tag of its kind would take quadratic time on a hostile page, and block
# this process; so none of these does.
_LANGUAGE = re.compile(
    r"<html\b[^<>]{0,500}?\s(?:xml:)?lang\s*=\s*[\"']?([a-z]{2,3}(?:-[a-z0-9]{2,8})*)", re.IGNORECASE
)
# The extractor returns only the day of publication, so the time is read from these places.
_MOMENT = re.compile(
    r"(?:article:published_time[\"'][^<>]{0,80}?content\s*=\s*|datePublished[\"'](?:\s*:\s*|[^<>]{0,80}?=\s*))"
    r"[\"'](\d{4}-\d\d-\d\dT[\d:.]{4,15}(?:Z|[+-]\d\d:?\d\d)?)[\"']"
)
# Some pages have a file name as the title for sharing.
_SLUG = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+){2,}")
_HEADING = re.compile(r"<h1\b[^<>]*>((?:[^<]|<(?!/?h1\b)){1,500})</h1>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """An extracted article.

    Attributes:
        title, author, site: plain text on one line, or None.
        text: plain text, one paragraph per line; code, lists and tables keep their lines.
        is_partial: whether the page has much more text of the article.
        published_at: aware, UTC; midnight where the page gives only the day; None if it gives none.
        language: as the page says, in lower case, such as ``en`` or ``pt-br``, or None.
    """

    title: str | None
    text: str
    published_at: datetime | None
    author: str | None
    site: str | None
    language: str | None
    is_partial: bool = False


def extract_article(
    body: bytes, url: str, charset: str | None = None, *, now: datetime | None = None
) -> Article | None:
    """Extract a page's article. Takes 10 to 50 milliseconds; call it through `ParserPool`, not in threads.

    Args:
        body: the page, decompressed.
        url: where it was found, after redirects.
        charset: the encoding claimed by the server; a hint, see `Fetched.charset`.
        now: later dates are ignored; pass it for a result that does not depend on the machine's clock.

    Returns:
        The article, or None if the page has no text.

    Raises:
        PageError: the page can't be read.
        Exception: an error for which `is_of_this_machine` is true; the page may be valid.
    """
    page = decode(body, charset)
    try:
        found = extract_text(page, url, (now + _DAY).date() if now else None)
        text = printable(found.text or "").strip() if found else ""
        prose = prose_of(page, round((1 + MISSING_SHARE) * len(text))) if text else []
    except Exception as error:
        if is_of_this_machine(error):
            raise
        # The extractor has no error classes of its own, so any exception can occur.
        raise PageError(url, f"the page can't be read: {type(error).__name__}: {error}") from error
    if not found or not text:
        return None
    language = _LANGUAGE.search(page)
    text, is_partial = completed(text, [one._replace(text=printable(one.text)) for one in prose])
    return Article(
        title=_title(page, found.title),
        text=text,
        published_at=_published(page, found.date),
        author=_line(found.author),
        site=_line(found.sitename),
        language=language.group(1).lower() if language else None,
        is_partial=is_partial,
    )


def content_hash(text: str) -> str:
    """Return the sha256 in hexadecimal of a text with collapsed whitespace, equal for equal words.

    >>> content_hash("  a    b") == content_hash("a b")
    True
    """
    return sha256(one_line(text).encode("utf-8")).hexdigest()


def _line(text: str | None) -> str | None:
    return one_line(text or "") or None


def _title(page: str, found: str | None) -> str | None:
    """Return the title, or the page's heading if the title is a file name."""
    heading = _HEADING.search(page) if found and _SLUG.fullmatch(found) else None
    words = one_line(html.unescape(_TAG.sub(" ", heading.group(1)))) if heading else ""
    return words or _line(found)


def _published(page: str, day: str | None) -> datetime | None:
    """Return the time of publication if the page has one on the extracted day, else midnight."""
    try:
        found = date.fromisoformat(day or "")
    except ValueError:
        return None
    for match in _MOMENT.finditer(page):
        try:
            moment = datetime.fromisoformat(match.group(1))
        except ValueError:
            continue
        if moment.date() == found:
            return moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    return datetime.combine(found, time(), UTC)
