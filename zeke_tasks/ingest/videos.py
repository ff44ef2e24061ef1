"""How a video is kept as an item, and under which sources it may be there already.

What its channel or a search told of it is kept until it is read; of one that somebody named, its page tells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from zeke_tasks.store.model import IDS, Kind, NewItem, SourceType, item_id
from zeke_tasks.youtube import Video, video_id_of, watch_url

if TYPE_CHECKING:
    from zeke_tasks.store.model import Content, RawItem
    from zeke_tasks.store.repository import Rows

TYPES: Final = (SourceType.YOUTUBE_CHANNEL, SourceType.YOUTUBE_SEARCH)
"""The types of the sources that bring videos by themselves."""


class Facts(BaseModel):
    """What is told of a video and has no column; an item's body, as JSON.

    It is kept since a channel's feed does not tell it again: it is asked for what changed, and names the
    newest videos only.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)

    channel: str | None = None
    description: str = ""
    duration_seconds: int | None = None
    view_count: int | None = None


def item_of(video: Video) -> NewItem:
    """Return the item of a video, whose identity is that of the video."""
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
    """Return the video that an item is, as far as is known.

    What others say of it that link to it, such as its title, is not what its channel says.

    Raises:
        ValueError: it is none.
    """
    key = video_id(item)
    if key is None:
        raise ValueError(f"item {item.id} is no video")
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
    """Return the item of a page that somebody named; that of a video is the one that its channel brings.

    Args:
        place: the page's one spelling. A video has several pages, of which the item has one.
    """
    video_id = video_id_of(place)
    if video_id is None:
        return NewItem(external_id=place, url=place)
    return NewItem(external_id=video_id, kind=Kind.VIDEO, url=watch_url(video_id))


def video_id(item: RawItem) -> str | None:
    """Return the id of the video of YouTube's that an item is, which is read by its captions.

    It was brought by a channel or a search, or was named; or a feed or an upload links to it, and says no
    more of it.

    Returns:
        None if it is none.
    """
    found = video_id_of(item.url or "")
    if item.kind is Kind.VIDEO:
        return found if found == item.external_id else None
    return None if item.body else found


def page_source_id(place: str) -> UUID:
    """Return the id of the source that a page somebody named is, which follows from its one spelling."""
    return uuid5(IDS, f"source/{SourceType.MANUAL}/{place}")


async def items_of_video(rows: Rows, video_id: str) -> list[RawItem]:
    """Return the items that a video is of channels, searches, and of itself if somebody named it, by id."""
    sources = [source.id for source in await rows.sources(TYPES)]
    named = page_source_id(watch_url(video_id))
    return await rows.items([item_id(each, video_id) for each in (*sources, named)])


async def text_of_video(rows: Rows, item: RawItem, video_id: str) -> Content | None:
    """Return the text of a video as it was read for another item; None if it is the first.

    So a video is one story, also where the one source told more of it than the other.
    """
    for other in await items_of_video(rows, video_id):
        if other.id != item.id and (content := await rows.content(other.id)) is not None:
            return content
    return None
