"""AI calls of a job: records their usage, and converts their errors to signals.

A call takes seconds, so no transaction is open meanwhile. The results and the usage are written together
afterwards; if a call fails, the usage of the calls before it is written alone, unless it was written already.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel

from zeke_tasks.ai.errors import AIError
from zeke_tasks.context import context_of
from zeke_tasks.error_policy import verdict
from zeke_tasks.store.analysis import Spending

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from zeke_queue.task.context import JobContext
    from zeke_tasks.ai.client import Answer, Embedded, Prompt, Usage
    from zeke_tasks.store.repository import Rows

M = TypeVar("M", bound=BaseModel)


def unusable(purpose: str) -> str:
    """Return the purpose under which the usage of a call with an unusable vector is recorded."""
    return f"unusable {purpose}"


class Asking:
    """An AI client for one job; each purpose is used once per attempt."""

    def __init__(self, job: JobContext) -> None:
        self._job = job
        self._ai = context_of(job).ai
        self._spent: list[Spending] = []

    async def ask(self, purpose: str, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        """Ask, as ``AIClient.ask`` does."""
        try:
            answered = await self._ai.ask(prompt, text, answer)
        except AIError as error:
            if error.usage is not None:
                self._count(purpose, error.usage, stub=False)
            raise
        self._count(purpose, answered.usage, stub=answered.stub)
        return answered

    async def embed(self, purpose: str, text: str) -> Embedded:
        """Embed one text, as ``AIClient.embed`` does.

        The usage of a call with an unusable vector is recorded under `unusable`, so that a recorded purpose
        always has its vector.
        """
        try:
            embedded = await self._ai.embed([text])
        except AIError as error:
            if error.usage is not None:
                self._count(unusable(purpose), error.usage, stub=False)
            raise
        self._count(purpose, embedded.usage, stub=embedded.stub)
        return embedded

    async def note(self, rows: Rows) -> None:
        """Record the usage of the calls that is not recorded yet."""
        for spending in self._spent:
            await rows.note_spending(spending)
        self._spent.clear()

    @property
    def has_spent(self) -> bool:
        """Whether there is usage to record; the stub's is not recorded."""
        return bool(self._spent)

    def _count(self, purpose: str, usage: Usage, *, stub: bool) -> None:
        if stub:
            return
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
            )
        )


@asynccontextmanager
async def asking(job: JobContext) -> AsyncGenerator[Asking]:
    """Open a block for AI calls; use the answers after it.

    The block may raise an ``AIError`` itself for an unusable answer. Answers that the client rejects are
    recorded too, since they cost as much.

    Raises:
        Signal: the signal for the ``AIError`` that the block raised.
    """
    ai = Asking(job)
    try:
        yield ai
    except AIError as error:
        if ai.has_spent:
            async with job.transaction(lock=False) as transaction:  # the money is spent either way
                await ai.note(context_of(job).repository.within(transaction))
        if (signal := verdict(error, job)) is not None:
            raise signal from error
        raise
