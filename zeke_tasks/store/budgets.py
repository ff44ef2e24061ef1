"""Budgets of the AI: what calls may cost a team in a day, what they have cost, and what is reserved."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Final, Protocol

from zeke_queue.errors import InvalidOptionError
from zeke_tasks.store.model import storable

if TYPE_CHECKING:
    from datetime import date, datetime
    from uuid import UUID

DOLLARS_MAX: Final = Decimal(1_000_000_000)
"""The largest amount of dollars that is stored."""

CALL_SECONDS: Final = 900.0
"""Seconds after which a call that was not settled can't be in progress any more."""

_UNIT: Final = Decimal("1e-10")


def dollars_of(amount: Decimal | float) -> Decimal:
    """Return an amount as it is stored: with ten decimals, rounded up.

    Raises:
        InvalidOptionError: it is negative, or above a billion.
    """
    exact = amount if isinstance(amount, Decimal) else Decimal(f"{amount:.15g}")
    if not 0 <= exact <= DOLLARS_MAX:
        raise InvalidOptionError(f"dollars: must be 0 to {DOLLARS_MAX}, got {amount}")
    return exact.quantize(_UNIT, ROUND_CEILING).normalize()


@dataclass(frozen=True, slots=True)
class Reservation:
    """A call that is about to be made; unique by job, attempt, purpose and day.

    Attributes:
        team_id: the team whose budget it uses; None for that of calls without a team.
        day: the day whose budget it uses.
        dollars: the most that it can cost.

    Raises:
        InvalidOptionError: the dollars are out of range.
    """

    job_id: UUID
    attempt: int
    purpose: str
    task: str
    model: str
    team_id: UUID | None
    day: date
    dollars: Decimal

    def __post_init__(self) -> None:
        for name in ("purpose", "task", "model"):
            object.__setattr__(self, name, storable(getattr(self, name)))
        object.__setattr__(self, "dollars", dollars_of(self.dollars))


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """A team's budget of a day and what is used of it.

    Attributes:
        dollars: the budget; None for no limit.
        used: of calls that have ended, and of those that were not settled at their highest price.
        held: the part of ``used`` that is reserved for calls that may be in progress.
    """

    dollars: Decimal | None
    used: Decimal
    held: Decimal


@dataclass(frozen=True, slots=True)
class SpendingTotal:
    """The AI usage of one team, task and model.

    Attributes:
        calls: with their tokens and dollars.
        unpriced: those of the calls whose cost is unknown.
        open: calls that were not settled: they are in progress, or their worker was killed.
        held: the dollars that are reserved for these.
    """

    team_id: UUID | None
    task: str
    model: str
    calls: int
    input_tokens: int
    output_tokens: int
    dollars: Decimal
    unpriced: int
    open: int
    held: Decimal


class BudgetRows(Protocol):
    """Budgets, and the sums of AI usage."""

    async def time(self) -> datetime:
        """Return the store's time, by which the day of a call is determined."""
        ...

    async def reserve(self, reservation: Reservation, default: Decimal | None) -> bool:
        """Reserve the dollars of a call, unless they exceed what is left of its team's budget.

        What concurrent calls reserve is counted, whether their transactions have committed or not. A second
        reservation of the same job, attempt, purpose and day is added to the first.

        Args:
            reservation: the call.
            default: the budget of teams that have none of their own; None for no limit.

        Returns:
            False, without any change, if less is left.
        """
        ...

    async def settle(self, job_id: UUID, attempt: int, purpose: str, day: date, dollars: Decimal) -> None:
        """Replace a reservation by what the call has cost; does nothing if there is none."""
        ...

    async def reservations(self) -> list[Reservation]:
        """Return the calls that were not settled, by job, attempt, purpose and day."""
        ...

    async def budget_use(self, team_id: UUID | None, day: date, default: Decimal | None) -> BudgetUse:
        """Return a team's budget and its use on a day.

        A reservation counts as ``held`` for ``CALL_SECONDS``; after that its worker was killed.
        """
        ...

    async def used_on(self, day: date) -> dict[UUID | None, Decimal]:
        """Return the dollars that each team has used on a day, those without a team first."""
        ...

    async def set_budget(self, team_id: UUID | None, dollars: Decimal | None) -> None:
        """Set the budget of a team, or of calls without one; None for no limit."""
        ...

    async def remove_budget(self, team_id: UUID | None) -> bool:
        """Delete a team's own budget, so that the default counts; returns False if it has none."""
        ...

    async def budgets(self) -> dict[UUID | None, Decimal | None]:
        """Return the budgets that were set, by team."""
        ...

    async def spending_since(self, since: datetime) -> list[SpendingTotal]:
        """Return the usage since a time by team, task and model; those without a team first."""
        ...
