"""Stories in memory."""

from __future__ import annotations

from dataclasses import replace as changed
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from zeke_tasks.store.memory.scope import Scope
from zeke_tasks.store.model import Story, StoryStatus, storable, story_id

if TYPE_CHECKING:
    from collections.abc import Collection
    from uuid import UUID

    from zeke_tasks.store.model import Content, NewStory


_NEVER: Final = datetime.min.replace(tzinfo=UTC)


class MemoryStories(Scope):
    """The methods on stories themselves."""

    async def ensure_story(self, story: NewStory) -> tuple[UUID, bool]:
        """Create a story, or find the one with the same text or made from the same content."""
        await self._lock([f"story {story.id}", f"told {story.content_id}"])
        known = story.id if self._stories.get(story.id) is not None else self._told.get(story.content_id)
        if known is not None:
            await self._share(f"story row {known}")
            if self._stories.get(known) is not None:
                return known, False
        made = Story(
            story.id,
            story.content_id,
            story.content_hash,
            story.kind,
            None,
            story.primary_source_id,
            story.title,
            None,
            story.url,
            story.published_at,
            StoryStatus.NEW,
            story.is_partial,
        )
        self._stories.put(story.id, made)
        self._births.put(story.id, self._now())
        self._told.put(story.content_id, story.id)
        return story.id, True

    async def stories_of(self, item_ids: Collection[UUID]) -> dict[UUID, Story]:
        """Return the stories of some items' texts."""
        found: dict[UUID, Story] = {}
        for key in item_ids:
            content = self._contents.get(key)
            if content is None:
                continue
            story = self._stories.get(story_id(content.content_hash))
            if story is None and (known := self._told.get(key)) is not None:
                story = self._stories.get(known)
            if story is not None:
                found[key] = story
        return found

    async def story(self, story_id: UUID) -> Story | None:
        """Return a story."""
        return self._stories.get(story_id)

    async def lock_story(self, story_id: UUID) -> Story | None:
        """Return a story, locked until the transaction ends."""
        return (await self._lock_stories([story_id])).get(story_id)

    async def newest_stories(self, limit: int) -> list[Story]:
        """Return stories, latest publication first."""
        dated: list[Story] = []
        undated: list[Story] = []
        for story in sorted(self._stories.values(), key=lambda story: story.id):
            (undated if story.published_at is None else dated).append(story)
        # Sorting is stable, also in reverse, so stories published at the same time stay in the order of their
        # ids.
        dated.sort(key=lambda story: story.published_at or _NEVER, reverse=True)
        return [*dated, *undated][:limit]

    async def text_of(self, story_id: UUID) -> Content | None:
        """Return the text from which a story was made."""
        story = self._stories.get(story_id)
        return None if story is None else self._contents.get(story.content_id)

    async def set_summary(self, story_id: UUID, summary: str, *, replace: bool) -> bool:
        """Set a story's summary."""
        story = await self.lock_story(story_id)
        if story is None or (story.summary is not None and not replace):
            return False
        self._stories.put(story_id, changed(story, summary=storable(summary)))
        return True

    async def link_source(self, story_id: UUID, source_id: UUID) -> bool:
        """Set the story's primary source."""
        if not await self._keep_source(source_id) or (story := await self.lock_story(story_id)) is None:
            return False
        self._stories.put(story_id, changed(story, primary_source_id=source_id))
        return True
