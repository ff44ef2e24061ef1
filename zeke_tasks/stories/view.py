"""Views of stories with all their details, for display and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from zeke_tasks.store.analysis import AnalysisState

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from zeke_tasks.store.analysis import Overlay
    from zeke_tasks.store.highlights import Highlight
    from zeke_tasks.store.model import Source, Story
    from zeke_tasks.store.repository import Rows

NEAREST: Final = 5
"""Number of neighbours of a story that are shown."""


@dataclass(frozen=True, slots=True)
class StoryView:
    """A story with its source, overlay and highlights.

    Attributes:
        source: its primary source; None if that was removed.
        overlay: the analysis and the briefs; None if there are none.
        highlights: most relevant first, those without a score last.
    """

    story: Story
    source: Source | None
    overlay: Overlay | None
    highlights: tuple[Highlight, ...]

    @property
    def analysed(self) -> bool:
        """Whether it is analysed, by a model or the stub."""
        return self.overlay is not None and self.overlay.analysis_state is not AnalysisState.PENDING


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A story that is near another one.

    Attributes:
        similarity: the cosine of their embeddings: 1 for the same direction, 0 for unrelated ones.
    """

    story: Story
    similarity: float


async def view(rows: Rows, story: Story) -> StoryView:
    """Return the view of a story."""
    return StoryView(
        story,
        await rows.source(story.primary_source_id),
        await rows.overlay(story.id),
        tuple(sorted(await rows.highlights(story.id), key=_by_score)),
    )


async def views(rows: Rows, stories: Iterable[Story]) -> list[StoryView]:
    """Return the views of stories in the given order, without duplicates."""
    return [await view(rows, story) for story in {story.id: story for story in stories}.values()]


async def neighbours(rows: Rows, story_id: UUID, limit: int = NEAREST) -> list[Neighbour]:
    """Return the nearest stories to one, by its embedding.

    If several models have embedded the story, the one that analysed it last is used, or else the first by
    name.
    """
    placed = await rows.embeddings(story_id)
    if not placed:
        return []
    overlay = await rows.overlay(story_id)
    stub = overlay is not None and overlay.analysis_state is AnalysisState.STUB
    placed.sort(key=lambda embedding: (embedding.model == "stub") is not stub)
    near = await rows.nearest(placed[0], limit + 1)
    found = [(await rows.story(other), distance) for other, distance in near if other != story_id]
    return [Neighbour(story, 1 - distance) for story, distance in found[:limit] if story is not None]


def _by_score(highlight: Highlight) -> tuple[float, float, str]:
    score = highlight.score.value if highlight.score else -1.0
    return (-score, -highlight.confidence, str(highlight.id))


# As JSON


def brief_value(seen: StoryView) -> dict[str, Any] | None:
    """Return a story's briefs for JSON output; None if there are none yet."""
    overlay = seen.overlay
    brief = None if overlay is None else overlay.brief
    if overlay is None or brief is None:
        return None
    return {
        "state": overlay.brief_state,
        "promptVersion": overlay.brief_prompt_version,
        "oneLiner": overlay.brief_one_liner,
        "twoLiner": overlay.brief_two_liner,
        "elevator": overlay.brief_elevator,
        "missing": list(brief.missing),
        "timeSavedSeconds": overlay.time_saved_seconds,
        "briefedAt": overlay.briefed_at,
    }


def story_value(seen: StoryView, near: Iterable[Neighbour] | None = None) -> dict[str, Any]:
    """Return a story for JSON output.

    Args:
        seen: the view of the story.
        near: the nearest stories; None to leave them out.
    """
    story, source = seen.story, seen.source
    told = {
        "id": story.id,
        "title": story.title,
        "url": story.url,
        "kind": story.kind,
        "publishedAt": story.published_at,
        "status": story.status,
        "isPartial": story.is_partial,
        "summary": story.summary,
        "source": source and {"id": source.id, "name": source.name, "type": source.type, "url": source.url},
        "analysis": _analysis_value(seen),
        "brief": brief_value(seen),
        "highlights": [_highlight_value(highlight) for highlight in seen.highlights],
    }
    if near is None:
        return told
    nearest = [
        {"id": one.story.id, "title": one.story.title, "similarity": round(one.similarity, 6)} for one in near
    ]
    return {**told, "nearest": nearest}


def _analysis_value(seen: StoryView) -> dict[str, Any] | None:
    overlay = seen.overlay
    if overlay is None:
        return None
    return {
        "state": overlay.analysis_state,
        "isOfPart": seen.story.is_partial,
        "model": overlay.model,
        "promptVersion": overlay.prompt_version,
        "whyItMatters": (overlay.why_it_matters or "").splitlines(),
        "chili": overlay.chili,
        "confidence": overlay.confidence,
        "citations": list(overlay.citations),
        "analysedAt": overlay.analysed_at,
    }


def _highlight_value(highlight: Highlight) -> dict[str, Any]:
    score = highlight.score
    return {
        "id": highlight.id,
        "teamId": highlight.team_id,
        "kind": highlight.kind,
        "title": highlight.title,
        "summary": highlight.summary,
        "quote": highlight.quote,
        "tags": list(highlight.tags),
        "origin": highlight.origin,
        "confidence": highlight.confidence,
        "score": score.value if score else None,
        "keywords": list(score.matches) if score else [],
        "breakdown": dict(score.breakdown) if score else None,
    }
