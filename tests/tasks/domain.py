"""A domain store beside a queue's storage, in the words of the tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import fields, is_dataclass, replace
from typing import Any, Final, TypeVar, cast
from uuid import UUID

from tests.clocks import FrozenClock
from zeke_queue.storage import Storage
from zeke_queue.storage.jobs import Transaction
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.entropy import Ids, SeededEntropy
from zeke_tasks.fetch import content_hash
from zeke_tasks.store.analysis import Overlay
from zeke_tasks.store.memory import MemoryRepository
from zeke_tasks.store.model import (
    Content,
    Health,
    Kind,
    NewItem,
    NewSource,
    NewStory,
    RawItem,
    Source,
    SourceType,
    Story,
    item_id,
)
from zeke_tasks.store.repository import Repository, Rows

CHECKED: Final = ("last_success_at", "last_error_at", "next_check_at", "failing_for")
"""Times that move each time that a source is checked, whether or not there was anything new."""

STAMPED: Final = ("analysed_at", "briefed_at", "scored_at", "last_viewed_at", "started_at", "ended_at", "at")
"""Times at which a row changed."""


T = TypeVar("T")


class _Undo(Exception):
    """Ends a transaction that is not to commit."""


class _Verbs:
    """Calls each verb of a repository in a transaction of its own."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            async with self._domain.rows() as rows:
                return await getattr(rows, name)(*args, **kwargs)

        return call


class Domain:
    """A repository, the storage whose transactions it joins, and the clock of both."""

    def __init__(self, storage: Storage, repository: Repository, clock: FrozenClock) -> None:
        self.storage = storage
        self.repository = repository
        self.clock = clock
        self.new_id = Ids(clock, SeededEntropy(1))
        self.verbs = cast("Rows", _Verbs(self))

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[tuple[Transaction, Rows]]:
        """Open a transaction; gives it, and the repository's verbs in it."""
        async with self.storage.transaction() as transaction:
            yield transaction, self.repository.within(transaction)

    @asynccontextmanager
    async def undone(self) -> AsyncGenerator[tuple[Transaction, Rows]]:
        """Open a transaction that rolls back at the end of the block."""
        with suppress(_Undo):
            async with self.transaction() as both:
                yield both
                raise _Undo

    @asynccontextmanager
    async def rows(self) -> AsyncGenerator[Rows]:
        """Open a transaction; gives the repository's verbs in it."""
        async with self.transaction() as (_, rows):
            yield rows

    async def source(self, url: str | None = "https://a.example/feed", **about: Any) -> Source:
        """Add a source, by default an RSS feed."""
        given: dict[str, Any] = {"type": SourceType.RSS, "name": "A feed", **about}
        async with self.rows() as rows:
            return await rows.ensure_source(self.new_id(), NewSource(url=url, **given))

    async def item(self, source: Source, external_id: str = "1", **about: Any) -> UUID:
        """Add an item that is not there yet; returns its id."""
        async with self.rows() as rows:
            (added,) = await rows.put_items(source.id, [NewItem(external_id=external_id, **about)])
            return added

    async def look(self, item_id: UUID) -> RawItem:
        """Return a stored item."""
        async with self.rows() as rows:
            (item,) = await rows.items([item_id])
            return item

    async def content(self, item_id: UUID) -> Content:
        """Return the content of an item that has one."""
        return there(await self.verbs.content(item_id))

    async def health(self, source: Source) -> Health:
        """Return the health of a source that was checked."""
        return there(await self.verbs.health(source.id))

    async def overlay(self, story: Story) -> Overlay:
        """Return the overlay of a story that was analysed."""
        return there(await self.verbs.overlay(story.id))

    async def items(self, source: Source) -> dict[str, RawItem]:
        """Return the items of a source by their external ids."""
        return {item.external_id: item for item in await self.verbs.items_of(source.id)}

    async def story_of(self, item_id: UUID) -> Story:
        """Return the story of an item that has one."""
        return (await self.stories(item_id))[item_id]

    async def story(self, item: RawItem, text: str) -> tuple[UUID, bool]:
        """Store an item's text and make the story of it, as one transaction does."""
        content = content_of(item.id, text)
        async with self.rows() as rows:
            await rows.put_content(content)
            return await rows.ensure_story(story_of(content, item.source_id, item.kind))

    async def told_story(self, text: str = "Some text.", source: Source | None = None, **about: Any) -> Story:
        """Make an item of a source, its content of this text and the story of it, and return the story."""
        source = source or await self.source()
        new = NewItem(external_id=content_hash(text), kind=about.get("kind", Kind.ARTICLE))
        content = content_of(item_id(source.id, new.external_id), text)
        async with self.rows() as rows:
            await rows.put_items(source.id, [new])
            await rows.put_content(content)
            key, _ = await rows.ensure_story(replace(story_of(content, source.id, new.kind), **about))
            story = await rows.story(key)
        assert story is not None
        return story

    async def everything(self, *, times: bool = True) -> dict[str, list[Any]]:
        """Return every row of every table, the same for the same rows, whichever store it is.

        A source's health is included without times. A team whose only rows are what it does
        with highlights of others, and that subscribes to nothing, is not found.

        Args:
            times: whether to include the times of changes; without them a change made once in a
                history is equal to one made once in another.
        """
        without = CHECKED if times else (*CHECKED, *STAMPED)
        async with self.rows() as rows:
            found = await _all_rows(rows)
        return {table: [_without(without, row) for row in kept] for table, kept in found.items()}

    async def stories(self, *items: UUID) -> dict[UUID, Story]:
        """Return the stories of these items."""
        return await self.verbs.stories_of(items)


def memory_domain(clock: FrozenClock | None = None) -> Domain:
    """Return an empty store in memory."""
    clock = clock or FrozenClock()
    return Domain(MemoryStorage(clock), MemoryRepository(clock), clock)


def content_of(item_id: UUID, text: str) -> Content:
    """Return a content of this text."""
    return Content(raw_item_id=item_id, text=text, content_hash=content_hash(text))


def story_of(content: Content, source_id: UUID, kind: Kind, title: str = "A title") -> NewStory:
    """Return the story that a content makes."""
    return NewStory(
        content_id=content.raw_item_id,
        content_hash=content.content_hash,
        kind=kind,
        primary_source_id=source_id,
        title=title,
    )


def there(row: T | None) -> T:
    """Return a row that must be there."""
    assert row is not None
    return row


async def _all_rows(rows: Rows) -> dict[str, list[Any]]:
    sources = await rows.every_source()
    items = [item for source in sources for item in await rows.items_of(source.id)]
    stories = sorted(await rows.newest_stories(1_000_000), key=lambda story: story.id)
    highlights = [one for story in stories for one in await rows.highlights(story.id)]
    reading = [one for story in stories for one in await rows.reading_states(story.id)]
    connections = [(team, source.id) for source in sources for team in await rows.teams_of(source.id)]
    teams = {team for team, _ in connections} | {one.team_id for one in reading}
    teams |= {one.team_id for one in highlights if one.team_id is not None}
    playbooks = await rows.every_playbook()
    runs = [run for playbook in playbooks for run in await rows.runs_of(playbook.id)]
    return {
        "sources": sources,
        "source_health": [one for source in sources if (one := await rows.health(source.id))],
        "source_connections": connections,
        "raw_items": items,
        "contents": [one for item in items if (one := await rows.content(item.id))],
        "stories": stories,
        "story_overlays": [one for story in stories if (one := await rows.overlay(story.id))],
        "story_embeddings": [(story.id, one) for story in stories for one in await rows.embeddings(story.id)],
        "ai_spending": await rows.spending(),
        "ai_budgets": list((await rows.budgets()).items()),
        "ai_reservations": await rows.reservations(),
        "highlights": highlights,
        "team_story_states": reading,
        "team_highlight_states": [one for team in sorted(teams) for one in await rows.team_highlights(team)],
        "playbooks": playbooks,
        "playbook_runs": runs,
        "playbook_run_events": [one for run in runs for one in await rows.run_events(run.id)],
    }


def _without(names: tuple[str, ...], row: Any) -> Any:
    if not is_dataclass(row):
        return row
    return {field.name: getattr(row, field.name) for field in fields(row) if field.name not in names}
