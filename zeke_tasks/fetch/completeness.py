"""Detection of articles of which the extractor returns a part.

Some pages divide an article into several containers, of which the extractor takes the first for the article
and the others for surroundings. So a second extraction looks for prose of the page that the text lacks, in
elements with the same classes and ancestors as those that it has: comments, teasers and other articles have
others, or are in another ``article``, or after another title. It is added only if nothing but paragraphs lies
between: after a heading or a list, what follows may be about something else, and lists and code would be
lost.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from zeke_tasks.fetch.libraries import Paragraph

MISSING_SHARE: Final = 0.5
"""Words that a text lacks, as a share of those that it has, from which it is a part."""

WORDS_MIN: Final = 8
"""Words of the shortest paragraph that counts as prose."""

_RUN: Final = 3
"""Words in a row by which a paragraph is found in a text, since the extractor changes blanks and marks."""

_WORD: Final = re.compile(r"\w+")


class Found(NamedTuple):
    """A text, and whether it is a part of its page's article."""

    text: str
    is_partial: bool


def completed(text: str, paragraphs: Sequence[Paragraph]) -> Found:
    """Return an extracted text with its missing end, or say that it is a part.

    Args:
        text: as extracted.
        paragraphs: those of the page, in order.
    """
    words = _WORD.findall(text)
    known = set(_runs(words))
    last: dict[tuple[str, tuple[int, int]], int] = {}
    lacking: list[tuple[int, int]] = []
    for number, paragraph in enumerate(paragraphs):
        its = _WORD.findall(paragraph.text)
        runs = list(_runs(its))
        if len(its) < WORDS_MIN:
            continue
        if 2 * sum(run in known for run in runs) >= len(runs):
            last[paragraph.place, paragraph.article] = number
        else:
            lacking.append((number, len(its)))
    missing = 0
    rest: list[str] = []
    follows = True
    for number, many in lacking:
        one = paragraphs[number]
        before = last.get((one.place, one.article))
        if before is not None:
            missing += many
            rest.append(one.text)
            follows = follows and number > before and one.piece == paragraphs[before].piece
    if not missing or missing < MISSING_SHARE * len(words):
        return Found(text, is_partial=False)
    return Found("\n".join((text, *rest)), is_partial=False) if follows else Found(text, is_partial=True)


def _runs(words: Sequence[str]) -> Iterable[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(_RUN)), strict=False)
