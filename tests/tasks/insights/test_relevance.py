"""The score of a highlight: its four parts, and their sum."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import check_each
from zeke_queue.errors import SettingsError
from zeke_tasks.insights.relevance import age_in_days, matches_in, score
from zeke_tasks.keywords import DEFAULT_KEYWORDS, KeywordSettings
from zeke_tasks.store.highlights import HighlightKind, Score

WORDS = ("bees", "wasps", "ants", "flies", "moths", "bugs")

kinds = st.sampled_from(HighlightKind)
authorities = st.none() | st.integers(0, 100).map(lambda hundredths: hundredths / 100)
ages = st.none() | st.integers(-100, 400)


def scored(
    kind: HighlightKind = HighlightKind.METRIC,
    found: int = 0,
    authority: float | None = 0.5,
    age_days: int | None = 0,
) -> Score:
    return score(kind, " ".join(WORDS[:found]), keywords=WORDS, authority=authority, age_days=age_days)


def test_parts_of_score() -> None:
    """Five keywords are enough, an unknown authority is 0.7, and freshness falls for thirty days."""

    def check(part: str, about: str, value: Any, worth: float) -> None:
        result = scored(**{about: value})
        assert result.breakdown[part] == worth
        assert result.matches == WORDS[: value if about == "found" else 0]

    kinds = {
        HighlightKind.CODE_CHANGE: 0.3,
        HighlightKind.API_CHANGE: 0.285,
        HighlightKind.METRIC: 0.27,
        HighlightKind.CODE_EXAMPLE: 0.255,
        HighlightKind.INSIGHT: 0.24,
        HighlightKind.ACTION: 0.225,
        HighlightKind.QUOTE: 0.18,
        HighlightKind.QUESTION: 0.15,
    }
    found = {0: 0.0, 1: 0.08, 4: 0.32, 5: 0.4, 6: 0.4}
    authorities = {0.0: 0.0, 0.55: 0.11, 1.0: 0.2, None: 0.14}
    ages = {-5: 0.1, 0: 0.1, 3: 0.095, 29: 0.0517, 30: 0.05, 31: 0.05, 4000: 0.05, None: 0.05}
    cases = [
        *(("kind", "kind", kind, worth) for kind, worth in kinds.items()),
        *(("keywords", "found", number, worth) for number, worth in found.items()),
        *(("authority", "authority", authority, worth) for authority, worth in authorities.items()),
        *(("freshness", "age_days", age, worth) for age, worth in ages.items()),
    ]
    check_each(cases, check)


def test_score_is_rounded_half_up_between_a_fifth_and_one() -> None:
    # 0.24 + 0.285 + 0.1 + 0.1 = 0.725, but a sum of floats may be slightly lower.
    assert scored(HighlightKind.API_CHANGE, found=3).value == 0.73
    # 0.08 + 0.255 + 0.06 + 0.1 = 0.495
    assert scored(HighlightKind.CODE_EXAMPLE, found=1, authority=0.3).value == 0.5
    assert scored(HighlightKind.CODE_CHANGE, found=5, authority=1.0).value == 1.0
    assert scored(HighlightKind.QUESTION, authority=0.0, age_days=60).value == 0.2


@given(kinds, st.integers(0, 6), authorities, ages)
def test_score_is_the_sum_of_its_parts(
    kind: HighlightKind, found: int, authority: float | None, age: int | None
) -> None:
    result = scored(kind, found, authority, age)
    assert abs(result.value - sum(result.breakdown.values())) <= 0.005 + 4 * 0.00005
    assert 0 <= result.value <= 1
    if age is None or age >= 30 or age <= 0 or age % 3 == 0:
        # Then the parts are not rounded, and their sum is exact.
        exact = sum((Decimal(repr(part)) for part in result.breakdown.values()), Decimal(0))
        assert result.value == float(exact.quantize(Decimal("0.01"), ROUND_HALF_UP))


@given(kinds, st.integers(0, 5), authorities, st.integers(-10, 100))
def test_more_keywords_and_fewer_days_never_lower_the_score(
    kind: HighlightKind, found: int, authority: float | None, age: int
) -> None:
    value = scored(kind, found, authority, age).value
    assert scored(kind, found + 1, authority, age).value >= value
    assert scored(kind, found, authority, age - 1).value >= value


def test_score_changes_once_a_day() -> None:
    published = datetime(2026, 3, 1, 12, tzinfo=UTC)
    ages = [age_in_days(published, published + timedelta(hours=hours)) for hours in (0, 23.9, 24, 47, -1)]
    assert ages == [0, 0, 1, 1, -1]
    assert age_in_days(None, published) is None


def test_keyword_is_matched_as_whole_word_ignoring_case() -> None:
    def check(text: str, keyword: str, found: str) -> None:
        assert bool(matches_in(text, [keyword])) is (found == "found")

    cases = [
        ("A RUST tool", "Rust", "found"),
        ("rusty trusts", "rust", "not found"),
        ("Rust-based", "rust", "found"),
        ("in C++, and", "C++", "found"),
        ("in C+++", "C++", "found"),
        ("on Node.js", "node.js", "found"),
        ("on nodeXjs", "node.js", "not found"),
        ("a language\n model", "Language  model", "found"),
        ("a languagemodel", "language model", "not found"),
        ("snake_case", "snake", "not found"),
        ("Straße", "strasse", "not found"),
        ("Été", "été", "found"),
        ("anything", "", "not found"),
        ("anything", " ", "not found"),
    ]
    check_each(cases, check)
    # In the order of the keywords, and each once.
    assert matches_in("b c a A b", ["a", "b", "A", "c", "d"]) == ("a", "b", "c")


@given(st.text(max_size=100), st.lists(st.text(max_size=10), max_size=10))
def test_any_keyword_is_searched_in_any_text(text: str, keywords: list[str]) -> None:
    assert set(matches_in(text, keywords)) <= set(keywords)


@given(st.lists(st.sampled_from(DEFAULT_KEYWORDS), min_size=1, max_size=5, unique=True))
def test_each_default_keyword_is_found(words: list[str]) -> None:
    assert set(words) <= set(matches_in(", ".join(words), DEFAULT_KEYWORDS))


PLAIN_PROSE = (
    "We go to the library each week, and react with joy when the model railway is there.",
    "The travel agent packed a rag, a container of tea and an index of trails from memory.",
    "Geminis like mistral winds. A Gemini may go anywhere; the agents went home.",
    "In training, the coach gave a prompt token of thanks for their performance and reasoning.",
    "The transformer on the pole hummed in the cloud; rust had covered its alignment marks.",
    "Claude painted lilies; a llama in the queue bit a bug. Security released both after an evaluation.",
    "The bank's transaction, a query about migration, is testing the framework of the treaty.",
    "The retrieval of the benchmark stone, an index of the deployment, is a release from prison.",
    "Swift action, go 1 mile, then let the embedding of the tiles dry before you express a view.",
)


def test_default_keywords_match_software_news_and_no_plain_prose() -> None:
    def plain(prose: str) -> None:
        assert matches_in(prose, DEFAULT_KEYWORDS) == ()

    def software(news: str) -> None:
        assert len(matches_in(news, DEFAULT_KEYWORDS)) >= 3

    news = [
        "OpenAI has released an SDK for Python, with which an LLM calls any API.",
        "PostgreSQL 18 halves the latency of SQL joins on Linux.",
        "The language model was fine-tuned on one GPU, and its open weights run in Docker.",
        "A breaking change in TypeScript 6 hits each JavaScript framework that is built for Node.js.",
        "The compiler, written in Rust, now targets WebAssembly, which Kubernetes runs.",
    ]
    check_each(PLAIN_PROSE, plain)
    check_each(news, software)


def test_default_keywords_are_unique_and_do_not_overlap() -> None:
    assert len({word.casefold() for word in DEFAULT_KEYWORDS}) == len(DEFAULT_KEYWORDS)
    for word in DEFAULT_KEYWORDS:
        assert matches_in(word, DEFAULT_KEYWORDS) == (word,)
        assert matches_in(f"{word}s", DEFAULT_KEYWORDS) == ()


def test_keywords_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert KeywordSettings.load().keywords == DEFAULT_KEYWORDS
    monkeypatch.setenv("ZEKE_KEYWORDS", " bees, honey  bees,,bees ")
    assert KeywordSettings.load().keywords == ("bees", "honey bees")
    monkeypatch.setenv("ZEKE_KEYWORDS", " , ")
    with pytest.raises(SettingsError, match=r"ZEKE_KEYWORDS.*no words"):
        KeywordSettings.load()
