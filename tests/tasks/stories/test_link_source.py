"""``link-source-to-story``."""

from __future__ import annotations

from uuid import UUID

import pytest

from tests.tasks.jobs import Jobs
from zeke_queue.task.signals import Fail

NOBODY = UUID(int=7)


async def test_story_gets_another_primary_source(jobs: Jobs) -> None:
    story = await jobs.domain.told_story()
    other = await jobs.domain.source("https://b.example/feed")
    payload = {"sourceId": other.id, "storyId": story.id}
    assert await jobs.run("link-source-to-story", payload) == payload
    before = await jobs.domain.everything()
    now = await jobs.domain.verbs.story(story.id)
    assert now is not None
    assert now.primary_source_id == other.id
    assert await jobs.run("link-source-to-story", payload) == payload
    assert await jobs.domain.everything() == before


async def test_missing_story_or_source_is_named(jobs: Jobs) -> None:
    story = await jobs.domain.told_story()
    with pytest.raises(Fail, match=f"Source {NOBODY} does not exist"):
        await jobs.run("link-source-to-story", {"sourceId": NOBODY, "storyId": story.id})
    with pytest.raises(Fail, match=f"Story {NOBODY} does not exist"):
        await jobs.run("link-source-to-story", {"sourceId": story.primary_source_id, "storyId": NOBODY})
