"""Records the history of a running system from its tables, without changing them.

One read-only transaction reads them from one snapshot, by a cursor in pages: each table is scanned once, at
most a page is in memory, and no lock conflicts with those of workers. The transaction has time limits, since
a long-lived snapshot delays vacuum.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, LiteralString, NamedTuple, cast, get_args

import psycopg

from zeke_queue.core.names import schema_name
from zeke_queue.core.timeouts import IDLE_SECONDS, LOCK_SECONDS, STATEMENT_SECONDS
from zeke_queue.maintenance.scheduler import tick_id
from zeke_queue.storage.postgres import migrate, rows
from zeke_queue.storage.postgres.error_mapping import translated
from zeke_queue.storage.postgres.session import RELIED_ON, SET_LOCAL, accepted
from zeke_queue.storage.postgres.statements import statement
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import SystemEntropy
from zeke_sim.errors import SimulationError
from zeke_sim.recorded import format as files
from zeke_sim.recorded.format import (
    VERSION,
    Header,
    Payloads,
    RecordedAttempt,
    RecordedJob,
    RecordedQueue,
    RecordedSchedule,
    RecordedTick,
    RecordedWorker,
)
from zeke_sim.recorded.redact import Redaction

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from uuid import UUID

    from zeke_queue.model import Job, Schedule
    from zeke_queue.system.clock import Clock
    from zeke_queue.system.settings import Settings

PAGE: Final = 1000
"""Jobs read at a time."""

RECORD_SECONDS: Final = 600.0
"""Maximum duration of a recording in seconds, since its snapshot delays vacuum."""

_FORMATS: Final = ("datestyle", "intervalstyle", "timezone", "bytea_output", "extra_float_digits", "jit")
_AS_LONG: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_TICK_VERSION: Final = 8
_COMMENT: Final = re.compile(r"--.*$", re.MULTILINE)


class Wanted(NamedTuple):
    """The options of a recording.

    Attributes:
        since, until: the time window, each an instant in ISO 8601 with its offset, or a time before now such
            as ``24h``; None for now.
        limit: the maximum number of jobs.
    """

    since: str = "24h"
    until: str | None = None
    payloads: str = "none"
    limit: int = files.JOBS_MAX


def record(path: Path, wanted: Wanted, settings: Settings) -> str:
    """Write a history into a file.

    Args:
        settings: the database, its schema, and the retention that the recorded system has.

    Returns:
        What was written, in a line.

    Raises:
        SimulationError: an option is invalid, the time window has more jobs than the limit, or the database
            took too long.
        StorageError: the database can't be read.
    """
    if wanted.payloads not in get_args(Payloads):
        raise SimulationError(
            f"--payloads: must be one of {', '.join(get_args(Payloads))}, got {wanted.payloads!r}"
        )
    schema, url = schema_name(settings.jobs_schema), settings.require_database()
    dsn = asyncio.run(_usable(url, schema))
    redaction = Redaction(wanted.payloads, SystemEntropy().stream("record").randbytes(16))
    with (
        translated(),
        psycopg.connect(
            dsn, autocommit=True, connect_timeout=10, application_name="zeke sim record"
        ) as connection,
    ):
        connection.prepare_threshold = None  # a pooler may give the next transaction another connection
        cursor = rows.SyncCursor(connection)
        cursor.execute("begin isolation level repeatable read, read only")
        cursor.execute(SET_LOCAL, {"names": list(_SETTINGS), "values": list(_SETTINGS.values())})
        tables = _Tables(cursor, schema, SystemClock())
        header = _header(tables.now(), wanted, settings)
        with files.writing(path) as file:
            file.add(header)
            _write(tables, file, wanted.limit, header, redaction)
            file.end()
    return (
        f"{file.jobs} jobs, {header.since:%Y-%m-%d %H:%M} to {header.until:%Y-%m-%d %H:%M} UTC, payloads"
        f" {wanted.payloads}"
    )


async def _usable(url: str, schema: str) -> str:
    """Return a connection string that the server accepts, after a check of the tables."""
    await migrate.check(url, schema, reading=True)
    return await accepted(url)


_SETTINGS: Final = {
    **{name: RELIED_ON[name] for name in _FORMATS},
    "lock_timeout": f"{LOCK_SECONDS:g}s",
    "statement_timeout": f"{STATEMENT_SECONDS:g}s",
    "idle_in_transaction_session_timeout": f"{IDLE_SECONDS:g}s",
}


def _header(now: datetime, wanted: Wanted, settings: Settings) -> Header:
    since = _instant("--since", wanted.since, now)
    until = now if wanted.until is None else min(now, _instant("--until", wanted.until, now))
    if since >= until:
        raise SimulationError(f"--since: must be before {until.isoformat()}, got {since.isoformat()}")
    return Header(
        version=VERSION,
        recorded_on=now,
        since=since,
        until=until,
        payloads=cast("Payloads", wanted.payloads),
        archive_after=settings.jobs_archive_after,
        delete_after=settings.jobs_delete_after,
    )


def _instant(option: str, text: str, now: datetime) -> datetime:
    """Return an instant that is given by itself, or by how long ago it was."""
    ago = _AS_LONG.fullmatch(text.strip())
    try:
        if ago is not None:
            return now - timedelta(seconds=float(ago[1]) * _UNITS[ago[2]])
        found = datetime.fromisoformat(text.strip())
        if found.tzinfo is not None:
            return found.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise SimulationError(
        f"{option}: must be a time such as 2026-03-03T09:00+01:00, or one before now such as 24h or 7d, got"
        f" {text!r}"
    )


class _Tables:
    """Reads the tables in one snapshot, within a time limit."""

    def __init__(self, cursor: rows.SyncCursor, schema: str, clock: Clock) -> None:
        self._cursor = cursor
        self._schema = schema
        self._clock = clock
        self._until = clock.monotonic() + RECORD_SECONDS

    def now(self) -> datetime:
        """Return the database's time."""
        return self.rows("now")[0][0]

    def rows(self, name: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement of the storage."""
        return self._cursor.execute(statement(name, self._schema), {"now": None}).fetchall()

    def pages(self, parameters: dict[str, Any]) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of the jobs."""
        text = resources.files("zeke_sim.recorded").joinpath("jobs.sql").read_text(encoding="utf-8")
        text = " ".join(_COMMENT.sub("", text).split()).replace("{schema}", self._schema)
        declared = cast("LiteralString", f"declare recorded no scroll cursor for {text}")
        self._cursor.execute(declared, parameters)
        while page := self._cursor.execute(cast("LiteralString", f"fetch {PAGE} from recorded")).fetchall():
            yield page
            if self._clock.monotonic() > self._until:
                raise SimulationError(
                    f"record: must end within {RECORD_SECONDS:g} s, since its snapshot delays vacuum;"
                    " record a shorter time with --since and --until"
                )


def _write(tables: _Tables, file: files.Writer, limit: int, header: Header, redaction: Redaction) -> None:
    for one in map(rows.queue, tables.rows("queues")):
        file.add(RecordedQueue.model_validate(one, from_attributes=True))
    schedules = [rows.schedule(row) for row in tables.rows("schedules")]
    for one in schedules:
        file.add(
            RecordedSchedule(
                name=one.name,
                task=one.task,
                cron=one.cron,
                zone=one.zone,
                paused=one.paused,
                last_tick=one.last_tick,
                next_tick=one.next_tick,
            )
        )
    numbers: dict[UUID, int] = {}
    for row in tables.rows("workers"):
        worker = rows.worker(row)
        number = numbers.setdefault(worker.id, len(numbers) + 1)
        file.add(
            RecordedWorker(
                number=number,
                queues=worker.queues,
                lease=worker.lease,
                started_on=worker.started_on,
                beat_on=worker.beat_on,
            )
        )
    jobs = _Jobs(schedules, numbers, redaction)
    window = {"since": header.since, "until": header.until, "payloads": header.payloads != "none"}
    for page in tables.pages(window):
        for row in page:
            if file.jobs == limit:
                raise SimulationError(
                    f"--limit: must be at least the number of jobs, got {limit}, and there are more;"
                    " raise it, or record a shorter time with --since and --until"
                )
            file.add(jobs.recorded(row))


class _Jobs:
    """Converts rows of jobs."""

    def __init__(self, schedules: Sequence[Schedule], numbers: dict[UUID, int], redaction: Redaction) -> None:
        self._schedules: defaultdict[str, list[str]] = defaultdict(list)
        for one in schedules:
            self._schedules[one.task].append(one.name)
        self._numbers = numbers
        self._redaction = redaction

    def recorded(self, row: tuple[Any, ...]) -> RecordedJob:
        """Return a row of ``jobs.sql`` as it is recorded."""
        *columns, error, superseded, while_storing, size = row
        job = rows.job(tuple(columns))
        keep, key = self._redaction.value, self._redaction.key
        meta = keep(None if job.meta is None else dict(job.meta))
        return RecordedJob(
            id=job.id,
            name=job.name,
            state=job.row_state,
            priority=job.priority,
            attempt=job.attempt,
            retry_count=job.retry_count,
            retry_limit=job.retry_limit,
            retry_delay=job.retry_delay,
            retry_backoff=job.retry_backoff,
            retry_delay_max=job.retry_delay_max,
            start_after=job.start_after,
            started_on=job.started_on,
            expire_in=job.expire_in,
            created_on=job.created_on,
            completed_on=job.completed_on,
            archived_on=job.archived_on,
            singleton_key=key(job.singleton_key),
            singleton_on=job.singleton_on,
            worker=self._number(job.worker),
            policy=job.policy,
            group_key=key(job.group_key),
            parent=job.parent,
            waits_for=job.waits_for,
            awaited=job.awaited,
            failures=tuple(
                RecordedAttempt(
                    attempt=one.attempt,
                    at=one.at,
                    state=one.row_state,
                    worker=self._number(one.worker),
                    error=one.error.get("type"),
                )
                for one in job.history
            ),
            error=error,
            superseded=superseded,
            while_storing=while_storing,
            tick=self._tick(job),
            payload_bytes=size,
            payload=keep(job.data),
            meta=meta,
            output=keep(job.output),
        )

    def _number(self, worker: UUID | None) -> int | None:
        return None if worker is None else self._numbers.setdefault(worker, len(self._numbers) + 1)

    def _tick(self, job: Job) -> RecordedTick | None:
        """Return the schedule and the time of a job that a schedule created, by the job's id."""
        names = self._schedules.get(job.name)
        if names is None or job.id.version != _TICK_VERSION:
            return None
        at = datetime.fromtimestamp((job.id.int >> 80) / 1000, UTC)
        for name in names:
            if tick_id(name, at) == job.id:
                return RecordedTick(schedule=name, at=at)
        return None
