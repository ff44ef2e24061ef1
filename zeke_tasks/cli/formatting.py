"""Safe output of untrusted text on a terminal: no markup, control sequences or changes of text direction."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final, NamedTuple

from rich.cells import cell_len
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from uuid import UUID

    from rich.console import Console

ID_CHARACTERS: Final = 8
"""Minimum number of characters of an abbreviated id."""

_JOINERS: Final = "\u200c\u200d"
"""Characters that join or separate letters of Persian and parts of emojis."""

_GAP: Final = "  "


def printable_words(words: str) -> str:
    r"""Return words as one line, without control sequences.

    Control characters count as blanks. Invisible characters are left out: soft hyphens, and marks of text
    direction, with which one text can be made to look like another.

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
    """Return a unique prefix of each id, of at least eight characters.

    Commands accept it in place of the whole id.
    """
    texts = {each: str(each) for each in ids}
    length = ID_CHARACTERS
    while len({text[:length] for text in texts.values()}) < len(texts):
        length += 1
    return {each: text[:length] for each, text in texts.items()}


def wrapped(
    out: Console, words: str, first: str | Text = "", rest: str | None = None, style: str = ""
) -> None:
    """Print words as a paragraph, wrapped to the console's width.

    Args:
        out: the console.
        words: untrusted text; printed without markup and control sequences.
        first: prefix of the first line.
        rest: prefix of the others; by default blanks of the length of ``first``.
        style: of the words.
    """
    rest = " " * len(first) if rest is None else rest
    lines = list(_lines(out, printable_words(words), style, out.width - len(first)))
    for number, line in enumerate(lines):
        shown = Text.assemble(rest if number else first, line)
        out.print(shown, no_wrap=True, crop=False, overflow="ignore")


class Entry(NamedTuple):
    """An entry of a list.

    Attributes:
        cells: short texts that are never truncated; the first names the entry.
        words: untrusted text in the last column, on as many lines as needed.
        more: untrusted text, a paragraph below the columns.
        url: printed below that on one line, so that it can be copied.
    """

    cells: Sequence[str | Text]
    words: str
    more: str | None = None
    url: str | None = None


def listed(out: Console, titles: Sequence[str], entries: Sequence[Entry]) -> None:
    """Print a list without truncating anything, however narrow the terminal is.

    Args:
        out: the console.
        titles: of the columns.
        entries: one or more.
    """
    rows = [[Text.assemble(cell) for cell in entry.cells] for entry in entries]
    heads = [Text(title, style="bold") for title in titles]
    widths = [max(cell_len(row[at].plain) for row in (heads, *rows)) for at in range(len(titles) - 1)]
    out.print(Text.assemble(_padded(heads, widths), heads[-1]), no_wrap=True, crop=False, overflow="ignore")
    for entry, row in zip(entries, rows, strict=True):
        wrapped(out, entry.words, _padded(row, widths))
        indent = " " * (widths[0] + len(_GAP))
        if entry.more:
            wrapped(out, entry.more, indent, style="bright_black")
        if entry.url:
            out.print(Text(f"{indent}{printable_words(entry.url)}", style="bright_black"), soft_wrap=True)


def _padded(cells: Sequence[Text], widths: Sequence[int]) -> Text:
    parts = (
        Text.assemble(cell, " " * (width - cell_len(cell.plain)), _GAP)
        for cell, width in zip(cells, widths, strict=False)
    )
    return Text.assemble(*parts)


def _lines(out: Console, words: str, style: str, width: int) -> Iterator[Text]:
    for line in Text(words, style=style).wrap(out, max(width, 20)):
        line.rstrip()
        yield line
