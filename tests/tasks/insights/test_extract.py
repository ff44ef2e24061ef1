"""``extract-highlights``: the stored highlights, and the scoring job."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async
from tests.tasks.jobs import Jobs, memory_jobs
from tests.tasks.scripted_ai import ScriptedAI
from zeke_queue.task.signals import Fail
from zeke_tasks.store.highlights import Highlight, HighlightKind, Origin
from zeke_tasks.store.model import Story

JOB, USER, TEAM = (UUID(int=number) for number in (7, 8, 9))
FASTER = "The new parser is 3 times faster."
REWRITTEN = "We rewrote the parser in Rust."
TEXT = f"{FASTER} {REWRITTEN}\n{'Nothing in particular is said here. ' * 8}"


async def extract(jobs: Jobs, story: Story, *, job_id: UUID | None = None, **more: Any) -> dict[str, Any]:
    return await jobs.run("extract-highlights", {"storyId": story.id, **more}, job_id=job_id)


async def highlights(jobs: Jobs, story: Story) -> dict[UUID, Highlight]:
    return {one.id: one for one in await jobs.domain.verbs.highlights(story.id)}


async def test_highlights_are_kept_in_order_of_text(jobs: Jobs, ai: ScriptedAI) -> None:
    story = await jobs.domain.told_story(TEXT, url="https://a.example/bees")
    told = await extract(jobs, story)
    kept = await highlights(jobs, story)
    assert told == {"storyId": story.id, "highlightIds": told["highlightIds"], "count": 2}
    first, second = (kept[highlight_id] for highlight_id in told["highlightIds"])
    assert (first.kind, first.quote, first.confidence) == (HighlightKind.METRIC, FASTER, 0.85)
    assert (second.kind, second.quote, second.confidence) == (HighlightKind.CODE_CHANGE, REWRITTEN, 0.75)
    for one in (first, second):
        assert (one.team_id, one.created_by, one.origin) == (None, None, Origin.SYSTEM)
        assert (one.references, one.score) == (("https://a.example/bees",), None)
    assert ai.asked == []


async def test_highlights_belong_to_requesting_user_and_team(jobs: Jobs) -> None:
    story = await jobs.domain.told_story(TEXT)
    await extract(jobs, story, userId=USER, teamId=TEAM)
    kept = await highlights(jobs, story)
    assert {(one.created_by, one.team_id) for one in kept.values()} == {(USER, TEAM)}


async def test_scoring_follows_every_extraction() -> None:
    async def check(text: str) -> None:
        jobs = memory_jobs()
        story = await jobs.domain.told_story(text)
        await extract(jobs, story, job_id=JOB)
        (sent,) = await jobs.sent("score-relevance")
        assert sent.data == {"storyId": str(story.id)}

    await check_each_async([TEXT, FASTER, "Nothing in particular is said here. " * 8], check)


async def test_short_text_has_no_highlights(jobs: Jobs) -> None:
    story = await jobs.domain.told_story(FASTER)
    assert await extract(jobs, story) == {"storyId": story.id, "highlightIds": [], "count": 0}


async def test_second_extraction_finds_the_same_and_writes_nothing(jobs: Jobs) -> None:
    story = await jobs.domain.told_story(TEXT)
    told = await extract(jobs, story, job_id=JOB)
    before = await jobs.domain.everything()
    assert await extract(jobs, story, job_id=JOB) == told
    assert len(await jobs.sent("score-relevance")) == 1
    assert await extract(jobs, story) == told
    # Highlights of all teams are not added for one.
    assert (await extract(jobs, story, teamId=TEAM))["highlightIds"] == told["highlightIds"]
    assert await jobs.domain.everything() == before


async def test_highlights_of_two_teams_are_separate(jobs: Jobs) -> None:
    story = await jobs.domain.told_story(TEXT)
    ours = await extract(jobs, story, teamId=TEAM)
    theirs = await extract(jobs, story, teamId=USER)
    assert ours["count"] == theirs["count"] == 2
    assert set(ours["highlightIds"]).isdisjoint(theirs["highlightIds"])


async def test_missing_story_fails_job(jobs: Jobs) -> None:
    with pytest.raises(Fail, match=f"Story {JOB} does not exist"):
        await jobs.run("extract-highlights", {"storyId": JOB})
    assert await jobs.sent("score-relevance") == []
