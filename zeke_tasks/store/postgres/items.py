"""Raw items and their contents on Postgres."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.core import jsonb
from zeke_tasks.store.model import Content, ItemStatus, Kind, RawItem, item_id
from zeke_tasks.store.postgres.runner import StatementRunner, message

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from zeke_tasks.store.model import NewItem


class PostgresItems(StatementRunner):
    """The methods on raw items and contents."""

    async def put_items(self, source_id: UUID, items: Sequence[NewItem]) -> list[UUID]:
        """Add new items and refresh known ones."""
        firsts = {item.external_id: item for item in reversed(items)}
        once = [item for item in items if firsts[item.external_id] is item]
        ids = [item_id(source_id, item.external_id) for item in once]
        told: dict[str, Any] = {
            "ids": ids,
            "urls": [item.url for item in once],
            "titles": [item.title for item in once],
            "published": [item.published_at for item in once],
            "bodies": [item.body for item in once],
            "metadatas": [jsonb.dumps(dict(item.metadata)) for item in once],
        }
        added = await self._run(
            "add_items",
            source_id=source_id,
            external_ids=[item.external_id for item in once],
            kinds=[item.kind.value for item in once],
            **told,
        )
        new = {row["id"] for row in added}
        if len(new) < len(once):
            await self._run("refresh_items", **told)
        return [key for key in ids if key in new]

    async def take_up_forgotten_items(self, source_id: UUID, after: float) -> list[UUID]:
        """Touch and return forgotten pending items, except those locked by other transactions."""
        rows = await self._run("take_up_forgotten_items", source_id=source_id, after=after)
        return [row["id"] for row in rows]

    async def reopen_items(self, ids: Collection[UUID]) -> list[UUID]:
        """Make failed and deleted items and those without text pending again."""
        return sorted(row["id"] for row in await self._run("reopen_items", ids=list(ids)))

    async def items(self, ids: Collection[UUID]) -> list[RawItem]:
        """Return items by id."""
        return [_item(row) for row in await self._run("items", ids=list(ids))]

    async def items_of(self, source_id: UUID) -> list[RawItem]:
        """Return the items of a source, by id."""
        return [_item(row) for row in await self._run("items_of", source_id=source_id)]

    async def finish_item(self, item_id: UUID, status: ItemStatus, error: str | None = None) -> bool:
        """Record the outcome of an attempt at a pending item."""
        return bool(await self._run("finish_item", id=item_id, status=status, error=message(error)))

    async def lock_video(self, video_id: str) -> None:
        """Lock a video until the transaction ends."""
        await self._run("lock_video", video_id=video_id)

    async def put_content(self, content: Content) -> None:
        """Store the text of an item."""
        await self._run(
            "put_content",
            raw_item_id=content.raw_item_id,
            text=content.text,
            content_hash=content.content_hash,
            language=content.language,
            html_url=content.html_url,
            pdf_url=content.pdf_url,
            audio_url=content.audio_url,
            transcript_vtt=content.transcript_vtt,
            duration_seconds=content.duration_seconds,
            view_count=content.view_count,
        )

    async def content(self, item_id: UUID) -> Content | None:
        """Return the text of an item."""
        rows = await self._run("content", raw_item_id=item_id)
        return Content(**rows[0]) if rows else None


def _item(row: dict[str, Any]) -> RawItem:
    row["kind"], row["status"] = Kind(row["kind"]), ItemStatus(row["status"])
    return RawItem(**row)
