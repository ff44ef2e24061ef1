"""A client without an AI: it quotes sentences, counts words, and makes vectors of characters.

With it everything runs without a key, in demos, tests and simulations. It invents nothing and is marked as a
stub: ``stub`` is set, the model is called ``stub``, and it costs nothing. The same text has the same answer
on every machine, and on every Python whose Unicode tables know its characters.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from zeke_tasks.ai.answers import (
    CHILI_MAX,
    ONE_LINER_CHARACTERS,
    TWO_LINER_CHARACTERS,
    Analysis,
    Variants,
)
from zeke_tasks.ai.client import (
    QUESTION_CHARACTERS,
    Answer,
    Embedded,
    M,
    Prompt,
    Quote,
    Usage,
    to_ask,
    to_embed,
)
from zeke_tasks.ai.errors import AIRejected
from zeke_tasks.text_rules import sentences, shorten

MODEL: Final = "stub"
DIMENSIONS: Final = 1536
BULLETS: Final = 3
BULLET_CHARACTERS: Final = 240
ELEVATOR_CHARACTERS: Final = 1000
CONFIDENCE_MAX: Final = 0.5
"""Limit of the confidence, since counting words is not reading."""

# fmt: off
KEYWORDS: Final[frozenset[str]] = frozenset({
    "announce", "announced", "api", "benchmark", "breaking", "bug", "deprecated", "faster", "fix", "improve",
    "launch", "latency", "migrate", "model", "new", "open-source", "performance", "release", "released",
    "research", "security", "upgrade", "vulnerability",
})
# fmt: on
"""Words that are frequent in news for software developers."""

_WHOLE: Final = re.compile(r"""[.!?…。！？]["'”’»)\]」』]*$""")  # noqa: RUF001 - the stops that are in use
_WORD: Final = re.compile(r"[a-z][a-z0-9-]*[a-z0-9]")
_LOWER: Final = str.maketrans(ascii_uppercase, ascii_lowercase)
_USAGE: Final = Usage(MODEL, 0, 0, 0.0)


class StubClient:
    """A client without an AI."""

    def quote(
        self, texts: Sequence[str], prompt: Prompt | None = None, answer: type[BaseModel] | None = None
    ) -> Quote:
        """Return that a call is free."""
        del texts, prompt, answer
        return Quote(MODEL, 0.0)

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        """Answer with counts and quotes; the prompt is ignored.

        Raises:
            AIRejected: there is no text, or the form of the answer is not one of the two supported ones.
        """
        text = to_ask(text)
        quotes = _quotes(text)
        if issubclass(answer, Analysis):
            fields = _analysis(text, quotes)
        elif issubclass(answer, Variants):
            fields = _briefs(quotes)
        else:
            raise AIRejected(
                f"without an AI there are only analyses and briefs, and {prompt.name} needs"
                f" {answer.__name__}: set OPENAI_API_KEY"
            )
        try:
            return Answer(answer.model_validate(fields), _USAGE, stub=True)
        except ValidationError as error:
            raise AIRejected("the text has nothing to quote") from error

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Return vectors of length 1 that are near each other if the texts share many groups of letters.

        Raises:
            AIRejected: there are no texts or too many, or one is empty.
        """
        vectors = tuple(_vector(text) for text in to_embed(texts))
        return Embedded(vectors, MODEL, DIMENSIONS, _USAGE, stub=True)


def _quotes(text: str) -> list[str]:
    """Return distinct quotes: whole sentences, or all fragments if there are no whole sentences.

    Titles and headings say little by themselves and are shown next to the quotes, so they are left out.
    """
    found = list(dict.fromkeys(sentences(text)))
    return [quote for quote in found if _WHOLE.search(quote)] or found


def _keywords(text: str) -> frozenset[str]:
    return KEYWORDS.intersection(_WORD.findall(text.translate(_LOWER)))


def _analysis(text: str, quotes: list[str]) -> dict[str, Any]:
    """Pick the sentences with the most keywords, in their order; the score grows with the keywords in all."""
    places = sorted(range(len(quotes)), key=lambda place: (-len(_keywords(quotes[place])), place))
    picked = [shorten(quotes[place], BULLET_CHARACTERS) for place in sorted(places[:BULLETS])]
    return {
        "why_it_matters": picked,
        "chili": min(CHILI_MAX, len(_keywords(text))),
        "confidence": round(CONFIDENCE_MAX * len(text) / QUESTION_CHARACTERS, 2),
        "citations": [{"quote": quote} for quote in picked],
    }


def _briefs(quotes: list[str]) -> dict[str, Any]:
    return {
        "one_liner": shorten(quotes[0], ONE_LINER_CHARACTERS),
        "two_liner": shorten(" ".join(quotes[:2]), TWO_LINER_CHARACTERS),
        # A transcript may have no full stop at all.
        "elevator": shorten(" ".join(quotes[:4]), ELEVATOR_CHARACTERS),
    }


def _vector(text: str) -> tuple[float, ...]:
    """Return a vector that counts each group of three characters at an index computed from their codes."""
    codes = [ord(character) for character in f" {text.translate(_LOWER)} "]
    counts = Counter(
        (first * 961 + second * 31 + third) % DIMENSIONS
        for first, second, third in zip(codes, codes[1:], codes[2:], strict=False)
    )
    length = math.sqrt(sum(count * count for count in counts.values()))
    return tuple(counts[place] / length for place in range(DIMENSIONS))
