"""``attach-insight-to-story``: store an insight about a story, unless the story already has it."""

from __future__ import annotations

from typing import Any, Final

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_tasks.context import context_of
from zeke_tasks.insights.lookup import ids_by_key
from zeke_tasks.payloads import AttachInsightToStory, ScoreRelevance
from zeke_tasks.store.highlights import HighlightKind, NewHighlight, TeamHighlight
from zeke_tasks.stories.require import require_story

tasks = Catalog()

CONFIDENCE: Final = 1.0
"""The confidence of insights, which were written by a person or an assistant."""


@tasks.task(
    "attach-insight-to-story", concurrency_limit=3, aliases=("insights-attach-to-story",), team_field="teamId"
)
async def attach_insight_to_story(payload: AttachInsightToStory, job: JobContext) -> dict[str, Any]:
    """Store an insight with its tags and the team's state of it; it is scored like other highlights."""
    insight = payload.insight
    highlight = NewHighlight(
        story_id=payload.story_id,
        team_id=payload.team_id,
        kind=HighlightKind.INSIGHT,
        title=insight.title,
        summary=insight.summary,
        quote=insight.quote,
        confidence=CONFIDENCE,
        origin=insight.origin,
        created_by=payload.created_by,
        tags=tuple(insight.tags or ()),
        metadata=insight.metadata or {},
    )
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        await require_story(rows, payload.story_id)
        new = await rows.put_highlights([highlight])
        if new:
            if payload.team_id is not None:
                await rows.put_team_highlight(TeamHighlight(payload.team_id, highlight.id))
            score = ScoreRelevance(story_id=payload.story_id)
            await transaction.send("score-relevance", score, id=job.child_id("score-relevance"))
        known = await ids_by_key(rows, payload.story_id, payload.team_id)
    attached = bool(new)
    job.logger.info("insight attached", storyId=str(payload.story_id), attached=attached)
    return {"storyId": payload.story_id, "highlightId": known[highlight.key], "attached": attached}
