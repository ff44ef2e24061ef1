"""Videos as items, and the sources under which a video may be stored already.

Metadata from a channel or a search is stored until the video is read; for a video that a user named it is
read from the video's page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from zeke_tasks.store.model import IDS, Kind, NewItem, SourceType, item_id
from zeke_tasks.youtube.model import Video, video_id_of, watch_url

if TYPE_CHECKING:
    from zeke_tasks.store.model import Content, RawItem
    from zeke_tasks.store.repository import Rows

TYPES: Final = (SourceType.YOUTUBE_CHANNEL, SourceType.YOUTUBE_SEARCH)
"""The types of sources whose checks find videos."""


class Facts(BaseModel):
    """Metadata of a video that has no column; stored as JSON in the item's body.

    It is stored since later requests for a channel's feed may not return it: they are conditional, and the
    feed has only the newest videos.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    channel: str | None = None
    description: str = ""
    duration_seconds: int | None = None
    view_count: int | None = None


def item_of(video: Video) -> NewItem:
    """Return the item of a video, identified by the video's id."""
    facts = Facts(
        channel=video.channel,
        description=video.description,
        duration_seconds=video.duration_seconds,
        view_count=video.view_count,
    )
    return NewItem(
        external_id=video.id,
        kind=Kind.VIDEO,
        url=video.url,
        title=video.title or None,
        published_at=video.published_at,
        body=facts.model_dump_json(by_alias=True, exclude_defaults=True),
    )


def video_of(item: RawItem) -> Video:
    """Return the video of an item, with the known metadata.

    The title and other data of an item that only links to the video are not used, since they are not the
    channel's.

    Raises:
        ValueError: the item is not a video.
    """
    key = video_id(item)
    if key is None:
        raise ValueError(f"item: must be a video, got {item.id}")
    if item.kind is not Kind.VIDEO:
        return Video(id=key, title="", url=watch_url(key), published_at=item.published_at)
    facts = Facts.model_validate_json(item.body) if item.body else Facts()
    return Video(
        id=key,
        title=item.title or "",
        url=watch_url(key),
        description=facts.description,
        channel=facts.channel,
        published_at=item.published_at,
        duration_seconds=facts.duration_seconds,
        view_count=facts.view_count,
    )


def named_item(place: str) -> NewItem:
    """Return the item of a page that a user named; for a video the same item as its channel's.

    Args:
        place: the page's canonical URL. A video has several URLs; the item has one of them.
    """
    video_id = video_id_of(place)
    if video_id is None:
        return NewItem(external_id=place, url=place)
    return NewItem(external_id=video_id, kind=Kind.VIDEO, url=watch_url(video_id))


def video_id(item: RawItem) -> str | None:
    """Return the id of an item's YouTube video, which is read by its captions; None if it is not a video.

    The item was found by a channel or a search, or named by a user, or it is an item of a feed or an upload
    that links to the video and has no text of its own.
    """
    found = video_id_of(item.url or "")
    if item.kind is Kind.VIDEO:
        return found if found == item.external_id else None
    return None if item.body else found


def page_source_id(place: str) -> UUID:
    """Return the id of the source of a named page, which follows from its canonical URL."""
    return uuid5(IDS, f"source/{SourceType.MANUAL}/{place}")


async def items_of_video(rows: Rows, video_id: str) -> list[RawItem]:
    """Return the items of a video in channels, searches and its own source if a user named it, by id."""
    sources = [source.id for source in await rows.sources(TYPES)]
    named = page_source_id(watch_url(video_id))
    return await rows.items([item_id(each, video_id) for each in (*sources, named)])


async def text_of_video(rows: Rows, item: RawItem, video_id: str) -> Content | None:
    """Return the text of a video that was read for another item; None if this is the first.

    So a video is one story, even if one source has more metadata than the other.
    """
    for other in await items_of_video(rows, video_id):
        if other.id != item.id and (content := await rows.content(other.id)) is not None:
            return content
    return None
