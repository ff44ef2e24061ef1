"""``generate-brief``: the stored brief, and when the AI is not called."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from tests.cases import each
from tests.tasks.domain import Domain
from tests.tasks.jobs import Jobs, memory_jobs
from tests.tasks.overlap import Started, overlap
from tests.tasks.scripted import ANALYSIS, BRIEFS, ScriptedAI
from zeke_queue.task.signals import Fail, Retry, Signal
from zeke_tasks.ai.errors import AIUnavailable
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.briefs.generate import PROMPT
from zeke_tasks.store.analysis import AnalysisState
from zeke_tasks.store.model import Story
from zeke_tasks.stories.analyze import PROMPT as ANALYSED_WITH

JOB, OTHER_JOB = UUID(int=7), UUID(int=8)
TEXT = "Bees dance. It tells other bees where the flowers are. " * 20
OTHER = BRIEFS.model_copy(update={"one_liner": "They dance."})


async def brief(jobs: Jobs, story: Story, reason: str = "new_story", **how: Any) -> dict[str, Any]:
    return await jobs.run("generate-brief", {"storyId": story.id, "reason": reason}, **how)


async def analyzed(jobs: Jobs) -> Story:
    story = await jobs.domain.told_story(TEXT, title="On bees")
    await jobs.run("analyze-story", {"storyId": story.id, "trigger": "manual"})
    if isinstance(jobs.resources.ai, ScriptedAI):
        jobs.resources.ai.asked.clear()
    return story


async def test_brief_has_three_variants_and_time_saved(jobs: Jobs) -> None:
    story = await analyzed(jobs)
    told = await brief(jobs, story)
    assert told == {
        "storyId": story.id,
        "briefOneLiner": BRIEFS.one_liner,
        "briefTwoLiner": BRIEFS.two_liner,
        "briefElevator": BRIEFS.elevator,
        # 200 words less 7, at 238 a minute.
        "timeSavedSeconds": 49,
        "briefState": "completed",
    }
    overlay = await jobs.domain.overlay(story)
    assert (overlay.brief_one_liner, overlay.brief_two_liner) == (BRIEFS.one_liner, BRIEFS.two_liner)
    assert (overlay.brief_elevator, overlay.time_saved_seconds) == (BRIEFS.elevator, 49)
    assert overlay.why_it_matters == "\n".join(ANALYSIS.why_it_matters)
    assert overlay.brief_prompt_version == PROMPT.version


async def test_ai_is_shown_why_the_story_matters_first(jobs: Jobs) -> None:
    await brief(jobs, await analyzed(jobs))
    ((what, text, _),) = jobs.ai.asked
    assert what == "generate-brief"
    assert text.split("\n\n") == ["Bees dance.\nOthers follow.", "On bees", TEXT.strip()]


async def test_unanalysed_story_fails_job(jobs: Jobs) -> None:
    story = await jobs.domain.told_story(TEXT)
    with pytest.raises(Fail, match=r"no why_it_matters.*analyze-story"):
        await brief(jobs, story)
    assert jobs.ai.asked == []


async def test_new_story_gets_one_brief(jobs: Jobs) -> None:
    story = await analyzed(jobs)
    first = await brief(jobs, story)
    before = await jobs.domain.everything()
    jobs.ai.put("generate-brief", OTHER)
    jobs.domain.clock.advance(60)
    assert await brief(jobs, story) == first
    assert await jobs.domain.everything() == before
    assert len(jobs.ai.asked) == 1


@each("manual", "regenerate")
async def test_manual_and_regenerate_rewrite_brief(reason: str) -> None:
    jobs = memory_jobs()
    story = await analyzed(jobs)
    await brief(jobs, story)
    jobs.ai.put("generate-brief", OTHER)
    assert (await brief(jobs, story, reason))["briefOneLiner"] == "They dance."
    assert (await jobs.domain.overlay(story)).brief_one_liner == "They dance."


async def test_brief_keeps_version_of_its_own_prompt(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    story = await analyzed(jobs)
    monkeypatch.setattr("zeke_tasks.briefs.generate.PROMPT", replace(PROMPT, version="next"))
    await brief(jobs, story)
    overlay = await jobs.domain.overlay(story)
    assert (overlay.prompt_version, overlay.brief_prompt_version) == (ANALYSED_WITH.version, "next")
    monkeypatch.setattr("zeke_tasks.briefs.generate.PROMPT", replace(PROMPT, version="later"))
    await brief(jobs, story)
    assert (await jobs.domain.overlay(story)).brief_prompt_version == "next"
    await brief(jobs, story, "manual")
    assert (await jobs.domain.overlay(story)).brief_prompt_version == "later"


async def test_too_long_variant_is_cut(jobs: Jobs) -> None:
    jobs.ai.put(
        "generate-brief", BRIEFS.model_copy(update={"elevator": f"{BRIEFS.elevator} Four. Five. Six."})
    )
    told = await brief(jobs, await analyzed(jobs))
    assert told["briefElevator"] == f"{BRIEFS.elevator} Four."


@each((0, Retry), (1, Retry), (2, Fail))
async def test_too_short_brief_is_retried_then_fails(retries: int, verdict: type[Signal]) -> None:
    jobs = memory_jobs()
    jobs.ai.put("generate-brief", BRIEFS.model_copy(update={"elevator": "Bees dance."}))
    story = await analyzed(jobs)
    with pytest.raises(verdict, match="elevator has 1 of 3 sentences"):
        await brief(jobs, story, job_id=JOB, retries=retries)
    assert (await jobs.domain.overlay(story)).brief_one_liner is None
    assert [(one.purpose, one.attempt) for one in await jobs.domain.verbs.spending(JOB)] == [
        ("brief", retries + 1)
    ]


async def test_unavailable_ai_is_retried(jobs: Jobs) -> None:
    jobs.ai.put("generate-brief", AIUnavailable(retry_after=9.0))
    story = await analyzed(jobs)
    with pytest.raises(Retry) as raised:
        await brief(jobs, story, job_id=JOB)
    assert raised.value.after == 9
    assert await jobs.domain.verbs.spending(JOB) == []


async def test_spending_of_brief_is_kept(jobs: Jobs) -> None:
    story = await analyzed(jobs)
    await brief(jobs, story, job_id=JOB)
    (spent,) = await jobs.domain.verbs.spending(JOB)
    kept = (spent.purpose, spent.task, spent.attempt, spent.input_tokens)
    assert kept == ("brief", "generate-brief", 1, 100)


async def test_brief_of_stub_quotes_the_story_once(domain: Domain) -> None:
    jobs = Jobs(domain, ai=StubClient())
    story = await domain.told_story("Buzz.")
    await jobs.run("analyze-story", {"storyId": story.id, "trigger": "auto"})
    told = await brief(jobs, story)
    assert told["briefOneLiner"]
    assert told["timeSavedSeconds"] == 0
    assert told["briefState"] == "stub"
    assert (await domain.overlay(story)).brief_state is AnalysisState.STUB
    assert await domain.verbs.spending() == []
    before = await domain.everything()
    domain.clock.advance(60)
    assert await brief(jobs, story) == told
    assert await domain.everything() == before


@each("manual", "regenerate")
async def test_stub_does_not_replace_brief_of_model(reason: str) -> None:
    jobs = memory_jobs()
    story = await analyzed(jobs)
    first = await brief(jobs, story)
    before = await jobs.domain.everything()
    assert await brief(Jobs(jobs.domain, ai=StubClient()), story, reason) == first
    assert await jobs.domain.everything() == before


@each("new_story", "manual", "regenerate")
async def test_model_replaces_brief_of_stub(reason: str) -> None:
    """Also where a model made the analysis, and the stub stood in for it afterwards."""
    jobs = memory_jobs()
    story = await analyzed(jobs)
    told = await brief(Jobs(jobs.domain, ai=StubClient()), story)
    assert told["briefState"] == "stub"
    told = await brief(jobs, story, reason)
    assert (told["briefState"], told["briefOneLiner"]) == ("completed", BRIEFS.one_liner)
    assert (await jobs.domain.overlay(story)).brief_state is AnalysisState.COMPLETED


def saying(one_liner: str) -> ScriptedAI:
    ai = ScriptedAI()
    ai.put("generate-brief", BRIEFS.model_copy(update={"one_liner": one_liner}))
    return ai


def started(story: Story, reason: str, ai: ScriptedAI, job_id: UUID) -> Started:
    return Started("generate-brief", {"storyId": story.id, "reason": reason}, ai, job_id)


@each("new_story", "manual", "regenerate")
async def test_first_of_two_overlapping_jobs_keeps_its_brief(first: str) -> None:
    jobs = memory_jobs()
    story = await analyzed(jobs)
    told = await overlap(
        jobs.domain,
        started(story, first, saying("The first."), JOB),
        started(story, "new_story", saying("The second."), OTHER_JOB),
    )
    assert [one["briefOneLiner"] for one in told] == ["The first.", "The first."]
    overlay = await jobs.domain.overlay(story)
    assert (overlay.brief_one_liner, overlay.briefed_by) == ("The first.", JOB)
    spent = await jobs.domain.verbs.spending()
    assert [one.job_id for one in spent if one.purpose == "brief"] == [JOB, OTHER_JOB]


async def test_brief_overlapping_a_new_analysis_is_retried(jobs: Jobs) -> None:
    story = await analyzed(jobs)
    thinking = ScriptedAI()
    thinking.put("analyze-story", ANALYSIS.model_copy(update={"why_it_matters": ["They buzz."]}))
    analysis = Started("analyze-story", {"storyId": story.id, "trigger": "manual"}, thinking, JOB)
    _, told = await overlap(
        jobs.domain, analysis, started(story, "new_story", saying("They dance."), OTHER_JOB)
    )
    assert isinstance(told, Retry)
    assert "analysed again" in str(told)
    assert (await jobs.domain.overlay(story)).brief_one_liner is None
    assert [one.purpose for one in await jobs.domain.verbs.spending(OTHER_JOB)] == ["brief"]
    await brief(jobs, story, job_id=OTHER_JOB, retries=1)
    assert (await jobs.domain.overlay(story)).brief_one_liner == BRIEFS.one_liner
