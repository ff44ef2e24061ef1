"""``extract-highlights`` and ``score-relevance``: the stored highlights and their scores."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.cases import each
from tests.tasks.jobs import Jobs, memory_jobs
from zeke_tasks.store.highlights import Highlight, HighlightKind, NewHighlight, Origin, Score
from zeke_tasks.store.model import Story

JOB, USER, TEAM = (UUID(int=number) for number in (7, 8, 9))
FASTER = "The new parser is 3 times faster."
REWRITTEN = "We rewrote the parser in Rust."
TEXT = f"{FASTER} {REWRITTEN}\n{'Nothing in particular is said here. ' * 8}"


async def extract(jobs: Jobs, story: Story, *, job_id: UUID | None = None, **more: Any) -> dict[str, Any]:
    return await jobs.run("extract-highlights", {"storyId": story.id, **more}, job_id=job_id)


async def highlights(jobs: Jobs, story: Story) -> dict[UUID, Highlight]:
    return {one.id: one for one in await jobs.domain.verbs.highlights(story.id)}


async def test_highlights_are_kept_in_order_of_text(jobs: Jobs) -> None:
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
    assert jobs.ai.asked == []


async def test_highlights_belong_to_requesting_user_and_team(jobs: Jobs) -> None:
    story = await jobs.domain.told_story(TEXT)
    await extract(jobs, story, userId=USER, teamId=TEAM)
    kept = await highlights(jobs, story)
    assert {(one.created_by, one.team_id) for one in kept.values()} == {(USER, TEAM)}


@each(TEXT, FASTER, "Nothing in particular is said here. " * 8)
async def test_scoring_follows_every_extraction(text: str) -> None:
    jobs = memory_jobs()
    story = await jobs.domain.told_story(text)
    await extract(jobs, story, job_id=JOB)
    (sent,) = await jobs.sent("score-relevance")
    assert sent.data == {"storyId": str(story.id)}


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


async def test_story_without_highlights_is_done(jobs: Jobs) -> None:
    story = await jobs.domain.told_story()
    told = await jobs.run("score-relevance", {"storyId": story.id})
    assert told == {"storyId": story.id, "scored": 0, "changed": 0}
