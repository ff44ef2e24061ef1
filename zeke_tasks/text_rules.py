"""Simple rules on prose: ends of sentences, shortening, and reading time."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from zeke_tasks.fetch.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

WORDS_PER_MINUTE: Final = 238
"""Speed at which adults silently read English non-fiction.

Source: Brysbaert, "How many words do we read per minute?", Journal of Memory and Language 109 (2019).
"""

ELLIPSIS: Final = "…"

_END = re.compile(
    # A full stop with closing quotes and brackets, before a blank; Chinese and Japanese stops need no blank.
    # The end of a line ends a sentence too. Possessive quantifiers make a long run of stops take linear time.
    r"(?<![.!?…])[.!?…]++[\"'”’»)\]]*+(?=\s|$)|[。！？]++[」』”’）]*+|(?<=\S)(?=\s*\n)"  # noqa: RUF001 - these are those in use
)
_NEXT = re.compile(r"[^\S\n]+[\"'“‘«„(\[]*(\S)")  # noqa: RUF001 - as above
_LAST_WORD = re.compile(r"([\w.&]+)\.$")
# "no" is not among the abbreviations, since sentences end with it.
_ABBREVIATION = re.compile(
    r"approx|bzw|ca|cf|co|corp|dept|dr|eds?|eq|est|etc|figs?|gen|gov|inc|jr|ltd|max|min|mrs?|ms|nr|op|pp|prof"
    r"|refs?|rev|sec|sen|sgt|sr|st|usw|vgl|vol|vs|(?:[a-z]\.)*[a-z]",
    re.IGNORECASE,
)
_LONGEST_ABBREVIATION: Final = 12

TITLE_CHARACTERS: Final = 120
"""Maximum length of a title."""

_TITLE: Final = re.compile(
    r"\s*?(#{1,6}[ \t]+)?(\S[^\n]*)\n"
    # The separator below a title: an empty line, or a line of dashes.
    r"([ \t\r]*\n|[ \t]*(?:={3,}|-{3,})[ \t\r]*\n)?\s*\S"
)
# Ends of sentences and clauses, with closing quotes and brackets. Exclamation and question marks are left
# out, since titles may end with them.
_NO_TITLES_END: Final = re.compile(r"[.,;:…。，；：、][\"'”’»)\]」』）]*\Z")  # noqa: RUF001 - these are those in use
# A list item, a quotation, a table row, code, a line of a mail's header, or a bare URL.
_NO_TITLE: Final = re.compile(
    r"[-–—*+•>|]\s|```|~~~|#!|<[?!]"
    r"|(?:from|to|cc|bcc|date|sent|subject|reply-to|message-id|received|return-path|content-[a-z-]+|mime-version"
    r"|x-[\w-]+):\s"
    r"|<?(?:[a-z][a-z\d+.-]*://|www\.)\S+\Z",
    re.IGNORECASE,
)

_LOOSE_ENDS: Final = " \t\r\n\u00a0,;:-–—"

# Ideographs and kana: readers of Chinese read some 255 of them in a minute, so each counts as a word.
# Source: Trauzettel-Klosinski and Dietz, "Standardized assessment of reading performance: the new
# International Reading Speed Texts IReST", Investigative Ophthalmology & Visual Science 53 (2012).
_IDEOGRAPHS = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_IDEOGRAPHS}]|[^\s{_IDEOGRAPHS}]+")


def sentences(text: str) -> list[str]:
    """Split a text into sentences, each on one line; the end of a line ends a sentence too.

    >>> sentences("It took 3.5 s, e.g. on Dr. No's laptop. Now it takes one!")
    ["It took 3.5 s, e.g. on Dr. No's laptop.", 'Now it takes one!']
    """
    starts = [0, *_ends(text)]
    found = [one_line(text[start:end]) for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]
    return [sentence for sentence in found if sentence]


def shorten(text: str, limit: int) -> str:
    """Shorten a text to its first whole sentences, or to its first words and an ellipsis.

    Whole sentences are used only if they fill at least half of the limit.

    Args:
        text: leading and trailing whitespace is ignored.
        limit: maximum characters of the result, including the ellipsis; at least 1.

    >>> shorten("One thing. Another thing.", 20)
    'One thing.'
    >>> shorten("One thing and another", 20)
    'One thing and…'
    """
    text = text.strip()
    if len(text) <= limit:
        return text
    # Whether a full stop ends a sentence depends on the text after it, so more than fits is searched.
    whole = max((end for end in _ends(text[: 2 * limit]) if end <= limit), default=0)
    if 2 * whole >= limit:
        return text[:whole]
    kept = text[: limit - 1]
    if not any(map(str.isspace, text[limit - 2 : limit])) and len(words := kept.rsplit(None, 1)) > 1:
        # A long word, such as a URL, or text in a script without blanks, is cut at the limit.
        kept = words[0] if 2 * len(words[0]) > limit else kept
    return kept.rstrip(_LOOSE_ENDS) + ELLIPSIS


def title_of(text: str) -> str | None:
    r"""Return the title at the top of a plain text, if any.

    The title is the first line if it is short and followed by an empty line or a line of dashes, or preceded
    by number signs. It may end with an exclamation or question mark, but not with a full stop or within a
    sentence. A list item, a bare URL, and a line of code or of a mail's header are not titles.

    >>> title_of("How bees find home\n\nThey remember landmarks.")
    'How bees find home'
    >>> title_of("Bees remember\nlandmarks.")
    """
    found = _TITLE.match(text)
    if found is None or not (found[1] or found[3]):
        return None
    title = one_line(found[2]).rstrip("# ") if found[1] else one_line(found[2])
    fits = len(title) <= TITLE_CHARACTERS and not (_NO_TITLE.match(title) or _NO_TITLES_END.search(title))
    return title if fits and any(map(str.isalnum, title)) else None


def reading_seconds(text: str) -> float:
    """Return the reading time of a text in seconds.

    >>> round(reading_seconds("word " * 238))
    60
    """
    return sum(1 for _ in _WORD.finditer(text)) * 60 / WORDS_PER_MINUTE


def _ends(text: str) -> Iterator[int]:
    """Yield the position after each sentence except the last."""
    start = 0
    for end in _END.finditer(text):
        if end.end() < len(text) and not _continues(text, start, end.end()):
            start = end.end()
            yield start


def _continues(text: str, start: int, end: int) -> bool:
    """Return whether a sentence continues after a possible end."""
    follows = _NEXT.match(text, end)
    if follows is None:
        return False
    if follows.group(1).islower():
        return True
    word = _LAST_WORD.search(text[max(start, end - _LONGEST_ABBREVIATION) : end])
    return word is not None and _ABBREVIATION.fullmatch(word.group(1)) is not None
