"""The verbs of the domain's store as statements on the connection of the queue's transaction."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from psycopg import errors
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from zeke_queue.errors import SchemaMismatch
from zeke_tasks.store.model import (
    MESSAGE_CHARACTERS,
    URL_CHARACTERS,
    Content,
    Health,
    HealthStatus,
    ItemStatus,
    Kind,
    RawItem,
    Source,
    SourceType,
    Story,
    StoryStatus,
    item_id,
    storable,
)
from zeke_tasks.store.postgres.statements import STATEMENTS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from uuid import UUID

    from psycopg import AsyncConnection

    from zeke_tasks.store.model import NewItem, NewSource, NewStory
    from zeke_tasks.store.repository import OpenTransaction


class PostgresRepository:
    """The store; it has no connections, since it works on those of the queue's transactions.

    Args:
        now: the time that statements take in place of the database's, for tests; None in production.
    """

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        self._now = now

    def within(self, transaction: OpenTransaction) -> PostgresRows:
        """Return the verbs as part of a transaction."""
        return PostgresRows(transaction.connection, self._now)


class PostgresRows:
    """The verbs on one connection; what each does is said in ``Rows``."""

    def __init__(self, connection: AsyncConnection[Any], now: Callable[[], datetime] | None) -> None:
        self._connection = connection
        self._now = now

    async def _run(self, statement: str, /, **values: Any) -> list[dict[str, Any]]:
        """Run a statement and return its rows.

        Raises:
            SchemaMismatch: the tables are not there.
        """
        values["now"] = self._now() if self._now else None
        async with self._connection.cursor(row_factory=dict_row) as cursor:
            try:
                await cursor.execute(STATEMENTS[statement], values)
            except (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName) as error:
                raise SchemaMismatch(
                    f"The tables of schema zeke are missing or too old ({error.diag.message_primary}):"
                    " run `zeke migrate`."
                ) from error
            rows = await cursor.fetchall() if cursor.description else []
        # The connection may be a caller's, who lives in a time zone.
        return [{name: _in_utc(value) for name, value in row.items()} for row in rows]

    async def ensure_source(self, id: UUID, source: NewSource) -> Source:  # noqa: A002 - the column's name
        """Add a source, or return the one of this type and url."""
        added = await self._run(
            "ensure_source",
            id=id,
            type=source.type,
            name=source.name,
            url=source.url,
            authority_score=source.authority_score,
            is_active=source.is_active,
            check_frequency_hours=source.check_frequency_hours,
            metadata=Jsonb(dict(source.metadata)),
        )
        if added:
            found = await self._run("source", id=id)
        else:
            found = await self._run("known_source", id=id, type=source.type, url=source.url)
        return _source(found[0])

    async def source(self, source_id: UUID) -> Source | None:
        """Return a source."""
        rows = await self._run("source", id=source_id)
        return _source(rows[0]) if rows else None

    async def health(self, source_id: UUID) -> Health | None:
        """Return a source's health."""
        rows = await self._run("health", source_id=source_id)
        return _health(rows[0]) if rows else None

    async def sources(self, types: Collection[SourceType], *, due_in: float | None = None) -> list[Source]:
        """Return active sources with a url, the one that waits longest first."""
        rows = await self._run("sources", types=[kind.value for kind in types], due_in=due_in)
        return [_source(row) for row in rows]

    async def move_source(self, source_id: UUID, url: str) -> bool:
        """Give a source a new url, unless another has it."""
        if len(url) > URL_CHARACTERS:
            return False
        try:
            # A savepoint: the refusal must not take down the transaction that asks.
            async with self._connection.transaction():
                return bool(await self._run("move_source", id=source_id, url=url))
        except errors.UniqueViolation:
            return False

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
        await self._run(
            "record_success",
            source_id=source_id,
            status=status,
            message=_message(message),
            next_check_in=next_check_in,
            etag=etag,
            last_modified=last_modified,
        )

    async def record_failure(self, source_id: UUID, *, next_check_in: float, message: str) -> None:
        """Write down that a check failed."""
        await self._run(
            "record_failure", source_id=source_id, message=_message(message), next_check_in=next_check_in
        )

    async def put_items(self, source_id: UUID, items: Sequence[NewItem]) -> list[UUID]:
        """Add new items and refresh known ones."""
        firsts = {item.external_id: item for item in reversed(items)}
        once = [item for item in items if firsts[item.external_id] is item]
        ids = [item_id(source_id, item.external_id) for item in once]
        told = {
            "ids": ids,
            "urls": [item.url for item in once],
            "titles": [item.title for item in once],
            "published": [item.published_at for item in once],
            "bodies": [item.body for item in once],
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
        """Touch and return pending items that were left alone; those that others work on are passed over."""
        rows = await self._run("take_up_forgotten_items", source_id=source_id, after=after)
        return [row["id"] for row in rows]

    async def reopen_items(self, ids: Collection[UUID]) -> list[UUID]:
        """Make items pending again that failed or had no text."""
        return sorted(row["id"] for row in await self._run("reopen_items", ids=list(ids)))

    async def items(self, ids: Collection[UUID]) -> list[RawItem]:
        """Return items by id."""
        return [_item(row) for row in await self._run("items", ids=list(ids))]

    async def items_of(self, source_id: UUID) -> list[RawItem]:
        """Return the items of a source, by id."""
        return [_item(row) for row in await self._run("items_of", source_id=source_id)]

    async def finish_item(self, item_id: UUID, status: ItemStatus, error: str | None = None) -> bool:
        """Write down how an attempt at a pending item ended."""
        return bool(await self._run("finish_item", id=item_id, status=status, error=_message(error)))

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

    async def ensure_story(self, story: NewStory) -> tuple[UUID, bool]:
        """Make a story, or find the one that tells the same text or was made of the same content."""
        added = await self._run(
            "add_story",
            id=story.id,
            content_id=story.content_id,
            content_hash=story.content_hash,
            kind=story.kind,
            primary_source_id=story.primary_source_id,
            title=story.title,
            url=story.url,
            published_at=story.published_at,
        )
        if added:
            return added[0]["id"], True
        known = await self._run("story_of_text", content_hash=story.content_hash, content_id=story.content_id)
        return known[0]["id"], False

    async def stories_of(self, item_ids: Collection[UUID]) -> dict[UUID, Story]:
        """Return the stories that tell the texts of some items."""
        rows = await self._run("stories_of", item_ids=list(item_ids))
        return {row.pop("raw_item_id"): _story(row) for row in rows}


def _in_utc(value: Any) -> Any:
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def _message(text: str | None) -> str | None:
    return None if text is None else storable(text)[:MESSAGE_CHARACTERS]


def _source(row: dict[str, Any]) -> Source:
    row["type"] = SourceType(row["type"])
    return Source(**row)


def _item(row: dict[str, Any]) -> RawItem:
    row["kind"], row["status"] = Kind(row["kind"]), ItemStatus(row["status"])
    return RawItem(**row)


def _story(row: dict[str, Any]) -> Story:
    row["kind"], row["status"] = Kind(row["kind"]), StoryStatus(row["status"])
    return Story(**row)


def _health(row: dict[str, Any]) -> Health:
    row["status"] = HealthStatus(row["status"])
    return Health(**row)
