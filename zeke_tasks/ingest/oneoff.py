"""``ingest-oneoff``: read one page that a user named, once however often it is named."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail
from zeke_tasks.context import context_of
from zeke_tasks.fetch import UrlRefused, canonicalise_url
from zeke_tasks.fetch.guard import port_refusal
from zeke_tasks.fetch.secrets import without_secrets
from zeke_tasks.fetch.urls import parse_http_url
from zeke_tasks.ingest.content import FORGOTTEN_AFTER, send_to_be_read
from zeke_tasks.payloads import IngestOneoff
from zeke_tasks.store.model import URL_CHARACTERS, ItemStatus, Kind, NewSource, SourceType, item_id
from zeke_tasks.youtube.items import items_of_video, named_item, page_source_id

if TYPE_CHECKING:
    from zeke_tasks.store.repository import Rows

tasks = Catalog()

PRIORITIES: Final = {"normal": 0, "high": 10}
"""The priority of the job that reads the page: pages for which a user waits go before those of feeds."""


@tasks.task("ingest-oneoff", concurrency_limit=2)
async def ingest_oneoff(payload: IngestOneoff, job: JobContext) -> dict[str, Any]:
    """Read one page that a user named.

    Each page is the only item of a source of its own. For a known page its state is returned, unless the job
    that should read it was lost. A YouTube video is the same item as in its channel's feed, and is read by
    its captions; if it waits for the channel's next check, it is read at once.
    """
    try:
        place = place_of(payload.url)
    except UrlRefused as refused:
        raise Fail(str(refused)) from refused
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        named = await take_in(rows, place)
        # Forgotten items of a channel are sent again by its checks.
        # A user who names a page whose story was deleted wants it read again.
        reopened = await _reopen_deleted(rows, named.item_id)
        forgotten = await rows.take_up_forgotten_items(named.source_id, FORGOTTEN_AFTER) if named.own else []
        priority = PRIORITIES[payload.priority]
        to_be_read = [named.item_id, *forgotten] if named.new or named.waits or reopened else forgotten
        await send_to_be_read(transaction, job, to_be_read, priority=priority)
        known = await _known(rows, named.item_id)
    told = {"new": named.new, "status": known["status"], "priority": payload.priority}
    requested_by = str(payload.requested_by) if payload.requested_by else None
    job.logger.info("page ingested", url=without_secrets(known["url"]), requestedBy=requested_by, **told)
    return {**known, "new": named.new}


def place_of(url: str) -> str:
    """Return the canonical URL that identifies a page.

    Its name is resolved, and its address checked, only when it is fetched.

    Raises:
        UrlRefused: the URL is forbidden for any address: another scheme, no host, a user name or a
            forbidden port; or it is too long to be stored.
    """
    place = canonicalise_url(url)
    if reason := port_refusal(int(parse_http_url(place).port or 0)):
        raise UrlRefused(place, reason)
    if len(place) > URL_CHARACTERS:
        raise UrlRefused(f"{place[:80]}…", f"has {len(place)} characters; {URL_CHARACTERS} at most are kept")
    return place


@dataclass(frozen=True, slots=True)
class Named:
    """A page that a user named, as stored.

    Attributes:
        item_id, source_id: its item, and the item's source.
        new: whether the item is new.
        own: whether the source is its own; False for a video of a known channel or search.
        waits: whether it waits for a check of that channel or search.
    """

    item_id: UUID
    source_id: UUID
    new: bool
    own: bool
    waits: bool = False


async def take_in(rows: Rows, place: str) -> Named:
    """Store a page that a user named, unless it is stored already.

    Args:
        rows: the store in the caller's transaction.
        place: its canonical URL.
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


async def _reopen_deleted(rows: Rows, key: UUID) -> bool:
    """Make a deleted item pending again; returns whether it was deleted."""
    (item,) = await rows.items([key])
    return item.status is ItemStatus.DELETED and bool(await rows.reopen_items([key]))


async def _known(rows: Rows, key: UUID) -> dict[str, Any]:
    """Return a page's status, and its story if any."""
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
