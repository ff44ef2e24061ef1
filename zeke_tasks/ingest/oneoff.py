"""``ingest-oneoff``: have one page read that somebody named, once however often it is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid5

from zeke_queue.catalog import Catalog
from zeke_queue.context import JobContext
from zeke_queue.signals import Fail
from zeke_tasks.context import context_of
from zeke_tasks.ingest.content import FORGOTTEN_AFTER, send_to_be_read
from zeke_tasks.payloads import IngestOneoff
from zeke_tasks.store.model import IDS, URL_CHARACTERS, NewItem, NewSource, SourceType, item_id
from zeke_tasks.web import UrlRefused, canonicalise_url
from zeke_tasks.web.guard import Guard
from zeke_tasks.web.urls import parse_http_url

if TYPE_CHECKING:
    from zeke_tasks.store.model import Source
    from zeke_tasks.store.repository import Rows

tasks = Catalog()

PRIORITIES: Final = {"normal": 0, "high": 10}
"""The priority of the job that reads the page: what a person waits for goes before what feeds bring."""


@tasks.task("ingest-oneoff", concurrency_limit=2)
async def ingest_oneoff(payload: IngestOneoff, job: JobContext) -> dict[str, Any]:
    """Have one page read that somebody named.

    Each page is the one item of a source of its own. If it is known already, what is known of it is returned,
    unless the job that was to read it was lost.
    """
    try:
        place = place_of(payload.url)
    except UrlRefused as refused:
        raise Fail(str(refused)) from refused
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        source = await rows.ensure_source(source_id(place), _source(place))
        page = NewItem(external_id=place, url=place)
        new = await rows.put_items(source.id, [page])
        forgotten = await rows.take_up_forgotten_items(source.id, FORGOTTEN_AFTER)
        priority = PRIORITIES[payload.priority]
        await send_to_be_read(transaction, job, [*new, *forgotten], priority=priority)
        known = await _known(rows, source, item_id(source.id, page.external_id))
    told = {"new": bool(new), "status": known["status"], "priority": payload.priority}
    requested_by = str(payload.requested_by) if payload.requested_by else None
    job.logger.info("page taken in", url=place, requestedBy=requested_by, **told)
    return {"url": place, "new": bool(new), **known}


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


def source_id(place: str) -> UUID:
    """Return the id of the source that a page somebody named is, which follows from its one spelling."""
    return uuid5(IDS, f"source/{SourceType.MANUAL}/{place}")


def _source(place: str) -> NewSource:
    return NewSource(SourceType.MANUAL, parse_http_url(place).hostname, place)


async def _known(rows: Rows, source: Source, key: UUID) -> dict[str, Any]:
    """Return what is known of a page: how far it has come, and the story that tells it if there is one."""
    (item,) = await rows.items([key])
    story = (await rows.stories_of([key])).get(key)
    return {
        "sourceId": source.id,
        "rawItemId": key,
        "status": item.status.value,
        "error": item.error,
        "storyId": story.id if story else None,
    }
