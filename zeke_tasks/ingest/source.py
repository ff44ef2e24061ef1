"""``ingest-source``: read one feed, store its new items, and send the jobs that fetch their content."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_tasks.context import context_of, read
from zeke_tasks.fetch import parse_feed
from zeke_tasks.fetch.secrets import without_secrets
from zeke_tasks.ingest.checks import checking, move, record_success
from zeke_tasks.ingest.content import FORGOTTEN_AFTER, send_to_be_read
from zeke_tasks.payloads import IngestSource
from zeke_tasks.store.model import HealthStatus, NewItem, SourceType

if TYPE_CHECKING:
    from zeke_tasks.fetch import Entry, Feed, Fetched
    from zeke_tasks.store.model import Health, Source

tasks = Catalog()


@tasks.task("ingest-source", concurrency_limit=5)
async def ingest_source(payload: IngestSource, job: JobContext) -> dict[str, Any]:
    """Read one feed and store its new items."""
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        source = await rows.source(payload.source_id)
        health = await rows.health(payload.source_id)
    reason = _not_a_feed(source)
    if source is None or source.url is None or reason:
        job.logger.info("source skipped", sourceId=str(payload.source_id), reason=reason)
        return {"sourceId": payload.source_id, "skipped": reason}
    async with checking(job, source):
        fetched, feed = await _read(job, source.url, health)
    return await _record(job, source, health, fetched, feed)


def _not_a_feed(source: Source | None) -> str | None:
    if source is None:
        return "the source does not exist"
    if source.type is not SourceType.RSS:
        return f"its type is {source.type}, not {SourceType.RSS}"
    return None if source.url else "it has no url"


async def _read(job: JobContext, url: str, health: Health | None) -> tuple[Fetched, Feed | None]:
    """Fetch and parse the feed; None if it is unchanged since it was last parsed."""
    context = context_of(job)
    fetched = await context.web.fetch(
        url,
        kind="feed",
        etag=health.etag if health else None,
        last_modified=health.last_modified if health else None,
    )
    if fetched.not_modified:
        return fetched, None
    place = fetched.final_url
    feed = await read(context.compute, place, parse_feed, fetched.body, fetched.content_type, place)
    return fetched, feed


async def _record(
    job: JobContext, source: Source, health: Health | None, fetched: Fetched, feed: Feed | None
) -> dict[str, Any]:
    """Store the items and send their jobs in one transaction."""
    entries = feed.entries if feed else ()
    async with job.transaction() as transaction:
        rows = context_of(job).repository.within(transaction)
        stays = await move(rows, source, fetched)
        warning = stays or (feed.damage if feed else _last_warning(health))
        new = await rows.put_items(source.id, [_item(entry) for entry in entries])
        forgotten = await rows.take_up_forgotten_items(source.id, FORGOTTEN_AFTER)
        await send_to_be_read(transaction, job, [*new, *forgotten])
        await record_success(
            rows,
            source,
            warning=warning,
            # A feed that can't move yet is stored without validators, so that the next check reads it and
            # tries again.
            etag=None if stays else fetched.etag,
            last_modified=None if stays else fetched.last_modified,
        )
    told = {"entries": len(entries), "new": len(new), "notModified": fetched.not_modified}
    job.logger.info("source ingested", sourceId=str(source.id), url=without_secrets(source.url), **told)
    return {"sourceId": source.id, **told}


def _last_warning(health: Health | None) -> str | None:
    """Return the warning of the feed's last parse, which still holds for an unchanged feed."""
    return health.message if health and health.status is HealthStatus.WARN else None


def _item(entry: Entry) -> NewItem:
    """Return the item of an entry; the entry's text is kept only if there is no page to fetch."""
    return NewItem(
        external_id=entry.external_id,
        url=entry.url,
        title=entry.title or None,
        published_at=entry.published_at,
        body=None if entry.url else (entry.content or entry.summary or None),
    )
