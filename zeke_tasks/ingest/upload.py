"""``ingest-from-upload``: take in uploaded items, with their text or a url to fetch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail
from zeke_tasks.context import context_of, read
from zeke_tasks.fetch import UrlRefused
from zeke_tasks.fetch.text import one_line, printable
from zeke_tasks.ingest.content import FORGOTTEN_AFTER, send_to_be_read
from zeke_tasks.ingest.oneoff import place_of
from zeke_tasks.payloads import IngestFromUpload
from zeke_tasks.store.model import ItemStatus, NewItem, item_id
from zeke_tasks.stories.items import work_off
from zeke_tasks.stories.read import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from zeke_tasks.payloads import UploadedItem
    from zeke_tasks.store.model import RawItem
    from zeke_tasks.store.repository import Rows
    from zeke_tasks.stories.keep import Reading

tasks = Catalog()


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded item.

    Attributes:
        item: the item to store.
        text: its text; ``""`` if that is still to be fetched.
        refused: why its url is forbidden, or None.
    """

    item: NewItem
    text: str
    refused: str | None


@tasks.task("ingest-from-upload", concurrency_limit=2)
async def ingest_from_upload(payload: IngestFromUpload, job: JobContext) -> dict[str, Any]:
    """Take in uploaded items: a text becomes a story at once, a url is fetched by a job.

    An item with neither becomes ``no_text_extracted``, one with a forbidden url ``failed``; the others are
    not affected. An item that had failed or had no text is read again if it is uploaded again with a text or
    url.
    """
    context = context_of(job)
    uploads = _uploads(payload)
    texts = {key: upload.text for key, upload in uploads.items() if upload.text}
    async with job.transaction() as transaction:
        rows = context.repository.within(transaction)
        if await rows.source(payload.source_id) is None:
            raise Fail(f"Source {payload.source_id} does not exist; add it first, or name another one")
        await rows.reopen_items(texts)
        new = await rows.put_items(payload.source_id, [upload.item for upload in uploads.values()])
        forgotten = await rows.take_up_forgotten_items(payload.source_id, FORGOTTEN_AFTER)
        pages = await _pages(rows, uploads, [*new, *forgotten])
        await send_to_be_read(transaction, job, pages)

    async def reads(item: RawItem) -> Reading:
        return await read(context.compute, item.external_id, read_text, texts[item.id], item.url)

    stories = (await work_off(job, texts, reads))["stories"]
    async with job.transaction() as transaction:
        items = await context.repository.within(transaction).items(uploads)
    told = {
        "new": len(new),
        "pages": len(pages),
        "stories": stories,
        "items": dict(Counter(item.status.value for item in items)),
    }
    uploaded_by = str(payload.uploaded_by) if payload.uploaded_by else None
    job.logger.info("upload ingested", sourceId=str(payload.source_id), uploadedBy=uploaded_by, **told)
    unreadable = [
        {"externalId": item.external_id, "status": item.status.value, "error": item.error}
        for item in items
        if item.status in {ItemStatus.NO_TEXT, ItemStatus.FAILED}
    ]
    return {"sourceId": payload.source_id, **told, "unreadable": unreadable}


async def _pages(rows: Rows, uploads: Mapping[UUID, Upload], pending: Sequence[UUID]) -> list[UUID]:
    """Return the pending items whose page must be fetched; finish those without text and page."""
    items = {item.id: item for item in await rows.items(pending)}
    pages: list[UUID] = []
    for key in dict.fromkeys(pending):
        upload = uploads.get(key)
        if upload is not None and upload.text:
            continue
        if items[key].url is not None:
            pages.append(key)
        elif upload is not None:
            status = ItemStatus.FAILED if upload.refused else ItemStatus.NO_TEXT
            await rows.finish_item(key, status, upload.refused)
    return pages


def _uploads(payload: IngestFromUpload) -> dict[UUID, Upload]:
    """Return the items by row id; of several with the same identity the first counts."""
    uploads: dict[UUID, Upload] = {}
    for uploaded in payload.items:
        upload = _upload(uploaded)
        uploads.setdefault(item_id(payload.source_id, upload.item.external_id), upload)
    return uploads


def _upload(uploaded: UploadedItem) -> Upload:
    text, url, refused = printable(uploaded.text or "").strip(), None, None
    if uploaded.url:
        try:
            url = place_of(uploaded.url)
        except UrlRefused as error:
            refused = str(error)
    title = one_line(uploaded.title or "") or None
    item = NewItem(external_id=uploaded.external_id, url=url, title=title, metadata=uploaded.metadata or {})
    return Upload(item, text, refused)
