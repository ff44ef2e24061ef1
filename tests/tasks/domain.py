"""A domain store beside a queue's storage, in the words of the tests."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from zeke_queue.rng import Ids, SeededEntropy
from zeke_tasks.store.model import Content, NewItem, NewSource, NewStory, SourceType
from zeke_tasks.web import content_hash

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from tests.clocks import FrozenClock
    from zeke_queue.storage.store import Storage, Transaction
    from zeke_tasks.store.model import Kind, RawItem, Source, Story
    from zeke_tasks.store.repository import Repository, Rows


class _Undo(Exception):
    """Ends a transaction that is not to commit."""


class Domain:
    """A repository, the storage whose transactions it joins, and the clock of both."""

    def __init__(self, storage: Storage, repository: Repository, clock: FrozenClock) -> None:
        self.storage = storage
        self.repository = repository
        self.clock = clock
        self.new_id = Ids(clock, SeededEntropy(1))

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
        """Add a source, an RSS feed unless told otherwise."""
        given: dict[str, Any] = {"type": SourceType.RSS, "name": "A feed", **about}
        async with self.rows() as rows:
            return await rows.ensure_source(self.new_id(), NewSource(url=url, **given))

    async def item(self, source: Source, external_id: str = "1", **about: Any) -> UUID:
        """Add an item that is not there yet; returns its id."""
        async with self.rows() as rows:
            (added,) = await rows.put_items(source.id, [NewItem(external_id=external_id, **about)])
            return added

    async def look(self, item_id: UUID) -> RawItem:
        """Return an item as it is stored."""
        async with self.rows() as rows:
            (item,) = await rows.items([item_id])
            return item

    async def story(self, item: RawItem, text: str) -> tuple[UUID, bool]:
        """Store an item's text and make the story of it, as one transaction does."""
        content = content_of(item.id, text)
        async with self.rows() as rows:
            await rows.put_content(content)
            return await rows.ensure_story(story_of(content, item.source_id, item.kind))

    async def stories(self, *items: UUID) -> dict[UUID, Story]:
        """Return the stories that tell these items."""
        async with self.rows() as rows:
            return await rows.stories_of(items)


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
