"""Markdown as plain text: what it says, without the marks that say how it should look."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from markdown_it import MarkdownIt

from zeke_tasks.web.fragments import lined_text
from zeke_tasks.web.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from markdown_it.token import Token

ENDINGS: Final = (".md", ".markdown", ".mdown", ".mkd")

_FRONT: Final = re.compile(r"\A---[ \t]*\n(?=[\w-]+:)(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_NAMED: Final = re.compile(r"^title:[ \t]*([\"']?)(.+?)\1[ \t]*$", re.MULTILINE)


def read_markdown(text: str) -> tuple[str | None, str]:
    r"""Return a document's title, if it has one, and its text.

    The text has a line for each heading, paragraph and item of a list, and a line between bars for each row
    of a table. Code keeps its fences, which tell it from prose. Of a link its words stay, of a picture what
    it shows in words. What stands before the document, between lines of ``---``, is for machines, but for
    the title.

    >>> read_markdown("# Of *bees*\n\nThey [make](https://a.example/) **honey**.")
    ('Of bees', 'Of bees\nThey make honey.')
    """
    title = None
    if front := _FRONT.match(text):
        text = text[front.end() :]
        named = _NAMED.search(front[1])
        title = one_line(named[2]) if named else None
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return title or _heading(tokens), "\n".join(_lines(tokens))


def _heading(tokens: Sequence[Token]) -> str | None:
    """Return the first heading that says something."""
    headings = (
        words
        for token, inside in pairwise(tokens)
        if token.type == "heading_open" and (words := _words(inside))
    )
    return next(headings, None)


def _lines(tokens: Sequence[Token]) -> Iterator[str]:
    cells: list[str] | None = None
    for token in tokens:
        match token.type:
            case "tr_open":
                cells = []
            case "tr_close":
                yield f"| {' | '.join(cells or ())} |"
                cells = None
            case "fence" | "code_block":
                yield f"```\n{token.content.rstrip()}\n```"
            case "html_block":
                yield lined_text(token.content)
            case "inline" if cells is not None:
                cells.append(_words(token))
            case "inline":
                yield _words(token)
            case _:
                pass


def _words(inline: Token) -> str:
    """Return what a stretch of text says, on one line."""
    parts: list[str] = []
    for token in inline.children or ():
        if token.type in {"softbreak", "hardbreak"}:
            parts.append(" ")
        elif token.type != "html_inline":
            parts.append(token.content)
    return one_line("".join(parts))
