"""Conversion of Markdown to plain text."""

from __future__ import annotations

import json
import re
from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Final

from markdown_it import MarkdownIt
from markdown_it.parser_block import ParserBlock
from markdown_it.rules_block import reference

from zeke_tasks.fetch.fragments import lined_text
from zeke_tasks.fetch.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from markdown_it.rules_block import StateBlock
    from markdown_it.token import Token

ENDINGS: Final = (".md", ".markdown", ".mdown", ".mkd")

_DEEPEST: Final = 40
"""Maximum nesting of blocks, a list counting as two levels; deeper blocks stay unparsed."""

# Two lines of dashes may be thematic breaks, so front matter must begin with a key.
_FRONT: Final = re.compile(r"\A---[ \t]*\n(?=[\w-]+:)(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_TITLE: Final = "title:"
_FOLDED: Final = re.compile(r"[|>][-+\d]*\s*(?:#.*)?")
_QUOTED: Final = re.compile(r"""(?:"((?:[^"\\]|\\.)*+)"|'((?:[^']|'')*+)')\s*(?:#.*)?""")
_COMMENT: Final = re.compile(r"(?:^|(?<=\s))#")
_BREAK: Final = re.compile(r"<br\b", re.IGNORECASE)
_UNSEEN: Final = re.compile(r"(</?(?:script|style)\b[^<>]*>)", re.IGNORECASE)
_NAME: Final = re.compile(r"</?(\w+)")


def read_markdown(text: str) -> tuple[str | None, str]:
    r"""Return a document's title, if it has one, and its text.

    The text has one line per heading, paragraph and list item, and one line between bars per table row. Code
    keeps its fences, which mark it as code. Links are replaced by their text, images by their alternative
    text; footnotes stay unchanged. Front matter between lines of ``---`` is dropped, except for the title.

    >>> read_markdown("# Of *bees*\n\nThey [make](https://a.example/) **honey**.")
    ('Of bees', 'Of bees\nThey make honey.')
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    title = None
    if front := _FRONT.match(text):
        text = text[front.end() :]
        title = _title(front[1].split("\n"))
    tokens = _parser().parse(text)
    return title or _heading(tokens), "\n".join(filter(None, _lines(tokens)))


def _parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"maxNesting": _DEEPEST})
    parser.block = _Blocks()
    parser.block.ruler.at("reference", _reference)
    return parser.enable("strikethrough")


class _Blocks(ParserBlock):
    """A block parser that keeps blocks nested too deeply as lines of text; its parent would drop them."""

    def tokenize(self, state: StateBlock, startLine: int, endLine: int) -> None:  # noqa: N803 - as its parent
        if state.level < _DEEPEST:
            super().tokenize(state, startLine, endLine)
            return
        line = startLine
        while line < endLine and (state.isEmpty(line) or state.sCount[line] >= state.blkIndent):
            token = state.push("inline", "", 0)
            token.content = state.getLines(line, line + 1, state.blkIndent, False).strip()  # noqa: FBT003 - the API's
            token.children = []
            line += 1
        state.line = line


def _reference(state: StateBlock, start: int, end: int, silent: bool) -> bool:  # noqa: FBT001 - as the parser calls it
    """Drop a link reference definition; a footnote, which looks similar, is kept."""
    is_footnote = state.src.startswith("[^", state.bMarks[start] + state.tShift[start])
    return not is_footnote and reference(state, start, end, silent)


def _title(front: Sequence[str]) -> str | None:
    """Return the title in YAML front matter, if any."""
    for number, line in enumerate(front):
        if line.startswith(_TITLE):
            more = takewhile(lambda line: not line or line[0].isspace(), front[number + 1 :])
            return one_line(_scalar(line.removeprefix(_TITLE).strip(), list(more))) or None
    return None


def _scalar(value: str, more: Sequence[str]) -> str:
    """Parse a YAML scalar, with its continuation lines."""
    if _FOLDED.fullmatch(value):
        return " ".join(more)
    if quoted := _QUOTED.fullmatch("\n".join((value, *more)).strip()):
        if quoted[1] is None:
            return quoted[2].replace("''", "'")
        try:
            # Nearly all YAML escapes are JSON's too.
            return str(json.loads(f'"{quoted[1]}"', strict=False))
        except ValueError:
            return quoted[1]
    return " ".join(_COMMENT.split(line, maxsplit=1)[0] for line in (value, *more))


def _heading(tokens: Sequence[Token]) -> str | None:
    """Return the first nonempty heading."""
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
                yield lined_text(_seen(_pieces(token.content)))
            case "inline" if cells is not None:
                cells.append(_words(token))
            case "inline":
                yield _words(token)
            case _:
                pass


def _words(inline: Token) -> str:
    """Return the text of an inline token on one line."""
    return one_line(_seen(_token_text(token) for token in inline.children or ()))


def _token_text(token: Token) -> tuple[str, str]:
    """Return the text of a part of an inline token, and its tag if it is HTML."""
    match token.type:
        case "softbreak" | "hardbreak":
            return " ", ""
        case "html_inline":
            return " " if _BREAK.match(token.content) else "", token.content
        case "image":
            return _words(token), ""
        case _:
            return token.content, ""


def _pieces(html: str) -> Iterator[tuple[str, str]]:
    """Yield the parts of HTML as ``_token_text`` does: script and style tags, and the text between them."""
    for number, part in enumerate(_UNSEEN.split(html)):
        yield ("", part) if number % 2 else (part, "")


def _seen(pieces: Iterable[tuple[str, str]]) -> str:
    """Return the text of pieces without scripts and styles; an unclosed one hides nothing."""
    parts: list[str] = []
    hidden, since = "", 0
    for words, tag in pieces:
        if tag and _UNSEEN.match(tag) and (name := _NAME.match(tag)):
            if not hidden and not tag.startswith("</"):
                hidden, since = name[1].lower(), len(parts)
            elif hidden == name[1].lower() and tag.startswith("</"):
                del parts[since:]
                hidden = ""
        parts.append(words)
    return "".join(parts)
