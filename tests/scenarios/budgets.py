"""Jobs that ask an AI within a budget of dollars a day, whatever happens to workers and their calls.

The AI keeps its own books: a call that has not ended may cost the most, and one of a killed worker too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from tests.workloads import Known, doing, leased, sending, tending
from zeke_queue.model import FINAL
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.history.events import Violation
from zeke_sim.testing.client import through_faults
from zeke_sim.world.setup import Setup
from zeke_tasks.ai.budget import Budget
from zeke_tasks.ai.client import Answer, Embedded, M, Prompt, Quote, Usage
from zeke_tasks.ai.errors import AIMalformed, AIUnavailable
from zeke_tasks.ai_calls import asking
from zeke_tasks.context import Context, context_of, inline
from zeke_tasks.store.memory import MemoryRepository
from zeke_tasks.testing.web import ScriptedWeb

if TYPE_CHECKING:
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Node
    from zeke_sim.world.world import World

EPOCH: Final = datetime(2026, 3, 2, 22, 0, tzinfo=UTC)
"""Two hours before midnight, when budgets begin anew; all faults occur before it."""

PHASE: Final = 60.0
DAY: Final = 86_400.0
MOST: Final = 10
"""Thousandths of a dollar that a call costs at most."""

POLL: Final = 60.0
PROMPT: Final = Prompt("question", "1", "Answer.")


class Question(BaseModel):
    """A question, by its number."""

    number: int


class Reply(BaseModel):
    """An answer without content."""


@dataclass
class PaidAI:
    """An AI that records what its calls have cost, or may cost.

    Attributes:
        budget: thousandths of a dollar a day.
        late: seconds that a call takes.
        costs: thousandths of a dollar of each call; a negative cost is the AI's failure after it has worked.
        days: the sum of each day.
        exceeded: what a call found that exceeds the budget.
    """

    budget: int
    late: float
    costs: Sequence[int]
    days: defaultdict[date, int] = field(default_factory=lambda: defaultdict(int))
    calls: int = 0
    exceeded: str | None = None
    world: Any = None

    def quote(
        self, texts: Sequence[str], prompt: Prompt | None = None, answer: type[BaseModel] | None = None
    ) -> Quote:
        del texts, prompt, answer
        return Quote("paid", MOST / 1000)

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        del prompt, text
        clock = self.world.database_clock
        day = clock.now().date()
        self.days[day] += MOST
        if self.days[day] > self.budget and self.exceeded is None:
            self.exceeded = f"calls of {day} may cost {self.days[day]} of {self.budget} thousandths"
        cost = self.costs[self.calls % len(self.costs)]
        self.calls += 1
        await clock.sleep(self.late)
        usage = Usage("paid", 1, 1, abs(cost) / 1000)
        self.days[day] += abs(cost) - MOST
        if cost == 0:
            raise AIUnavailable("the AI is away")
        if cost < 0:
            error = AIMalformed("the AI babbles")
            error.usage = usage
            raise error
        return Answer(answer.model_validate({}), usage, stub=False)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        raise NotImplementedError  # no handler here embeds


async def ask(question: Question, job: JobContext) -> None:
    """Ask the AI, within the budget."""
    async with asking(job) as ai:
        await ai.ask("answer", PROMPT, f"question {question.number}", Reply)
    async with job.transaction() as transaction:
        await ai.note(context_of(job).repository.within(transaction))


class Bookkeeper:
    """A client that waits until all jobs have ended, and compares the books of the AI and the store."""

    def __init__(self, ai: PaidAI) -> None:
        self._ai = ai
        self.repository: MemoryRepository | None = None

    def begin(self, world: World) -> None:
        """Use a world's time, and an empty store in it."""
        self._ai.world = world
        self.repository = MemoryRepository(world.database_clock)

    async def check(self, node: Node) -> None:
        """Check the books at the end.

        Raises:
            Violation: the budget was exceeded, or something was spent that is not counted.
        """
        await node.world.database_clock.sleep(PHASE + POLL)
        while not await self._rests(node):
            await node.world.database_clock.sleep(POLL)
        await through_faults(lambda: self._compare(node))

    async def _rests(self, node: Node) -> bool:
        counts = await through_faults(node.queue.stats)
        return not any(
            number for one in counts for state, number in one.row_counts.items() if state not in FINAL
        )

    async def _compare(self, node: Node) -> None:
        assert self.repository is not None
        ai, at = self._ai, node.world.time()
        if ai.exceeded:
            raise Violation("calls stay within the budget", ai.exceeded, at=at)
        async with node.queue.transaction() as transaction:
            rows = self.repository.within(transaction)
            for day, spent in ai.days.items():
                used = (await rows.used_on(day)).get(None, Decimal(0)) * 1000
                if not spent <= used <= ai.budget:
                    told = f"on {day} {spent} was spent, {used} is counted, and {ai.budget} is the budget"
                    raise Violation("what was spent is counted", told, at=at)


def build(draws: RandomStream) -> Setup:
    """Draw some questions, a budget for a few of them, and the costs of calls."""

    @asynccontextmanager
    async def resources() -> AsyncGenerator[Context]:
        assert keeper.repository is not None
        clock, budget = ai.world.database_clock, Budget(Decimal(ai.budget) / 1000)
        yield Context(keeper.repository, web, clock, inline, ai, budget=budget)

    web = ScriptedWeb()
    costs = [draws.pick((1, 4, 7, MOST, MOST, 0, -5)) for _ in range(20)]
    ai = PaidAI(MOST * (2 + draws.below(4)), draws.pick((0.1, 1.0, 5.0)), costs)
    keeper = Bookkeeper(ai)
    catalog = Catalog(resources=resources)
    catalog.task("ask", retry_limit=3, retry_delay=1, expire_in=60.0)(ask)
    known = Known()
    actions = []
    for number in range(3 + draws.below(5)):
        at = draws.uniform(0.0, 0.8 * PHASE)
        actions.append((at, sending(known, number, "ask", Question(number=number))))
        if draws.chance(0.2):
            actions.append((at + draws.uniform(0.0, 5.0), tending(known, number, "cancel")))
    return Setup(
        catalog,
        clients={"c1": doing(actions), "c2": keeper.check},
        workers=3,
        worker=leased(1 + draws.below(3), 12.0),
        phase=PHASE,
        quiet=5 * DAY,
        tail=60.0,
        archive_after=6 * DAY,
        epoch=EPOCH,
        code=("zeke_tasks.ai_calls",),
        before=keeper.begin,
    )


SCENARIO = Scenario(
    __name__,
    "calls of an AI that stay within a budget of dollars a day, whoever makes them",
    build,
)
