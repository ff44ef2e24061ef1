"""``summarize-story``, ``link-source-to-story`` and ``update-story-status``."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.cases import each
from tests.tasks.jobs import Jobs, memory_jobs
from zeke_queue.errors import PayloadValidationError
from zeke_queue.model import JobQuery
from zeke_queue.task.signals import Fail
from zeke_tasks.store.analysis import Analysis, AnalysisState
from zeke_tasks.store.highlights import ReadingState, TeamStory
from zeke_tasks.store.model import Story
from zeke_tasks.stories.summarize import SUMMARY_CHARACTERS


async def summarize(jobs: Jobs, story: Story, mode: str = "auto") -> dict[str, Any]:
    told = await jobs.run("summarize-story", {"storyId": story.id, "mode": mode})
    now = await jobs.domain.verbs.story(story.id)
    assert now is not None
    assert told == {"storyId": story.id, "summary": now.summary, "written": told["written"]}
    return told


async def think(jobs: Jobs, story: Story, why_it_matters: str) -> None:
    thought = Analysis(why_it_matters, 1, 0.5, AnalysisState.COMPLETED, "gpt-5-nano", "1")
    assert await jobs.domain.verbs.put_analysis(story.id, thought)


async def test_summary_is_why_the_story_matters(jobs: Jobs) -> None:
    story = await jobs.domain.told_story("Some text.")
    await think(jobs, story, "Bees dance.\nOthers follow.")
    assert (await summarize(jobs, story))["summary"] == "Bees dance.\nOthers follow."
    assert jobs.ai.asked == []


async def test_summary_of_unanalysed_story_is_title_and_beginning(jobs: Jobs) -> None:
    story = await jobs.domain.told_story("They dance.", title="On bees")
    assert (await summarize(jobs, story))["summary"] == "On bees — They dance."


@each("word " * 200, "Word. " * 200, "w" * 1000)
async def test_summary_has_320_characters_at_most(long: str) -> None:
    jobs = memory_jobs()
    story = await jobs.domain.told_story(long, title="T")
    summary = (await summarize(jobs, story))["summary"]
    assert len(summary) <= SUMMARY_CHARACTERS == 320
    assert f"T — {long}".startswith(summary.removesuffix("…"))
    assert len(summary) > 300
    await think(jobs, story, long)
    assert len((await summarize(jobs, story, "force"))["summary"]) <= SUMMARY_CHARACTERS


async def test_summary_is_cut_after_last_fitting_word(jobs: Jobs) -> None:
    story = await jobs.domain.told_story()
    await think(jobs, story, f"{'Bees dance, ' * 15}they do. {'Others follow them, ' * 20}")
    summary = (await summarize(jobs, story))["summary"]
    assert summary.endswith(" follow them, Others…")
    assert len(summary) > 310


async def test_existing_summary_is_replaced_only_if_forced(jobs: Jobs) -> None:
    story = await jobs.domain.told_story("They dance.", title="On bees")
    assert (await summarize(jobs, story))["written"] is True
    await think(jobs, story, "Bees dance.")
    assert (await summarize(jobs, story))["written"] is False
    assert (await summarize(jobs, story))["summary"] == "On bees — They dance."
    assert (await summarize(jobs, story, "force"))["summary"] == "Bees dance."


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


ONE, TWO, THREE = (UUID(int=number) for number in (1, 2, 3))


async def update(jobs: Jobs, story: Story, state: str, **more: Any) -> dict[str, Any]:
    return await jobs.run("update-story-status", {"storyId": story.id, "state": state, **more})


async def states(jobs: Jobs, story: Story) -> list[TeamStory]:
    return await jobs.domain.verbs.reading_states(story.id)


async def subscribed(jobs: Jobs, *teams: UUID) -> Story:
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


async def test_story_without_subscribers_has_no_states(jobs: Jobs) -> None:
    story = await subscribed(jobs)
    assert (await update(jobs, story, "read"))["teamIds"] == []
    assert await states(jobs, story) == []


async def test_deleted_team_gets_no_state(jobs: Jobs) -> None:
    story = await subscribed(jobs, ONE, TWO)
    await jobs.domain.verbs.delete_team(ONE)
    with pytest.raises(Fail, match=f"Team {ONE} was deleted"):
        await jobs.run("update-story-status", {"storyId": story.id, "state": "read", "teamId": ONE})
    assert (await update(jobs, story, "read"))["teamIds"] == [TWO]


async def test_unknown_state_is_refused(jobs: Jobs) -> None:
    with pytest.raises(PayloadValidationError, match="state"):
        await jobs.run("update-story-status", {"storyId": THREE, "state": "burnt"})


INSIGHT = {"summary": "Bees dance.", "origin": "assistant"}


@each(
    ("analyze-story", {"trigger": "auto"}),
    ("attach-insight-to-story", {"createdBy": ONE, "insight": INSIGHT}),
    ("dedupe-insights", {"createdBy": ONE, "insights": [INSIGHT]}),
    ("extract-highlights", {}),
    ("generate-brief", {"reason": "manual"}),
    ("score-relevance", {}),
    ("summarize-story", {"mode": "auto"}),
    ("update-story-status", {"state": "read"}),
)
async def test_missing_story_fails_the_job_of_any_task(task: str, more: dict[str, Any]) -> None:
    jobs = memory_jobs()
    with pytest.raises(Fail, match=f"Story {NOBODY} does not exist"):
        await jobs.run(task, {"storyId": NOBODY, **more})
    assert (await jobs.queue.find(JobQuery())).jobs == []
    assert jobs.ai.asked == []
