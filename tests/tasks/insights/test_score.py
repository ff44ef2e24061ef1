"""``score-relevance``: the parts of a score, and when it is written."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.tasks.jobs import Jobs
from zeke_queue.task.signals import Fail
from zeke_tasks.store.highlights import Highlight, HighlightKind, NewHighlight, Score
from zeke_tasks.store.model import Story

TEAM = UUID(int=9)


async def put(jobs: Jobs, story: Story, summary: str = "Bees dance.", **about: Any) -> UUID:
    given: dict[str, Any] = {"kind": HighlightKind.METRIC, "team_id": None, "confidence": 0.5, **about}
    (highlight_id,) = await jobs.domain.verbs.put_highlights(
        [NewHighlight(story.id, summary=summary, **given)]
    )
    return highlight_id


async def scored(jobs: Jobs, story: Story) -> dict[UUID, Highlight]:
    await jobs.run("score-relevance", {"storyId": story.id})
    return {one.id: one for one in await jobs.domain.verbs.highlights(story.id)}


async def test_score_is_made_of_words_kind_source_and_age(jobs: Jobs) -> None:
    jobs.resources = replace(jobs.resources, keywords=("bees", "wasps", "moths", "ants"))
    source = await jobs.domain.source(authority_score=0.5)
    published = jobs.domain.clock.now() - timedelta(days=15)
    story = await jobs.domain.told_story("Text.", source, published_at=published)
    highlight_id = await put(jobs, story, "Bees dance.", title="WASPS", quote="ants", tags=("moths",))
    # 0.4 * 4/5 + 0.3 * 0.9 + 0.2 * 0.5 + 0.1 * 45/60
    assert (await scored(jobs, story))[highlight_id].score == Score(
        value=0.77,
        matches=("bees", "wasps", "moths", "ants"),
        breakdown={"keywords": 0.32, "kind": 0.27, "authority": 0.1, "freshness": 0.075},
    )


async def test_unknown_authority_and_date_have_default_parts(jobs: Jobs) -> None:
    story = await jobs.domain.told_story()
    highlight_id = await put(jobs, story)
    score = (await scored(jobs, story))[highlight_id].score
    assert score == Score(0.46, (), {"keywords": 0.0, "kind": 0.27, "authority": 0.14, "freshness": 0.05})


async def test_authority_is_that_of_the_primary_source(jobs: Jobs) -> None:
    story = await jobs.domain.told_story()
    highlight_id = await put(jobs, story)
    other = await jobs.domain.source("https://b.example/feed", authority_score=1.0)
    await jobs.run("link-source-to-story", {"sourceId": other.id, "storyId": story.id})
    score = (await scored(jobs, story))[highlight_id].score
    assert score is not None
    assert score.breakdown["authority"] == 0.2


async def test_highlights_of_all_teams_are_scored(jobs: Jobs) -> None:
    story = await jobs.domain.told_story()
    await put(jobs, story)
    await put(jobs, story, "Others follow.", team_id=TEAM)
    told = await jobs.run("score-relevance", {"storyId": story.id})
    assert told == {"storyId": story.id, "scored": 2, "changed": 2}


async def test_unchanged_score_is_not_written(jobs: Jobs) -> None:
    story = await jobs.domain.told_story(published_at=jobs.domain.clock.now())
    await put(jobs, story)
    await scored(jobs, story)
    before = await jobs.domain.everything()
    jobs.domain.clock.advance(3600)
    told = await jobs.run("score-relevance", {"storyId": story.id})
    assert told == {"storyId": story.id, "scored": 1, "changed": 0}
    assert await jobs.domain.everything() == before
    jobs.domain.clock.advance(10 * 86400)
    assert (await jobs.run("score-relevance", {"storyId": story.id}))["changed"] == 1


async def test_story_without_highlights_is_done_and_missing_story_fails(jobs: Jobs) -> None:
    story = await jobs.domain.told_story()
    told = await jobs.run("score-relevance", {"storyId": story.id})
    assert told == {"storyId": story.id, "scored": 0, "changed": 0}
    with pytest.raises(Fail, match=f"Story {TEAM} does not exist"):
        await jobs.run("score-relevance", {"storyId": TEAM})
