"""The domain's store in memory: what the Postgres one is compared with, and what simulations run on.

What a transaction of the queue writes is laid over the committed rows until it commits, so that nobody else
sees it and a rollback leaves nothing. Whoever wants to write what an open transaction has written waits for
its end, as in Postgres; whoever merely looks sees what is committed.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from zeke_queue.errors import StorageUnavailable
from zeke_queue.storage.memory.locks import Locks, Owner
from zeke_tasks.store.model import (
    MESSAGE_CHARACTERS,
    URL_CHARACTERS,
    Health,
    HealthStatus,
    ItemStatus,
    RawItem,
    Source,
    Story,
    StoryStatus,
    item_id,
    storable,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from uuid import UUID

    from zeke_queue.clock import Clock
    from zeke_tasks.store.model import Content, NewItem, NewSource, NewStory, SourceType
    from zeke_tasks.store.repository import OpenTransaction

_NEVER_CHECKED: Final = datetime.min.replace(tzinfo=UTC)

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Check:
    """A source's health with the moment that ``failing_for`` counts from."""

    health: Health
    failing_since: datetime | None


@dataclass(frozen=True, slots=True)
class _Item:
    """A raw item with the moment it was last touched."""

    row: RawItem
    touched: datetime


class _Tables:
    """The committed rows by id, and the unique keys that don't follow from an id."""

    def __init__(self) -> None:
        self.sources: dict[UUID, Source] = {}
        self.places: dict[tuple[str, str], UUID] = {}
        self.checks: dict[UUID, _Check] = {}
        self.items: dict[UUID, _Item] = {}
        self.contents: dict[UUID, Content] = {}
        self.stories: dict[UUID, Story] = {}
        self.told: dict[UUID, UUID] = {}


class _Layer(Generic[K, V]):
    """A table as one transaction sees it: its changes over the committed rows; None is a row that is gone."""

    def __init__(self, committed: dict[K, V]) -> None:
        self._committed = committed
        self._changes: dict[K, V | None] = {}

    def get(self, key: K) -> V | None:
        """Return a row, or None."""
        return self._changes[key] if key in self._changes else self._committed.get(key)

    def put(self, key: K, value: V | None) -> None:
        """Change a row, or let it go."""
        self._changes[key] = value

    def values(self) -> Iterator[V]:
        """Yield every row."""
        for key in {**self._committed, **self._changes}:
            if (value := self.get(key)) is not None:
                yield value

    def commit(self) -> None:
        """Let everybody see the changes."""
        for key, value in self._changes.items():
            if value is None:
                self._committed.pop(key, None)
            else:
                self._committed[key] = value


class MemoryRepository:
    """The store itself; what it keeps is gone with the object."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tables: Final = _Tables()
        self._locks = Locks()
        # With the transaction itself, so that no other one has its id meanwhile.
        self._open: dict[int, tuple[OpenTransaction, MemoryRows]] = {}

    def within(self, transaction: OpenTransaction) -> MemoryRows:
        """Return the verbs as part of a transaction; all calls for one transaction see the same."""
        key = id(transaction)
        if key not in self._open:
            rows = MemoryRows(self._tables, self._locks, self._clock)

            def commit() -> None:
                del self._open[key]
                rows.commit()

            def roll_back() -> None:
                del self._open[key]
                rows.roll_back()

            transaction.on_commit(commit)
            transaction.on_rollback(roll_back)
            self._open[key] = transaction, rows
        return self._open[key][1]


class MemoryRows:
    """The verbs over one transaction's layer; what each does is said in ``Rows``."""

    def __init__(self, tables: _Tables, locks: Locks, clock: Clock) -> None:
        self._sources = _Layer(tables.sources)
        self._places = _Layer(tables.places)
        self._checks = _Layer(tables.checks)
        self._items = _Layer(tables.items)
        self._contents = _Layer(tables.contents)
        self._stories = _Layer(tables.stories)
        self._told = _Layer(tables.told)
        self._locks = locks
        self._owner = Owner()
        self._now = clock.now

    def commit(self) -> None:
        """Let everybody see what was written."""
        for layer in (self._sources, self._places, self._checks):
            layer.commit()
        for layer in (self._items, self._contents, self._stories, self._told):
            layer.commit()
        self._locks.release(self._owner)

    def roll_back(self) -> None:
        """Forget what was written."""
        self._locks.release(self._owner)

    async def _lock(self, names: Iterable[str]) -> None:
        """Keep others from writing what these names stand for, once they have ended.

        Raises:
            StorageUnavailable: this transaction has ended; a server may end one behind its owner's back.
        """
        wanted = sorted(set(names))
        for name in wanted:
            await self._locks.clear(lambda name=name: (name,), self._owner)
            self._require_open()
            self._locks.take(name, self._owner)

    def _require_open(self) -> None:
        if self._owner.ended.is_set():
            raise StorageUnavailable("The transaction of these rows has ended; open another one")

    async def ensure_source(self, id: UUID, source: NewSource) -> Source:  # noqa: A002 - the column's name
        """Add a source, or return the one of this type and url."""
        place = None if source.url is None else (source.type.value, source.url)
        await self._lock([f"source {id}", *([] if place is None else [f"place {place}"])])
        known = self._sources.get(id)
        if known is None and place is not None and (holder := self._places.get(place)) is not None:
            known = self._sources.get(holder)
        if known is not None:
            return known
        made = Source(
            id,
            source.type,
            source.name,
            source.url,
            source.authority_score,
            source.is_active,
            source.check_frequency_hours,
            deepcopy(source.metadata),
        )
        self._sources.put(id, made)
        if place is not None:
            self._places.put(place, id)
        return made

    async def source(self, source_id: UUID) -> Source | None:
        """Return a source."""
        return self._sources.get(source_id)

    async def health(self, source_id: UUID) -> Health | None:
        """Return a source's health."""
        check = self._checks.get(source_id)
        if check is None or check.failing_since is None:
            return check and check.health
        return replace(check.health, failing_for=(self._now() - check.failing_since).total_seconds())

    async def sources(self, types: Collection[SourceType], *, due_in: float | None = None) -> list[Source]:
        """Return active sources with a url, the one that waits longest first."""
        until = None if due_in is None else self._now() + timedelta(seconds=due_in)
        found: list[tuple[datetime, UUID, Source]] = []
        for source in self._sources.values():
            if source.is_active and source.url is not None and source.type in types:
                check = self._checks.get(source.id)
                due = _NEVER_CHECKED if check is None else check.health.next_check_at
                if until is None or due <= until:
                    found.append((due, source.id, source))
        return [source for *_, source in sorted(found, key=lambda entry: entry[:2])]

    async def move_source(self, source_id: UUID, url: str) -> bool:
        """Give a source a new url, unless another has it."""
        source = self._sources.get(source_id)
        if source is None or len(url) > URL_CHARACTERS:
            return False
        place = (source.type.value, url)
        await self._lock([f"source {source_id}", f"place {place}"])
        source = self._sources.get(source_id) or source
        if self._places.get(place) not in (None, source_id):
            return False
        if source.url is not None:
            self._places.put((source.type.value, source.url), None)
        self._places.put(place, source_id)
        self._sources.put(source_id, replace(source, url=url))
        return True

    async def record_success(
        self,
        source_id: UUID,
        *,
        next_check_in: float,
        etag: str | None,
        last_modified: str | None,
        status: HealthStatus,
        message: str | None = None,
    ) -> None:
        """Write down that a check went well."""
        await self._lock([f"check {source_id}"])
        if self._sources.get(source_id) is None:
            return
        now, old = self._now(), self._checks.get(source_id)
        health = Health(
            source_id,
            status,
            now,
            old.health.last_error_at if old else None,
            None if message is None else storable(message)[:MESSAGE_CHARACTERS],
            None,
            now + timedelta(seconds=next_check_in),
            etag,
            last_modified,
        )
        self._checks.put(source_id, _Check(health, None))

    async def record_failure(self, source_id: UUID, *, next_check_in: float, message: str) -> None:
        """Write down that a check failed."""
        await self._lock([f"check {source_id}"])
        if self._sources.get(source_id) is None:
            return
        now, old = self._now(), self._checks.get(source_id)
        health = Health(
            source_id,
            HealthStatus.ERROR,
            old.health.last_success_at if old else None,
            now,
            storable(message)[:MESSAGE_CHARACTERS],
            None,
            now + timedelta(seconds=next_check_in),
            old.health.etag if old else None,
            old.health.last_modified if old else None,
        )
        since = old.failing_since if old and old.failing_since is not None else now
        self._checks.put(source_id, _Check(health, since))

    async def put_items(self, source_id: UUID, items: Sequence[NewItem]) -> list[UUID]:
        """Add new items and refresh known ones."""
        if self._sources.get(source_id) is None:
            return []
        firsts = {item_id(source_id, item.external_id): item for item in reversed(items)}
        await self._lock(f"item {key}" for key in firsts)
        now = self._now()
        new: list[UUID] = []
        for item in items:
            key = item_id(source_id, item.external_id)
            if firsts.pop(key, None) is not item:
                continue
            old = self._items.get(key)
            if old is None:
                new.append(key)
            known = old.row if old else _new_row(key, source_id, item)
            row = replace(
                known, url=item.url, title=item.title, published_at=item.published_at, body=item.body
            )
            if old is None or row != known:
                self._items.put(key, _Item(row, now))
        return new

    async def take_up_forgotten_items(self, source_id: UUID, after: float) -> list[UUID]:
        """Touch and return pending items that were left alone; those that others work on are passed over."""
        self._require_open()
        now = self._now()
        forgotten = [
            item
            for item in self._items.values()
            if item.row.source_id == source_id
            and item.row.status is ItemStatus.PENDING
            and item.touched < now - timedelta(seconds=after)
            and not self._locks.taken(f"item {item.row.id}", self._owner)
        ]
        forgotten.sort(key=lambda item: (item.touched, item.row.id))
        for item in forgotten:
            self._locks.take(f"item {item.row.id}", self._owner)
            self._items.put(item.row.id, replace(item, touched=now))
        return [item.row.id for item in forgotten]

    async def reopen_items(self, ids: Collection[UUID]) -> list[UUID]:
        """Make items pending again that failed or had no text."""
        await self._lock(f"item {key}" for key in ids)
        reopened: list[UUID] = []
        for key in sorted(set(ids)):
            old = self._items.get(key)
            if old is not None and old.row.status in {ItemStatus.FAILED, ItemStatus.NO_TEXT}:
                row = replace(old.row, status=ItemStatus.PENDING, attempts=0, error=None)
                self._items.put(key, _Item(row, self._now()))
                reopened.append(key)
        return reopened

    async def items(self, ids: Collection[UUID]) -> list[RawItem]:
        """Return items by id."""
        found = (self._items.get(key) for key in sorted(set(ids)))
        return [item.row for item in found if item is not None]

    async def items_of(self, source_id: UUID) -> list[RawItem]:
        """Return the items of a source, by id."""
        rows = (item.row for item in self._items.values())
        return sorted((row for row in rows if row.source_id == source_id), key=lambda row: row.id)

    async def finish_item(self, item_id: UUID, status: ItemStatus, error: str | None = None) -> bool:
        """Write down how an attempt at a pending item ended."""
        await self._lock([f"item {item_id}"])
        old = self._items.get(item_id)
        if old is None or old.row.status is not ItemStatus.PENDING:
            return False
        row = replace(
            old.row,
            status=status,
            attempts=old.row.attempts + 1,
            error=None if error is None else storable(error)[:MESSAGE_CHARACTERS],
        )
        self._items.put(item_id, _Item(row, self._now()))
        return True

    async def put_content(self, content: Content) -> None:
        """Store the text of an item."""
        await self._lock([f"content {content.raw_item_id}"])
        self._contents.put(content.raw_item_id, content)

    async def content(self, item_id: UUID) -> Content | None:
        """Return the text of an item."""
        return self._contents.get(item_id)

    async def ensure_story(self, story: NewStory) -> tuple[UUID, bool]:
        """Make a story, or find the one that tells the same text or was made of the same content."""
        await self._lock([f"story {story.id}", f"told {story.content_id}"])
        if self._stories.get(story.id) is not None:
            return story.id, False
        if (known := self._told.get(story.content_id)) is not None:
            return known, False
        made = Story(
            story.id,
            story.content_id,
            story.content_hash,
            story.kind,
            None,
            story.primary_source_id,
            story.title,
            None,
            story.url,
            story.published_at,
            StoryStatus.NEW,
        )
        self._stories.put(story.id, made)
        self._told.put(story.content_id, story.id)
        return story.id, True

    async def stories_of(self, item_ids: Collection[UUID]) -> dict[UUID, Story]:
        """Return the stories that tell the texts of some items."""
        by_hash = {story.content_hash: story for story in self._stories.values()}
        by_content = {story.content_id: story for story in by_hash.values()}
        found: dict[UUID, Story] = {}
        for key in item_ids:
            content = self._contents.get(key)
            story = content and (by_hash.get(content.content_hash) or by_content.get(key))
            if story is not None:
                found[key] = story
        return found


def _new_row(key: UUID, source_id: UUID, item: NewItem) -> RawItem:
    return RawItem(
        id=key,
        source_id=source_id,
        external_id=item.external_id,
        kind=item.kind,
        url=None,
        title=None,
        published_at=None,
        body=None,
        status=ItemStatus.PENDING,
        attempts=0,
        error=None,
    )
