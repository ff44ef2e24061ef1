"""The limits of a brief's three variants, and how what was written is made to keep them.

A variant with more than it should have loses its last sentences, or else its last words. One with less can't
be mended by a rule: whoever wrote it has to do it again.
"""

from __future__ import annotations

from typing import Final

from zeke_tasks.ai.answers import ONE_LINER_CHARACTERS, TWO_LINER_CHARACTERS
from zeke_tasks.fetch.text import one_line
from zeke_tasks.store.analysis import Brief
from zeke_tasks.text_rules import reading_seconds, sentences, shorten

TWO_LINER_SENTENCES: Final = 2
ELEVATOR_SENTENCES: Final = (3, 4)


class Unfit(Exception):
    """A variant has too few sentences; the message says which, and how many."""


def fit(one_liner: str, two_liner: str, elevator: str, *, story: str, few: bool = False) -> Brief:
    """Return a brief whose variants keep the limits.

    Args:
        one_liner: becomes a line of less than 140 characters.
        two_liner: becomes two sentences of less than 280 characters together, or one if there is room for no
            other.
        elevator: becomes three or four sentences.
        story: the text that the brief stands for.
        few: whether any number of sentences is enough, for there may be no more to be quoted.

    Raises:
        Unfit: a variant has too few sentences.
    """
    least, most = ELEVATOR_SENTENCES
    both = shorten(_first("two_liner", two_liner, TWO_LINER_SENTENCES), TWO_LINER_CHARACTERS)
    told = _first("elevator", elevator, most)
    if not few and len(sentences(both)) < TWO_LINER_SENTENCES and 2 * len(both) < TWO_LINER_CHARACTERS:
        raise Unfit(f"two_liner has one sentence, and room for another: {both}")
    if not few and (count := len(sentences(told))) < least:
        raise Unfit(f"elevator has {count} of {least} sentences: {shorten(told, 80)}")
    return Brief(
        one_liner=shorten(_first("one_liner", one_liner), ONE_LINER_CHARACTERS),
        two_liner=both,
        elevator=told,
        time_saved_seconds=time_saved(story, told),
    )


def time_saved(story: str, brief: str) -> int:
    """Return how many seconds sooner a brief is read than its story; 0 if it is not."""
    return max(0, round(reading_seconds(story) - reading_seconds(brief)))


def _first(variant: str, text: str, most: int | None = None) -> str:
    """Return the first sentences of a variant on one line.

    Raises:
        Unfit: there are none.
    """
    found = sentences(one_line(text))
    if not found:
        raise Unfit(f"{variant} is empty")
    return " ".join(found[:most])
