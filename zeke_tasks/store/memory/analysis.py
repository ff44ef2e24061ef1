"""Analyses of stories in memory: overlays, embeddings, and AI usage."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from zeke_tasks.store.analysis import AnalysisState, Embedding, Overlay
from zeke_tasks.store.memory.scope import Scope
from zeke_tasks.store.memory.tables import Placed
from zeke_tasks.store.model import StoryStatus, decimals, json_text

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_tasks.store.analysis import Analysis, Brief, BriefDraft, Spending


class MemoryAnalysis(Scope):
    """The methods on overlays, embeddings and AI usage."""

    async def put_analysis(self, story_id: UUID, analysis: Analysis) -> bool:
        """Store an analysis; a stub's never replaces a model's."""
        story = (await self._lock_stories([story_id])).get(story_id)
        old = self._overlays.get(story_id) or _nothing_yet(story_id)
        is_model = old.analysis_state is AnalysisState.COMPLETED
        if story is None or (is_model and analysis.state is AnalysisState.STUB):
            return False
        new = replace(
            old,
            why_it_matters=analysis.why_it_matters,
            chili=analysis.chili,
            confidence=analysis.confidence,
            citations=tuple(analysis.citations),
            analysis_state=analysis.state,
            model=analysis.model,
            prompt_version=analysis.prompt_version,
            analysed_by=analysis.analysed_by,
        )
        if new != old or json_text(new.citations) != json_text(old.citations):
            self._overlays.put(story_id, replace(new, analysed_at=self._now()))
        self._stories.put(story_id, replace(story, status=StoryStatus.ANALYZED))
        return True

    async def put_brief(self, story_id: UUID, brief: Brief) -> bool:
        """Store the briefs of an analysed story; a stub's never replace a model's."""
        story = (await self._lock_stories([story_id])).get(story_id)
        old = self._overlays.get(story_id)
        if story is None or old is None:
            return False
        if old.brief_state is AnalysisState.COMPLETED and brief.state is AnalysisState.STUB:
            return False
        new = replace(
            old,
            brief_one_liner=brief.one_liner,
            brief_two_liner=brief.two_liner,
            brief_elevator=brief.elevator,
            time_saved_seconds=brief.time_saved_seconds,
            brief_state=brief.state,
            brief_prompt_version=brief.prompt_version,
            briefed_by=brief.briefed_by,
        )
        if new != old:
            self._overlays.put(story_id, replace(new, briefed_at=self._now()))
        return True

    async def put_brief_draft(self, story_id: UUID, draft: BriefDraft | None) -> bool:
        """Store the draft of a brief, or remove it."""
        story = (await self._lock_stories([story_id])).get(story_id)
        old = self._overlays.get(story_id)
        if story is None or old is None:
            return False
        self._overlays.put(story_id, replace(old, brief_draft=draft))
        return True

    async def overlay(self, story_id: UUID) -> Overlay | None:
        """Return a story's overlay."""
        return self._overlays.get(story_id)

    async def put_embedding(self, story_id: UUID, embedding: Embedding) -> None:
        """Store an embedding; replace one of the same model and number of dimensions."""
        if story_id in await self._lock_stories([story_id]):
            key = (story_id, embedding.model, embedding.dimensions)
            self._embeddings.put(key, Placed(story_id, embedding))

    async def embeddings(self, story_id: UUID) -> list[Embedding]:
        """Return the embeddings of a story, by model, then dimensions."""
        found = (placed.embedding for placed in self._embeddings.of(story_id))
        return sorted(found, key=lambda one: (one.model, one.dimensions))

    async def nearest(self, embedding: Embedding, limit: int) -> list[tuple[UUID, float]]:
        """Return stories by distance."""
        alike = (
            placed
            for placed in self._embeddings.values()
            if (placed.embedding.model, placed.embedding.dimensions)
            == (embedding.model, embedding.dimensions)
        )
        found = [(placed.story_id, _distance(placed.embedding, embedding)) for placed in alike]
        return sorted(found, key=lambda pair: (pair[1], pair[0]))[:limit]

    async def note_spending(self, spending: Spending) -> None:
        """Record the usage of a call once, unless its team is deleted."""
        if not await self._is_kept(spending.team_id):
            return
        key = (spending.job_id, spending.attempt, spending.purpose)
        await self._lock([f"spending {key}"])
        if self._spending.get(key) is None:
            self._spending.put(key, spending)
            self._spent_at.put(key, self._now())

    async def spending(self, job_id: UUID | None = None) -> list[Spending]:
        """Return the recorded usage, by job, attempt and purpose."""
        found = self._spending.values() if job_id is None else self._spending.of(job_id)
        return sorted(found, key=lambda one: (one.job_id, one.attempt, one.purpose))


def _nothing_yet(story_id: UUID) -> Overlay:
    return Overlay(
        story_id=story_id,
        why_it_matters=None,
        chili=None,
        confidence=None,
        citations=(),
        analysis_state=AnalysisState.PENDING,
        model=None,
        prompt_version=None,
        brief_one_liner=None,
        brief_two_liner=None,
        brief_elevator=None,
        time_saved_seconds=None,
        analysed_at=None,
        briefed_at=None,
    )


def _distance(one: Embedding, other: Embedding) -> float:
    both = sum(x * y for x, y in zip(one.vector, other.vector, strict=True))
    lengths = math.hypot(*one.vector) * math.hypot(*other.vector)
    return 1.0 if lengths == 0 else decimals(1 - both / lengths, 6)
