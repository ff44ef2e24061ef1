"""How the variants of a brief are cut or refused, and the reading time that it saves."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.cases import each
from zeke_tasks.briefs.variants import Fitted, fit, time_saved
from zeke_tasks.text_rules import WORDS_PER_MINUTE, sentences

ONE = "Bees dance."
TWO = "Bees dance. They tell where flowers are, and how far it is to get there, in a way that others follow."
THREE = "Bees dance. They tell where flowers are. Others follow."

sentence = st.sampled_from(
    [ONE, "They tell where flowers are, and how far it is.", "Buzz!", f"{'Word ' * 40}word."]
)
told = st.lists(sentence, max_size=6).map(" ".join) | st.text(max_size=400)


def fitted(one: str = ONE, two: str = TWO, three: str = THREE, *, few: bool = False) -> Fitted:
    return fit({"one_liner": one, "two_liner": two, "elevator": three}, few=few)


def test_fitting_variants_are_kept_each_on_one_line() -> None:
    spread = fitted(f" {ONE}\n", TWO.replace(" ", "\n"), THREE.replace(". ", ".\n\n"))
    for found in (fitted(), spread):
        assert found == ({"one_liner": ONE, "two_liner": TWO, "elevator": THREE}, {})


def test_long_one_liner_loses_its_last_sentences_or_words() -> None:
    long = "This sentence is half as long as a line may be, to a character or two. "
    assert fitted(one=long + long).valid["one_liner"] == long.strip()
    cut = fitted(one="word " * 50).valid["one_liner"]
    assert len(cut) < 140
    assert cut.endswith("word…")


def test_two_liner_has_two_sentences_of_280_characters() -> None:
    assert fitted(two=f"{TWO} One more.").valid["two_liner"] == TWO
    cut = fitted(two=f"{ONE} {'Word ' * 80}").valid["two_liner"]
    assert len(cut) < 280
    assert cut.startswith(ONE)
    assert len(sentences(cut)) == 2
    # One sentence is enough if it takes the room of both.
    long = f"{'word ' * 40}word."
    assert fitted(two=f"{long} {'Word ' * 40}").valid["two_liner"] == long


def test_elevator_has_four_sentences_at_most() -> None:
    assert fitted(three=f"{THREE} Four. Five.").valid["elevator"] == f"{THREE} Four."


@each(
    (ONE, ONE, THREE, "two_liner", "has one sentence, but must have 2"),
    (ONE, TWO, f"{ONE} Two.", "elevator", "has 2 of 3 to 4 sentences"),
    (" \n", TWO, THREE, "one_liner", "is empty"),
    (ONE, "", THREE, "two_liner", "is empty"),
    (ONE, TWO, "", "elevator", "is empty"),
)
def test_variant_with_too_few_sentences_is_refused_and_others_are_kept(
    one: str, two: str, three: str, name: str, reason: str
) -> None:
    found = fitted(one, two, three)
    whole = fitted().valid
    assert found.reasons == {name: reason}
    assert found.valid == {other: text for other, text in whole.items() if other != name}


def test_few_sentences_are_enough_for_a_short_story() -> None:
    found = fitted(two=ONE, three=ONE, few=True)
    assert (found.valid["two_liner"], found.valid["elevator"]) == (ONE, ONE)
    assert fitted(two="", few=True).reasons == {"two_liner": "is empty"}


@given(told, told, told)
def test_any_variants_are_fitted_or_refused(one: str, two: str, three: str) -> None:
    valid, reasons = fitted(one, two, three)
    assert sorted([*valid, *reasons]) == ["elevator", "one_liner", "two_liner"]
    assert 0 < len(valid.get("one_liner", ONE)) < 140
    assert 0 < len(valid.get("two_liner", TWO)) < 280
    assert len(sentences(valid.get("two_liner", TWO))) <= 2
    assert 3 <= len(sentences(valid.get("elevator", THREE))) <= 4


@given(st.lists(sentence, min_size=4, max_size=8).map(" ".join))
def test_enough_sentences_are_never_refused(text: str) -> None:
    assert fitted(text, text, text).reasons == {}


@given(told, told, told)
def test_fitting_twice_changes_nothing(one: str, two: str, three: str) -> None:
    valid = fitted(one, two, three, few=True).valid
    assert fit(valid, few=True) == (valid, {})


def test_time_saved_is_the_difference_in_reading_time_and_never_negative() -> None:
    minute = "word " * WORDS_PER_MINUTE
    assert time_saved(minute * 3, minute) == 120
    assert time_saved("Short.", "A brief that is longer than its story, as some are.") == 0
