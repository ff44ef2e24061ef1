"""What is thought of stories, on Postgres: overlays, embeddings, and what the AI cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg.types.json import Jsonb

from zeke_tasks.store.analysis import AnalysisState, Embedding, Overlay, Spending
from zeke_tasks.store.postgres.session import Session

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_tasks.store.analysis import Analysis, Brief


class PostgresAnalysis(Session):
    """The verbs on overlays, embeddings and spending."""

    async def put_analysis(self, story_id: UUID, analysis: Analysis) -> bool:
        """Keep an analysis, unless it is a stub's and a model's is there."""
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
        """Keep the briefs of an analysed story, unless they are a stub's and a model's are there."""
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

    async def overlay(self, story_id: UUID) -> Overlay | None:
        """Return what is thought of a story."""
        rows = await self._run("overlay", story_id=story_id)
        if not rows:
            return None
        row = rows[0]
        row["citations"] = tuple(row["citations"])
        row["analysis_state"] = AnalysisState(row["analysis_state"])
        row["brief_state"] = row["brief_state"] and AnalysisState(row["brief_state"])
        return Overlay(**row)

    async def put_embedding(self, story_id: UUID, embedding: Embedding) -> None:
        """Keep an embedding in place of one of the same model and number of dimensions."""
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
        """Return stories by how near they are."""
        rows = await self._run(
            "nearest",
            model=embedding.model,
            dimensions=embedding.dimensions,
            vector=list(embedding.vector),
            limit=limit,
        )
        return [(row["story_id"], row["distance"]) for row in rows]

    async def note_spending(self, spending: Spending) -> None:
        """Keep what a call took, once."""
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
        )

    async def spending(self, job_id: UUID | None = None) -> list[Spending]:
        """Return what was spent, by job, attempt and purpose."""
        return [Spending(**row) for row in await self._run("spending", job_id=job_id)]
