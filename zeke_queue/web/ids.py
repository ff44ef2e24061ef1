"""Ids and cursors in URLs."""

from __future__ import annotations

import base64
import binascii
import re
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from uuid import UUID

from zeke_queue.web.errors import ApiError, field_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_ID_BYTES: Final = 16
_CHECK_BYTES: Final = 8


def parse_id(text: str, message: str = "Job run not found") -> UUID:
    """Parse a job's id.

    Raises:
        ApiError: 404 if the text is not a UUID, since no job has such an id.
    """
    if _UUID.fullmatch(text) is None:
        raise ApiError(404, message)
    return UUID(text)


def cursor_after(job_id: UUID, filters: Mapping[str, object]) -> str:
    """Return the cursor of the page after a job, for a list with these filters."""
    return base64.urlsafe_b64encode(job_id.bytes + _check(job_id, filters)).decode().rstrip("=")


def parse_cursor(text: str, filters: Mapping[str, object]) -> UUID:
    """Parse a cursor.

    Raises:
        ApiError: 422 if the cursor is not from a list with these filters.
    """
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    job_id = UUID(bytes=raw[:_ID_BYTES]) if len(raw) == _ID_BYTES + _CHECK_BYTES else None
    if job_id is None or raw[_ID_BYTES:] != _check(job_id, filters):
        raise no_cursor(
            "must be nextCursor of the previous page, with the same filters; omit it to start at the first"
            " page"
        )
    return job_id


def no_cursor(why: str) -> ApiError:
    """Return the error for an invalid cursor."""
    return field_errors(f"cursor: {why}", [("cursor", why)])


def _check(job_id: UUID, filters: Mapping[str, object]) -> bytes:
    """Return a checksum that ties a cursor to its list; it detects mistakes and is not a protection."""
    said = repr(sorted((name, value) for name, value in filters.items() if value))
    return sha256(job_id.bytes + said.encode("utf-8", "surrogatepass")).digest()[:_CHECK_BYTES]
