"""The forms of answers: what is put right, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.tasks.ai.samples import ANALYSIS, BRIEFS
from zeke_tasks.ai import Analysis, Briefs
from zeke_tasks.store.model import storable


def analysis(**fields: Any) -> Analysis:
    return Analysis.model_validate({**ANALYSIS, **fields})


@pytest.mark.parametrize(
    ("said", "kept"),
    [(0, 0), (5, 5), (9, 5), (-1, 0), (2.6, 3), (float("inf"), 5), (10**400, 5), ("4", 4), ("77", 5)],
)
def test_chili_is_a_whole_number_from_0_to_5(said: Any, kept: int) -> None:
    chili = analysis(chili=said).chili
    assert (chili, type(chili)) == (kept, int)


@pytest.mark.parametrize(
    ("said", "kept"), [(0, 0.0), (1, 1.0), (0.5, 0.5), (85, 1.0), (-0.1, 0.0), (float("inf"), 1.0)]
)
def test_confidence_goes_from_0_to_1(said: Any, kept: float) -> None:
    assert analysis(confidence=said).confidence == kept


@pytest.mark.parametrize("field", ["chili", "confidence"])
@pytest.mark.parametrize("said", [float("nan"), "nan", True, None, "hot", []])
def test_what_is_no_number_is_refused(field: str, said: Any) -> None:
    with pytest.raises(ValidationError):
        analysis(**{field: said})


def test_a_mark_within_a_bullet_is_part_of_it() -> None:
    said = "Costs rose by **12%** in 2025, and `a * b` - as it stands - is 3) enough"
    assert analysis(why_it_matters=[f"* {said}"]).why_it_matters == [said]


def test_bullets_are_lines_without_marks() -> None:
    said = ["- Fast.", "• It\nis  new\x00.", "2) Free.", " \u2028", "-5 degrees", "1.5 times", "\ud800x"]
    kept = analysis(why_it_matters=said).why_it_matters
    assert kept == ["Fast.", "It is new .", "Free.", "-5 degrees", "1.5 times", "x"]


@pytest.mark.parametrize("said", [[], [""], ["-  "], ["\x00", " "]])
def test_without_a_bullet_there_is_no_analysis(said: list[str]) -> None:
    with pytest.raises(ValidationError, match="no bullet"):
        analysis(why_it_matters=said)


@given(st.lists(st.text(alphabet=st.characters(codec=None)), min_size=1))
def test_every_bullet_that_is_kept_is_one_line_that_can_be_stored(said: list[str]) -> None:
    for bullet in analysis(why_it_matters=[*said, "last"]).why_it_matters:
        assert bullet
        assert bullet.splitlines() == [bullet]
        assert bullet == bullet.strip() == storable(bullet)


def test_citations_may_be_left_out() -> None:
    said = {name: value for name, value in ANALYSIS.items() if name != "citations"}
    assert Analysis.model_validate(said).citations == []


def test_a_citation_without_a_quote_is_dropped() -> None:
    kept = analysis(citations=[{"quote": " "}, {"quote": "a\nb", "url": None}]).citations
    assert [(citation.quote, citation.url) for citation in kept] == [("a b", None)]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("https://a.example/b?c=d", "https://a.example/b?c=d"),
        ("HTTP://a.example", "HTTP://a.example"),
        ("javascript:alert(1)", None),
        ("see the notes", None),
        ("https://a.example/ b", None),
        ("https://a.example/" + "b" * 3000, None),
        ("", None),
        (None, None),
    ],
)
def test_only_an_address_of_the_web_is_kept_as_one(said: str | None, kept: str | None) -> None:
    assert analysis(citations=[{"quote": "a", "url": said}]).citations[0].url == kept


def test_briefs_are_lines_within_their_lengths() -> None:
    briefs = Briefs(one_liner="One\nword " * 99, two_liner="A sentence. " * 99, elevator=" Long. " * 99)
    assert len(briefs.one_liner) < 140
    assert len(briefs.two_liner) < 280
    assert briefs.two_liner.endswith("A sentence.")
    assert "\n" not in briefs.one_liner
    assert briefs.elevator.count("Long.") == 99


@pytest.mark.parametrize("field", ["one_liner", "two_liner", "elevator"])
def test_a_brief_that_says_nothing_is_refused(field: str) -> None:
    with pytest.raises(ValidationError, match="no text"):
        Briefs.model_validate({**BRIEFS, field: " \n"})
