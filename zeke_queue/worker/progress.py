"""Progress and log lines of running jobs, written for watchers.

They are written in the background, so a handler never waits for the storage when it reports. Progress is
written at most ten times a second per job, and the last value wins. All log lines are written, up to limits
per write and per attempt that only a runaway loop reaches; beyond them they are counted, and the count is
written.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.core import jsonb
from zeke_queue.core.failure import clean, plain
from zeke_queue.errors import StatementFailedError, StorageError, StorageUnavailableError, is_outage
from zeke_queue.model import JobEvent
from zeke_queue.system.waiting import start_detached
from zeke_queue.worker.storage_health import log_refusal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from zeke_queue.storage.jobs import JobStore

INTERVAL: Final = 0.1
"""Seconds between two writes."""

LINES_MAX: Final = 200
"""Log lines of one job in one write at most."""

LINES_OF_ATTEMPT: Final = 10_000
"""Maximum log lines of one attempt."""

BYTES_OF_ATTEMPT: Final = 4 * 2**20
"""Maximum bytes of the JSON of all log lines of one attempt."""

PENDING_MAX: Final = 1_000
"""Maximum log lines of one attempt that threads have handed over and the loop has not taken yet."""

WAITING_MAX: Final = 10_000
"""Events that wait while the storage is unavailable at most; the oldest are dropped first."""

FIRST_NUMBERS: Final = 2**62 - 1
"""Bits of a first number: a random one is far from those of other writers, and below the largest bigint."""

TEXT_MAX: Final = 8_000
"""Characters of one event's JSON at most."""

BYTES_MAX: Final = 4 * TEXT_MAX
"""Bytes of one event's JSON at most as Postgres writes it, which expands numbers."""

KEY_MAX: Final = 200
"""Characters of the name of a field that can't be stored unchanged."""


class LineBudget:
    """The log lines that one attempt may still store; shared by the threads of its handler."""

    __slots__ = ("_bytes", "_lines", "_lock", "_pending", "dropped")

    def __init__(self) -> None:
        self.dropped = 0
        self._lines = LINES_OF_ATTEMPT
        self._bytes = BYTES_OF_ATTEMPT
        self._pending = 0
        self._lock = Lock()

    def begin(self) -> bool:
        """Reserve a place for a line on its way to the loop; return False to drop the line."""
        with self._lock:
            if self._lines <= 0 or self._bytes <= 0 or self._pending >= PENDING_MAX:
                self.dropped += 1
                return False
            self._pending += 1
            return True

    def end(self, size: int) -> bool:
        """Count a line that the loop has taken; return False to drop it."""
        with self._lock:
            self._pending -= 1
            if self._lines <= 0 or self._bytes <= 0:
                self.dropped += 1
                return False
            self._lines -= 1
            self._bytes -= size
            return True

    @property
    def is_used(self) -> bool:
        """Whether the handler has logged a line."""
        return self._lines < LINES_OF_ATTEMPT or self._pending > 0 or self.dropped > 0

    @property
    def is_spent(self) -> bool:
        """Whether no further line is stored."""
        return self._lines <= 0 or self._bytes <= 0


class ProgressWriter:
    """Writes progress and log lines in the background, in batches.

    Args:
        storage: stores them.
        writer: an id that no other writer has; its last bits are the first event's number.
    """

    def __init__(self, storage: JobStore, writer: UUID) -> None:
        self._storage = storage
        self._numbers = count(writer.int & FIRST_NUMBERS)
        self._refused: list[JobEvent] = []
        self._waiting: dict[tuple[UUID, int], JobEvent] = {}  # in order; by job, and line or 0 for progress
        self._counts: dict[UUID, int] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._one_write = asyncio.Lock()
        self._blocked = False
        self._loop = asyncio.get_running_loop()
        self._closed = False

    @property
    def any(self) -> bool:
        """Whether events wait to be written, or are being written."""
        return bool(self._refused or self._waiting or self._writing or self._one_write.locked())

    def progress(self, job_id: UUID, attempt: int, value: float, message: str | None) -> None:
        """Queue a job's progress; may be called from any thread."""
        data = _text({"value": value, "message": message})
        self._loop.call_soon_threadsafe(self._add_progress, JobEvent(job_id, attempt, "progress", data))

    def line(  # noqa: PLR0917 - a line of the log, by position as the logger passes it
        self,
        job_id: UUID,
        attempt: int,
        level: str,
        message: str,
        fields: Mapping[str, Any],
        budget: LineBudget,
    ) -> None:
        """Queue a log line, unless its attempt's budget is spent; may be called from any thread."""
        if not budget.begin():
            return
        data = _text(
            {"level": level, "message": message, **{k: v for k, v in fields.items() if k not in _OWN}}
        )
        self._loop.call_soon_threadsafe(self._add_line, JobEvent(job_id, attempt, "log", data), budget)

    def end(self, job_id: UUID, attempt: int, budget: LineBudget) -> None:
        """Queue a last line with the number of lines that were dropped, if any, behind all others."""
        # Lines may still be on their way to the loop, and come first.
        if budget.is_used:
            self._loop.call_soon(self._add_last, JobEvent(job_id, attempt, "log", ""), budget)

    async def flush(self, *, last: bool = False) -> bool:
        """Write the waiting events, behind those that are being written.

        Do nothing if the storage answers, but has not stored the last events, because another transaction has
        locked their table, for example: outcomes must not wait for that each time.

        Args:
            last: write them even then, since nothing writes them later.

        Returns:
            False if an outage left some unstored; they are written later.
        """
        if last or not self._blocked:
            async with self._one_write:
                if last or not self._blocked:
                    await self._write()
        return self._blocked or not self._refused

    def close(self) -> None:
        """Stop writing."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._writing is not None:
            self._writing.cancel()

    def _add_progress(self, event: JobEvent) -> None:
        self._waiting.pop((event.job_id, 0), None)
        self._waiting[event.job_id, 0] = event
        self._write_soon()

    def _add_line(self, event: JobEvent, budget: LineBudget) -> None:
        if not budget.end(len(event.data.encode())):
            return
        number = self._counts[event.job_id] = self._counts.get(event.job_id, 0) + 1
        if number <= LINES_MAX:
            self._waiting[event.job_id, number] = event
            self._write_soon()
        if budget.is_spent:
            self._waiting[event.job_id, _NOTE] = replace(event, data=_OVER)
            self._write_soon()

    def _add_last(self, event: JobEvent, budget: LineBudget) -> None:
        if budget.dropped:
            self._waiting[event.job_id, _LAST] = replace(event, data=_left_out(budget.dropped))
            self._write_soon()

    def _write_soon(self) -> None:
        if self._timer is None and self._writing is None and not self._closed:
            self._writing = start_detached(self._write_and_rest())

    async def _write_and_rest(self) -> None:
        try:
            async with self._one_write:
                await self._write()
        finally:
            self._writing = None
            self._rest()

    def _rest(self) -> None:
        if self._timer is None and not self._closed:
            self._timer = self._loop.call_later(INTERVAL, self._rested)

    def _rested(self) -> None:
        self._timer = None
        if self._refused or self._waiting:
            self._write_soon()

    async def _write(self) -> None:
        """Write what waits; the caller holds ``_one_write``, so that no two writes run at once."""
        events = list(self._waiting.values())
        dropped = {job_id: n - LINES_MAX for job_id, n in self._counts.items() if n > LINES_MAX}
        if dropped:
            last = {event.job_id: event for event in events}
            events += [
                replace(last[job_id], kind="log", data=_left_out(n))
                for job_id, n in dropped.items()
                if job_id in last
            ]
        # A write without an answer may have stored them, so each keeps its number when it is written again.
        events = [*self._refused, *(replace(event, number=next(self._numbers)) for event in events)]
        self._refused, self._waiting, self._counts = [], {}, {}
        if events and (unstored := await self._append(events)):
            self._refused = unstored[-WAITING_MAX:]
            self._rest()

    async def _append(self, events: list[JobEvent]) -> list[JobEvent]:
        """Append events to the storage without those that it refuses; return what an outage left unstored."""
        try:
            await self._storage.append_events(events)
        except (StorageUnavailableError, StatementFailedError) as error:
            self._blocked = not is_outage(error)
            return events
        except Exception as error:  # noqa: BLE001 - a service for watchers must not disturb jobs
            if len(events) == 1 or isinstance(error, StorageError):
                log_refusal("append_events", error)
                return []
            half = len(events) // 2
            if unstored := await self._append(events[:half]):
                return unstored + events[half:]
            return await self._append(events[half:])
        self._blocked = False
        return []


_OWN: Final = frozenset({"level", "message"})
_NOTE, _LAST = LINES_MAX + 1, LINES_MAX + 2
"""Places of an attempt's own lines among those of one write."""


def _text(value: Mapping[str, Any]) -> str:
    """Return an event's JSON for any value: a handler must not fail because of the values it reports."""
    try:
        text = jsonb.dumps(value)
    except Exception:  # noqa: BLE001 - foreign values are converted by foreign code, which may raise anything
        value = {clean(key, KEY_MAX): plain(part) for key, part in value.items()}
        text = jsonb.dumps(value)
    if len(text) <= TEXT_MAX and jsonb.size_over(text, BYTES_MAX) is None:
        return text
    kept = {key: value[key] for key in ("level", "value") if key in value}
    return jsonb.dumps({**kept, "message": str(value.get("message"))[:TEXT_MAX], "shortened": True})


def _left_out(count: int) -> str:
    return jsonb.dumps({"level": "warning", "message": f"{count} more lines were left out", "leftOut": count})


_OVER: Final = jsonb.dumps(
    {
        "level": "warning",
        "message": f"this attempt has reached its limit of {LINES_OF_ATTEMPT} stored log lines or"
        f" {BYTES_OF_ATTEMPT // 2**20} MiB; further lines are not stored",
    }
)
