"""The limits of a brief's three variants, and how texts are shortened to them.

A variant that is too long loses its last sentences, or else its last words. One that is too short can't be
repaired by a rule and must be written again, while the others are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from zeke_tasks.ai.answers import ONE_LINER_CHARACTERS, TWO_LINER_CHARACTERS
from zeke_tasks.fetch.text import one_line
from zeke_tasks.text_rules import reading_seconds, sentences, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

TWO_LINER_SENTENCES: Final = 2
ELEVATOR_SENTENCES: Final = (3, 4)


class Fitted(NamedTuple):
    """Variants by name that are within the limits, and the reasons why others are not."""

    valid: dict[str, str]
    reasons: dict[str, str]


def fit(given: Mapping[str, str], *, few: bool = False) -> Fitted:
    """Check each variant by itself, and shorten it to its limits.

    A one-liner has less than 140 characters; a two-liner two sentences of less than 280 characters together,
    or one if two do not fit; an elevator three or four sentences.

    Args:
        given: the texts of some variants by name.
        few: whether any number of sentences is enough, since a stub may have nothing else to quote.
    """
    valid: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for name, text in given.items():
        fitting = _shortened(name, text)
        reason = _objection(name, fitting, few=few)
        if reason is None:
            valid[name] = fitting
        else:
            reasons[name] = reason
    return Fitted(valid, reasons)


def time_saved(story: str, brief: str) -> int:
    """Return the seconds that reading a brief saves over reading its story; at least 0."""
    return max(0, round(reading_seconds(story) - reading_seconds(brief)))


def _shortened(name: str, text: str) -> str:
    found = sentences(one_line(text))
    if name == "two_liner":
        return shorten(" ".join(found[:TWO_LINER_SENTENCES]), TWO_LINER_CHARACTERS)
    if name == "elevator":
        return " ".join(found[: ELEVATOR_SENTENCES[1]])
    return shorten(" ".join(found), ONE_LINER_CHARACTERS)


def _objection(name: str, text: str, *, few: bool) -> str | None:
    """Return why a shortened variant is not within its limits; None if it is.

    The prompt contains the reason, so it quotes nothing from an answer.
    """
    count = len(sentences(text))
    if not count:
        return "is empty"
    if few:
        return None
    if name == "two_liner" and count < TWO_LINER_SENTENCES and 2 * len(text) < TWO_LINER_CHARACTERS:
        return f"has one sentence, but must have {TWO_LINER_SENTENCES}"
    least, most = ELEVATOR_SENTENCES
    if name == "elevator" and count < least:
        return f"has {count} of {least} to {most} sentences"
    return None
