"""Budgets of the AI: what can be reserved, what is used, and the sums of usage."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import pytest

from tests.clocks import START
from tests.tasks.domain import Domain
from tests.tasks.store.samples import SPENDING, TEAM
from zeke_queue.errors import InvalidOptionError
from zeke_tasks.store.budgets import CALL_SECONDS, BudgetUse, Reservation, SpendingTotal, dollars_of

TODAY: Final = START.date()
TOMORROW: Final = TODAY + timedelta(days=1)
JOB: Final = UUID(int=51)
ZERO: Final = Decimal(0)


def reservation(dollars: str, purpose: str = "analysis", **about: Any) -> Reservation:
    given = {"task": "analyze-story", "model": "m", "team_id": TEAM, "day": TODAY, **about}
    return Reservation(JOB, 1, purpose, **given, dollars=Decimal(dollars))


async def test_call_is_reserved_up_to_the_budget(domain: Domain) -> None:
    budget = Decimal("0.3")
    async with domain.rows() as rows:
        assert await rows.reserve(reservation("0.2"), budget)
        assert not await rows.reserve(reservation("0.1000000001", "brief"), budget)
        assert await rows.reserve(reservation("0.1", "brief"), budget)
        assert not await rows.reserve(reservation("0.0000000001", "more"), budget)
        # Other teams, calls without a team, and other days have their own.
        others: list[dict[str, Any]] = [{"team_id": None}, {"team_id": UUID(int=22)}, {"day": TOMORROW}]
        for about in others:
            assert await rows.reserve(reservation("0.3", str(about), **about), budget)
        assert await rows.budget_use(TEAM, TODAY, budget) == BudgetUse(budget, budget, budget)
    with pytest.raises(InvalidOptionError, match="dollars: must be 0 to"):
        dollars_of(-1.0)


async def test_settled_call_frees_what_it_has_not_used(domain: Domain) -> None:
    budget = Decimal("0.3")
    async with domain.rows() as rows:
        assert await rows.reserve(reservation("0.3"), budget)
        for _ in range(2):
            await rows.settle(JOB, 1, "analysis", TODAY, Decimal("0.125"))
            assert await rows.budget_use(TEAM, TODAY, budget) == BudgetUse(budget, Decimal("0.125"), ZERO)
        assert await rows.reservations() == []
        assert await rows.reserve(reservation("0.175", "brief"), budget)
        assert await rows.used_on(TODAY) == {TEAM: budget}


async def test_call_of_a_killed_worker_counts_but_is_not_in_progress(domain: Domain) -> None:
    async with domain.rows() as rows:
        assert await rows.reserve(reservation("0.25"), None)
        assert (await rows.budget_use(TEAM, TODAY, None)).held == Decimal("0.25")
    domain.clock.advance(CALL_SECONDS)
    async with domain.rows() as rows:
        assert await rows.budget_use(TEAM, TODAY, None) == BudgetUse(None, Decimal("0.25"), ZERO)
        assert await rows.reservations() == [reservation("0.25")]


async def test_own_budget_precedes_the_default(domain: Domain) -> None:
    async with domain.rows() as rows:
        await rows.set_budget(TEAM, Decimal("0.1"))
        await rows.set_budget(None, None)
        assert await rows.budgets() == {None: None, TEAM: Decimal("0.1")}
        assert not await rows.reserve(reservation("0.2"), Decimal(9))
        assert await rows.reserve(reservation("999", team_id=None), ZERO)
        await rows.set_budget(TEAM, Decimal("0.5"))
        assert await rows.reserve(reservation("0.2", "brief"), Decimal(9))
        assert await rows.remove_budget(TEAM)
        assert not await rows.remove_budget(TEAM)
        assert not await rows.reserve(reservation("0.2", "more"), Decimal("0.3"))


async def test_usage_is_summed_by_team_task_and_model(domain: Domain) -> None:
    spent = replace(SPENDING, cost_usd=0.1, team_id=TEAM)
    async with domain.rows() as rows:
        await rows.note_spending(replace(spent, purpose="yesterday"))
    domain.clock.advance(60)
    since = domain.clock.now()
    async with domain.rows() as rows:
        for purpose in ("a", "b", "c"):
            await rows.note_spending(replace(spent, purpose=purpose))
        await rows.note_spending(replace(spent, purpose="d", cost_usd=None))
        await rows.note_spending(replace(spent, purpose="e", team_id=None))
        await rows.reserve(reservation("0.25"), None)
        assert await rows.spending_since(since) == [
            SpendingTotal(None, "analyze-story", "m", 1, 1, 2, Decimal("0.1"), 0, 0, ZERO),
            SpendingTotal(TEAM, "analyze-story", "m", 4, 4, 8, Decimal("0.3"), 1, 1, Decimal("0.25")),
        ]
