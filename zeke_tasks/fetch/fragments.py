"""Turn HTML fragments, as feeds carry them, into plain text in which no two words grow together."""

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
    """Return the text with a line for each paragraph, item and row, and for each of what is preformatted.

    Takes time that grows with the length only, but is none of the event loop's.
    """
    parts = _PRE.split(printable(fragment))
    inside = False
    for number, part in enumerate(parts):
        if number % 2:
            inside = not part.startswith("</")
        elif not inside:
            # Where the source breaks a line means nothing.
            parts[number] = _BLANKS.sub(" ", part)
    text = _text(_CELL.sub(r" \1", _BLOCK.sub(r"\n\1", "".join(parts))))
    return "\n".join(line for line in (one_line(line) for line in text.split("\n")) if line)


def _text(fragment: str) -> str:
    try:
        return text_of_html(fragment)
    except ValueError:
        return html.unescape(_TAG.sub(" ", fragment))
