"""The stub: it is marked as a stub, invents nothing, and answers the same everywhere."""

from __future__ import annotations

import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tasks.ai.samples import PROMPT, TEXT, Colour
from zeke_tasks.ai import AIRejected, Analysis, Briefs, StubClient, Usage

STORY = (
    "Postgres 18 is released\n"
    "The new release brings asynchronous reads, which makes scans up to three times faster. "
    "Version 3.11 of the driver works with it. Nobody has to migrate by hand! "
    "There is cake at the party. It was a nice day.\n"
    "A security fix for an old API is in it, too."
)


async def test_answers_are_marked_as_stub_and_free() -> None:
    ai = StubClient()
    answer, embedded = await ai.ask(PROMPT, TEXT, Analysis), await ai.embed([TEXT])
    assert answer.stub
    assert embedded.stub
    assert embedded.model == "stub"
    assert answer.usage == embedded.usage == Usage("stub", 0, 0, 0.0)


async def test_bullets_are_sentences_with_keywords_first() -> None:
    value = (await StubClient().ask(PROMPT, STORY, Analysis)).value
    assert value.why_it_matters == [
        "The new release brings asynchronous reads, which makes scans up to three times faster.",
        "Nobody has to migrate by hand!",
        "A security fix for an old API is in it, too.",
    ]
    assert value.chili == 5
    assert [citation.quote for citation in value.citations] == value.why_it_matters
    assert 0 < value.confidence < 0.1
    value = (await StubClient().ask(PROMPT, "It was a nice day.", Analysis)).value
    assert (value.why_it_matters, value.chili, value.confidence) == (["It was a nice day."], 0, 0.0)


async def test_confidence_grows_with_the_text_up_to_a_half() -> None:
    confidence = [
        (await StubClient().ask(PROMPT, "Word. " * words, Analysis)).value.confidence
        for words in (1, 100, 1000, 10_000)
    ]
    assert confidence == sorted(confidence)
    assert confidence[-1] == 0.5


async def test_briefs_are_the_first_sentences() -> None:
    value = (await StubClient().ask(PROMPT, STORY, Briefs)).value
    assert value.one_liner.startswith("The new release brings asynchronous reads")
    assert value.two_liner.endswith("three times faster. Version 3.11 of the driver works with it.")
    assert value.elevator.endswith("There is cake at the party.")
    assert "Version 3.11 of the driver works with it." in value.elevator


async def test_titles_and_repeated_sentences_are_left_out() -> None:
    text = "Bees\nBees make honey.\nBees\nBees make honey. They live in hives."
    value = (await StubClient().ask(PROMPT, text, Briefs)).value
    assert value.elevator == "Bees make honey. They live in hives."
    assert (await StubClient().ask(PROMPT, "Bees\nBees", Briefs)).value.elevator == "Bees"


async def test_quotes_of_endless_sentences_are_limited() -> None:
    ai, text = StubClient(), "and then they said " * 1000
    assert len((await ai.ask(PROMPT, text, Briefs)).value.elevator) <= 1000
    (bullet,) = (await ai.ask(PROMPT, text, Analysis)).value.why_it_matters
    assert len(bullet) <= 240


@given(st.text(), st.sampled_from([Analysis, Briefs]))
async def test_any_text_with_letters_has_one_answer(text: str, form: type[Analysis | Briefs]) -> None:
    try:
        first = await StubClient().ask(PROMPT, text, form)
    except AIRejected:
        assert not any(character.isalpha() for character in text)
    else:
        assert first == await StubClient().ask(PROMPT, text, form)


async def test_unknown_form_is_rejected_with_advice() -> None:
    with pytest.raises(AIRejected, match="Colour: set OPENAI_API_KEY"):
        await StubClient().ask(PROMPT, TEXT, Colour)


async def test_vectors_have_length_1_and_related_texts_are_near() -> None:
    texts = ["The database is fast.", "The databases are fast!", "Cake for everyone"]
    vectors = (await StubClient().embed(texts)).vectors
    assert all(len(vector) == 1536 for vector in vectors)
    assert all(math.hypot(*vector) == pytest.approx(1) for vector in vectors)
    near, far = (sum(a * b for a, b in zip(vectors[0], vectors[other], strict=True)) for other in (1, 2))
    assert near > 0.5 > far


async def test_answers_are_the_same_on_every_machine() -> None:
    ai = StubClient()
    text = STORY + " Größe, 日本語, İstanbul, ǅ, 🦓."
    told = [
        (await ai.ask(PROMPT, text, Analysis)).value.model_dump_json(),
        (await ai.ask(PROMPT, text, Briefs)).value.model_dump_json(),
        json.dumps((await ai.embed([text])).vectors),
    ]
    seen = [hashlib.sha256(one.encode()).hexdigest()[:16] for one in told]
    assert seen == ["7126c406330e4835", "3cf616aa8cab8047", "dfda1923f5f3295d"]
