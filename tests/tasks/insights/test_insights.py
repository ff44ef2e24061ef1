"""``dedupe-insights`` and ``attach-insight-to-story``: insights of users and assistants, each once."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from tests.cases import each
from tests.tasks.jobs import Jobs, memory_jobs
from zeke_tasks.store.highlights import Highlight, HighlightKind, NewHighlight, Origin, TeamHighlight
from zeke_tasks.store.model import Story

JOB, TEAM, OTHER, USER = (UUID(int=number) for number in (7, 8, 9, 10))


def insight(summary: str = "Bees dance.", **about: Any) -> dict[str, Any]:
    return {"summary": summary, "origin": "assistant", **about}


async def dedupe(jobs: Jobs, story: Story, *insights: dict[str, Any], **more: Any) -> dict[str, Any]:
    how = {"job_id": more.pop("job_id", None)}
    payload = {"storyId": story.id, "teamId": TEAM, "createdBy": USER, "insights": insights, **more}
    return await jobs.run("dedupe-insights", payload, **how)


async def attach(jobs: Jobs, story: Story, what: dict[str, Any], **more: Any) -> dict[str, Any]:
    how = {"job_id": more.pop("job_id", None)}
    payload = {"storyId": story.id, "teamId": TEAM, "createdBy": USER, "insight": what, **more}
    return await jobs.run("attach-insight-to-story", payload, **how)


async def sent(jobs: Jobs) -> list[str]:
    return [job.data["insight"]["summary"] for job in await jobs.sent("attach-insight-to-story")]


async def highlights(jobs: Jobs, story: Story) -> list[Highlight]:
    return await jobs.domain.verbs.highlights(story.id)


async def put(jobs: Jobs, story: Story, summary: str, team_id: UUID | None) -> None:
    known = NewHighlight(story.id, team_id, HighlightKind.INSIGHT, summary, 1.0)
    assert await jobs.domain.verbs.put_highlights([known])


async def test_each_new_insight_is_attached_by_a_job(jobs: Jobs) -> None:
    story = await jobs.domain.told_story()
    one = insight(title="On bees", quote="they dance", tags=["bees"], metadata={"page": 3})
    told = await dedupe(jobs, story, one, insight("Others follow."))
    assert told == {"storyId": story.id, "sent": 2, "dropped": 0}
    assert sorted(await sent(jobs)) == ["Bees dance.", "Others follow."]
    (job,) = [job for job in await jobs.sent("attach-insight-to-story") if job.data["insight"]["quote"]]
    assert job.data == {"storyId": str(story.id), "teamId": str(TEAM), "createdBy": str(USER), "insight": one}


async def test_known_insights_are_dropped(jobs: Jobs) -> None:
    story = await jobs.domain.told_story()
    await put(jobs, story, "The team has it.", TEAM)
    await put(jobs, story, "Everybody has it.", None)
    await put(jobs, story, "Another team has it.", OTHER)
    summaries = [" the TEAM has it. ", "everybody has it.", "Another team has it."]
    assert (await dedupe(jobs, story, *map(insight, summaries)))["dropped"] == 2
    assert await sent(jobs) == ["Another team has it."]


async def test_duplicate_insights_are_dropped(jobs: Jobs) -> None:
    story = await jobs.domain.told_story()
    told = await dedupe(jobs, story, insight(), insight(" BEES dance."), insight(quote="they dance"))
    assert (told["sent"], told["dropped"]) == (2, 1)
    assert sorted(await sent(jobs)) == ["Bees dance.", "Bees dance."]


async def test_attached_insight_keeps_all_fields_and_is_scored(jobs: Jobs) -> None:
    story = await jobs.domain.told_story()
    what = insight(title="On bees", quote="they dance", tags=["zoo", "bees", "zoo"], metadata={"page": 3})
    told = await attach(jobs, story, what)
    (kept,) = await highlights(jobs, story)
    assert told == {"storyId": story.id, "highlightId": kept.id, "attached": True}
    assert (kept.kind, kept.title, kept.summary) == (HighlightKind.INSIGHT, "On bees", "Bees dance.")
    assert (kept.quote, kept.tags, kept.metadata) == ("they dance", ("bees", "zoo"), {"page": 3})
    assert (kept.team_id, kept.created_by, kept.origin) == (TEAM, USER, Origin.ASSISTANT)
    assert await jobs.domain.verbs.team_highlights(TEAM) == [TeamHighlight(TEAM, kept.id)]
    (job,) = await jobs.sent("score-relevance")
    assert job.data == {"storyId": str(story.id)}


async def test_insight_without_team_belongs_to_all_teams(jobs: Jobs) -> None:
    story = await jobs.domain.told_story()
    await dedupe(jobs, story, insight(), teamId=None)
    (job,) = await jobs.sent("attach-insight-to-story")
    await jobs.run("attach-insight-to-story", job.data)
    assert [one.team_id for one in await highlights(jobs, story)] == [None]
    assert (await dedupe(jobs, story, insight()))["dropped"] == 1


@each(JOB, None)
async def test_insight_is_attached_once(job_id: UUID | None) -> None:
    jobs = memory_jobs()
    story = await jobs.domain.told_story()
    told = await attach(jobs, story, insight(), job_id=job_id)
    before = await jobs.domain.everything()
    again = await attach(jobs, story, insight(" bees DANCE."), job_id=job_id)
    assert again == {**told, "attached": False}
    assert await jobs.domain.everything() == before
    assert len(await jobs.sent("score-relevance")) == 1


async def test_insight_of_all_teams_is_not_added_for_one(jobs: Jobs) -> None:
    story = await jobs.domain.told_story()
    await put(jobs, story, "Bees dance.", None)
    (known,) = await highlights(jobs, story)
    told = await attach(jobs, story, insight())
    assert told == {"storyId": story.id, "highlightId": known.id, "attached": False}
    assert await highlights(jobs, story) == [known]


async def test_dismissed_insight_stays_dismissed(jobs: Jobs) -> None:
    story = await jobs.domain.told_story()
    new = NewHighlight(story.id, TEAM, HighlightKind.INSIGHT, "Bees dance.", 1.0)
    await jobs.domain.verbs.put_highlights([new])
    await jobs.domain.verbs.put_team_highlight(TeamHighlight(TEAM, new.id, dismissed=True))
    await attach(jobs, story, insight())
    assert await jobs.domain.verbs.team_highlights(TEAM) == [TeamHighlight(TEAM, new.id, dismissed=True)]
