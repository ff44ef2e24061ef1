"""Strangers' words on a terminal: they are no markup, and nothing in them is obeyed or turns lines around."""

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
"""How much of an id is shown at least."""

_JOINERS: Final = "\u200c\u200d"
"""What tells letters of Persian and parts of emojis whether they belong together."""

_GAP: Final = "  "


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


def wrapped(
    out: Console, words: str, first: str | Text = "", rest: str | None = None, style: str = ""
) -> None:
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
        shown = Text.assemble(rest if number else first, line)
        out.print(shown, no_wrap=True, crop=False, overflow="ignore")


class Entry(NamedTuple):
    """An entry of a list.

    Attributes:
        cells: short, and never cut; the first names the entry.
        words: a stranger's, in the last column, on as many lines as they take.
        more: a paragraph below, a stranger's words too.
        url: below that, on one line, so that it can be copied.
    """

    cells: Sequence[str | Text]
    words: str
    more: str | None = None
    url: str | None = None


def listed(out: Console, titles: Sequence[str], entries: Sequence[Entry]) -> None:
    """Print a list in which all is whole, however narrow the terminal is.

    Args:
        out: where to.
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
