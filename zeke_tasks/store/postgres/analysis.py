"""Analyses of stories on Postgres: overlays, embeddings, and AI usage."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from psycopg.types.json import Jsonb

from zeke_tasks.store.analysis import AnalysisState, BriefDraft, Embedding, Overlay, Spending
from zeke_tasks.store.postgres.runner import StatementRunner

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_tasks.store.analysis import Analysis, Brief


class PostgresAnalysis(StatementRunner):
    """The methods on overlays, embeddings and AI usage."""

    async def put_analysis(self, story_id: UUID, analysis: Analysis) -> bool:
        """Store an analysis; a stub's never replaces a model's."""
        if not await self._lock_stories([story_id]):
            return False
        kept = await self._run(
            "put_analysis",
            story_id=story_id,
            why_it_matters=analysis.why_it_matters,
            chili=analysis.chili,
            confidence=analysis.confidence,
            citations=Jsonb(list(analysis.citations)),
            analysis_state=analysis.state,
            model=analysis.model,
            prompt_version=analysis.prompt_version,
            analysed_by=analysis.analysed_by,
        )
        return bool(kept)

    async def put_brief(self, story_id: UUID, brief: Brief) -> bool:
        """Store the briefs of an analysed story; a stub's never replace a model's."""
        if not await self._lock_stories([story_id]):
            return False
        kept = await self._run(
            "put_brief",
            story_id=story_id,
            one_liner=brief.one_liner,
            two_liner=brief.two_liner,
            elevator=brief.elevator,
            time_saved_seconds=brief.time_saved_seconds,
            brief_state=brief.state,
            prompt_version=brief.prompt_version,
            briefed_by=brief.briefed_by,
        )
        return bool(kept)

    async def put_brief_draft(self, story_id: UUID, draft: BriefDraft | None) -> bool:
        """Store the draft of a brief, or remove it."""
        if not await self._lock_stories([story_id]):
            return False
        kept = await self._run(
            "put_brief_draft", story_id=story_id, brief_draft=None if draft is None else Jsonb(asdict(draft))
        )
        return bool(kept)

    async def overlay(self, story_id: UUID) -> Overlay | None:
        """Return a story's overlay."""
        rows = await self._run("overlay", story_id=story_id)
        if not rows:
            return None
        row = rows[0]
        row["citations"] = tuple(row["citations"])
        row["analysis_state"] = AnalysisState(row["analysis_state"])
        row["brief_state"] = row["brief_state"] and AnalysisState(row["brief_state"])
        row["brief_draft"] = row["brief_draft"] and BriefDraft(**row["brief_draft"])
        return Overlay(**row)

    async def put_embedding(self, story_id: UUID, embedding: Embedding) -> None:
        """Store an embedding; replace one of the same model and number of dimensions."""
        await self._run(
            "put_embedding",
            story_id=story_id,
            model=embedding.model,
            dimensions=embedding.dimensions,
            vector=list(embedding.vector),
        )

    async def embeddings(self, story_id: UUID) -> list[Embedding]:
        """Return the embeddings of a story, by model, then dimensions."""
        rows = await self._run("embeddings", binary=True, story_id=story_id)
        return [Embedding(row["model"], tuple(row["vector"])) for row in rows]

    async def nearest(self, embedding: Embedding, limit: int) -> list[tuple[UUID, float]]:
        """Return stories by distance."""
        rows = await self._run(
            "nearest",
            model=embedding.model,
            dimensions=embedding.dimensions,
            vector=list(embedding.vector),
            limit=limit,
        )
        return [(row["story_id"], row["distance"]) for row in rows]

    async def note_spending(self, spending: Spending) -> None:
        """Record the usage of a call once, unless its team is deleted."""
        if not await self._is_kept(spending.team_id):
            return
        await self._run(
            "note_spending",
            job_id=spending.job_id,
            attempt=spending.attempt,
            purpose=spending.purpose,
            task=spending.task,
            model=spending.model,
            input_tokens=spending.input_tokens,
            output_tokens=spending.output_tokens,
            cost_usd=spending.cost_usd,
            team_id=spending.team_id,
        )

    async def spending(self, job_id: UUID | None = None) -> list[Spending]:
        """Return the recorded usage, by job, attempt and purpose."""
        return [Spending(**row) for row in await self._run("spending", job_id=job_id)]
