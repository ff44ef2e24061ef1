"""Budgets of the AI in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from zeke_tasks.store.budgets import CALL_SECONDS, BudgetUse, SpendingTotal, dollars_of
from zeke_tasks.store.memory.scope import Scope
from zeke_tasks.store.memory.tables import Budget, TimedReservation
from zeke_tasks.store.model import decimals, storable

if TYPE_CHECKING:
    from datetime import date, datetime
    from uuid import UUID

    from zeke_tasks.store.budgets import Reservation

_ZERO = Decimal(0)


class MemoryBudgets(Scope):
    """The methods on budgets and the sums of AI usage."""

    async def time(self) -> datetime:
        """Return the clock's time."""
        return self._now()

    async def reserve(self, reservation: Reservation, default: Decimal | None) -> bool:
        """Reserve the dollars of a call unless less is left of the budget."""
        await self._require_teams(reservation.team_id)
        day = (reservation.team_id, reservation.day)
        limit = self._limit(reservation.team_id, default)
        if limit is not None and reservation.dollars > limit:
            return False
        await self._lock([f"budget day {day}"])
        used = (self._budget_days.get(day) or _ZERO) + reservation.dollars
        if limit is not None and used > limit:
            return False
        self._budget_days.put(day, dollars_of(used))
        key = (reservation.job_id, reservation.attempt, reservation.purpose, reservation.day)
        old = self._reservations.get(key)
        held = TimedReservation(reservation, self._now())
        if old is not None:
            more = old.reservation.dollars + reservation.dollars
            held = replace(old, reservation=replace(old.reservation, dollars=more))
        self._reservations.put(key, held)
        return True

    async def settle(self, job_id: UUID, attempt: int, purpose: str, day: date, dollars: Decimal) -> None:
        """Replace a reservation by what the call has cost."""
        key, cost = (job_id, attempt, storable(purpose), day), dollars_of(dollars)
        await self._lock([f"reservation {key}"])
        held = self._reservations.get(key)
        if held is None:
            return
        reserved = held.reservation
        counted = (reserved.team_id, reserved.day)
        await self._lock([f"budget day {counted}"])
        self._reservations.put(key, None)
        used = self._budget_days.get(counted) or _ZERO
        self._budget_days.put(counted, dollars_of(used - reserved.dollars + cost))

    async def reservations(self) -> list[Reservation]:
        """Return the calls that were not settled, by job, attempt, purpose and day."""
        found = (held.reservation for held in self._reservations.values())
        return sorted(found, key=lambda one: (one.job_id, one.attempt, one.purpose, one.day))

    async def budget_use(self, team_id: UUID | None, day: date, default: Decimal | None) -> BudgetUse:
        """Return a team's budget and its use on a day."""
        after = self._now() - timedelta(seconds=CALL_SECONDS)
        held = (
            one.reservation.dollars
            for one in self._reservations.values()
            if (one.reservation.team_id, one.reservation.day) == (team_id, day) and one.at > after
        )
        used = self._budget_days.get((team_id, day)) or _ZERO
        limit = self._limit(team_id, default)
        return BudgetUse(None if limit is None else dollars_of(limit), used, dollars_of(sum(held, _ZERO)))

    async def used_on(self, day: date) -> dict[UUID | None, Decimal]:
        """Return the dollars that each team has used on a day."""
        found = {team: used for (team, one), used in self._budget_days.items() if one == day}
        return {team: found[team] for team in sorted(found, key=_none_first)}

    async def set_budget(self, team_id: UUID | None, dollars: Decimal | None) -> None:
        """Set the budget of a team, or of calls without one."""
        await self._require_teams(team_id)
        budget = Budget(None if dollars is None else dollars_of(dollars))
        await self._lock([f"budget {team_id}"])
        self._budgets.put(team_id, budget)

    async def remove_budget(self, team_id: UUID | None) -> bool:
        """Delete a team's own budget."""
        await self._lock([f"budget {team_id}"])
        known = self._budgets.get(team_id) is not None
        self._budgets.put(team_id, None)
        return known

    async def budgets(self) -> dict[UUID | None, Decimal | None]:
        """Return the budgets that were set, by team."""
        found = {team: budget.dollars for team, budget in self._budgets.items()}
        return {team: found[team] for team in sorted(found, key=_none_first)}

    async def spending_since(self, since: datetime) -> list[SpendingTotal]:
        """Return the usage since a time by team, task and model."""
        totals: dict[tuple[UUID | None, str, str], SpendingTotal] = {}
        for key, spent in self._spending.items():
            if (self._spent_at.get(key) or since) >= since:
                cost = spent.cost_usd
                old = _total(totals, spent.team_id, spent.task, spent.model)
                totals[old.team_id, old.task, old.model] = replace(
                    old,
                    calls=old.calls + 1,
                    input_tokens=old.input_tokens + spent.input_tokens,
                    output_tokens=old.output_tokens + spent.output_tokens,
                    dollars=dollars_of(old.dollars + dollars_of(decimals(cost or 0.0, 10))),
                    unpriced=old.unpriced + (cost is None),
                )
        for held in self._reservations.values():
            if held.at >= since:
                one = held.reservation
                old = _total(totals, one.team_id, one.task, one.model)
                more = dollars_of(old.held + one.dollars)
                totals[old.team_id, old.task, old.model] = replace(old, open=old.open + 1, held=more)
        return sorted(totals.values(), key=lambda one: (*_none_first(one.team_id), one.task, one.model))

    def _limit(self, team_id: UUID | None, default: Decimal | None) -> Decimal | None:
        own = self._budgets.get(team_id)
        return default if own is None else own.dollars


def _none_first(team_id: UUID | None) -> tuple[bool, int]:
    return team_id is not None, team_id.int if team_id is not None else 0


def _total(
    totals: dict[tuple[UUID | None, str, str], SpendingTotal], team_id: UUID | None, task: str, model: str
) -> SpendingTotal:
    return totals.get((team_id, task, model)) or SpendingTotal(
        team_id, task, model, 0, 0, 0, dollars=_ZERO, unpriced=0, open=0, held=_ZERO
    )
