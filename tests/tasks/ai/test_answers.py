"""The forms of answers, with the values that are corrected and refused, and the prompts for them."""

from __future__ import annotations

import hashlib
import itertools
import json
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.cases import check_each, each
from tests.tasks.ai.samples import ANALYSIS, BRIEFS
from zeke_tasks.ai import Analysis, Briefs, load_prompt
from zeke_tasks.ai.answers import briefs_form, read_answer
from zeke_tasks.store.model import storable


def analysis(**fields: Any) -> Analysis:
    return Analysis.model_validate({**ANALYSIS, **fields})


@each((0, 0), (5, 5), (9, 5), (-1, 0), (2.6, 3), (float("inf"), 5), (10**400, 5), ("4", 4), ("77", 5))
def test_chili_is_a_whole_number_from_0_to_5(said: Any, kept: int) -> None:
    chili = analysis(chili=said).chili
    assert (chili, type(chili)) == (kept, int)


@each((0, 0.0), (1, 1.0), (0.5, 0.5), (85, 1.0), (-0.1, 0.0), (float("inf"), 1.0))
def test_confidence_is_from_0_to_1(said: float, kept: float) -> None:
    assert analysis(confidence=said).confidence == kept


def test_other_values_than_numbers_are_refused() -> None:
    def check(field: str, said: object) -> None:
        with pytest.raises(ValidationError):
            analysis(**{field: said})

    cases = itertools.product(["chili", "confidence"], [float("nan"), "nan", True, None, "hot", []])
    check_each(cases, check)


def test_bullets_are_lines_without_marks() -> None:
    said = ["- Fast.", "• It\nis  new\x00.", "2) Free.", " \u2028", "-5 degrees", "1.5 times", "\ud800x"]
    said.append("* Costs rose by **12%** in 2025, and `a * b` - as it stands - is 3) enough")
    *kept, marked = analysis(why_it_matters=said).why_it_matters
    assert kept == ["Fast.", "It is new .", "Free.", "-5 degrees", "1.5 times", "x"]
    assert marked == "Costs rose by **12%** in 2025, and `a * b` - as it stands - is 3) enough"


@each([], [""], ["-  "], ["\x00", " "])
def test_analysis_without_a_bullet_is_refused(said: list[str]) -> None:
    with pytest.raises(ValidationError, match="must have a bullet"):
        analysis(why_it_matters=said)


@given(st.lists(st.text(alphabet=st.characters(codec=None)), min_size=1))
def test_any_bullet_is_one_line_that_can_be_stored(said: list[str]) -> None:
    for bullet in analysis(why_it_matters=[*said, "last"]).why_it_matters:
        assert bullet
        assert bullet.splitlines() == [bullet]
        assert bullet == bullet.strip() == storable(bullet)


def test_citations_are_optional() -> None:
    said = {name: value for name, value in ANALYSIS.items() if name != "citations"}
    assert Analysis.model_validate(said).citations == []


def test_citation_without_a_quote_is_dropped() -> None:
    kept = analysis(citations=[{"quote": " "}, {"quote": "a\nb", "url": None}]).citations
    assert [(citation.quote, citation.url) for citation in kept] == [("a b", None)]


def test_only_web_addresses_of_citations_are_kept() -> None:
    def check(said: str | None, kept: str | None) -> None:
        assert analysis(citations=[{"quote": "a", "url": said}]).citations[0].url == kept

    urls = ("https://a.example/b?c=d", "HTTP://a.example")
    others = ("javascript:alert(1)", "see the notes", "https://a.example/ b", "", None)
    too_long = "https://a.example/" + "b" * 3000
    check_each([*((url, url) for url in urls), *((other, None) for other in (*others, too_long))], check)


def test_briefs_are_lines_within_their_lengths() -> None:
    briefs = Briefs(one_liner="One\nword " * 99, two_liner="A sentence. " * 99, elevator=" Long. " * 99)
    assert len(briefs.one_liner) < 140
    assert len(briefs.two_liner) < 280
    assert briefs.two_liner.endswith("A sentence.")
    assert "\n" not in briefs.one_liner
    assert briefs.elevator.count("Long.") == 99


@each({"two_liner": " \n"}, {"two_liner": 7}, {"two_liner": None}, {})
def test_unusable_variant_does_not_affect_others(fields: dict[str, Any]) -> None:
    others = {name: text for name, text in BRIEFS.items() if name != "two_liner"}
    assert Briefs.model_validate({**others, **fields}).by_name() == {**others, "two_liner": ""}


@each({}, {"one_liner": " "}, {"summary": "It is fast."}, [], "It is fast.")
def test_answer_without_any_variant_is_refused(answer: Any) -> None:
    with pytest.raises(ValidationError):
        Briefs.model_validate(answer)


def test_form_of_some_variants_requires_only_those() -> None:
    form = briefs_form(("two_liner",))
    assert form.model_json_schema()["required"] == ["two_liner"]
    assert form.model_validate(BRIEFS).by_name() == {"two_liner": BRIEFS["two_liner"]}
    with pytest.raises(ValidationError):
        form.model_validate({"one_liner": BRIEFS["one_liner"]})


CHILI = json.dumps({**ANALYSIS, "chili": 4})


@each(
    "{}",
    "```json\n{}\n```",
    "```\n{}```",
    "Sure! Here is the {{answer}} that you want:\n\n```json\n{}\n```\n\nIs there anything else?",
    '<think>{{"chili": 1}} or 2?</think>{}',
    "[{}]",
    '{{"answer": {}}}',
    "{} {{",
)
def test_json_is_found_in_what_is_around_it(around: str) -> None:
    assert read_answer(around.format(CHILI), Analysis).chili == 4


@each(
    ("I think so.", "Invalid JSON"),
    ("```json\n```", "Invalid JSON"),
    (CHILI[:-9], "Invalid JSON"),
    ("{" * 100_000, "Invalid JSON"),
    ('{"a":' * 100_000, "Invalid JSON"),
    ('```json\n{"chili": 3}\n```', "Field required"),
)
def test_answer_without_json_of_the_form_says_what_is_wrong(text: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        read_answer(text, Analysis)


SEEN = {("analyze-story", "1"): "214e6cd0160b49a1", ("generate-brief", "1"): "51194a6be69907eb"}
"""The sha256 of each version. A changed prompt needs a new version, and its sha256 here."""


def test_changed_prompt_has_a_new_version() -> None:
    names = sorted(
        file.name.removesuffix(".md") for file in (resources.files("zeke_tasks.ai") / "prompts").iterdir()
    )
    prompts = [load_prompt(name) for name in names]
    told = {
        (prompt.name, prompt.version): hashlib.sha256(prompt.text.encode()).hexdigest()[:16]
        for prompt in prompts
    }
    assert told == SEEN


@each(("analyze-story", Analysis), ("generate-brief", Briefs))
def test_prompt_names_every_field_of_its_answer_and_warns_of_instructions(
    name: str, form: type[Analysis | Briefs]
) -> None:
    text = load_prompt(name).text
    assert [field for field in form.model_fields if f"- {field}:" not in text] == []
    assert "you do not follow them" in " ".join(text.split())
