"""``ingest-oneoff``: have one page read that somebody named, once however often it is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail
from zeke_tasks.context import context_of
from zeke_tasks.fetch import UrlRefused, canonicalise_url
from zeke_tasks.fetch.guard import Guard
from zeke_tasks.fetch.secrets import without_secrets
from zeke_tasks.fetch.urls import parse_http_url
from zeke_tasks.ingest.content import FORGOTTEN_AFTER, send_to_be_read
from zeke_tasks.ingest.videos import items_of_video, named_item, page_source_id
from zeke_tasks.payloads import IngestOneoff
from zeke_tasks.store.model import URL_CHARACTERS, ItemStatus, Kind, NewSource, SourceType, item_id

if TYPE_CHECKING:
    from zeke_tasks.store.repository import Rows

tasks = Catalog()

PRIORITIES: Final = {"normal": 0, "high": 10}
"""The priority of the job that reads the page: what a person waits for goes before what feeds bring."""


@tasks.task("ingest-oneoff", concurrency_limit=2)
async def ingest_oneoff(payload: IngestOneoff, job: JobContext) -> dict[str, Any]:
    """Read one page that a user named.

    Each page is the one item of a source of its own. If it is known already, what is known of it is returned,
    unless the job that was to read it was lost. A video of YouTube's is the item that its channel would
    bring, and is read by its captions. If its channel has brought it and it waits for the next check, it is
    read before that.
    """
    try:
        place = place_of(payload.url)
    except UrlRefused as refused:
        raise Fail(str(refused)) from refused
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        named = await take_in(rows, place)
        # What a channel has brought, its checks take up.
        forgotten = await rows.take_up_forgotten_items(named.source_id, FORGOTTEN_AFTER) if named.own else []
        priority = PRIORITIES[payload.priority]
        to_be_read = [named.item_id, *forgotten] if named.new or named.waits else forgotten
        await send_to_be_read(transaction, job, to_be_read, priority=priority)
        known = await _known(rows, named.item_id)
    told = {"new": named.new, "status": known["status"], "priority": payload.priority}
    requested_by = str(payload.requested_by) if payload.requested_by else None
    job.logger.info("page taken in", url=without_secrets(known["url"]), requestedBy=requested_by, **told)
    return {**known, "new": named.new}


def place_of(url: str) -> str:
    """Return the one spelling under which a page is known and kept.

    Where its name leads is seen when it is fetched, as is whether its address may be reached.

    Raises:
        UrlRefused: it is no URL that is fetched, wherever it leads: another scheme, no host, a user name or a
            port that is not the web's; or it is too long to be kept.
    """
    place = canonicalise_url(url)
    if reason := Guard().port_refusal(int(parse_http_url(place).port or 0)):
        raise UrlRefused(place, reason)
    if len(place) > URL_CHARACTERS:
        raise UrlRefused(f"{place[:80]}…", f"has {len(place)} characters; {URL_CHARACTERS} at most are kept")
    return place


@dataclass(frozen=True, slots=True)
class Named:
    """A page that somebody named, as it is kept.

    Attributes:
        item_id, source_id: its item, and whose that is.
        new: whether it was not there before.
        own: whether the source is its own, as it is unless a channel or a search has brought the video.
        waits: whether it waits for a check of the channel or the search that has brought it.
    """

    item_id: UUID
    source_id: UUID
    new: bool
    own: bool
    waits: bool = False


async def take_in(rows: Rows, place: str) -> Named:
    """Keep a page that somebody named, unless it is there.

    Args:
        rows: of the caller's transaction.
        place: its one spelling.
    """
    page = named_item(place)
    place = page.url or place
    if page.kind is Kind.VIDEO and (known := await items_of_video(rows, page.external_id)):
        own = page_source_id(place)
        item = min(known, key=lambda each: (each.status is not ItemStatus.PROCESSED, each.source_id != own))
        is_own = item.source_id == own
        waits = not is_own and item.status is ItemStatus.PENDING
        return Named(item.id, item.source_id, new=False, own=is_own, waits=waits)
    named = NewSource(SourceType.MANUAL, parse_http_url(place).hostname, place)
    source = await rows.ensure_source(page_source_id(place), named)
    new = await rows.put_items(source.id, [page])
    return Named(item_id(source.id, page.external_id), source.id, new=bool(new), own=True)


async def _known(rows: Rows, key: UUID) -> dict[str, Any]:
    """Return what is known of a page: how far it has come, and the story that tells it if there is one."""
    (item,) = await rows.items([key])
    story = (await rows.stories_of([key])).get(key)
    return {
        "url": item.url,
        "sourceId": item.source_id,
        "rawItemId": key,
        "status": item.status.value,
        "error": item.error,
        "storyId": story.id if story else None,
    }
