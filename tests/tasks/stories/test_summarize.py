"""``summarize-story``: the source of a summary, and when it is written again."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.tasks.jobs import Jobs, memory_jobs
from tests.tasks.scripted_ai import ScriptedAI
from zeke_queue.task.signals import Fail
from zeke_tasks.store.analysis import Analysis, AnalysisState
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


async def test_summary_is_why_the_story_matters(jobs: Jobs, ai: ScriptedAI) -> None:
    story = await jobs.domain.told_story("Some text.")
    await think(jobs, story, "Bees dance.\nOthers follow.")
    assert (await summarize(jobs, story))["summary"] == "Bees dance.\nOthers follow."
    assert ai.asked == []


async def test_summary_of_unanalysed_story_is_title_and_beginning(jobs: Jobs) -> None:
    story = await jobs.domain.told_story("They dance.", title="On bees")
    assert (await summarize(jobs, story))["summary"] == "On bees — They dance."


async def test_summary_has_320_characters_at_most() -> None:
    async def check(long: str) -> None:
        jobs = memory_jobs()
        story = await jobs.domain.told_story(long, title="T")
        summary = (await summarize(jobs, story))["summary"]
        assert len(summary) <= SUMMARY_CHARACTERS == 320
        assert f"T — {long}".startswith(summary.removesuffix("…"))
        assert len(summary) > 300
        await think(jobs, story, long)
        assert len((await summarize(jobs, story, "force"))["summary"]) <= SUMMARY_CHARACTERS

    await check_each_async(["word " * 200, "Word. " * 200, "w" * 1000], check)


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


async def test_second_run_changes_nothing() -> None:
    async def check(mode: str) -> None:
        jobs = memory_jobs()
        story = await jobs.domain.told_story("They dance.")
        await summarize(jobs, story, mode)
        before = await jobs.domain.everything()
        await summarize(jobs, story, mode)
        assert await jobs.domain.everything() == before

    await check_each_async(["auto", "force"], check)


async def test_alias_is_served_and_missing_story_fails_job(jobs: Jobs) -> None:
    story = await jobs.domain.told_story()
    assert (await jobs.run("story-summarize", {"storyId": story.id, "mode": "auto"}))["written"] is True
    with pytest.raises(Fail, match=f"Story {UUID(int=7)} does not exist"):
        await jobs.run("summarize-story", {"storyId": UUID(int=7), "mode": "auto"})
