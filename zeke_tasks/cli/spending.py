"""``zeke spending``, ``zeke budget show | set | reset``: what the AI has cost, and may cost in a day."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

import typer
from rich.table import Column
from rich.text import Text

from zeke_queue.cli.render import NOTHING, echo, print_json, print_table
from zeke_queue.errors import InvalidOptionError
from zeke_tasks.cli.session import on_database, open_rows_read_only, rows_to_change

if TYPE_CHECKING:
    from collections.abc import Sequence

    from zeke_queue.cli.session import Options
    from zeke_queue.system.settings import Settings
    from zeke_tasks.ai.budget import Budget, Day
    from zeke_tasks.store.budgets import SpendingTotal
    from zeke_tasks.store.repository import Rows

budget_app = typer.Typer(help="Show and set the AI's budgets of a day.", no_args_is_help=True)

BY: Final = ("team", "task", "model")
"""What usage can be summed by."""

NONE: Final = "none"
"""The team of calls without one, and a budget without a limit."""

TeamOption = Annotated[
    str | None,
    typer.Option("--team", metavar="UUID", help="The team; by default calls without a team."),
]


def spending(
    context: typer.Context,
    days: Annotated[
        int, typer.Option(metavar="NUMBER", min=1, max=36_500, help="How many days, including today.")
    ] = 30,
    since: Annotated[
        str | None,
        typer.Option(metavar="DATE", help="The first day, as YYYY-MM-DD, in place of --days."),
    ] = None,
    team: Annotated[
        str | None, typer.Option(metavar="UUID", help=f"Only this team; {NONE} for calls without one.")
    ] = None,
    by: Annotated[
        str, typer.Option(metavar="WORDS", help=f"What to sum by: any of {', '.join(BY)}.")
    ] = ",".join(BY),
) -> None:
    """Show what the AI has cost by team, task and model, and today's budgets."""

    async def command(options: Options, settings: Settings) -> int:
        budget, columns = _budget(), _columns(by)
        first = None if since is None else _date(since)
        async with open_rows_read_only(settings) as rows:
            usage = await usage_of(rows, budget, days=days, first=first)
        if team is not None:
            usage = usage.of(None if team == NONE else _uuid(team))
        usage = usage.by(columns)
        if options.json:
            print_json(usage.value(columns))
        else:
            print_usage(usage, columns)
        return 0

    on_database(context, command)


class Usage:
    """What calls have cost since a day, and the use of today's budgets.

    Attributes:
        first: the first day.
        totals: the usage.
        today: the day.
        zone: the time zone of days.
        budgets: the budget of today, and what is used of it, by team.
    """

    def __init__(
        self,
        first: Day,
        totals: Sequence[SpendingTotal],
        today: Day,
        zone: str,
        budgets: dict[UUID | None, tuple[Decimal | None, Decimal]],
    ) -> None:
        self.first = first
        self.totals = totals
        self.today = today
        self.zone = zone
        self.budgets = budgets

    def of(self, team: UUID | None) -> Usage:
        """Return the usage of one team."""
        budgets = {team: self.budgets[team]} if team in self.budgets else {}
        totals = [one for one in self.totals if one.team_id == team]
        return Usage(self.first, totals, self.today, self.zone, budgets)

    def by(self, columns: Sequence[str]) -> Usage:
        """Return the usage summed by some columns."""
        sums: dict[tuple[UUID | None, str, str], SpendingTotal] = {}
        for one in self.totals:
            key = replace(
                one,
                team_id=one.team_id if "team" in columns else None,
                task=one.task if "task" in columns else "",
                model=one.model if "model" in columns else "",
            )
            place = (key.team_id, key.task, key.model)
            sums[place] = _sum([*([sums[place]] if place in sums else []), key])
        return Usage(self.first, list(sums.values()), self.today, self.zone, self.budgets)

    def value(self, columns: Sequence[str]) -> dict[str, Any]:
        """Return the usage for JSON output."""
        return {
            "since": self.first.starts,
            "timezone": self.zone,
            "totals": [{**_names(one, columns), **_value(one)} for one in self.totals],
            "total": _value(_sum(self.totals)) if self.totals else None,
            "today": {"day": str(self.today.date), "startsAt": self.today.starts, "endsAt": self.today.ends},
            "budgets": [
                {"teamId": team, "budgetUsd": None if most is None else float(most), "usedUsd": float(used)}
                for team, (most, used) in self.budgets.items()
            ],
        }


async def usage_of(rows: Rows, budget: Budget, *, days: int = 30, first: date | None = None) -> Usage:
    """Read the usage of some days, and today's budgets.

    Args:
        rows: the domain's tables.
        budget: the default budget, and the zone of days.
        days: how many days, including today.
        first: the first day, in place of ``days``.
    """
    from zeke_tasks.ai.budget import Day, start_of  # noqa: PLC0415 - see the package

    today = budget.day(await rows.time())
    first = today.date - timedelta(days=days - 1) if first is None else first
    starts = start_of(first, budget.zone)
    since = Day(first, starts, start_of(first + timedelta(days=1), budget.zone))
    used, own = await rows.used_on(today.date), await rows.budgets()
    teams = sorted({None, *used, *own}, key=lambda team: "" if team is None else str(team))
    budgets = {team: (own.get(team, budget.dollars), used.get(team, Decimal(0))) for team in teams}
    return Usage(since, await rows.spending_since(starts), today, budget.zone.key, budgets)


def print_usage(usage: Usage, columns: Sequence[str] = BY) -> None:
    """Print usage and today's budgets as tables."""
    if usage.totals:
        echo(f"Calls of the AI since {usage.first.date} ({usage.zone})")
        titles = ("calls", "tokens in", "tokens out", "dollars")
        rows = [_cells(one, columns) for one in usage.totals]
        total = _sum(usage.totals)
        if len(usage.totals) > 1:
            names = ["total", *[""] * (len(columns) - 1)][: len(columns)]
            rows.append([Text(cell, style="bold") for cell in (*names, *_numbers(total))])
        shown = [Column(name) for name in columns] + [Column(title, justify="right") for title in titles]
        print_table(shown, rows)
        if total.unpriced:
            echo(f"The dollars are without {_calls(total.unpriced)} whose price is unknown.")
        if total.open:
            echo(
                f"The dollars are without ${_exact(total.held)} at most of {_calls(total.open)} in progress,"
                " or of a killed worker."
            )
    else:
        echo(f"No calls of the AI since {usage.first.date} ({usage.zone}).")
    echo("")
    print_budgets(usage)


def print_budgets(usage: Usage) -> None:
    """Print today's budgets as a table."""
    echo(f"Budgets of {usage.today.date} ({usage.zone}), until {usage.today.ends:%Y-%m-%d %H:%M} UTC")
    rows = [
        [
            str(team or NONE),
            f"${_exact(used)}",
            "no limit" if most is None else f"${_exact(most)}",
            NOTHING if most is None else f"${_exact(max(most - used, Decimal(0)))}",
        ]
        for team, (most, used) in usage.budgets.items()
    ]
    right = [Column(title, justify="right") for title in ("used", "budget", "left")]
    print_table([Column("team"), *right], rows)


@budget_app.command("show")
def show(context: typer.Context) -> None:
    """Show today's budget of each team, and what is used of it."""

    async def command(options: Options, settings: Settings) -> int:
        budget = _budget()
        async with open_rows_read_only(settings) as rows:
            usage = await usage_of(rows, budget, days=1)
        if options.json:
            print_json({name: usage.value(BY)[name] for name in ("today", "timezone", "budgets")})
        else:
            print_budgets(usage)
        return 0

    on_database(context, command)


@budget_app.command("set")
def set_budget(
    context: typer.Context,
    dollars: Annotated[
        str, typer.Argument(metavar="DOLLARS", help=f"Dollars of a day, such as 2.50; {NONE} for no limit.")
    ],
    team: TeamOption = None,
) -> None:
    """Set the budget of a team; jobs that wait for it go on within 15 minutes if it is raised."""
    _change(context, team, _dollars(dollars))


@budget_app.command("reset")
def reset(context: typer.Context, team: TeamOption = None) -> None:
    """Delete the budget of a team, so that ZEKE_AI_BUDGET applies to it."""
    _change(context, team, None, delete=True)


def _change(
    context: typer.Context, team: str | None, dollars: Decimal | None, *, delete: bool = False
) -> None:
    team_id = None if team is None else _uuid(team)

    async def command(options: Options, settings: Settings) -> int:
        budget = _budget()
        async with rows_to_change(settings) as rows:
            if delete:
                await rows.remove_budget(team_id)
            else:
                await rows.set_budget(team_id, dollars)
            most, used = (await usage_of(rows, budget, days=1)).budgets.get(team_id, (budget.dollars, 0))
        if options.json:
            shown = None if most is None else float(most)
            print_json({"teamId": team_id, "budgetUsd": shown, "usedUsd": float(used)})
            return 0
        name = "Calls without a team" if team_id is None else f"Calls of team {team_id}"
        limit = "have no limit" if most is None else f"may cost ${_exact(most)} a day"
        echo(f"{name} {limit}; ${_exact(Decimal(used))} is used today.")
        return 0

    on_database(context, command)


def _budget() -> Budget:
    from zeke_tasks.ai.settings import AISettings  # noqa: PLC0415 - see the package

    return AISettings.load().budget


def _columns(text: str) -> list[str]:
    named = [word.strip() for word in text.split(",")]
    if wrong := [word for word in named if word not in BY]:
        raise InvalidOptionError(
            f"--by: must be any of {', '.join(BY)}, separated by commas, got {wrong[0]!r}."
        )
    return [name for name in BY if name in named]


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidOptionError(f"--since: must be a date such as 2026-01-31, got {text!r}.") from None


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise InvalidOptionError(f"--team: must be the UUID of a team, got {text!r}.") from None


def _dollars(text: str) -> Decimal | None:
    from zeke_tasks.store.budgets import DOLLARS_MAX, dollars_of  # noqa: PLC0415 - see the package

    if text == NONE:
        return None
    try:
        return dollars_of(Decimal(text.removeprefix("$")))
    except (InvalidOperation, InvalidOptionError):
        raise InvalidOptionError(
            f"DOLLARS: must be 0 to {DOLLARS_MAX}, such as 2.50, or {NONE} for no limit, got {text!r}."
        ) from None


def _sum(totals: Sequence[SpendingTotal]) -> SpendingTotal:
    """Return one or more totals as one, with the names of the first."""
    counts = ("calls", "input_tokens", "output_tokens", "dollars", "unpriced", "open", "held")
    return replace(totals[0], **{name: sum(getattr(one, name) for one in totals) for name in counts})


def _names(one: SpendingTotal, columns: Sequence[str]) -> dict[str, Any]:
    named = {"teamId": one.team_id, "task": one.task, "model": one.model}
    return {name: value for name, value in named.items() if name.removesuffix("Id") in columns}


def _value(one: SpendingTotal) -> dict[str, Any]:
    return {
        "calls": one.calls,
        "inputTokens": one.input_tokens,
        "outputTokens": one.output_tokens,
        "costUsd": float(one.dollars),
        "callsOfUnknownPrice": one.unpriced,
        "openCalls": one.open,
        "openUsd": float(one.held),
    }


def _cells(one: SpendingTotal, columns: Sequence[str]) -> list[Any]:
    from zeke_tasks.cli.formatting import printable_words  # noqa: PLC0415 - see the package

    names = _names(one, columns).values()
    return [*(printable_words(str(name or NONE)) for name in names), *_numbers(one)]


def _numbers(one: SpendingTotal) -> tuple[str, ...]:
    return f"{one.calls:,}", f"{one.input_tokens:,}", f"{one.output_tokens:,}", f"${_exact(one.dollars)}"


def _calls(number: int) -> str:
    return f"{number:,} call{'' if number == 1 else 's'}"


def _exact(dollars: Decimal) -> str:
    """Return dollars with cents, and as many more decimals as are needed, up to six.

    >>> _exact(Decimal("2.5")), _exact(Decimal("0.00125"))
    ('2.50', '0.00125')
    """
    cents, _, rest = f"{dollars:,.6f}".partition(".")
    return f"{cents}.{rest[:2]}{rest[2:].rstrip('0')}"
