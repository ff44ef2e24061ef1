"""Parsing of users' files: documents, and lists of items for ``ingest-from-upload``."""

from __future__ import annotations

import codecs
import json
import re
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import ValidationError

from zeke_queue.errors import UsageError
from zeke_queue.task.task import PAYLOAD_CAP
from zeke_tasks.fetch import PageError, content_hash, extract_article
from zeke_tasks.fetch.pdf import is_pdf, read_pdf
from zeke_tasks.fetch.text import decode
from zeke_tasks.ingest.markdown import ENDINGS, read_markdown
from zeke_tasks.payloads import UploadedItem
from zeke_tasks.text_rules import title_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

TITLE_CHARACTERS: Final = 300

_ROOM: Final = PAYLOAD_CAP - 4096
"""Bytes of items per job; the rest of the payload cap is for the fields around them."""

_PAGE: Final = re.compile(rb"\s*(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
_SNIFFED: Final = 8192
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MARKS: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_LISTS: Final = (".json",)
_LINES: Final = (".jsonl", ".ndjson")


def read_file(name: str, body: bytes, now: datetime) -> list[UploadedItem]:
    """Parse the items of a file; its type follows from the name's ending and, for documents, also the body.

    Blocks while it parses; call it outside the event loop.

    Args:
        name: of the file.
        body: the whole file.
        now: later dates are ignored.

    Raises:
        UsageError: the file can't be parsed; the message says where and why.
    """
    ending = PurePath(name).suffix.lower()
    if ending in _LISTS or ending in _LINES:
        return _items(name, body, by_line=ending in _LINES)
    if not body.strip():
        raise UsageError(f"{name} is empty. Nothing was uploaded.")
    try:
        title, text, written = _document(name, body, ending, now)
    except PageError as error:
        raise UsageError(f"{name}: {error.reason}. Nothing was uploaded.") from error
    text = text.strip()
    if not text:
        raise UsageError(f"{name} {_why_without_text(body, ending)}. Nothing was uploaded.")
    # The id is the hash of the document as written, so the same document under another file name is the same
    # item.
    return [UploadedItem(external_id=content_hash(written), title=title[:TITLE_CHARACTERS], text=text)]


def _document(name: str, body: bytes, ending: str, now: datetime) -> tuple[str, str, str]:
    """Return title and text of a document, and the original text, whose hash identifies it."""
    stem = PurePath(name).stem
    if _is_pdf(body, ending):
        pdf = read_pdf(body, name, now=now)
        return (pdf.title or stem, pdf.text, pdf.text) if pdf else (stem, "", "")
    if ending in {".html", ".htm", ".xhtml"} or _PAGE.match(body):
        article = extract_article(body, name, now=now)
        return (article.title or stem, article.text, article.text) if article else (stem, "", "")
    if _is_binary(body):
        raise UsageError(
            f"{name}: must be text, Markdown, HTML or PDF, or items as JSON or JSONL. Nothing was uploaded."
        )
    written = decode(body, None)
    title, text = read_markdown(written) if ending in ENDINGS else (title_of(written), written)
    return title or stem, text, written.strip()


def _is_pdf(body: bytes, ending: str) -> bool:
    return is_pdf(body, "application/pdf" if ending == ".pdf" else "")


def _why_without_text(body: bytes, ending: str) -> str:
    if _is_pdf(body, ending):
        return "has no text; it may be a scan"
    if ending in ENDINGS:
        return "has no text: it consists of markup, or of lines for machines such as its title"
    return "has no text"


def _is_binary(body: bytes) -> bool:
    """Return whether a body has many control characters and is not in a wide encoding."""
    start = body[:_SNIFFED]
    return not start.startswith(_MARKS) and 50 * len(_CONTROLS.findall(start)) > len(start)


def _items(name: str, body: bytes, *, by_line: bool) -> list[UploadedItem]:
    text = decode(body, None)
    given = list(_by_line(name, text)) if by_line else list(_listed(name, text))
    items: list[UploadedItem] = []
    for where, value in given:
        try:
            items.append(UploadedItem.model_validate(value))
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(map(str, first["loc"])) or "the item"
            raise UsageError(
                f"{name}, {where}: {field}: {first['msg']}. An item is an object with externalId, and text or"
                " url, and may have title and metadata. Nothing was uploaded."
            ) from error
    if not items:
        raise UsageError(f"{name} has no items. Nothing was uploaded.")
    return items


def _by_line(name: str, text: str) -> Iterable[tuple[str, Any]]:
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield f"line {number}", _json(f"{name}, line {number}", line)


def _listed(name: str, text: str) -> Iterable[tuple[str, Any]]:
    value = _json(name, text)
    if isinstance(value, dict):
        value = cast("dict[str, Any]", value).get("items", cast("Any", value))
    values = cast("list[Any]", value) if isinstance(value, list) else [value]
    return [(f"item {number}", each) for number, each in enumerate(values, 1)]


def _json(where: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: must be JSON: {error}. Nothing was uploaded.") from error


def chunks(items: Sequence[UploadedItem], names: Sequence[str]) -> list[list[UploadedItem]]:
    """Split items into chunks that each fit into one job.

    Args:
        items: in order.
        names: the origin of each item, for messages.

    Raises:
        UsageError: an item is too large for a job.
    """
    parts: list[list[UploadedItem]] = []
    left = 0
    for item, name in zip(items, names, strict=True):
        size = len(item.model_dump_json(by_alias=True).encode()) + 1
        if size > _ROOM:
            raise UsageError(
                f"{name}: an item of {size:,} bytes is too large; {_ROOM:,} at most are taken, so split it."
                " Nothing was uploaded."
            )
        if not parts or size > left:
            parts.append([])
            left = _ROOM
        parts[-1].append(item)
        left -= size
    return parts
