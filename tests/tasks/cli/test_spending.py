"""``zeke spending`` and ``zeke budget``."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from tests.cases import check_each_async
from tests.clocks import START
from tests.tasks.cli.conftest import Zeke
from tests.tasks.domain import Domain
from zeke_queue.system.clock import SystemClock
from zeke_tasks.store.analysis import Spending
from zeke_tasks.store.budgets import Reservation

TEAM = UUID(int=21)
CALL = Spending(UUID(int=51), 1, "analysis", "analyze-story", "gpt-5-nano", 1000, 200, 0.00125, TEAM)


async def spend(domain: Domain) -> None:
    """Note calls of today, of which one has no price and one was not settled, and one of two days ago."""
    domain.clock.advance((SystemClock().now() - START - timedelta(days=2)).total_seconds())
    await domain.verbs.note_spending(replace(CALL, purpose="old"))
    domain.clock.advance(2 * 86_400)
    async with domain.rows() as rows:
        await rows.note_spending(CALL)
        await rows.note_spending(replace(CALL, purpose="brief", task="generate-brief", team_id=None))
        await rows.note_spending(replace(CALL, purpose="other", model="new-model", cost_usd=None))
        day = domain.clock.now().date()
        lost = Reservation(CALL.job_id, 1, "lost", "analyze-story", "gpt-5-nano", TEAM, day, Decimal("0.5"))
        assert await rows.reserve(lost, None)


async def test_usage_is_shown_by_team_task_and_model(zeke: Zeke, on_postgres: Domain) -> None:
    await spend(on_postgres)
    lines = [line.split() for line in (await zeke.good("spending", "--days", "1")).splitlines()]
    assert lines[1:6] == [
        ["team", "task", "model", "calls", "tokens", "in", "tokens", "out", "dollars"],
        ["none", "generate-brief", "gpt-5-nano", "1", "1,000", "200", "$0.00125"],
        [str(TEAM), "analyze-story", "gpt-5-nano", "1", "1,000", "200", "$0.00125"],
        [str(TEAM), "analyze-story", "new-model", "1", "1,000", "200", "$0.00"],
        ["total", "3", "3,000", "600", "$0.0025"],
    ]
    told = await zeke.good("spending", "--by", "model")
    assert "gpt-5-nano      3" in told
    assert "without 1 call whose price is unknown" in told
    assert "$0.50 at most of 1 call in progress" in told


async def test_usage_is_one_json_document(zeke: Zeke, on_postgres: Domain) -> None:
    await spend(on_postgres)
    told = await zeke.json("spending", "--by", "team", "--team", str(TEAM))
    cost = {"calls": 3, "inputTokens": 3000, "outputTokens": 600, "costUsd": 0.0025}
    more = {"callsOfUnknownPrice": 1, "openCalls": 1, "openUsd": 0.5}
    assert told["totals"] == [{"teamId": str(TEAM), **cost, **more}]
    assert told["total"] == {**cost, **more}
    assert told["budgets"] == [{"teamId": str(TEAM), "budgetUsd": None, "usedUsd": 0.5}]
    assert (await zeke.json("spending", "--team", "none", "--since", "2020-01-01"))["total"]["calls"] == 1


async def test_budget_is_set_shown_and_reset(zeke: Zeke, on_postgres: Domain) -> None:
    team = ("--team", str(TEAM))
    assert "may cost $2.50 a day; $0.00 is used" in await zeke.good("budget", "set", "2.5", *team)
    assert "have no limit" in await zeke.good("budget", "set", "none")
    assert await on_postgres.verbs.budgets() == {None: None, TEAM: Decimal("2.5")}
    lines = [line.split() for line in (await zeke.good("budget", "show")).splitlines()]
    assert lines[2:] == [["none", "$0.00", "no", "limit", "–"], [str(TEAM), "$0.00", "$2.50", "$2.50"]]
    assert (await zeke.json("budget", "reset", *team))["budgetUsd"] is None
    assert [one["teamId"] for one in (await zeke.json("budget", "show"))["budgets"]] == [None]


async def test_wrong_values_are_refused_with_advice(zeke: Zeke) -> None:
    async def check(said: str, *args: str) -> None:
        assert said in await zeke.fails(*args, code=2)

    cases = [
        ("--by: must be any of team, task, model", "spending", "--by", "day"),
        ("--since: must be a date such as", "spending", "--since", "yesterday"),
        ("--team: must be the UUID of a team", "spending", "--team", "ours"),
        ("DOLLARS: must be 0 to", "budget", "set", "much"),
        ("DOLLARS: must be 0 to", "budget", "set", "--", "-1"),
        ("--team: must be the UUID of a team", "budget", "reset", "--team", "ours"),
    ]
    await check_each_async(cases, check)
