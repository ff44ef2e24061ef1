"""``dedupe-insights``: drop insights that a story has already, and send jobs that attach the others."""

from __future__ import annotations

from typing import Any

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.task import Send
from zeke_tasks.context import context_of
from zeke_tasks.payloads import AttachInsightToStory, DedupeInsights, Insight
from zeke_tasks.store.highlights import highlight_key
from zeke_tasks.stories.require import require_story

tasks = Catalog()


@tasks.task("dedupe-insights", concurrency_limit=5, aliases=("insights-dedupe",), team_field="teamId")
async def dedupe_insights(payload: DedupeInsights, job: JobContext) -> dict[str, Any]:
    """Attach to a story the insights that neither the team's nor the global list has yet."""
    first: dict[str, Insight] = {}
    for insight in payload.insights:
        first.setdefault(highlight_key(insight.summary, insight.quote), insight)
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        story = await require_story(rows, payload.story_id)
        known = await rows.known_keys(story.id, payload.team_id, first.keys())
        new = [key for key in first if key not in known]
        await transaction.send_many(
            Send(
                "attach-insight-to-story",
                AttachInsightToStory(
                    story_id=story.id,
                    team_id=payload.team_id,
                    created_by=payload.created_by,
                    insight=first[key],
                ),
                id=job.child_id(key),
            )
            for key in new
        )
    counts = {"sent": len(new), "dropped": len(payload.insights) - len(new)}
    job.logger.info("insights deduped", storyId=str(story.id), **counts)
    return {"storyId": story.id, **counts}
