"""The memory store and the Postgres store run the same transactions, with equal answers and rows."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import psycopg
import pytest
from hypothesis import Phase, given, settings
from psycopg import sql

from tests.clocks import START, FrozenClock
from tests.tasks.domain import Domain
from tests.tasks.store.steps import ITEMS, SOURCES, TOPICS, Unit, plans, take
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.storage.postgres import PostgresStorage
from zeke_tasks.store.memory import MemoryRepository
from zeke_tasks.store.postgres import PostgresRepository

pytestmark = pytest.mark.nightly


async def run(domain: Domain, plan: list[Unit]) -> list[Any]:
    """Run transactions; returns every answer, and then every row."""
    answers: list[Any] = []
    for unit in plan:
        domain.clock.advance(unit.wait)
        async with domain.transaction() if unit.commits else domain.undone() as (_, rows):
            answers += [await take(rows, step) for step in unit.steps]
    async with domain.rows() as rows:
        answers.append([await rows.health(source) for source in SOURCES])
        answers.append(sorted((await rows.stories_of(ITEMS)).items()))
    answers.append(await domain.everything())
    return answers


@pytest.mark.parametrize("topic", TOPICS)
def test_both_stores_return_equal_results(domain_dsn: str, topic: str) -> None:
    clock = FrozenClock()

    async def on_postgres(plan: list[Unit]) -> list[Any]:
        await empty.execute("delete from zeke.sources")
        await empty.execute("delete from zeke.playbooks")
        for table in ("ai_spending", "ai_budgets", "ai_budget_days", "ai_reservations", "deleted_teams"):
            await empty.execute(sql.SQL("delete from zeke.{}").format(sql.Identifier(table)))
        clock.advance((START - clock.now()).total_seconds())
        return await run(Domain(storage, PostgresRepository(clock.now), clock), plan)

    async def in_memory(plan: list[Unit]) -> list[Any]:
        own = FrozenClock()
        return await run(Domain(MemoryStorage(own), MemoryRepository(own), own), plan)

    # A plan is short enough to be read, and shrinking one would take minutes.
    @settings(max_examples=80, phases=[Phase.explicit, Phase.reuse, Phase.generate])
    @given(plan=plans(topic))
    def compare(plan: list[Unit]) -> None:
        # As text, in which 1, 1.0 and True are not the same.
        assert list(map(repr, runner.run(in_memory(plan)))) == list(map(repr, runner.run(on_postgres(plan))))

    async def open_storage() -> tuple[PostgresStorage, psycopg.AsyncConnection]:
        opened = await stack.enter_async_context(
            PostgresStorage.open(domain_dsn, min_size=1, max_size=1, listen=False, now=clock.now)
        )
        return opened, await psycopg.AsyncConnection.connect(domain_dsn, autocommit=True)

    stack = AsyncExitStack()
    # One loop for all examples, since the connections belong to it.
    with asyncio.Runner() as runner:
        storage, empty = runner.run(open_storage())
        try:
            compare()
        finally:
            runner.run(empty.close())
            runner.run(stack.aclose())
