"""``generate-brief``: the stored brief, when the AI is not called, and how its variants are cut."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.cases import each
from tests.tasks.domain import Domain
from tests.tasks.jobs import Jobs, memory_jobs
from tests.tasks.overlap import Started, overlap
from tests.tasks.scripted import ANALYSIS, BRIEFS, ScriptedAI
from zeke_queue.task.signals import Fail, Retry, Signal
from zeke_tasks.ai.client import AIClient
from zeke_tasks.ai.errors import AIUnavailable
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.briefs.generate import PROMPT
from zeke_tasks.briefs.variants import InvalidVariant, fit, time_saved
from zeke_tasks.cli.output import print_brief
from zeke_tasks.store.analysis import AnalysisState, Brief
from zeke_tasks.store.model import Story
from zeke_tasks.stories.analyze import PROMPT as ANALYSED_WITH
from zeke_tasks.stories.view import brief_value, view
from zeke_tasks.testing.web import ScriptedWeb
from zeke_tasks.text_rules import WORDS_PER_MINUTE, sentences

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


@each((ScriptedAI(), "completed"), (StubClient(), "stub"))
async def test_brief_of_stub_is_marked_beside_analysis_of_model(ai: AIClient, state: str) -> None:
    model = memory_jobs()
    story = await model.domain.told_story(TEXT)
    await model.run("analyze-story", {"storyId": story.id, "trigger": "auto"})
    writer = Jobs(model.domain, ScriptedWeb(), ai)
    await writer.run("generate-brief", {"storyId": story.id, "reason": "new_story"})
    async with model.domain.rows() as rows:
        seen = await view(rows, story)
    value = brief_value(seen)
    assert value is not None
    assert (value["state"], value["promptVersion"]) == (state, PROMPT.version)
    shown = io.StringIO()
    print_brief(Console(file=shown, width=100), seen)
    assert ("The brief is by the stub (not an AI)." in shown.getvalue()) is (state == "stub")


ONE = "Bees dance."
TWO = "Bees dance. They tell where flowers are, and how far it is to get there, in a way that others follow."
THREE = "Bees dance. They tell where flowers are. Others follow."

sentence = st.sampled_from(
    [ONE, "They tell where flowers are, and how far it is.", "Buzz!", f"{'Word ' * 40}word."]
)
told = st.lists(sentence, max_size=6).map(" ".join) | st.text(max_size=400)


def fitted(one: str = ONE, two: str = TWO, three: str = THREE, *, few: bool = False) -> Brief:
    return fit(one, two, three, story="word " * 1000, few=few)


def test_fitting_variants_are_kept_each_on_one_line() -> None:
    spread = fitted(f" {ONE}\n", TWO.replace(" ", "\n"), THREE.replace(". ", ".\n\n"))
    for brief in (fitted(), spread):
        assert (brief.one_liner, brief.two_liner, brief.elevator) == (ONE, TWO, THREE)


def test_long_one_liner_loses_its_last_sentences_or_words() -> None:
    long = "This sentence is half as long as a line may be, to a character or two. "
    assert fitted(one=long + long).one_liner == long.strip()
    cut = fitted(one="word " * 50).one_liner
    assert len(cut) < 140
    assert cut.endswith("word…")


def test_two_liner_has_two_sentences_of_280_characters() -> None:
    assert fitted(two=f"{TWO} One more.").two_liner == TWO
    cut = fitted(two=f"{ONE} {'Word ' * 80}").two_liner
    assert len(cut) < 280
    assert cut.startswith(ONE)
    assert len(sentences(cut)) == 2
    # One sentence is enough if it takes the room of both.
    long = f"{'word ' * 40}word."
    assert fitted(two=f"{long} {'Word ' * 40}").two_liner == long


def test_elevator_has_four_sentences_at_most() -> None:
    assert fitted(three=f"{THREE} Four. Five.").elevator == f"{THREE} Four."


@each(
    (ONE, ONE, THREE, "two_liner has one sentence"),
    (ONE, TWO, f"{ONE} Two.", "elevator has 2 of 3 sentences"),
    (" \n", TWO, THREE, "one_liner is empty"),
    (ONE, "", THREE, "two_liner is empty"),
    (ONE, TWO, "", "elevator is empty"),
)
def test_too_few_sentences_are_refused_with_reason(one: str, two: str, three: str, complaint: str) -> None:
    with pytest.raises(InvalidVariant, match=complaint):
        fitted(one, two, three)


def test_few_sentences_are_enough_for_a_short_story() -> None:
    brief = fitted(two=ONE, three=ONE, few=True)
    assert (brief.two_liner, brief.elevator) == (ONE, ONE)
    with pytest.raises(InvalidVariant):
        fitted(two="", few=True)


@given(told, told, told)
def test_any_variants_are_fitted_or_refused(one: str, two: str, three: str) -> None:
    try:
        brief = fitted(one, two, three)
    except InvalidVariant as unfit:
        assert str(unfit)  # noqa: PT017 - both ends are right, and which one comes the next test says
        return
    assert 0 < len(brief.one_liner) < 140
    assert 0 < len(brief.two_liner) < 280
    assert len(sentences(brief.two_liner)) <= 2
    assert 3 <= len(sentences(brief.elevator)) <= 4


@given(st.lists(sentence, min_size=4, max_size=8).map(" ".join))
def test_enough_sentences_are_never_refused(text: str) -> None:
    assert fitted(text, text, text).elevator


@given(told, told, told)
def test_fitting_twice_changes_nothing(one: str, two: str, three: str) -> None:
    try:
        brief = fitted(one, two, three, few=True)
    except InvalidVariant:
        return
    assert fitted(brief.one_liner, brief.two_liner, brief.elevator, few=True) == brief


def test_time_saved_is_the_difference_in_reading_time_and_never_negative() -> None:
    minute = "word " * WORDS_PER_MINUTE
    assert time_saved(minute * 3, minute) == 120
    assert fit(ONE, TWO, THREE, story=minute).time_saved_seconds == 58
    assert time_saved("Short.", "A brief that is longer than its story, as some are.") == 0
