"""The memory store and the Postgres one are given the same transactions, and must answer and end up alike."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

import psycopg
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.clocks import START, FrozenClock
from tests.tasks.domain import Domain, content_of, story_of
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.storage.postgres import PostgresStorage
from zeke_tasks.store.memory import MemoryRepository
from zeke_tasks.store.model import HealthStatus, ItemStatus, NewItem, NewSource, SourceType, item_id
from zeke_tasks.store.postgres import PostgresRepository, migrate

if TYPE_CHECKING:
    from zeke_tasks.store.repository import Rows

SOURCES = [UUID(int=number) for number in range(1, 4)]
URLS = [f"https://{name}.example/feed" for name in "ab"]
KEYS = ["1", "2"]
ITEMS = [item_id(source, key) for source in SOURCES[:2] for key in KEYS]
TEXTS = ["one", "two"]


class Step(NamedTuple):
    """One verb with its arguments."""

    verb: str
    arguments: dict[str, Any]


class Unit(NamedTuple):
    """A transaction: seconds that pass before it, its steps, and whether it commits."""

    wait: float
    steps: list[Step]
    commits: bool


sources = st.sampled_from(SOURCES)
items = st.sampled_from(ITEMS)
texts = st.sampled_from(TEXTS)
words = st.none() | st.text(st.characters(codec="utf-8") | st.just("\x00"), max_size=3)
seconds = st.sampled_from([0.0, 1.0, 60.0])
new_sources = st.builds(
    NewSource,
    type=st.sampled_from([SourceType.RSS, SourceType.MANUAL]),
    name=st.text(max_size=3),
    url=st.none() | st.sampled_from(URLS),
    authority_score=st.none() | st.floats(0, 1),
    is_active=st.booleans(),
    metadata=st.dictionaries(st.sampled_from("ab"), st.integers(0, 3), max_size=2),
)
new_items = st.builds(NewItem, external_id=st.sampled_from(KEYS), title=words, body=words)


def verb(name: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[Step]:
    """Steps of one verb."""
    return st.builds(Step, st.just(name), st.fixed_dictionaries(arguments))


VERBS = [
    verb("ensure_source", id=sources, source=new_sources),
    verb("source", source_id=sources),
    verb("health", source_id=sources),
    verb("sources", types=st.just([SourceType.RSS]), due_in=st.none() | seconds),
    verb("move_source", source_id=sources, url=st.sampled_from(URLS)),
    verb(
        "record_success",
        source_id=sources,
        next_check_in=seconds,
        etag=st.none() | st.just('"1"'),
        last_modified=st.none(),
        status=st.sampled_from([HealthStatus.OK, HealthStatus.WARN]),
        message=words,
    ),
    verb("record_failure", source_id=sources, next_check_in=seconds, message=st.text(max_size=3)),
    verb("put_items", source_id=sources, items=st.lists(new_items, max_size=4)),
    verb("take_up_forgotten_items", source_id=sources, after=seconds),
    verb("reopen_items", ids=st.lists(items, max_size=3)),
    verb("finish_item", item_id=items, status=st.sampled_from(ItemStatus), error=words),
    verb("tell", item=items, text=texts),
]


@st.composite
def plans(draw: st.DrawFn) -> list[Unit]:
    """Transactions of a few verbs each plan: many calls of few verbs meet where few calls of many don't."""
    chosen = draw(st.lists(st.sampled_from(range(len(VERBS))), min_size=2, max_size=6, unique=True))
    steps = st.lists(st.one_of([VERBS[number] for number in chosen]), min_size=1, max_size=6)
    mostly = st.sampled_from([True, True, True, False])
    return draw(st.lists(st.builds(Unit, seconds, steps, mostly), max_size=10))


async def take(rows: Rows, step: Step) -> Any:
    """Take one step; ``tell`` stands for the two verbs that only make sense for an item that is there."""
    if step.verb != "tell":
        return await getattr(rows, step.verb)(**step.arguments)
    for item in await rows.items([step.arguments["item"]]):
        content = content_of(item.id, step.arguments["text"])
        await rows.put_content(content)
        return await rows.ensure_story(story_of(content, item.source_id, item.kind))
    return None


BEGINNING = Unit(
    0.0,
    [
        *(
            Step(
                "ensure_source", {"id": source, "source": NewSource(SourceType.RSS, "a", f"https://{source}")}
            )
            for source in SOURCES[:2]
        ),
        *(
            Step("put_items", {"source_id": source, "items": [NewItem(external_id=key) for key in KEYS]})
            for source in SOURCES[:2]
        ),
    ],
    commits=True,
)
"""Two sources with their items, or most plans would do nothing."""


async def run(domain: Domain, plan: list[Unit]) -> list[Any]:
    """Run transactions; returns every answer, and then every row."""
    answers: list[Any] = []
    for unit in [BEGINNING, *plan]:
        domain.clock.advance(unit.wait)
        async with domain.transaction() if unit.commits else domain.undone() as (_, rows):
            answers += [await take(rows, step) for step in unit.steps]
    async with domain.rows() as rows:
        answers.append([await rows.source(source) for source in SOURCES])
        answers.append([await rows.health(source) for source in SOURCES])
        answers.append([await rows.items_of(source) for source in SOURCES])
        answers.append([await rows.content(item) for item in ITEMS])
        answers.append(await rows.stories_of(ITEMS))
    return answers


def test_both_stores_answer_alike(dsn: str) -> None:
    migrate.migrate(dsn)
    clock = FrozenClock()

    async def on_postgres(plan: list[Unit]) -> list[Any]:
        await empty.execute("delete from zeke.sources")
        clock.advance((START - clock.now()).total_seconds())
        return await run(Domain(storage, PostgresRepository(clock.now), clock), plan)

    async def in_memory(plan: list[Unit]) -> list[Any]:
        own = FrozenClock()
        return await run(Domain(MemoryStorage(own), MemoryRepository(own), own), plan)

    @settings(max_examples=80)
    @given(plan=plans())
    def compare(plan: list[Unit]) -> None:
        assert runner.run(in_memory(plan)) == runner.run(on_postgres(plan))

    async def open_storage() -> tuple[PostgresStorage, psycopg.AsyncConnection]:
        opened = await stack.enter_async_context(
            PostgresStorage.open(dsn, min_size=1, max_size=1, listen=False, now=clock.now)
        )
        return opened, await psycopg.AsyncConnection.connect(dsn, autocommit=True)

    stack = AsyncExitStack()
    # One loop for all examples, since the connections belong to it.
    with asyncio.Runner() as runner:
        storage, empty = runner.run(open_storage())
        try:
            compare()
        finally:
            runner.run(empty.close())
            runner.run(stack.aclose())
