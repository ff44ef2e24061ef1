"""Read an article page: its text without the menus, and what the page says about it."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256

from zeke_tasks.fetch.errors import PageError
from zeke_tasks.fetch.libraries import extract_text, is_of_this_machine
from zeke_tasks.fetch.text import decode, one_line, printable

# None of these goes past the next tag of its kind: on a hostile page that would take quadratic time, in which
# nothing else runs in this process.
_LANGUAGE = re.compile(
    r"<html\b[^<>]{0,500}?\s(?:xml:)?lang\s*=\s*[\"']?([a-z]{2,3}(?:-[a-z0-9]{2,8})*)", re.IGNORECASE
)
# Where pages give the moment of publication; the extractor keeps the day only.
_MOMENT = re.compile(
    r"(?:article:published_time[\"'][^<>]{0,80}?content\s*=\s*|datePublished[\"'](?:\s*:\s*|[^<>]{0,80}?=\s*))"
    r"[\"'](\d{4}-\d\d-\d\dT[\d:.]{4,15}(?:Z|[+-]\d\d:?\d\d)?)[\"']"
)
# Some pages give the file's name for the title that is shown when they are shared.
_SLUG = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+){2,}")
_HEADING = re.compile(r"<h1\b[^<>]*>((?:[^<]|<(?!/?h1\b)){1,500})</h1>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """An article as it was extracted.

    Attributes:
        title, author, site: plain text on one line, or None.
        text: plain text, a paragraph a line; code, lists and tables keep their lines.
        published_at: aware, UTC; midnight where the page gives only the day; None if it gives none.
        language: as the page says, in lower case, such as ``en`` or ``pt-br``, or None.
    """

    title: str | None
    text: str
    published_at: datetime | None
    author: str | None
    site: str | None
    language: str | None


def extract_article(
    body: bytes, url: str, charset: str | None = None, *, now: datetime | None = None
) -> Article | None:
    """Extract the article of a page. Takes some 10 to 50 milliseconds: let `Readers` call it, and no threads.

    Args:
        body: the page, decompressed.
        url: where it was found, after redirects.
        charset: what the server claims it is encoded in; a hint, see `Fetched.charset`.
        now: no date after it is believed; pass it for an answer that does not depend on the machine's clock.

    Returns:
        The article, or None if the page has no text.

    Raises:
        PageError: the page can't be read.
        Exception: what `is_of_this_machine` knows, as it was raised; the page may be sound.
    """
    page = decode(body, charset)
    try:
        found = extract_text(page, url, (now + _DAY).date() if now else None)
    except Exception as error:
        if is_of_this_machine(error):
            raise
        # The extractor expects none of what it fails on, so the kinds of its errors can't be listed.
        raise PageError(url, f"the page can't be read: {type(error).__name__}: {error}") from error
    text = printable(found.text or "").strip() if found else ""
    if not found or not text:
        return None
    language = _LANGUAGE.search(page)
    return Article(
        title=_title(page, found.title),
        text=text,
        published_at=_published(page, found.date),
        author=_line(found.author),
        site=_line(found.sitename),
        language=language.group(1).lower() if language else None,
    )


def content_hash(text: str) -> str:
    """Return the sha256, in hexadecimal, of a text with its whitespace collapsed: equal for equal words.

    >>> content_hash("  a    b") == content_hash("a b")
    True
    """
    return sha256(one_line(text).encode("utf-8")).hexdigest()


def _line(text: str | None) -> str | None:
    return one_line(text or "") or None


def _title(page: str, found: str | None) -> str | None:
    """Return the title, or the page's heading where the title that was found is a name for machines."""
    heading = _HEADING.search(page) if found and _SLUG.fullmatch(found) else None
    words = one_line(html.unescape(_TAG.sub(" ", heading.group(1)))) if heading else ""
    return words or _line(found)


def _published(page: str, day: str | None) -> datetime | None:
    """Return the moment of publication if the page gives one on the day that was found, else midnight."""
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
