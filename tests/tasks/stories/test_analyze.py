"""``analyze-story``: the stored analysis, the jobs that follow, and when the AI is not called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import product
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each_async, each
from tests.clocks import START
from tests.conformance.driver import Driver
from tests.tasks.domain import Domain, memory_domain
from tests.tasks.jobs import Jobs, memory_jobs
from tests.tasks.overlap import Started, overlap
from tests.tasks.scripted import ANALYSIS, ASKED, EMBEDDED, VECTOR, ScriptedAI
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail, Retry, Signal, Snooze
from zeke_sim.loop.clock import VirtualClock
from zeke_sim.loop.event_loop import VirtualLoop
from zeke_tasks.ai.answers import Citation
from zeke_tasks.ai.client import Answer, M, Prompt, Usage
from zeke_tasks.ai.errors import AIError, AIMalformed, AIRateLimited, AIRefused, AIRejected, AIUnavailable
from zeke_tasks.ai.limited import Limited
from zeke_tasks.ai.settings import CALLS
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.store.analysis import AnalysisState, Embedding, Spending
from zeke_tasks.store.model import Story, StoryStatus
from zeke_tasks.stories.analyze import PART, PROMPT
from zeke_tasks.testing.web import ScriptedWeb

JOB, OTHER_JOB = UUID(int=7), UUID(int=8)
TEXT = "Bees dance. It tells other bees where the flowers are."


async def analyze(jobs: Jobs, story: Story, trigger: str = "auto", **how: Any) -> dict[str, Any]:
    return await jobs.run("analyze-story", {"storyId": story.id, "trigger": trigger}, **how)


async def follows(jobs: Jobs) -> list[tuple[str, Any]]:
    """Return the jobs that were sent, by task, with their payloads."""
    tasks = ("generate-brief", "extract-highlights", "score-relevance")
    return [(task, job.data) for task in tasks for job in await jobs.sent(task)]


async def test_analysis_and_embedding_are_kept(jobs: Jobs) -> None:
    story = await jobs.domain.told_story(TEXT)
    assert await analyze(jobs, story) == {
        "storyId": story.id,
        "analysisState": "completed",
        "chili": 3,
        "isOfPart": False,
        "skipped": False,
    }
    overlay = await jobs.domain.overlay(story)
    assert overlay.why_it_matters == "Bees dance.\nOthers follow."
    assert (overlay.chili, overlay.confidence, overlay.citations) == (3, 0.8, ())
    assert overlay.analysis_state is AnalysisState.COMPLETED
    assert (overlay.model, overlay.prompt_version) == (ASKED.model, PROMPT.version)
    assert await jobs.domain.verbs.embeddings(story.id) == [Embedding(EMBEDDED.model, VECTOR)]
    now = await jobs.domain.verbs.story(story.id)
    assert now == replace(story, status=StoryStatus.ANALYZED)


async def test_ai_and_output_say_that_the_text_is_a_part(jobs: Jobs) -> None:
    story = await jobs.domain.told_story(TEXT, is_partial=True)
    assert (await analyze(jobs, story))["isOfPart"] is True
    assert jobs.ai.calls("analyze-story") == [f"A title\n\n{PART}\n\n{TEXT}"]


async def test_citations_are_kept(jobs: Jobs) -> None:
    cited = [Citation(quote="Bees dance.", url="https://a.example/"), Citation(quote="It tells")]
    jobs.ai.put("analyze-story", ANALYSIS.model_copy(update={"citations": cited}))
    story = await jobs.domain.told_story(TEXT)
    await analyze(jobs, story)
    assert (await jobs.domain.overlay(story)).citations == (
        {"quote": "Bees dance.", "url": "https://a.example/"},
        {"quote": "It tells", "url": None},
    )


async def test_title_and_text_are_sent_to_ai_and_jobs_follow(jobs: Jobs) -> None:
    story = await jobs.domain.told_story(TEXT, title="On bees")
    await analyze(jobs, story)
    shown = f"On bees\n\n{TEXT}"
    assert sorted(one[:2] for one in jobs.ai.asked) == [("analyze-story", shown), ("embed", shown)]
    assert await follows(jobs) == [
        ("generate-brief", {"storyId": str(story.id), "reason": "new_story"}),
        ("extract-highlights", {"storyId": str(story.id), "userId": None, "teamId": None}),
    ]


async def test_spending_of_each_call_is_kept(jobs: Jobs) -> None:
    story = await jobs.domain.told_story(TEXT)
    await analyze(jobs, story, job_id=JOB, retries=1)
    spent = await jobs.domain.verbs.spending(JOB)
    assert spent == [
        Spending(JOB, 2, "analysis", "analyze-story", ASKED.model, 100, 20, 0.001),
        Spending(JOB, 2, "embedding", "analyze-story", EMBEDDED.model, 100, 0, 0.0001),
    ]


async def test_no_transaction_is_open_during_ai_calls(domain: Domain) -> None:
    class Watched(Jobs):
        """Counts the transactions that are open."""

        open = 0

        @asynccontextmanager
        async def transaction(
            self, job: JobContext, connection: Any = None, *, lock: bool = True
        ) -> AsyncGenerator[Any]:
            self.open += 1
            async with super().transaction(job, connection, lock=lock) as transaction:
                yield transaction
            self.open -= 1

    jobs = Watched(domain, ai=ScriptedAI())
    seen: list[int] = []

    async def see() -> None:
        seen.append(jobs.open)

    jobs.ai.before = see
    await analyze(jobs, await domain.told_story(TEXT))
    assert seen == [0, 0]
    assert jobs.open == 0


@each("auto", "retry")
async def test_analysed_story_is_skipped(trigger: str) -> None:
    jobs = memory_jobs()
    story = await jobs.domain.told_story(TEXT)
    await analyze(jobs, story)
    before, sent = await jobs.domain.everything(), await follows(jobs)
    jobs.ai.asked.clear()
    jobs.domain.clock.advance(60)
    assert (await analyze(jobs, story, trigger))["skipped"] is True
    assert jobs.ai.asked == []
    assert await jobs.domain.everything() == before
    assert await follows(jobs) == sent


async def test_manual_job_analyses_again(jobs: Jobs) -> None:
    story = await jobs.domain.told_story(TEXT)
    await analyze(jobs, story)
    jobs.domain.clock.advance(60)
    jobs.ai.put("analyze-story", ANALYSIS.model_copy(update={"chili": 5}))
    assert (await analyze(jobs, story, "manual"))["chili"] == 5
    assert (await jobs.domain.overlay(story)).chili == 5
    reasons = [job.data["reason"] for job in await jobs.sent("generate-brief")]
    assert reasons == ["new_story", "regenerate"]


async def test_changed_prompt_causes_new_analysis(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    story = await jobs.domain.told_story(TEXT)
    await analyze(jobs, story)
    jobs.ai.asked.clear()
    monkeypatch.setattr("zeke_tasks.stories.analyze.PROMPT", replace(PROMPT, version="next"))
    await analyze(jobs, story)
    assert len(jobs.ai.asked) == 2
    assert (await jobs.domain.overlay(story)).prompt_version == "next"


async def test_stub_analyses_once_and_model_replaces_it(domain: Domain, jobs: Jobs) -> None:
    stub = Jobs(domain, ai=StubClient())
    story = await domain.told_story(TEXT)
    assert (await analyze(stub, story))["analysisState"] == "stub"
    overlay = await domain.overlay(story)
    assert overlay.analysis_state is AnalysisState.STUB
    assert overlay.model == "stub"
    assert overlay.why_it_matters
    assert len(await follows(jobs)) == 2
    assert await domain.verbs.spending() == []
    assert [embedding.model for embedding in await domain.verbs.embeddings(story.id)] == ["stub"]
    before = await domain.everything()
    domain.clock.advance(60)
    assert (await analyze(stub, story))["skipped"] is True
    assert await domain.everything() == before
    assert len(await follows(jobs)) == 2
    assert (await analyze(jobs, story))["analysisState"] == "completed"
    assert (await domain.overlay(story)).model == ASKED.model
    assert [job.data["reason"] for job in await jobs.sent("generate-brief")] == ["new_story", "regenerate"]


@each("auto", "manual")
async def test_stub_does_not_replace_analysis_of_model(trigger: str) -> None:
    jobs = memory_jobs()
    domain = jobs.domain
    story = await domain.told_story(TEXT)
    await analyze(jobs, story)
    before = await domain.everything()
    told = await analyze(Jobs(domain, ai=StubClient()), story, trigger)
    assert (told["analysisState"], told["skipped"]) == ("completed", True)
    assert await domain.everything() == before
    assert len(await follows(jobs)) == 2


@each(
    (AIUnavailable(), 0, Retry),
    (AIRateLimited(30.0), 0, Snooze),
    (AIMalformed("it is no JSON"), 0, Retry),
    (AIRefused("it does not want to"), 2, Fail),
    (AIRejected("the model is not known"), 0, Fail),
)
async def test_ai_error_decides_fate_of_job(error: AIError, retries: int, verdict: type[Signal]) -> None:
    jobs = memory_jobs()
    jobs.ai.put("analyze-story", error)
    story = await jobs.domain.told_story(TEXT)
    with pytest.raises(verdict):
        await analyze(jobs, story, job_id=JOB, retries=retries)
    assert await jobs.domain.verbs.overlay(story.id) is None
    # The call before it succeeded, and is paid for.
    assert [one.purpose for one in await jobs.domain.verbs.spending(JOB)] == ["embedding"]
    assert await follows(jobs) == []


async def test_cost_of_unusable_answer_is_kept(jobs: Jobs) -> None:
    error = AIMalformed("it is no Analysis")
    error.usage = Usage("gpt-5-nano", 90, 10, 0.5)
    jobs.ai.put("analyze-story", error)
    story = await jobs.domain.told_story(TEXT)
    with pytest.raises(Retry):
        await analyze(jobs, story, job_id=JOB)
    spent = {one.purpose: one.cost_usd for one in await jobs.domain.verbs.spending(JOB)}
    assert spent == {"analysis": 0.5, "analysis 2": 0.5, "analysis 3": 0.5, "embedding": EMBEDDED.cost_usd}


class Late(ScriptedAI):
    """An AI with unusable answers that come after the job was cancelled."""

    def __init__(self, cancel: Callable[[], Awaitable[object]]) -> None:
        super().__init__()
        self._cancel = cancel

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        await self._cancel()
        await super().ask(prompt, text, answer)
        error = AIMalformed("it has not the form")
        error.usage = ASKED
        raise error


async def test_cost_of_unusable_answer_is_kept_after_the_job_was_lost() -> None:
    async def check(task: str, purpose: str, more: dict[str, str]) -> None:
        before = memory_jobs()
        story = await before.domain.told_story(TEXT)
        if task == "generate-brief":
            await analyze(before, story)
        claimed = await Driver(before.domain.storage, before.domain.clock).running(task, priority=1)
        jobs = Jobs(before.domain, ai=Late(lambda: before.queue.cancel(claimed.id)))
        with pytest.raises(Retry):
            await jobs.run(task, {"storyId": story.id, **more}, job_id=claimed.id, attempt=1)
        spent = {one.purpose: one.cost_usd for one in await jobs.domain.verbs.spending(claimed.id)}
        assert spent[purpose] == ASKED.cost_usd

    cases = [
        ("analyze-story", "analysis", {"trigger": "auto"}),
        ("generate-brief", "brief", {"reason": "new_story"}),
    ]
    await check_each_async(cases, check)


async def test_unusable_vector_is_paid_for_and_requested_again(jobs: Jobs) -> None:
    error = AIMalformed("the server gave 0 vectors for 1 texts")
    error.usage = Usage("text-embedding-3-small", 90, 0, 0.25)
    jobs.ai.put("embed", *[error] * (CALLS + 1), VECTOR)
    story = await jobs.domain.told_story(TEXT)
    with pytest.raises(Retry):
        await analyze(jobs, story, job_id=JOB, attempt=1)
    assert [one.cost_usd for one in await jobs.domain.verbs.spending(JOB)] == [0.25] * CALLS
    assert await jobs.domain.verbs.embeddings(story.id) == []
    await analyze(jobs, story, job_id=JOB, attempt=2)
    spent = [(one.attempt, one.purpose) for one in await jobs.domain.verbs.spending(JOB)]
    assert await jobs.domain.verbs.embeddings(story.id) == [Embedding(EMBEDDED.model, VECTOR)]
    unusable = ["unusable embedding", *(f"unusable embedding {number}" for number in range(2, CALLS + 1))]
    assert spent == [
        *((1, purpose) for purpose in unusable),
        (2, "analysis"),
        (2, "embedding"),
        (2, "unusable embedding"),
    ]


async def test_malformed_answer_is_requested_again_within_the_attempt(jobs: Jobs) -> None:
    jobs.resources = replace(jobs.resources, ai_calls=2)
    jobs.ai.put("analyze-story", AIMalformed("no JSON"), ANALYSIS)
    story = await jobs.domain.told_story(TEXT)
    assert (await analyze(jobs, story))["analysisState"] == "completed"
    jobs.ai.put("analyze-story", *[AIMalformed("no JSON")] * 2, ANALYSIS)
    with pytest.raises(Retry):
        await analyze(jobs, story, "manual")


async def test_failed_calls_cost_nothing(jobs: Jobs) -> None:
    jobs.ai.put("embed", AIUnavailable(retry_after=5.0))
    story = await jobs.domain.told_story(TEXT)
    with pytest.raises(Retry) as raised:
        await analyze(jobs, story)
    assert raised.value.after == 5
    assert await jobs.domain.verbs.spending() == []


def chili(number: int) -> ScriptedAI:
    ai = ScriptedAI()
    ai.put("analyze-story", ANALYSIS.model_copy(update={"chili": number}))
    return ai


def started(story: Story, trigger: str, ai: ScriptedAI, job_id: UUID) -> Started:
    return Started("analyze-story", {"storyId": story.id, "trigger": trigger}, ai, job_id)


async def test_first_of_two_overlapping_jobs_keeps_its_analysis() -> None:
    async def check(first: str, second: str) -> None:
        jobs = memory_jobs()
        story = await jobs.domain.told_story(TEXT)
        told, told_second = await overlap(
            jobs.domain, started(story, first, chili(1), JOB), started(story, second, chili(5), OTHER_JOB)
        )
        assert (told["skipped"], told_second["skipped"], told_second["chili"]) == (False, True, 1)
        overlay = await jobs.domain.overlay(story)
        assert (overlay.chili, overlay.analysed_by) == (1, JOB)
        assert [(task, data.get("reason")) for task, data in await follows(jobs)] == [
            ("generate-brief", "new_story"),
            ("extract-highlights", None),
        ]
        assert {one.job_id for one in await jobs.domain.verbs.spending()} == {JOB, OTHER_JOB}

    await check_each_async(product(["auto", "manual", "retry"], ["auto", "retry"]), check)


@each("auto", "manual")
async def test_manual_job_replaces_overlapping_analysis(first: str) -> None:
    """The brief that follows it is one of a story that was analysed already."""
    jobs = memory_jobs()
    story = await jobs.domain.told_story(TEXT)
    told, told_second = await overlap(
        jobs.domain, started(story, first, chili(1), JOB), started(story, "manual", chili(5), OTHER_JOB)
    )
    assert (told["skipped"], told_second["skipped"], told_second["chili"]) == (False, False, 5)
    overlay = await jobs.domain.overlay(story)
    assert (overlay.chili, overlay.analysed_by) == (5, OTHER_JOB)
    reasons = sorted(job.data["reason"] for job in await jobs.sent("generate-brief"))
    assert reasons == ["new_story", "regenerate"]


async def test_every_kept_analysis_is_followed_by_a_brief(jobs: Jobs) -> None:
    """Two manual jobs in turn, the first not settled: the brief has the last stored analysis."""
    story = await jobs.domain.told_story(TEXT)
    await analyze(jobs, story, "manual", job_id=JOB, attempt=1)
    await analyze(jobs, story, "manual")
    jobs.ai.put("analyze-story", ANALYSIS.model_copy(update={"chili": 5}))
    await analyze(jobs, story, "manual", job_id=JOB, attempt=2)
    assert (await jobs.domain.overlay(story)).chili == 5
    assert len(await jobs.sent("generate-brief")) == 3


@each("auto", "manual", "retry")
async def test_embedding_is_requested_once_per_job(trigger: str) -> None:
    jobs = memory_jobs()
    jobs.ai.put("analyze-story", AIRateLimited(30.0), ANALYSIS)
    story = await jobs.domain.told_story(TEXT)
    with pytest.raises(Snooze):
        await analyze(jobs, story, trigger, job_id=JOB, attempt=1)
    await analyze(jobs, story, trigger, job_id=JOB, attempt=2)
    assert len(jobs.ai.calls("embed")) == 1
    assert await jobs.domain.verbs.embeddings(story.id) == [Embedding(EMBEDDED.model, VECTOR)]
    spent = [(one.attempt, one.purpose) for one in await jobs.domain.verbs.spending(JOB)]
    assert spent == [(1, "embedding"), (2, "analysis")]


@each((1, 1), (1, 3), (3, 3), (3, 5), (5, 5))
def test_every_job_ends_under_rate_limit(per_minute: int, count: int) -> None:
    """Deferred jobs return at the same time, and some of them proceed in each minute."""
    loop, ai = VirtualLoop(), ScriptedAI()

    async def check(clock: Any) -> None:
        domain = memory_domain(clock)
        limited = Limited(ai, clock, requests_per_minute=per_minute, at_once=8)
        jobs = Jobs(domain, ScriptedWeb(), limited)

        async def until_it_ends(story: Story) -> None:
            for attempt in range(1, 2 * count + 2):
                try:
                    await analyze(jobs, story, job_id=story.id, attempt=attempt)
                except Snooze as snooze:
                    await clock.sleep(snooze.seconds)
                else:
                    return
            pytest.fail("it is put off for ever")

        await asyncio.gather(
            *[until_it_ends(await domain.told_story(f"Bee {n} dances.")) for n in range(count)]
        )
        assert len(await follows(jobs)) == 2 * count
        assert clock.monotonic() <= 60 * (2 * count / per_minute + 1)

    try:
        loop.run_until_complete(check(VirtualClock(loop, START)))
    finally:
        loop.leave()
        loop.close()
    assert len(ai.asked) == 2 * count
