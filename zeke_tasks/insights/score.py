"""``score-relevance``: score the relevance of each highlight of a story, with a breakdown."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_tasks.context import context_of
from zeke_tasks.insights.relevance import age_in_days, score
from zeke_tasks.payloads import ScoreRelevance
from zeke_tasks.stories.require import require_story

if TYPE_CHECKING:
    from zeke_tasks.store.highlights import Highlight

tasks = Catalog()


@tasks.task("score-relevance", concurrency_limit=20)
async def score_relevance(payload: ScoreRelevance, job: JobContext) -> dict[str, Any]:
    """Score the relevance of each highlight of a story; unchanged scores are not written."""
    context = context_of(job)
    async with job.transaction() as transaction:
        rows = context.repository.within(transaction)
        story = await require_story(rows, payload.story_id)
        source = await rows.source(story.primary_source_id)
        highlights = await rows.highlights(story.id)
        changed = 0
        for highlight in highlights:
            changed += await rows.put_score(
                highlight.id,
                score(
                    highlight.kind,
                    _all_it_says(highlight),
                    keywords=context.keywords,
                    authority=source.authority_score if source else None,
                    age_days=age_in_days(story.published_at, context.clock.now()),
                ),
            )
    job.logger.info("relevance scored", storyId=str(story.id), scored=len(highlights), changed=changed)
    return {"storyId": story.id, "scored": len(highlights), "changed": changed}


def _all_it_says(highlight: Highlight) -> str:
    parts = (highlight.title, highlight.summary, highlight.quote, *highlight.tags)
    return "\n".join(part for part in parts if part)
