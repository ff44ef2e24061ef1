"""Budgets of the AI as jobs meet them: calls are reserved, settled, and postponed until the next day."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from tests.cases import check_each_async, each
from tests.tasks.domain import Domain, memory_domain
from tests.tasks.jobs import CALM, Jobs, memory_jobs
from tests.tasks.scripted import ANALYSIS, BRIEFS
from zeke_queue import Job, Worker
from zeke_queue.errors import SettingsError
from zeke_queue.model import RowState
from zeke_queue.task.signals import Retry
from zeke_tasks.ai import AIError, AIMalformed, AIOptions, AIRateLimited, AISettings, AIUnavailable, Usage
from zeke_tasks.ai.answers import Analysis
from zeke_tasks.ai.budget import Budget, day_of
from zeke_tasks.ai.client import Quote, load_prompt, quote_of
from zeke_tasks.ai.openai import FRAME_TOKENS, OpenAIClient
from zeke_tasks.ai.prices import Price
from zeke_tasks.ai.settings import CALLS
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.ai_calls import BUDGET_WAIT, CALLS_WAIT, TEAM
from zeke_tasks.cli.run_jobs import JobRunner
from zeke_tasks.error_policy import AI_BAD_ANSWERS
from zeke_tasks.ingest.recognise import ReplayingClient
from zeke_tasks.store.analysis import Spending
from zeke_tasks.store.budgets import Reservation
from zeke_tasks.testing.ai import ScriptedAI
from zeke_tasks.testing.web import ScriptedWeb

CENT: Final = Decimal("0.01")
OURS: Final = UUID(int=21)
BERLIN: Final = ZoneInfo("Europe/Berlin")


def priced(dollars: float | None = 0.01) -> ScriptedAI:
    """Return an AI each of whose calls costs a cent."""
    ai = ScriptedAI(dollars=dollars or 0.0)
    ai.put("analyze-story", ANALYSIS)
    ai.put("generate-brief", BRIEFS)
    if dollars is None:
        ai.quote = lambda *_: Quote("new-model", None)  # type: ignore[method-assign]
    return ai


def jobs_with(domain: Domain, dollars: str | None, ai: ScriptedAI | None = None, zone: str = "UTC") -> Jobs:
    jobs = memory_jobs(domain)
    budget = Budget(None if dollars is None else Decimal(dollars), ZoneInfo(zone))
    jobs.resources = replace(jobs.resources, ai=ai or priced(), budget=budget)
    return jobs


def asked_of(jobs: Jobs) -> ScriptedAI:
    assert isinstance(jobs.resources.ai, ScriptedAI)
    return jobs.resources.ai


async def analyse(jobs: Jobs, meta: Mapping[str, Any] | None = None, text: str = "Bees dance.") -> UUID:
    """Send an analysis and do what is due; its two calls cost a cent each."""
    story = await jobs.domain.told_story(text)
    run = await jobs.queue.trigger("analyze-story", {"storyId": story.id, "trigger": "auto"}, meta=meta or {})
    await work(jobs)
    return run.id


async def work(jobs: Jobs, seconds: float = 0.0) -> None:
    jobs.domain.clock.advance(seconds)
    await Worker(jobs.worked(), tasks=["analyze-story"], **CALM).drain()


async def look(jobs: Jobs, job: UUID) -> Job:
    found = await jobs.queue.get(job)
    assert found is not None
    return found


async def used(jobs: Jobs, team: UUID | None = None) -> Decimal:
    day = jobs.resources.budget.day(jobs.domain.clock.now()).date
    return (await jobs.domain.verbs.used_on(day)).get(team, Decimal(0))


async def test_calls_within_the_budget_are_made_and_settled(domain: Domain) -> None:
    jobs = jobs_with(domain, "0.02")
    job = await analyse(jobs)
    assert (await look(jobs, job)).row_state is RowState.COMPLETED
    assert await used(jobs) == 2 * CENT
    assert await domain.verbs.reservations() == []


async def test_job_over_budget_waits_until_midnight_with_a_line_in_its_log(
    domain: Domain, logged: StringIO
) -> None:
    jobs = jobs_with(domain, "0.015", zone="Europe/Berlin")
    job = await analyse(jobs)
    waiting = await look(jobs, job)
    assert (waiting.row_state, waiting.retry_count) == (RowState.CREATED, 0)
    assert len(asked_of(jobs).asked) == 1
    (line,) = [one for one in map(json.loads, logged.getvalue().splitlines()) if "budgetUsd" in one]
    midnight = jobs.resources.budget.day(domain.clock.now()).ends
    assert (line["spentUsd"], line["budgetUsd"]) == (0.01, 0.015)
    assert line["goesOnAt"] == midnight.isoformat()
    assert "the budget of calls without a team" in line["reason"]
    kept = [json.loads(event.data) for event in await domain.storage.events({job: 0})]
    assert [one["reason"] for one in kept if one["message"] == line["message"]] == [line["reason"]]
    # It checks again meanwhile, and goes on at midnight, without a retry.
    left = (midnight - domain.clock.now()).total_seconds()
    while left > BUDGET_WAIT:
        await work(jobs, BUDGET_WAIT)
        left -= BUDGET_WAIT
        assert len(asked_of(jobs).asked) == 1
    await work(jobs, left)
    done = await look(jobs, job)
    assert (done.row_state, done.retry_count, len(asked_of(jobs).asked)) == (RowState.COMPLETED, 0, 2)
    assert done.attempt > 2


async def test_command_that_ends_before_its_jobs_shows_what_they_wait_for() -> None:
    async def check(dollars: str | None, shown: str) -> None:
        domain, ai = memory_domain(), priced()
        if dollars is None:
            ai.put("analyze-story", AIRateLimited(3600, "slow [down]"))
        jobs, several = jobs_with(domain, dollars, ai), list[UUID]()
        for text in ("Bees dance.", "Wasps fly."):
            payload = {"storyId": (await domain.told_story(text)).id, "trigger": "auto"}
            several.append((await jobs.queue.trigger("analyze-story", payload)).id)
        await work(jobs)
        out, runner = StringIO(), JobRunner(jobs.queue, jobs.resources, ReplayingClient(ScriptedWeb()))
        await runner.run(several, timeout=0, console=Console(file=out, width=40))
        (told,) = [line for line in out.getvalue().splitlines() if "wait. " in line]
        assert told.startswith(f"2 jobs wait. {shown}")

    cases = {
        "a budget": ("0.015", "AI call waits for the budget: the budget of calls without a team for "),
        "a rate limit": (None, "AI call postponed: slow [down]"),
    }
    await check_each_async(cases, check)


async def test_jobs_continue_once_the_budget_is_raised(domain: Domain) -> None:
    jobs = jobs_with(domain, "0.01")
    job = await analyse(jobs)
    await domain.verbs.set_budget(None, Decimal(1))
    await work(jobs, BUDGET_WAIT)
    assert (await look(jobs, job)).row_state is RowState.COMPLETED


async def test_team_of_a_job_has_its_own_budget(domain: Domain) -> None:
    jobs = jobs_with(domain, "0.02")
    for meta, text in (({TEAM: str(OURS)}, "one"), ({}, "two"), ({TEAM: "no uuid"}, "three")):
        await analyse(jobs, meta, text)
    assert (await used(jobs, OURS), await used(jobs)) == (2 * CENT, 2 * CENT)
    assert {one.team_id for one in await domain.verbs.spending()} == {OURS, None}
    # The jobs that it sends are of the team, too.
    briefs = await jobs.sent("generate-brief")
    assert {(job.meta or {}).get(TEAM) for job in briefs} == {str(OURS), None}


async def test_failed_call_frees_its_reservation_unless_it_may_have_cost(domain: Domain) -> None:
    late = AIUnavailable("no answer in time")
    late.may_cost = True
    billed = AIMalformed("no JSON")
    billed.usage = Usage("scripted", 1, 1, 0.0025)
    unpriced = AIMalformed("no JSON")
    unpriced.usage = Usage("scripted", 1, 1, None)
    cases: list[tuple[AIError, str]] = [
        (AIUnavailable("it is away"), "0"),
        (AIRateLimited(30.0), "0"),
        (late, "0.01"),
        # Malformed answers are requested again: three calls.
        (AIMalformed("the body is cut"), "0.03"),
        (billed, "0.0075"),
        (unpriced, "0.03"),
    ]
    for number, (error, cost) in enumerate(cases):
        jobs = jobs_with(domain, "1")
        before = await used(jobs)
        asked_of(jobs).put("embed", error)
        await analyse(jobs, text=f"text {number}")
        assert await used(jobs) - before == Decimal(cost), error
        assert await domain.verbs.reservations() == []


async def test_cost_above_its_reservation_counts_before_the_next_call(domain: Domain) -> None:
    jobs = jobs_with(domain, "0.05")
    dear = AIMalformed("no JSON")
    dear.usage = Usage("scripted", 1, 1, 0.045)
    asked_of(jobs).put("embed", dear)
    job = await analyse(jobs)
    assert (await look(jobs, job)).row_state is RowState.CREATED
    assert (len(asked_of(jobs).asked), await used(jobs)) == (1, Decimal("0.045"))


@each(AIRateLimited(30.0), None)
async def test_malformed_answers_before_a_wait_count(problem: AIError | None) -> None:
    """A wait uses up no retry, so without the count a job would pay for answers as long as it waits."""
    jobs = jobs_with(memory_domain(), "1" if problem else "0.01")
    answers = [AIMalformed("no JSON"), problem] if problem else [AIMalformed("no JSON")]
    asked_of(jobs).put("embed", *answers * 20)
    job = await analyse(jobs)
    for _ in range(20):
        await work(jobs, 86_400)
    calls = CALLS * (AI_BAD_ANSWERS + 1)
    failed = await look(jobs, job)
    assert (failed.row_state, failed.retry_count) == (RowState.FAILED, AI_BAD_ANSWERS)
    assert await jobs.domain.verbs.reservations() == []
    assert len(await jobs.domain.verbs.spending(job)) == calls


async def test_attempt_after_all_calls_of_a_retry_makes_none(domain: Domain) -> None:
    jobs, job = jobs_with(domain, "1"), UUID(int=5)
    story = await domain.told_story("Bees dance.")
    for attempt in range(1, CALLS + 1):
        paid = Spending(job, attempt, "analysis", "analyze-story", "scripted", 1, 1, 0.01, None)
        await domain.verbs.note_spending(paid)
    payload = {"storyId": story.id, "trigger": "auto"}
    with pytest.raises(Retry, match=rf"paid for {CALLS} calls without a complete result"):
        await jobs.run("analyze-story", payload, job_id=job, attempt=CALLS + 1)
    assert asked_of(jobs).calls("analyze-story") == []
    assert "embedding" in {one.purpose for one in await domain.verbs.spending(job)}
    await jobs.run("analyze-story", payload, job_id=job, attempt=CALLS + 2, retries=1)
    assert len(asked_of(jobs).calls("analyze-story")) == 1


async def test_failed_job_that_is_retried_by_hand_calls_again() -> None:
    jobs = jobs_with(memory_domain(), "1")
    asked_of(jobs).put("embed", AIMalformed("no JSON"))
    job = await analyse(jobs)
    for _ in range(AI_BAD_ANSWERS):
        await work(jobs, 86_400)
    assert (await look(jobs, job)).row_state is RowState.FAILED
    jobs.resources = replace(jobs.resources, ai=priced())
    assert await jobs.queue.retry(job)
    await work(jobs)
    assert (await look(jobs, job)).row_state is RowState.COMPLETED


async def test_cancelled_job_that_is_resumed_calls_again_after_a_retry() -> None:
    jobs = jobs_with(memory_domain(), "1")
    asked_of(jobs).put("embed", AIMalformed("no JSON"))
    job = await analyse(jobs)
    assert await jobs.queue.cancel(job)
    assert await jobs.queue.resume(job)
    jobs.resources = replace(jobs.resources, ai=priced())
    await work(jobs)
    waiting = await look(jobs, job)
    assert waiting.row_state is RowState.RETRY
    assert f"paid for {CALLS} calls without a complete result" in waiting.output["message"]
    await work(jobs, 86_400)
    done = await look(jobs, job)
    assert (done.row_state, done.retry_count) == (RowState.COMPLETED, 1)


async def test_calls_in_progress_are_waited_for_only_shortly(domain: Domain) -> None:
    jobs = jobs_with(domain, "0.02")
    day = jobs.resources.budget.day(domain.clock.now()).date
    other = Reservation(UUID(int=5), 1, "brief", "generate-brief", "m", None, day, Decimal("0.02"))
    await domain.verbs.reserve(other, None)
    job = await analyse(jobs)
    assert (await look(jobs, job)).start_after - domain.clock.now() == timedelta(seconds=CALLS_WAIT)
    await domain.verbs.settle(other.job_id, 1, "brief", day, Decimal(0))
    await work(jobs, CALLS_WAIT)
    assert (await look(jobs, job)).row_state is RowState.COMPLETED


async def test_price_must_be_known_if_there_is_a_budget(domain: Domain) -> None:
    jobs = jobs_with(domain, None, priced(None))
    assert (await look(jobs, await analyse(jobs))).row_state is RowState.COMPLETED
    await domain.verbs.set_budget(None, Decimal(1))
    failed = await look(jobs, await analyse(jobs, text="another"))
    assert failed.row_state is RowState.FAILED
    assert "the price of new-model is unknown" in failed.output["message"]
    assert "ZEKE_AI_PRICES" in failed.output["message"]


@pytest.mark.parametrize("text", ["a" * 100, "ö" * 100, "a" * 10_000])
async def test_quote_is_at_least_the_price_of_the_call(text: str) -> None:
    options = AIOptions(
        prices={"gpt-5-nano": Price(input=1, output=2), "e": Price(input=1)}, embedding_model="e"
    )
    prompt = load_prompt("analyze-story")
    async with OpenAIClient("sk-any", options) as client:
        asked = quote_of(client, [text], prompt, Analysis)
        embedded = quote_of(client, [text] * 2)
        assert quote_of(OpenAIClient("sk-any", replace(options, model="x")), [text], prompt).dollars is None
    cut = len(text[:8000].encode())
    least = (len(prompt.text) + cut + FRAME_TOKENS + 2 * options.max_output_tokens) / 1e6
    assert asked.dollars is not None
    assert least < asked.dollars < least + 0.01
    assert embedded == Quote("e", (2 * len(text[:6000].encode()) + FRAME_TOKENS) / 1e6)
    assert quote_of(StubClient(), [text]) == Quote("stub", 0.0)
    assert quote_of(object(), [text]) == Quote("object", None)


ZONES: Final = sorted(available_timezones())
INSTANTS: Final = st.integers(0, 4_000_000_000).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


@given(now=INSTANTS, zone=st.sampled_from(ZONES).map(ZoneInfo))
# Days of 23 and 25 hours; no midnight; clocks that go back over midnight; a day left out; two midnights.
@example(datetime(2026, 3, 29, 12, tzinfo=UTC), BERLIN)
@example(datetime(2026, 10, 25, 12, tzinfo=UTC), BERLIN)
@example(datetime(2024, 9, 8, 4, tzinfo=UTC), ZoneInfo("America/Santiago"))
@example(datetime(2010, 11, 7, 3, tzinfo=UTC), ZoneInfo("America/St_Johns"))
@example(datetime(2011, 12, 30, 12, tzinfo=UTC), ZoneInfo("Pacific/Apia"))
@example(datetime(1994, 2, 1, 12, tzinfo=UTC), ZoneInfo("Antarctica/Vostok"))
@example(datetime(2026, 11, 1, 4, 30, tzinfo=UTC), ZoneInfo("America/Havana"))
def test_day_contains_its_instant_and_ends_where_the_next_one_starts(now: datetime, zone: ZoneInfo) -> None:
    day = day_of(now, zone)
    assert day.starts <= now < day.ends
    assert timedelta(hours=12) <= day.ends - day.starts <= timedelta(hours=36)
    local = now.astimezone(zone).date()
    assert day.date - local in (timedelta(0), timedelta(days=1))
    # One instant before its end is the same day, and its end is the first of the next.
    assert day_of(day.ends - timedelta(microseconds=1), zone) == day
    after = day_of(day.ends, zone)
    assert after.starts == day.ends
    assert after.date > day.date


def test_days_of_changed_clocks_have_their_length() -> None:
    for month, day, hours in ((3, 29, 23), (10, 25, 25), (10, 26, 24)):
        found = day_of(datetime(2026, month, day, 12, tzinfo=UTC), BERLIN)
        assert (found.date, found.ends - found.starts) == (date(2026, month, day), timedelta(hours=hours))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("zeke_ai_budget_tz", "Europe/Bonn", "ZEKE_AI_BUDGET_TZ: must be an IANA time zone such as"),
        ("zeke_ai_budget", "-1", "ZEKE_AI_BUDGET: "),
        ("zeke_ai_budget", "nan", "ZEKE_AI_BUDGET: "),
    ],
)
def test_invalid_budget_is_refused(setting: str, value: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        AISettings.load(**{setting: value})
    settings = AISettings.load(zeke_ai_budget="2.50", zeke_ai_budget_tz="Europe/Berlin")
    assert settings.budget == Budget(Decimal("2.5"), BERLIN)
