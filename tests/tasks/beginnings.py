"""Where each task begins: the rows that it finds, and the payload of a job that has something to do."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from tests.tasks.domain import Domain
from zeke_tasks.store.analysis import Analysis, AnalysisState, Brief
from zeke_tasks.store.highlights import HighlightKind, NewHighlight
from zeke_tasks.store.model import Story

Start = tuple[str, dict[str, Any]]

TEAM, OTHER_TEAM, USER = (UUID(int=number) for number in (1, 2, 3))

TEXT: Final = (
    "We rewrote the parser in Rust. It is 3 times faster. The old API is deprecated.\n"
    "def parse(text):\n    return list(text)\n" + "Nothing in particular is said after that. " * 8
)


async def _analysed(domain: Domain) -> Story:
    story = await domain.told_story(TEXT, url="https://a.example/parser")
    async with domain.rows() as rows:
        thought = Analysis("It is faster.", 2, 0.5, AnalysisState.COMPLETED, "gpt-5-nano", "0")
        assert await rows.put_analysis(story.id, thought)
        await rows.connect(TEAM, story.primary_source_id)
        await rows.connect(OTHER_TEAM, story.primary_source_id)
    return story


async def _highlighted(domain: Domain) -> Story:
    story = await _analysed(domain)
    known = [
        NewHighlight(story.id, None, HighlightKind.METRIC, "Everybody has it.", 0.85, tags=("python",)),
        NewHighlight(story.id, TEAM, HighlightKind.INSIGHT, "The team has it.", 1.0),
    ]
    await domain.verbs.put_highlights(known)
    return story


async def begin_link(domain: Domain) -> Start:
    story = await _analysed(domain)
    other = await domain.source("https://b.example/feed")
    return "link-source-to-story", {"storyId": story.id, "sourceId": other.id}


async def begin_analysis(domain: Domain) -> Start:
    story = await domain.told_story(TEXT)
    return "analyze-story", {"storyId": story.id, "trigger": "auto"}


async def begin_analysis_anew(domain: Domain) -> Start:
    """A person wants it, of a story that was analysed with another prompt."""
    story = await _analysed(domain)
    return "analyze-story", {"storyId": story.id, "trigger": "manual"}


async def begin_summary(domain: Domain) -> Start:
    story = await _analysed(domain)
    return "summarize-story", {"storyId": story.id, "mode": "auto"}


async def begin_status(domain: Domain) -> Start:
    story = await _analysed(domain)
    return "update-story-status", {"storyId": story.id, "state": "read"}


async def begin_extraction(domain: Domain) -> Start:
    story = await _highlighted(domain)
    return "extract-highlights", {"storyId": story.id, "teamId": TEAM}


async def begin_scoring(domain: Domain) -> Start:
    story = await _highlighted(domain)
    return "score-relevance", {"storyId": story.id}


async def begin_dedupe(domain: Domain) -> Start:
    story = await _highlighted(domain)
    said = ["The team has it.", "everybody has it. ", "One is new.", "So is this.", "One is NEW."]
    return "dedupe-insights", {
        "storyId": story.id,
        "teamId": TEAM,
        "createdBy": USER,
        "insights": [{"summary": summary, "origin": "assistant"} for summary in said],
    }


async def begin_attaching(domain: Domain) -> Start:
    story = await _highlighted(domain)
    return "attach-insight-to-story", {
        "storyId": story.id,
        "teamId": TEAM,
        "createdBy": USER,
        "insight": {"summary": "One is new.", "quote": "new", "tags": ["a", "b"], "origin": "assistant"},
    }


async def begin_brief(domain: Domain) -> Start:
    story = await _analysed(domain)
    return "generate-brief", {"storyId": story.id, "reason": "new_story"}


async def begin_brief_anew(domain: Domain) -> Start:
    """A story that has a brief was analysed once more."""
    story = await _analysed(domain)
    assert await domain.verbs.put_brief(story.id, Brief("Old.", "Old. Older.", "Old. Older. Oldest.", 1))
    return "generate-brief", {"storyId": story.id, "reason": "regenerate"}


BEGINNINGS: Final = (
    begin_link,
    begin_analysis,
    begin_analysis_anew,
    begin_summary,
    begin_status,
    begin_extraction,
    begin_scoring,
    begin_dedupe,
    begin_attaching,
    begin_brief,
    begin_brief_anew,
)
