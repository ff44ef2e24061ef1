"""The limits of a brief's three variants, and how texts are shortened to them.

A variant that is too long loses its last sentences, or else its last words. One that is too short can't be
repaired by a rule and must be written again.
"""

from __future__ import annotations

from typing import Final

from zeke_tasks.ai.answers import ONE_LINER_CHARACTERS, TWO_LINER_CHARACTERS
from zeke_tasks.fetch.text import one_line
from zeke_tasks.store.analysis import Brief
from zeke_tasks.text_rules import reading_seconds, sentences, shorten

TWO_LINER_SENTENCES: Final = 2
ELEVATOR_SENTENCES: Final = (3, 4)


class InvalidVariant(Exception):
    """A variant has too few sentences; the message names the variant and the number."""


def fit(one_liner: str, two_liner: str, elevator: str, *, story: str, few: bool = False) -> Brief:
    """Return a brief whose variants are within the limits.

    Args:
        one_liner: shortened to a line of less than 140 characters.
        two_liner: shortened to two sentences of less than 280 characters together, or one if two do not fit.
        elevator: shortened to three or four sentences.
        story: the text that the brief summarizes.
        few: whether any number of sentences is enough, since a stub may have nothing else to quote.

    Raises:
        InvalidVariant: a variant has too few sentences.
    """
    least, most = ELEVATOR_SENTENCES
    both = shorten(_first("two_liner", two_liner, TWO_LINER_SENTENCES), TWO_LINER_CHARACTERS)
    told = _first("elevator", elevator, most)
    if not few and len(sentences(both)) < TWO_LINER_SENTENCES and 2 * len(both) < TWO_LINER_CHARACTERS:
        raise InvalidVariant(f"two_liner has one sentence, but must have two: {both}")
    if not few and (count := len(sentences(told))) < least:
        raise InvalidVariant(f"elevator has {count} of {least} sentences: {shorten(told, 80)}")
    return Brief(
        one_liner=shorten(_first("one_liner", one_liner), ONE_LINER_CHARACTERS),
        two_liner=both,
        elevator=told,
        time_saved_seconds=time_saved(story, told),
    )


def time_saved(story: str, brief: str) -> int:
    """Return the seconds that reading a brief saves over reading its story; at least 0."""
    return max(0, round(reading_seconds(story) - reading_seconds(brief)))


def _first(variant: str, text: str, most: int | None = None) -> str:
    """Return the first sentences of a variant on one line.

    Raises:
        InvalidVariant: there are no sentences.
    """
    found = sentences(one_line(text))
    if not found:
        raise InvalidVariant(f"{variant} is empty")
    return " ".join(found[:most])
