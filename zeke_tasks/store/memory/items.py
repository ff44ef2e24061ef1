"""Raw items and their contents in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from zeke_tasks.store.memory.scope import Scope
from zeke_tasks.store.memory.tables import Item
from zeke_tasks.store.model import MESSAGE_CHARACTERS, ItemStatus, RawItem, item_id, storable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from zeke_tasks.store.model import Content, NewItem


_REOPENED: Final = (ItemStatus.FAILED, ItemStatus.NO_TEXT, ItemStatus.DELETED)


class MemoryItems(Scope):
    """The methods on raw items and contents."""

    async def put_items(self, source_id: UUID, items: Sequence[NewItem]) -> list[UUID]:
        """Add new items and refresh known ones."""
        if not await self._keep_source(source_id):
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
                known,
                url=item.url,
                title=item.title,
                published_at=item.published_at,
                body=item.body,
                metadata=item.metadata,
            )
            if old is None or (row != known and known.status is not ItemStatus.DELETED):
                self._items.put(key, Item(row, now))
        return new

    async def take_up_forgotten_items(self, source_id: UUID, after: float) -> list[UUID]:
        """Touch and return forgotten pending items, except those locked by other transactions."""
        if not await self._keep_source(source_id):
            return []
        now = self._now()
        forgotten = [
            item
            for item in self._items.of(source_id)
            if item.row.status is ItemStatus.PENDING
            and item.touched < now - timedelta(seconds=after)
            and not self._locks.taken(f"item {item.row.id}", self._owner)
        ]
        forgotten.sort(key=lambda item: (item.touched, item.row.id))
        for item in forgotten:
            self._locks.take(f"item {item.row.id}", self._owner)
            self._items.put(item.row.id, replace(item, touched=now))
        return [item.row.id for item in forgotten]

    async def reopen_items(self, ids: Collection[UUID]) -> list[UUID]:
        """Make failed and deleted items and those without text pending again."""
        sources = {item.row.source_id for key in ids if (item := self._items.get(key)) is not None}
        for source_id in sorted(sources):
            await self._keep_source(source_id)
        await self._lock(f"item {key}" for key in ids)
        reopened: list[UUID] = []
        for key in sorted(set(ids)):
            old = self._items.get(key)
            if old is not None and old.row.status in _REOPENED:
                row = replace(old.row, status=ItemStatus.PENDING, attempts=0, error=None)
                self._items.put(key, Item(row, self._now()))
                reopened.append(key)
        return reopened

    async def items(self, ids: Collection[UUID]) -> list[RawItem]:
        """Return items by id."""
        found = (self._items.get(key) for key in sorted(set(ids)))
        return [item.row for item in found if item is not None]

    async def items_of(self, source_id: UUID) -> list[RawItem]:
        """Return the items of a source, by id."""
        return sorted((item.row for item in self._items.of(source_id)), key=lambda row: row.id)

    async def finish_item(self, item_id: UUID, status: ItemStatus, error: str | None = None) -> bool:
        """Record the outcome of an attempt at a pending item."""
        self._require_open()
        known = self._items.get(item_id)
        if known is None or not await self._keep_source(known.row.source_id):
            return False
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
        self._items.put(item_id, Item(row, self._now()))
        return True

    async def lock_video(self, video_id: str) -> None:
        """Lock a video until the transaction ends."""
        await self._lock([f"video {video_id}"])

    async def put_content(self, content: Content) -> None:
        """Store the text of an item."""
        await self._lock([f"content {content.raw_item_id}"])
        self._contents.put(content.raw_item_id, content)

    async def content(self, item_id: UUID) -> Content | None:
        """Return the text of an item."""
        return self._contents.get(item_id)


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
        metadata={},
        status=ItemStatus.PENDING,
        attempts=0,
        error=None,
    )
