"""Highlights on Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from zeke_queue.core import jsonb
from zeke_tasks.store.highlights import Highlight, HighlightKind, Origin, Score
from zeke_tasks.store.postgres.runner import StatementRunner

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from zeke_tasks.store.highlights import NewHighlight


class PostgresHighlights(StatementRunner):
    """The methods on highlights."""

    async def put_highlights(self, highlights: Sequence[NewHighlight]) -> list[UUID]:
        """Add highlights whose keys their stories don't have for the team or globally."""
        await self._require_teams(*(highlight.team_id for highlight in highlights))
        await self._lock_stories({highlight.story_id for highlight in highlights})
        told = [{"position": at, **_columns(highlight)} for at, highlight in enumerate(highlights)]
        added = await self._run("add_highlights", highlights=jsonb.dumps(told))
        new = {row["id"] for row in added}
        return [key for key in dict.fromkeys(highlight.id for highlight in highlights) if key in new]

    async def known_keys(self, story_id: UUID, team_id: UUID | None, keys: Collection[str]) -> set[str]:
        """Return the keys that a story has for a team or globally."""
        rows = await self._run("known_keys", story_id=story_id, team_id=team_id, keys=list(keys))
        return {row["key"] for row in rows}

    async def highlights(self, story_id: UUID) -> list[Highlight]:
        """Return the highlights of a story, by id."""
        return [_highlight(row) for row in await self._run("highlights", story_id=story_id)]

    async def put_score(self, highlight_id: UUID, score: Score) -> bool:
        """Set a highlight's score unless it is unchanged."""
        scored = await self._run(
            "put_score",
            id=highlight_id,
            value=score.value,
            matches=list(score.matches),
            breakdown=Jsonb(dict(score.breakdown)),
        )
        return bool(scored)


def _columns(highlight: NewHighlight) -> dict[str, Any]:
    return {
        "id": highlight.id,
        "story_id": highlight.story_id,
        "team_id": highlight.team_id,
        "kind": highlight.kind,
        "title": highlight.title,
        "summary": highlight.summary,
        "quote": highlight.quote,
        "key": highlight.key,
        "confidence": highlight.confidence,
        "origin": highlight.origin,
        "created_by": highlight.created_by,
        "metadata": highlight.metadata,
        "tags": highlight.tags,
        "urls": highlight.references,
    }


def _highlight(row: dict[str, Any]) -> Highlight:
    value, matches, breakdown = row.pop("score"), row.pop("score_matches"), row.pop("score_breakdown")
    row["score"] = None if value is None else Score(value, tuple(matches), breakdown)
    row["kind"], row["origin"] = HighlightKind(row["kind"]), Origin(row["origin"])
    row["tags"], row["references"] = tuple(row["tags"]), tuple(row.pop("urls"))
    return Highlight(**row)
