"""Strangers' words on a terminal: they are no markup, and nothing in them is obeyed or turns lines around."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final

from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from uuid import UUID

    from rich.console import Console

ID_CHARACTERS: Final = 8
"""How much of an id is shown at least."""

_JOINERS: Final = "\u200c\u200d"
"""What tells letters of Persian and parts of emojis whether they belong together."""


def printable_words(words: str) -> str:
    r"""Return words as one line, without what a terminal would obey.

    Controls count as blanks; what is not seen (soft hyphens, and marks that turn the direction of writing
    around, by which one text can look like another) is left out.

    >>> printable_words(" red\x1b[31m\nand soft\u00adly ")
    'red [31m and softly'
    """
    if not words.isprintable():
        words = "".join(map(_printable, words))
    return " ".join(words.split())


def _printable(character: str) -> str:
    if character.isprintable() or character in _JOINERS:
        return character
    return "" if unicodedata.category(character) == "Cf" else " "


def abbreviated(ids: Iterable[UUID]) -> dict[UUID, str]:
    """Return the beginning of each id: eight characters, or as many more as tell them all apart.

    Commands take it for the whole id.
    """
    texts = {each: str(each) for each in ids}
    length = ID_CHARACTERS
    while len({text[:length] for text in texts.values()}) < len(texts):
        length += 1
    return {each: text[:length] for each, text in texts.items()}


def wrapped(out: Console, words: str, first: str = "", rest: str | None = None, style: str = "") -> None:
    """Print words as a paragraph as wide as the console.

    Args:
        out: where to.
        words: a stranger's; what they look like is all that is taken from them.
        first: stands before the first line.
        rest: stands before the others; as much blank as ``first`` is long by default.
        style: of the words.
    """
    rest = " " * len(first) if rest is None else rest
    lines = list(_lines(out, printable_words(words), style, out.width - len(first)))
    for number, line in enumerate(lines):
        shown = Text(rest if number else first).append_text(line)
        out.print(shown, no_wrap=True, crop=False, overflow="ignore")


def _lines(out: Console, words: str, style: str, width: int) -> Iterator[Text]:
    for line in Text(words, style=style).wrap(out, max(width, 20)):
        line.rstrip()
        yield line
