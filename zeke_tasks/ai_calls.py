"""How a job asks the AI: what its calls took is kept, and what went wrong is said in the queue's words.

The AI takes seconds, so no transaction is open meanwhile. What came of it and what it took are written
together afterwards; if a call fails, what those before it took is written alone, unless it was written
already.
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
    """Return the purpose under which it is kept what a call took whose vector is of no use."""
    return f"unusable {purpose}"


class Asking:
    """An AI as one job asks it; each purpose once an attempt."""

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

        What a call took whose vector is of no use is kept under `unusable`, so that a purpose that was paid
        for has its vector.
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
        """Write down what the calls took that were not written down yet."""
        for spending in self._spent:
            await rows.note_spending(spending)
        self._spent.clear()

    @property
    def has_spent(self) -> bool:
        """Whether any call is to be written down; those of a stub are not."""
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
    """Ask an AI in a block, and use the answers after it.

    The block may raise an ``AIError`` of its own, for an answer that is of no use after all. One that the
    client could not use is counted too, for it costs as much.

    Raises:
        Signal: what an ``AIError`` means for the job.
    """
    ai = Asking(job)
    try:
        yield ai
    except AIError as error:
        if ai.has_spent:
            async with job.transaction() as transaction:
                await ai.note(context_of(job).repository.within(transaction))
        if (signal := verdict(error, job)) is not None:
            raise signal from error
        raise
