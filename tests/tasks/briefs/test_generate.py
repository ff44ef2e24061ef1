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
from zeke_queue.task.signals import Fail, Retry, Signal, Snooze
from zeke_tasks.ai.client import AIClient, Answer, M, Prompt
from zeke_tasks.ai.errors import (
    AIError,
    AIMalformed,
    AIRateLimited,
    AIRefused,
    AIRejected,
    AIUnavailable,
)
from zeke_tasks.ai.settings import CALLS
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.briefs.generate import PROMPT
from zeke_tasks.error_policy import AI_BAD_ANSWERS
from zeke_tasks.store.analysis import VARIANTS, AnalysisState
from zeke_tasks.store.model import Story
from zeke_tasks.stories.analyze import PROMPT as ANALYSED_WITH
from zeke_tasks.testing.ai import Says

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
        "missing": [],
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
async def test_brief_without_a_valid_variant_is_retried_then_fails(
    retries: int, verdict: type[Signal]
) -> None:
    jobs = memory_jobs()
    jobs.ai.put("generate-brief", {"elevator": "Bees dance."})
    story = await analyzed(jobs)
    with pytest.raises(verdict, match=r"one_liner is empty; two_liner is empty; elevator has 1 of 3"):
        await brief(jobs, story, job_id=JOB, retries=retries)
    overlay = await jobs.domain.overlay(story)
    assert (overlay.brief, overlay.brief_draft) == (None, None)
    assert [(one.purpose, one.attempt) for one in await jobs.domain.verbs.spending(JOB)] == [
        ("brief", retries + 1),
        ("brief 2", retries + 1),
        ("brief 3", retries + 1),
    ]


# Variants that are not as requested

SHORT = BRIEFS.model_copy(update={"two_liner": "Bees dance."})
TWO = {"two_liner": BRIEFS.two_liner}
WHOLE = (BRIEFS.one_liner, BRIEFS.two_liner, BRIEFS.elevator)


class RecordingAI(ScriptedAI):
    """Records which variants each call requests, and by which prompt."""

    def __init__(self, *answers: Says) -> None:
        super().__init__()
        self.put("generate-brief", *answers)
        self.requested: list[tuple[str, ...]] = []
        self.prompts: list[str] = []

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        if prompt.name == "generate-brief":
            self.requested.append(tuple(answer.model_fields))
            self.prompts.append(prompt.text)
        return await super().ask(prompt, text, answer)


async def asked_of(ai: AIClient) -> tuple[Jobs, Story]:
    """Return an analysed story, and jobs that ask this AI for its brief."""
    jobs = memory_jobs()
    story = await analyzed(jobs)
    return Jobs(jobs.domain, ai=ai), story


async def variants(jobs: Jobs, story: Story) -> tuple[str | None, ...]:
    overlay = await jobs.domain.overlay(story)
    return overlay.brief_one_liner, overlay.brief_two_liner, overlay.brief_elevator


async def test_only_the_variant_that_is_not_as_requested_is_requested_again() -> None:
    ai = RecordingAI(SHORT, TWO)
    jobs, story = await asked_of(ai)
    told = await brief(jobs, story, job_id=JOB)
    assert (told["briefTwoLiner"], told["missing"]) == (BRIEFS.two_liner, [])
    assert await variants(jobs, story) == WHOLE
    assert ai.requested == [VARIANTS, ("two_liner",)]
    first, second = ai.prompts
    assert first == PROMPT.text
    assert second.startswith(first)
    assert second.endswith("not as requested: two_liner has one sentence, but must have 2.")
    overlay = await jobs.domain.overlay(story)
    assert (overlay.brief_draft, overlay.brief_state) == (None, AnalysisState.COMPLETED)
    spent = await jobs.domain.verbs.spending(JOB)
    assert [one.purpose for one in spent] == ["brief", "brief 2"]


@each((AIUnavailable(), Retry), (AIRateLimited(5.0), Snooze))
async def test_valid_variants_are_kept_for_the_next_attempt(problem: AIError, verdict: type[Signal]) -> None:
    ai = RecordingAI(SHORT, problem, TWO)
    jobs, story = await asked_of(ai)
    with pytest.raises(verdict):
        await brief(jobs, story, job_id=JOB, attempt=1)
    assert (await jobs.domain.overlay(story)).brief is None
    await brief(jobs, story, job_id=JOB, attempt=2)
    assert await variants(jobs, story) == WHOLE
    assert ai.requested == [VARIANTS, ("two_liner",), ("two_liner",)]
    spent = [(one.attempt, one.purpose) for one in await jobs.domain.verbs.spending(JOB)]
    assert spent == [(1, "brief"), (2, "brief")]


async def test_variants_of_a_failed_job_serve_the_next_one() -> None:
    ai = RecordingAI(SHORT, AIRejected("the key is not known"), TWO)
    jobs, story = await asked_of(ai)
    with pytest.raises(Fail):
        await brief(jobs, story, job_id=JOB)
    await brief(jobs, story, "manual", job_id=OTHER_JOB)
    assert await variants(jobs, story) == WHOLE
    assert ai.requested[2:] == [("two_liner",)]


@each(
    (SHORT, "two_liner has one sentence"),
    (AIMalformed("no JSON"), "no JSON"),
    (AIRefused("I can't."), "I can't."),
)
async def test_brief_is_stored_without_a_variant_that_stays_wrong(answer: Says, reason: str) -> None:
    ai = RecordingAI(SHORT, answer)
    jobs, story = await asked_of(ai)
    for retries in range(AI_BAD_ANSWERS):
        with pytest.raises(Retry, match=f"lacks two_liner: {reason}"):
            await brief(jobs, story, job_id=JOB, retries=retries)
        assert await variants(jobs, story) == (BRIEFS.one_liner, None, BRIEFS.elevator)
    told = await brief(jobs, story, job_id=JOB, retries=AI_BAD_ANSWERS)
    assert (told["briefTwoLiner"], told["missing"]) == (None, ["two_liner"])
    assert told["timeSavedSeconds"] == 49
    calls = len(ai.requested)
    assert calls <= CALLS * (AI_BAD_ANSWERS + 1)
    assert ai.requested[1:] == [("two_liner",)] * (calls - 1)
    assert await brief(jobs, story, job_id=JOB, retries=AI_BAD_ANSWERS + 1) == told
    assert len(ai.requested) == calls, "a job that has given up a variant does not ask again"
    # Another job requests only what is missing, and then it is complete.
    ai.put("generate-brief", TWO)
    await brief(jobs, story, job_id=OTHER_JOB)
    assert (await variants(jobs, story), ai.requested[calls:]) == (WHOLE, [("two_liner",)])
    assert (await jobs.domain.overlay(story)).brief_draft is None


@each((0, Retry), (AI_BAD_ANSWERS, Fail))
async def test_whole_brief_is_not_replaced_by_one_that_lacks_a_variant(
    retries: int, verdict: type[Signal]
) -> None:
    ai = RecordingAI(BRIEFS, OTHER.model_copy(update={"two_liner": "They dance."}))
    jobs, story = await asked_of(ai)
    await brief(jobs, story, job_id=JOB)
    with pytest.raises(verdict, match="lacks two_liner"):
        await brief(jobs, story, "manual", job_id=OTHER_JOB, retries=retries)
    assert await variants(jobs, story) == WHOLE
    # The next one requests only what is missing.
    ai.put("generate-brief", TWO)
    await brief(jobs, story, "manual", job_id=UUID(int=9))
    assert (await variants(jobs, story), ai.requested[-1]) == (("They dance.", *WHOLE[1:]), ("two_liner",))


async def test_kept_variants_of_an_earlier_analysis_are_not_used() -> None:
    ai = RecordingAI(SHORT, AIUnavailable(), BRIEFS)
    jobs, story = await asked_of(ai)
    with pytest.raises(Retry):
        await brief(jobs, story, job_id=JOB)
    ai.put("analyze-story", ANALYSIS.model_copy(update={"why_it_matters": ["They buzz."]}))
    await jobs.run("analyze-story", {"storyId": story.id, "trigger": "manual"})
    await brief(jobs, story, job_id=JOB, retries=1)
    assert ai.requested[2:] == [VARIANTS]


async def test_job_that_was_overtaken_by_an_analysis_asks_no_more() -> None:
    ai = RecordingAI(SHORT)
    jobs, story = await asked_of(ai)
    other = memory_jobs(jobs.domain)
    other.ai.put("analyze-story", ANALYSIS.model_copy(update={"why_it_matters": ["They buzz."]}))

    async def analyse() -> None:
        await other.run("analyze-story", {"storyId": story.id, "trigger": "manual"})

    ai.before = analyse
    with pytest.raises(Retry, match="analysed again"):
        await brief(jobs, story, job_id=JOB)
    assert ai.requested == [VARIANTS]
    assert [one.purpose for one in await jobs.domain.verbs.spending(JOB)] == ["brief"]


async def test_variants_that_another_job_has_stored_meanwhile_complete_the_brief() -> None:
    """Of two jobs one is cut off by an outage after it has stored what the other one lacks."""
    ai = RecordingAI({"two_liner": BRIEFS.two_liner})
    jobs, story = await asked_of(ai)

    async def other() -> None:
        ai.before = None
        cut = RecordingAI(SHORT, AIUnavailable())
        with pytest.raises(Retry):
            await brief(Jobs(jobs.domain, ai=cut), story, job_id=OTHER_JOB)

    jobs.resources = replace(jobs.resources, ai_calls=1)
    ai.before = other
    told = await brief(jobs, story, job_id=JOB)
    assert (told["missing"], await variants(jobs, story)) == ([], WHOLE)
    assert (await jobs.domain.overlay(story)).brief_draft is None


async def test_stub_does_not_complete_variants_of_a_model() -> None:
    jobs, story = await asked_of(RecordingAI(SHORT, AIUnavailable()))
    with pytest.raises(Retry):
        await brief(jobs, story, job_id=JOB)
    told = await brief(Jobs(jobs.domain, ai=StubClient()), story, job_id=OTHER_JOB)
    assert (told["briefState"], told["missing"]) == ("stub", [])
    assert told["briefElevator"] != BRIEFS.elevator


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
