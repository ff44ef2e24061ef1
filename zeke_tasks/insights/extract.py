"""``extract-highlights``: find the highlights of a story by rules, and send the job that scores them."""

from __future__ import annotations

from typing import Any

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_tasks.context import context_of
from zeke_tasks.insights.lookup import ids_by_key
from zeke_tasks.insights.rules import find_highlights
from zeke_tasks.payloads import ExtractHighlights, ScoreRelevance
from zeke_tasks.store.highlights import NewHighlight
from zeke_tasks.stories.require import require_story, text_of

tasks = Catalog()


@tasks.task("extract-highlights", concurrency_limit=10, team_field="teamId")
async def extract_highlights(payload: ExtractHighlights, job: JobContext) -> dict[str, Any]:
    """Find the highlights of a story by rules.

    The scoring job is always sent, since a story may have other highlights too.
    """
    repository = context_of(job).repository
    async with job.transaction() as transaction:
        rows = repository.within(transaction)
        story = await require_story(rows, payload.story_id)
        text = await text_of(rows, story.id)
    highlights = [
        NewHighlight(
            story_id=story.id,
            team_id=payload.team_id,
            kind=found.kind,
            summary=found.summary,
            quote=found.quote,
            confidence=found.confidence,
            created_by=payload.user_id,
            references=(story.url,) if story.url else (),
        )
        for found in find_highlights(text)
    ]
    async with job.transaction() as transaction:
        rows = repository.within(transaction)
        new = await rows.put_highlights(highlights)
        known = await ids_by_key(rows, story.id, payload.team_id)
        score = ScoreRelevance(story_id=story.id)
        await transaction.send(
            "score-relevance", score, id=job.child_id("score-relevance"), priority=job.priority
        )
    # A repeated run finds the rows of the first one and returns the same result.
    ids = list(dict.fromkeys(known[highlight.key] for highlight in highlights if highlight.key in known))
    job.logger.info("highlights extracted", storyId=str(story.id), found=len(ids), new=len(new))
    return {"storyId": story.id, "highlightIds": ids, "count": len(ids)}
