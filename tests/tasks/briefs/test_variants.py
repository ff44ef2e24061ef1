"""How the variants of a brief are cut or refused, and the reading time that it saves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import each
from zeke_tasks.briefs.variants import InvalidVariant, fit, time_saved
from zeke_tasks.store.analysis import Brief
from zeke_tasks.text_rules import WORDS_PER_MINUTE, sentences

ONE = "Bees dance."
TWO = "Bees dance. They tell where flowers are, and how far it is to get there, in a way that others follow."
THREE = "Bees dance. They tell where flowers are. Others follow."

sentence = st.sampled_from(
    [ONE, "They tell where flowers are, and how far it is.", "Buzz!", f"{'Word ' * 40}word."]
)
told = st.lists(sentence, max_size=6).map(" ".join) | st.text(max_size=400)


def fitted(one: str = ONE, two: str = TWO, three: str = THREE, *, few: bool = False) -> Brief:
    return fit(one, two, three, story="word " * 1000, few=few)


def test_fitting_variants_are_kept_each_on_one_line() -> None:
    spread = fitted(f" {ONE}\n", TWO.replace(" ", "\n"), THREE.replace(". ", ".\n\n"))
    for brief in (fitted(), spread):
        assert (brief.one_liner, brief.two_liner, brief.elevator) == (ONE, TWO, THREE)


def test_long_one_liner_loses_its_last_sentences_or_words() -> None:
    long = "This sentence is half as long as a line may be, to a character or two. "
    assert fitted(one=long + long).one_liner == long.strip()
    cut = fitted(one="word " * 50).one_liner
    assert len(cut) < 140
    assert cut.endswith("word…")


def test_two_liner_has_two_sentences_of_280_characters() -> None:
    assert fitted(two=f"{TWO} One more.").two_liner == TWO
    cut = fitted(two=f"{ONE} {'Word ' * 80}").two_liner
    assert len(cut) < 280
    assert cut.startswith(ONE)
    assert len(sentences(cut)) == 2
    # One sentence is enough if it takes the room of both.
    long = f"{'word ' * 40}word."
    assert fitted(two=f"{long} {'Word ' * 40}").two_liner == long


def test_elevator_has_four_sentences_at_most() -> None:
    assert fitted(three=f"{THREE} Four. Five.").elevator == f"{THREE} Four."


@each(
    (ONE, ONE, THREE, "two_liner has one sentence"),
    (ONE, TWO, f"{ONE} Two.", "elevator has 2 of 3 sentences"),
    (" \n", TWO, THREE, "one_liner is empty"),
    (ONE, "", THREE, "two_liner is empty"),
    (ONE, TWO, "", "elevator is empty"),
)
def test_too_few_sentences_are_refused_with_reason(one: str, two: str, three: str, complaint: str) -> None:
    with pytest.raises(InvalidVariant, match=complaint):
        fitted(one, two, three)


def test_few_sentences_are_enough_for_a_short_story() -> None:
    brief = fitted(two=ONE, three=ONE, few=True)
    assert (brief.two_liner, brief.elevator) == (ONE, ONE)
    with pytest.raises(InvalidVariant):
        fitted(two="", few=True)


@given(told, told, told)
def test_any_variants_are_fitted_or_refused(one: str, two: str, three: str) -> None:
    try:
        brief = fitted(one, two, three)
    except InvalidVariant as unfit:
        assert str(unfit)  # noqa: PT017 - both ends are right, and which one comes the next test says
        return
    assert 0 < len(brief.one_liner) < 140
    assert 0 < len(brief.two_liner) < 280
    assert len(sentences(brief.two_liner)) <= 2
    assert 3 <= len(sentences(brief.elevator)) <= 4


@given(st.lists(sentence, min_size=4, max_size=8).map(" ".join))
def test_enough_sentences_are_never_refused(text: str) -> None:
    assert fitted(text, text, text).elevator


@given(told, told, told)
def test_fitting_twice_changes_nothing(one: str, two: str, three: str) -> None:
    try:
        brief = fitted(one, two, three, few=True)
    except InvalidVariant:
        return
    assert fitted(brief.one_liner, brief.two_liner, brief.elevator, few=True) == brief


def test_time_saved_is_the_difference_in_reading_time_and_never_negative() -> None:
    minute = "word " * WORDS_PER_MINUTE
    assert time_saved(minute * 3, minute) == 120
    assert fit(ONE, TWO, THREE, story=minute).time_saved_seconds == 58
    assert time_saved("Short.", "A brief that is longer than its story, as some are.") == 0
