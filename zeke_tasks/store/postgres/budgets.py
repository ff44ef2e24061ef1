"""Budgets of the AI on Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zeke_tasks.store.budgets import CALL_SECONDS, BudgetUse, Reservation, SpendingTotal, dollars_of
from zeke_tasks.store.model import storable
from zeke_tasks.store.postgres.runner import StatementRunner

if TYPE_CHECKING:
    from datetime import date, datetime
    from decimal import Decimal
    from uuid import UUID


class PostgresBudgets(StatementRunner):
    """The methods on budgets and the sums of AI usage."""

    async def time(self) -> datetime:
        """Return the database's time."""
        (row,) = await self._run("time")
        return row["now"]

    async def reserve(self, reservation: Reservation, default: Decimal | None) -> bool:
        """Reserve the dollars of a call, in one statement, unless less is left of the budget."""
        await self._require_teams(reservation.team_id)
        return bool(
            await self._run(
                "reserve",
                job_id=reservation.job_id,
                attempt=reservation.attempt,
                purpose=reservation.purpose,
                task=reservation.task,
                model=reservation.model,
                team_id=reservation.team_id,
                day=reservation.day,
                dollars=reservation.dollars,
                fallback=default,
            )
        )

    async def settle(self, job_id: UUID, attempt: int, purpose: str, day: date, dollars: Decimal) -> None:
        """Replace a reservation by what the call has cost."""
        cost, named = dollars_of(dollars), storable(purpose)
        await self._run("settle", job_id=job_id, attempt=attempt, purpose=named, day=day, dollars=cost)

    async def reservations(self) -> list[Reservation]:
        """Return the calls that were not settled, by job, attempt, purpose and day."""
        return [Reservation(**row) for row in await self._run("reservations")]

    async def budget_use(self, team_id: UUID | None, day: date, default: Decimal | None) -> BudgetUse:
        """Return a team's budget and its use on a day."""
        (row,) = await self._run(
            "budget_use", team_id=team_id, day=day, fallback=default, within=CALL_SECONDS
        )
        return BudgetUse(_plain(row["dollars"]), dollars_of(row["used"]), dollars_of(row["held"]))

    async def used_on(self, day: date) -> dict[UUID | None, Decimal]:
        """Return the dollars that each team has used on a day."""
        return {row["team_id"]: dollars_of(row["used"]) for row in await self._run("used_on", day=day)}

    async def set_budget(self, team_id: UUID | None, dollars: Decimal | None) -> None:
        """Set the budget of a team, or of calls without one."""
        await self._require_teams(team_id)
        await self._run("set_budget", team_id=team_id, dollars=_plain(dollars))

    async def remove_budget(self, team_id: UUID | None) -> bool:
        """Delete a team's own budget."""
        return bool(await self._run("remove_budget", team_id=team_id))

    async def budgets(self) -> dict[UUID | None, Decimal | None]:
        """Return the budgets that were set, by team."""
        return {row["team_id"]: _plain(row["dollars"]) for row in await self._run("budgets")}

    async def spending_since(self, since: datetime) -> list[SpendingTotal]:
        """Return the usage since a time by team, task and model."""
        rows = await self._run("spending_since", since=since)
        for row in rows:
            row |= {name: dollars_of(row[name]) for name in ("dollars", "held")}
        return [SpendingTotal(**row) for row in rows]


def _plain(dollars: Decimal | None) -> Decimal | None:
    return None if dollars is None else dollars_of(dollars)
