"""AI calls of a job: keep them within the budget, record their usage, and convert their errors to signals.

A call takes seconds, so no transaction is open meanwhile. One before the call reserves the most that the call
can cost of the budget of its team. The results and the usage are written together afterwards, which frees the
rest of the reservation; if a call fails, the usage of the calls before it is written alone, unless it was
written already. What a call costs whose worker is killed is not known, so its reservation stays.

A malformed answer is requested again at once, up to the limit of calls that one attempt of a job makes for
one result (`Context.ai_calls`); then the attempt fails, and `zeke_tasks.error_policy` decides. Calls before a
wait for a rate limit or a budget count too, by their recorded usage, since such a wait uses up no retry.
"""

from __future__ import annotations

import re
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from pydantic import BaseModel

from zeke_tasks.ai.client import Usage, quote_of
from zeke_tasks.ai.errors import AIError, AIMalformed, AIOverBudget, AIRejected
from zeke_tasks.context import context_of
from zeke_tasks.error_policy import verdict
from zeke_tasks.store.analysis import Spending
from zeke_tasks.store.budgets import Reservation, dollars_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from datetime import date, datetime

    from zeke_queue.task.context import JobContext
    from zeke_tasks.ai.budget import Day
    from zeke_tasks.ai.client import Answer, Embedded, Prompt, Quote
    from zeke_tasks.store.budgets import BudgetUse
    from zeke_tasks.store.repository import Rows

M = TypeVar("M", bound=BaseModel)
A = TypeVar("A", bound="Answer[Any] | Embedded")

TEAM: Final = "teamId"
"""The key in a job's ``meta`` with the team for which it runs; the jobs that it sends inherit it."""

BUDGET_WAIT: Final = 900.0
"""Maximum seconds until a job checks whether the budget was raised."""

CALLS_WAIT: Final = 30.0
"""Seconds until a job tries again if calls in progress may leave enough of the budget."""


_NUMBER: Final = re.compile(r" \d+$")


def unusable(purpose: str) -> str:
    """Return the purpose under which the usage of a call with an unusable vector is recorded."""
    return f"unusable {purpose}"


def team_of(job: JobContext) -> UUID | None:
    """Return the team for which a job runs; None if it runs for no team, or a client set an invalid one."""
    try:
        return UUID(job.meta.get(TEAM))
    except (TypeError, ValueError, AttributeError):
        return None


class Asking:
    """An AI client for one job; the calls of a purpose share one limit per attempt.

    If several calls have the same purpose, their usage is recorded as ``brief``, ``brief 2`` and so on.

    Args:
        job: the job.
        team_id: the team whose budget the calls use.
    """

    def __init__(self, job: JobContext, team_id: UUID | None) -> None:
        self._job = job
        self._ai = context_of(job).ai
        self._team_id = team_id
        self._calls: Counter[str] = Counter()
        # Paid calls of earlier attempts.
        self._earlier: Counter[str] = Counter()
        self._recorded: Counter[str] = Counter()
        self._spent: list[Spending] = []
        # What is reserved for calls in progress, and what calls that have ended cost, by purpose and day.
        self._reserved: dict[str, Reservation] = {}
        self._costs: dict[tuple[str, date], Decimal] = {}

    def may_call(self, purpose: str) -> bool:
        """Return whether this attempt may call the AI once more for a purpose."""
        most, calls = context_of(self._job).ai_calls, self._calls[purpose]
        return calls < most and self._earlier[purpose] + calls < most * (self._job.retry_count + 1)

    async def ask(self, purpose: str, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        """Ask, as ``AIClient.ask`` does, and again if the answer is malformed.

        Raises:
            AIOverBudget: the budget does not admit the call.
        """
        quote = quote_of(self._ai, [text], prompt, answer)
        return await self._until_readable(purpose, purpose, quote, lambda: self._ai.ask(prompt, text, answer))

    async def embed(self, purpose: str, text: str) -> Embedded:
        """Embed one text, as ``AIClient.embed`` does, and again if the answer is malformed.

        The usage of a call with an unusable vector is recorded under `unusable`, so that a recorded purpose
        always has its vector.

        Raises:
            AIOverBudget: the budget does not admit the call.
        """
        quote = quote_of(self._ai, [text])
        return await self._until_readable(purpose, unusable(purpose), quote, lambda: self._ai.embed([text]))

    async def note(self, rows: Rows) -> None:
        """Record the usage of the calls that is not recorded yet, and what they have used of the budget."""
        for spending in self._spent:
            await rows.note_spending(spending)
        for (purpose, day), dollars in self._costs.items():
            await rows.settle(self._job.id, self._job.attempt, purpose, day, dollars)
        self._spent.clear()
        self._costs.clear()

    @property
    def has_spent(self) -> bool:
        """Whether there is usage to record; the stub's is not recorded."""
        return bool(self._spent or self._costs)

    async def _until_readable(
        self, purpose: str, failed: str, quote: Quote, call: Callable[[], Awaitable[A]]
    ) -> A:
        """Call until the answer is not malformed, within the limit of calls.

        Args:
            purpose: of the call, under which its usage is recorded.
            failed: replaces the purpose of a failed call's usage.
            quote: the most that one call can cost.
            call: calls the AI.
        """
        while True:
            key = _numbered(purpose, self._calls[purpose] + 1)
            await self._reserve(key, quote, (purpose, failed))
            self._calls[purpose] += 1
            try:
                answered = await call()
            except AIError as error:
                self._end(key, error.usage, may_cost=error.may_cost)
                usage = error.usage
                if usage is None and isinstance(error, AIMalformed) and quote.dollars != 0:
                    usage = Usage(quote.model, 0, 0, None)
                if usage is not None:
                    self._count(failed, usage, stub=False)
                if not (isinstance(error, AIMalformed) and self.may_call(purpose)):
                    raise
                self._job.logger.warning("AI answer malformed", purpose=purpose, reason=error.reason)
            else:
                self._end(key, answered.usage)
                self._count(purpose, answered.usage, stub=answered.stub)
                return answered

    async def _reserve(self, purpose: str, quote: Quote, recorded: tuple[str, str]) -> None:
        """Record what earlier calls have cost, and reserve the most that one can; a free call needs nothing.

        Args:
            purpose: of this call.
            quote: the most that it can cost.
            recorded: its purpose without a number, and the one under which failed calls are recorded.

        Raises:
            AIOverBudget: the budget does not admit the call.
            AIRejected: there is a budget, and the price of the call is unknown.
            AIMalformed: earlier attempts have made all calls that are permitted without a retry.
        """
        if quote.dollars == 0:
            return
        context, job, team = context_of(self._job), self._job, self._team_id
        budget = context.budget
        async with job.transaction() as transaction:
            rows = context.repository.within(transaction)
            await self.note(rows)
            await self._count_earlier(rows, recorded)
            now = await rows.time()
            day = budget.day(now)
            dollars = None if quote.dollars is None else dollars_of(quote.dollars)
            # Errors are raised after the commit, since it records what was spent.
            if (may_call := self.may_call(recorded[0])) and dollars is not None:
                call = Reservation(
                    job.id, job.attempt, purpose, job.task, quote.model, team, day.date, dollars
                )
                if await rows.reserve(call, budget.dollars):
                    self._reserved[purpose] = call
                    return
            use = await rows.budget_use(team, day.date, budget.dollars)
        if not may_call:
            calls = self._earlier[recorded[0]]
            raise AIMalformed(
                f"earlier attempts paid for {calls} calls without a complete result; ZEKE_AI_CALLS permits"
                f" {context.ai_calls}, and as many after each retry"
            )
        if dollars is not None:
            raise _over_budget(use, dollars, day, now, self._name())
        if use.dollars is not None:
            raise AIRejected(
                f"the price of {quote.model} is unknown, so its calls can't be kept within the budget of"
                f" {self._name()}: write it into the file of ZEKE_AI_PRICES, or remove the budget"
            )

    async def _count_earlier(self, rows: Rows, recorded: tuple[str, str]) -> None:
        """Count the paid calls of earlier attempts, once."""
        name, job = recorded[0], self._job
        if name not in self._earlier:
            spent = await rows.spending(job.id)
            calls = [_NUMBER.sub("", one.purpose) for one in spent if one.attempt != job.attempt]
            self._earlier[name] = sum(one in recorded for one in calls)

    def _end(self, purpose: str, usage: Usage | None, *, may_cost: bool = True) -> None:
        """Note what a call has cost: its reservation if that is unknown."""
        reserved = self._reserved.pop(purpose, None)
        if reserved is None:
            return
        cost = reserved.dollars if may_cost else Decimal(0)
        if usage is not None and usage.cost_usd is not None:
            cost = dollars_of(usage.cost_usd)
        key = (purpose, reserved.day)
        self._costs[key] = self._costs.get(key, Decimal(0)) + cost

    def _name(self) -> str:
        return "calls without a team" if self._team_id is None else f"team {self._team_id}"

    def _count(self, purpose: str, usage: Usage, *, stub: bool) -> None:
        if stub:
            return
        self._recorded[purpose] += 1
        purpose = _numbered(purpose, self._recorded[purpose])
        self._spent.append(
            Spending(
                job_id=self._job.id,
                attempt=self._job.attempt,
                purpose=purpose,
                task=self._job.task,
                model=usage.model,
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cost_usd=usage.cost_usd,
                team_id=self._team_id,
            )
        )


def _numbered(purpose: str, number: int) -> str:
    return purpose if number == 1 else f"{purpose} {number}"


def _over_budget(use: BudgetUse, dollars: Decimal, day: Day, now: datetime, name: str) -> AIOverBudget:
    """Return the error of a call that the budget does not admit."""
    budget, goes_on = use.dollars or Decimal(0), day.ends
    seconds = min((day.ends - now).total_seconds(), BUDGET_WAIT)
    then = (
        f"it goes on at {day.ends:%Y-%m-%d %H:%M} UTC, or {BUDGET_WAIT / 60:.0f} minutes after it is raised"
    )
    if dollars > budget:
        then = "no call fits into it: raise it"
    elif use.used - use.held + dollars <= budget:
        seconds, then = min(seconds, CALLS_WAIT), "calls in progress may leave enough of it"
        goes_on = now + timedelta(seconds=seconds)
    reason = (
        f"the budget of {name} for {day.date} is used up: ${use.used:f} of ${budget:f} is spent or reserved,"
        f" and the call may cost ${dollars:f}; {then}"
    )
    return AIOverBudget(reason, spent=use.used, budget=budget, goes_on=goes_on, seconds=seconds)


@asynccontextmanager
async def asking(job: JobContext, *, team_id: UUID | None = None) -> AsyncGenerator[Asking]:
    """Open a block for AI calls; use the answers after it.

    The block may raise an ``AIError`` itself for an unusable answer. Answers that the client rejects are
    recorded too, since they cost as much.

    Args:
        job: the job.
        team_id: the team whose budget the calls use; by default the one for which the job runs.

    Raises:
        Signal: the signal for the ``AIError`` that the block raised.
    """
    ai = Asking(job, team_of(job) if team_id is None else team_id)
    try:
        yield ai
    except AIError as error:
        if ai.has_spent:
            async with job.transaction(lock=False) as transaction:  # the money is spent either way
                await ai.note(context_of(job).repository.within(transaction))
        if (signal := verdict(error, job)) is not None:
            raise signal from error
        raise
