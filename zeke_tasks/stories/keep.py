"""Storing of texts as stories: one content per item, one story per text for any number of items."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from zeke_tasks.fetch import content_hash
from zeke_tasks.store.model import Content, Kind, NewStory

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from zeke_tasks.store.model import RawItem
    from zeke_tasks.store.repository import Rows

TITLE_CHARACTERS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """The text and metadata of an item. Create it outside the event loop, since it hashes the text.

    Attributes:
        content_hash: of the text.
        url: the URL from which it was read, if any.
        title, published_at, language: metadata of the document; None if missing.
        is_partial: whether it is a part of its page's article.
        kind: the actual kind if it differs from the item's; else None.
        transcript_vtt, duration_seconds, view_count: of a video.
    """

    text: str
    url: str | None = None
    title: str | None = None
    published_at: datetime | None = None
    language: str | None = None
    is_partial: bool = False
    kind: Kind | None = None
    transcript_vtt: str | None = None
    duration_seconds: int | None = None
    view_count: int | None = None
    content_hash: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "content_hash", content_hash(self.text))


class Kept(NamedTuple):
    """The story of a text, and whether it is new."""

    story_id: UUID
    new: bool


async def keep(rows: Rows, item: RawItem, reading: Reading) -> Kept:
    """Store an item's text, and find or create its story, in the caller's transaction.

    The caller must send the story's analysis in the same transaction, so that no story remains without one.
    """
    is_pdf = reading.kind is Kind.PDF
    content = Content(
        raw_item_id=item.id,
        text=reading.text,
        content_hash=reading.content_hash,
        language=reading.language,
        html_url=None if is_pdf else reading.url,
        pdf_url=reading.url if is_pdf else None,
        transcript_vtt=reading.transcript_vtt,
        duration_seconds=reading.duration_seconds,
        view_count=reading.view_count,
    )
    await rows.put_content(content)
    title = item.title or reading.title or " ".join(reading.text[: 2 * TITLE_CHARACTERS].split())
    story_id, new = await rows.ensure_story(
        NewStory(
            content_id=item.id,
            content_hash=content.content_hash,
            kind=reading.kind or item.kind,
            primary_source_id=item.source_id,
            title=title[:TITLE_CHARACTERS],
            url=reading.url or item.url,
            published_at=item.published_at or reading.published_at,
            is_partial=reading.is_partial,
        )
    )
    return Kept(story_id, new)
