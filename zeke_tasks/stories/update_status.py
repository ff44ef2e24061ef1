"""``update-story-status``: set the reading state of a story for one team or all subscribers of its source."""

from __future__ import annotations

from typing import Any

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_tasks.context import context_of
from zeke_tasks.payloads import UpdateStoryStatus
from zeke_tasks.stories.require import require_story

tasks = Catalog()


@tasks.task("update-story-status", concurrency_limit=8, aliases=("story-update-status",), team_field="teamId")
async def update_story_status(payload: UpdateStoryStatus, job: JobContext) -> dict[str, Any]:
    """Set teams' reading state of a story."""
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        story = await require_story(rows, payload.story_id)
        if payload.team_id:
            await rows.keep_team(payload.team_id)
            teams = [payload.team_id]
        else:
            teams = await rows.teams_of(story.primary_source_id, lock=True)
        changed = await rows.set_reading_state(story.id, teams, payload.state)
    told = {"state": payload.state.value, "teams": len(teams), "changed": len(changed)}
    job.logger.info("story status updated", storyId=str(story.id), **told)
    return {"storyId": story.id, "teamIds": teams, **told}
