"""How a video is kept as an item: what its channel or a search told of it, until it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from zeke_tasks.store.model import Kind, NewItem
from zeke_tasks.youtube import Video, watch_url

if TYPE_CHECKING:
    from zeke_tasks.store.model import RawItem


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
    """Return the video of an item."""
    facts = Facts.model_validate_json(item.body) if item.body else Facts()
    return Video(
        id=item.external_id,
        title=item.title or "",
        url=watch_url(item.external_id),
        description=facts.description,
        channel=facts.channel,
        published_at=item.published_at,
        duration_seconds=facts.duration_seconds,
        view_count=facts.view_count,
    )
