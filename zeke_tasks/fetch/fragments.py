"""Conversion of HTML fragments in feeds to plain text without joining words."""

from __future__ import annotations

import html
import re

from zeke_tasks.fetch.libraries import text_of_html
from zeke_tasks.fetch.text import one_line, printable

_BLOCK = re.compile(
    r"(</?(?:p|br|div|li|ul|ol|dl|dt|dd|h[1-6]|tr|table|pre|blockquote|hr|figure|figcaption|section|article)\b)",
    re.IGNORECASE,
)
_CELL = re.compile(r"(</?t[dh]\b)", re.IGNORECASE)
_PRE = re.compile(r"(</?pre\b[^<>]*>)", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")
_BLANKS = re.compile(r"\s+")


def flat_text(fragment: str) -> str:
    """Return the text on one line."""
    return one_line(_text(_CELL.sub(r" \1", _BLOCK.sub(r" \1", printable(fragment)))))


def lined_text(fragment: str) -> str:
    """Return the text with one line per paragraph, item, row, and preformatted line.

    Takes linear time, but should not run on the event loop.
    """
    parts = _PRE.split(printable(fragment))
    inside = False
    for number, part in enumerate(parts):
        if number % 2:
            inside = not part.startswith("</")
        elif not inside:
            # Line breaks in HTML source are insignificant.
            parts[number] = _BLANKS.sub(" ", part)
    text = _text(_CELL.sub(r" \1", _BLOCK.sub(r"\n\1", "".join(parts))))
    return "\n".join(line for line in (one_line(line) for line in text.split("\n")) if line)


def _text(fragment: str) -> str:
    try:
        return text_of_html(fragment)
    except ValueError:
        return html.unescape(_TAG.sub(" ", fragment))
