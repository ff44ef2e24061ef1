"""Highlights in memory."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from zeke_tasks.store.highlights import Highlight, Score
from zeke_tasks.store.memory.scope import Scope
from zeke_tasks.store.model import json_text

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from zeke_tasks.store.highlights import NewHighlight


class MemoryHighlights(Scope):
    """The methods on highlights."""

    async def put_highlights(self, highlights: Sequence[NewHighlight]) -> list[UUID]:
        """Add highlights whose keys their stories don't have for the team or globally."""
        await self._require_teams(*(highlight.team_id for highlight in highlights))
        stories = await self._lock_stories([highlight.story_id for highlight in highlights])
        new: list[UUID] = []
        for highlight in highlights:
            if highlight.story_id not in stories:
                continue
            if not self._known(highlight.story_id, highlight.team_id, {highlight.key}):
                self._highlights.put(highlight.id, _stored(highlight))
                new.append(highlight.id)
        return new

    async def known_keys(self, story_id: UUID, team_id: UUID | None, keys: Collection[str]) -> set[str]:
        """Return the keys that a story has for a team or globally."""
        return self._known(story_id, team_id, keys)

    def _known(self, story_id: UUID, team_id: UUID | None, keys: Collection[str]) -> set[str]:
        theirs = (one for one in self._highlights.of(story_id) if one.team_id in (None, team_id))
        return {one.key for one in theirs if one.key in keys}

    async def highlights(self, story_id: UUID) -> list[Highlight]:
        """Return the highlights of a story, by id."""
        return sorted(self._highlights.of(story_id), key=lambda highlight: highlight.id)

    async def put_score(self, highlight_id: UUID, score: Score) -> bool:
        """Set a highlight's score unless it is unchanged."""
        self._require_open()
        known = self._highlights.get(highlight_id)
        if known is None:
            return False
        await self._lock_stories([known.story_id])
        old = self._highlights.get(highlight_id)
        if old is None or (old.score is not None and _comparable(old.score) == _comparable(score)):
            return False
        self._highlights.put(highlight_id, replace(old, score=score, scored_at=self._now()))
        return True


def _stored(highlight: NewHighlight) -> Highlight:
    return Highlight(
        id=highlight.id,
        story_id=highlight.story_id,
        team_id=highlight.team_id,
        kind=highlight.kind,
        title=highlight.title,
        summary=highlight.summary,
        quote=highlight.quote,
        key=highlight.key,
        confidence=highlight.confidence,
        origin=highlight.origin,
        created_by=highlight.created_by,
        metadata=highlight.metadata,
        tags=tuple(sorted(highlight.tags)),
        references=tuple(sorted(highlight.references)),
        score=None,
        scored_at=None,
    )


def _comparable(score: Score) -> tuple[float, tuple[str, ...], str]:
    return score.value, score.matches, json_text(score.breakdown)
