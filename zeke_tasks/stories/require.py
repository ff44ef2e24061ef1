"""Lookup of a job's story."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_queue.task.signals import Fail

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_tasks.store.model import Story
    from zeke_tasks.store.repository import Rows


async def require_story(rows: Rows, story_id: UUID) -> Story:
    """Return a story.

    Raises:
        Fail: the story does not exist, so retries are useless.
    """
    if (story := await rows.story(story_id)) is None:
        raise Fail(f"Story {story_id} does not exist; check where the job got this storyId")
    return story


async def text_of(rows: Rows, story_id: UUID) -> str:
    """Return the text of an existing story; empty if the text was removed."""
    content = await rows.text_of(story_id)
    return content.text if content else ""
