"""Stories on Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.errors import StorageUnavailableError
from zeke_tasks.store.model import Content, storable
from zeke_tasks.store.postgres.runner import StatementRunner
from zeke_tasks.store.postgres.runner import story as as_story

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from zeke_tasks.store.model import NewStory, Story


_TRIES: Final = 3
"""Tries to make a story that other transactions delete."""


class PostgresStories(StatementRunner):
    """The methods on stories themselves."""

    async def ensure_story(self, story: NewStory) -> tuple[UUID, bool]:
        """Create a story, or find the one with the same text or made from the same content."""
        for _ in range(_TRIES):
            added = await self._run(
                "add_story",
                id=story.id,
                content_id=story.content_id,
                content_hash=story.content_hash,
                kind=story.kind,
                primary_source_id=story.primary_source_id,
                title=story.title,
                url=story.url,
                published_at=story.published_at,
                is_partial=story.is_partial,
            )
            if added:
                return added[0]["id"], True
            known = await self._run(
                "story_of_text", content_hash=story.content_hash, content_id=story.content_id
            )
            # None if it was deleted between the two statements; then it is added.
            if known:
                return known[0]["id"], False
        raise StorageUnavailableError(f"Story {story.id} was deleted {_TRIES} times meanwhile; try again")

    async def stories_of(self, item_ids: Collection[UUID]) -> dict[UUID, Story]:
        """Return the stories of some items' texts."""
        rows = await self._run("stories_of", item_ids=list(item_ids))
        return {row.pop("raw_item_id"): as_story(row) for row in rows}

    async def story(self, story_id: UUID) -> Story | None:
        """Return a story."""
        rows = await self._run("story", id=story_id)
        return as_story(rows[0]) if rows else None

    async def lock_story(self, story_id: UUID) -> Story | None:
        """Return a story, locked until the transaction ends."""
        return (await self._lock_stories([story_id])).get(story_id)

    async def newest_stories(self, limit: int) -> list[Story]:
        """Return stories, latest publication first."""
        return [as_story(row) for row in await self._run("newest_stories", limit=limit)]

    async def text_of(self, story_id: UUID) -> Content | None:
        """Return the text from which a story was made."""
        rows = await self._run("text_of", story_id=story_id)
        return Content(**rows[0]) if rows else None

    async def set_summary(self, story_id: UUID, summary: str, *, replace: bool) -> bool:
        """Set a story's summary."""
        story = await self.lock_story(story_id)
        if story is None or (story.summary is not None and not replace):
            return False
        await self._run("set_summary", id=story_id, summary=storable(summary))
        return True

    async def link_source(self, story_id: UUID, source_id: UUID) -> bool:
        """Set the story's primary source."""
        if not await self._run("keep_source", id=source_id) or await self.lock_story(story_id) is None:
            return False
        await self._run("link_source", id=story_id, source_id=source_id)
        return True
