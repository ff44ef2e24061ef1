"""Stories shown to users, with the model and its cost."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID

from pydantic import SecretStr
from rich.console import Console

from tests.cases import check_each
from tests.clocks import START
from zeke_tasks.ai.settings import AISettings
from zeke_tasks.cli.output import describe_ai, print_models_and_cost, print_stories, print_story
from zeke_tasks.store.analysis import AnalysisState, Overlay, Spending
from zeke_tasks.store.highlights import Highlight, HighlightKind, Origin, Score
from zeke_tasks.store.model import Kind, Story, StoryStatus
from zeke_tasks.stories.view import StoryView

ID = UUID(int=1)
KEY = SecretStr("sk-any")
PAGE = "https://a.example/"
STORY = Story(ID, ID, "", Kind.ARTICLE, None, ID, "A title", None, PAGE, START, StoryStatus.ANALYZED)
OVERLAY = Overlay(
    story_id=ID,
    why_it_matters="One reason.\nAnother reason.",
    chili=3,
    confidence=0.5,
    citations=(),
    analysis_state=AnalysisState.COMPLETED,
    model="gpt-5-nano",
    prompt_version="1",
    brief_one_liner="One line.",
    brief_two_liner="Two. Lines.",
    brief_elevator="A whole paragraph.",
    time_saved_seconds=90,
    analysed_at=START,
    briefed_at=START,
)
CALL = Spending(ID, 1, "analysis", "analyze-story", "gpt-5-nano", 1000, 200, 0.0002)


def highlight(number: int, score: float | None) -> Highlight:
    """Return a highlight called by its number."""
    return Highlight(
        id=UUID(int=number),
        story_id=ID,
        team_id=None,
        kind=HighlightKind.METRIC,
        title=None,
        summary=f"Figure {number}.",
        quote="def f():\n    return 1",
        key="",
        confidence=0.85,
        origin=Origin.SYSTEM,
        created_by=None,
        metadata={},
        tags=("fast", "small"),
        references=(),
        score=Score(score, (), {}) if score is not None else None,
        scored_at=None,
    )


def told(tell: Callable[..., None], *arguments: object) -> str:
    """Return the output without a terminal."""
    out = Console(file=io.StringIO(), width=100)
    tell(out, *arguments)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_short_story_has_its_briefs_and_two_best_highlights() -> None:
    seen = StoryView(STORY, None, OVERLAY, (highlight(1, 0.9), highlight(2, 0.8), highlight(3, 0.1)))
    shown = told(print_stories, [seen], {ID: ["A blog", "Another"]})
    lines = [line.rstrip() for line in shown.splitlines()]
    assert lines[:2] == ["Stories (1)", ""]
    assert "  chili 3/5 · 2026-01-05 · A blog, Another · id 00000000" in lines
    assert "  one line    One line." in lines
    assert "  two lines   Two. Lines." in lines
    assert "  highlights  0.90 metric: Figure 1." in lines
    assert "Figure 3" not in shown


def test_unanalysed_story_is_marked() -> None:
    assert "not analysed" in told(print_stories, [StoryView(STORY, None, None, ())])
    assert "not yet" in told(print_story, StoryView(STORY, None, None, ()))


def test_full_story_has_reasons_briefs_and_quotes_unchanged() -> None:
    shown = told(print_story, StoryView(STORY, None, OVERLAY, (highlight(1, 0.9), highlight(2, None))))
    for line in (
        "  • One reason.",
        "In short (saves 1 min 30 s of reading)",
        "Highlights (2)",
        "  0.90  metric: Figure 1.",
        "        │ def f():",
        "        │     return 1",
        "        tags: fast, small",
        "  analysed    by gpt-5-nano, 2026-01-05 12:00:00",
    ):
        assert line in [each.rstrip() for each in shown.splitlines()]


def test_usage_of_model_is_summarised() -> None:
    def check(spent: list[Spending], said: str) -> None:
        shown = told(print_models_and_cost, [StoryView(STORY, None, OVERLAY, ())], spent)
        assert "Analysed by gpt-5-nano." in shown
        assert said in shown

    cases = [
        ([CALL], "gpt-5-nano: 1 call, 1,000 tokens in and 200 out, $0.0002."),
        ([CALL, replace(CALL, attempt=2)], "gpt-5-nano: 2 calls, 2,000 tokens in and 400 out, $0.0004."),
        ([CALL, replace(CALL, attempt=2, cost_usd=None)], "at an unknown price."),
        ([replace(CALL, model="b"), CALL], "gpt-5-nano: 1 call"),
    ]
    check_each(cases, check)


def test_stub_is_named_and_costs_nothing() -> None:
    overlay = replace(OVERLAY, analysis_state=AnalysisState.STUB, model="stub")
    shown = told(print_models_and_cost, [StoryView(STORY, None, overlay, ())], [])
    assert "not an AI" in shown
    assert "token" not in shown


def test_settings_decide_announced_ai() -> None:
    def check(settings: AISettings, said: str) -> None:
        assert said in describe_ai(settings)
        assert "secret" not in describe_ai(settings)
        assert "sk-any" not in describe_ai(settings)

    cases = [
        (AISettings(), "To use OpenAI's gpt-5-nano instead, set OPENAI_API_KEY."),
        (AISettings(zeke_ai="stub"), "ZEKE_AI is stub"),
        (AISettings(openai_api_key=KEY), "gpt-5-nano at api.openai.com reads the stories"),
        (
            AISettings(openai_api_key=KEY, openai_base_url="http://127.0.0.1:1/v1?secret"),
            "at 127.0.0.1 reads the stories",
        ),
    ]
    check_each(cases, check)
