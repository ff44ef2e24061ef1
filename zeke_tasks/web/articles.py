"""Articles."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Article:
    """An article as it was extracted.

    Attributes:
        title, author, site: plain text or None.
        text: paragraphs, one a line.
        published_at: aware, UTC; midnight where the page says only the day.
        language: as in ``<html lang>``, such as ``en`` or ``pt-br``, or None.
    """

    title: str | None
    text: str
    published_at: datetime | None
    author: str | None
    site: str | None
    language: str | None


def extract_article(
    html: bytes, url: str, charset: str | None = None, *, now: datetime | None = None
) -> Article | None:
    """Extract the article of a page, or None if there is no text in it."""
    raise NotImplementedError


def content_hash(text: str) -> str:
    """Return the sha256 of the text with its whitespace collapsed."""
    raise NotImplementedError
