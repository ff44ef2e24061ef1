"""``update-story-status``: whose state it changes."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.tasks.jobs import Jobs
from zeke_queue.errors import PayloadValidationError
from zeke_queue.task.signals import Fail
from zeke_tasks.store.highlights import ReadingState, TeamStory
from zeke_tasks.store.model import Story

ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


async def update(jobs: Jobs, story: Story, state: str, **more: Any) -> dict[str, Any]:
    return await jobs.run("update-story-status", {"storyId": story.id, "state": state, **more})


async def states(jobs: Jobs, story: Story) -> list[TeamStory]:
    return await jobs.domain.verbs.reading_states(story.id)


async def subscribed(jobs: Jobs, *teams: UUID) -> Story:
    """Return a story of a source that teams subscribe to."""
    story = await jobs.domain.told_story()
    async with jobs.domain.rows() as rows:
        for team in teams:
            assert await rows.connect(team, story.primary_source_id)
    return story


async def test_only_the_named_team_is_updated(jobs: Jobs) -> None:
    story = await subscribed(jobs, ONE, TWO)
    told = await update(jobs, story, "archived", teamId=THREE)
    assert told == {"storyId": story.id, "teamIds": [THREE], "state": "archived", "teams": 1, "changed": 1}
    assert await states(jobs, story) == [TeamStory(THREE, story.id, ReadingState.ARCHIVED, None)]


async def test_every_subscribing_team_is_updated(jobs: Jobs) -> None:
    story = await subscribed(jobs, ONE, TWO)
    other = await jobs.domain.source("https://b.example/feed")
    await jobs.domain.verbs.connect(THREE, other.id)
    assert (await update(jobs, story, "read"))["teamIds"] == [ONE, TWO]
    now = jobs.domain.clock.now()
    assert await states(jobs, story) == [
        TeamStory(team, story.id, ReadingState.READ, now) for team in (ONE, TWO)
    ]


async def test_only_reading_sets_time_of_view(jobs: Jobs) -> None:
    story = await subscribed(jobs, ONE)
    await update(jobs, story, "read")
    read_at = jobs.domain.clock.now()
    jobs.domain.clock.advance(60)
    await update(jobs, story, "unread")
    assert await states(jobs, story) == [TeamStory(ONE, story.id, ReadingState.UNREAD, read_at)]


async def test_second_run_changes_nothing(jobs: Jobs) -> None:
    story = await subscribed(jobs, ONE, TWO)
    await update(jobs, story, "read")
    before = await jobs.domain.everything()
    jobs.domain.clock.advance(60)
    told = await update(jobs, story, "read")
    assert (told["teams"], told["changed"]) == (2, 0)
    assert await jobs.domain.everything() == before


async def test_story_without_subscribers_has_no_states(jobs: Jobs) -> None:
    story = await subscribed(jobs)
    # By the task's alias.
    told = await jobs.run("story-update-status", {"storyId": story.id, "state": "read"})
    assert told["teamIds"] == []
    assert await states(jobs, story) == []


async def test_missing_story_and_unknown_state_are_refused(jobs: Jobs) -> None:
    with pytest.raises(Fail, match=f"Story {THREE} does not exist"):
        await jobs.run("update-story-status", {"storyId": THREE, "state": "read"})
    with pytest.raises(PayloadValidationError, match="state"):
        await jobs.run("update-story-status", {"storyId": THREE, "state": "burnt"})
