"""Server-sent events as bytes, and the ids by which a stream is resumed.

An id encodes the client's knowledge after the event: the last attempt and status, when the job ended, the
number of the last line, and whether the stream has ended. It is opaque and contains a check over the job's
id, so that a modified id, or one of another job, is recognized as invalid: the stream then starts from the
beginning.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
import struct
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from zeke_queue.model import FINAL, JobStatus

if TYPE_CHECKING:
    from uuid import UUID

    from zeke_queue.model import Job

HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}
"""Headers of every stream: proxies must not cache, compress or buffer it."""

KEEP_ALIVE: Final = b": keep-alive\n\n"

_STATUSES: Final = (*JobStatus, None)
_CLOSED: Final = 0x80
_SEEN: Final = struct.Struct(">BIBQq")
_VERSION: Final = 2
_SEAL: Final = 6
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_BREAK: Final = re.compile(r"\r\n|\r|\n")


class Seen(NamedTuple):
    """A client's knowledge of a job.

    Attributes:
        attempt: the attempt of the last status or line.
        status: the last status; None if the client has seen lines only.
        seq: the ``seq`` of the last line.
        ended_at: end of the job in microseconds since 1970; 0 if it had not ended. A job that is resumed and
            cancelled ends again in the same attempt and status.
        closed: whether the client has seen the end of a stream.
    """

    attempt: int
    status: JobStatus | None
    seq: int
    ended_at: int = 0
    closed: bool = False

    @classmethod
    def of(cls, job: Job, seq: int = 0) -> Seen:
        """Return the knowledge of a client that has seen a job's status."""
        at = job.completed_on if job.row_state in FINAL else None
        return cls(job.attempt, job.status, seq, 0 if at is None else (at - _EPOCH) // _MICROSECOND)

    def is_current(self, job: Job) -> bool:
        """Return whether a job's status is the one that the client has seen."""
        now = Seen.of(job)
        if job.row_state not in FINAL:
            return self.status == now.status
        return (self.attempt, self.status, self.ended_at) == (now.attempt, now.status, now.ended_at)


def event(name: str, data: str, seen: str | None = None) -> bytes:
    r"""Format an event.

    Clients of the earlier system expect ``data:`` in the line after ``event:``, so the id precedes both.

    >>> event("close", "complete", "x1")
    b'id: x1\nevent: close\ndata: complete\n\n'
    """
    lines = "".join(f"data: {line}\n" for line in _BREAK.split(data))
    known = "" if seen is None else f"id: {seen}\n"
    return f"{known}event: {name}\n{lines}\n".encode()


def comment(text: str) -> bytes:
    """Format a comment line, which clients ignore."""
    return f": {text}\n\n".encode()


def retry(seconds: float) -> bytes:
    """Format the delay after which a browser reconnects if the stream ends without ``close``."""
    return f"retry: {round(seconds * 1000)}\n\n".encode()


def encode_event_id(job_id: UUID, seen: Seen) -> str:
    """Encode the id of a job's event."""
    status = _STATUSES.index(seen.status) | (_CLOSED if seen.closed else 0)
    packed = _SEEN.pack(_VERSION, seen.attempt, status, seen.seq, seen.ended_at)
    return base64.urlsafe_b64encode(packed + _digest(job_id, packed)).decode().rstrip("=")


def decode_event_id(job_id: UUID, text: str | None) -> Seen | None:
    """Decode the id of a job's event; return None if ``encode_event_id`` did not create it for this job."""
    if not text or len(text) > 4 * (_SEEN.size + _SEAL):
        return None
    try:
        raw = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    packed, digest = raw[: _SEEN.size], raw[_SEEN.size :]
    if len(packed) != _SEEN.size or not hmac.compare_digest(digest, _digest(job_id, packed)):
        return None
    version, attempt, status, seq, ended_at = _SEEN.unpack(packed)
    status, closed = status & ~_CLOSED, bool(status & _CLOSED)
    if version != _VERSION or status >= len(_STATUSES) or seq >= 2**63:
        return None
    return Seen(attempt, _STATUSES[status], seq, ended_at, closed)


def _digest(job_id: UUID, packed: bytes) -> bytes:
    return hashlib.blake2s(packed, digest_size=_SEAL, key=job_id.bytes).digest()
