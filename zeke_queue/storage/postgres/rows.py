"""Conversion between rows and the values of ``zeke_queue.model``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg
from psycopg import AsyncCursor
from psycopg import adapters as _standard
from psycopg.adapt import AdaptersMap, Loader
from psycopg.pq import Format
from psycopg.rows import tuple_row

from zeke_queue.core import jsonb
from zeke_queue.core.event_limits import TRIMMED_AT_ONCE
from zeke_queue.errors import SerializationError
from zeke_queue.model import Attempt, CatchUp, Job, JobEvent, QueueSettings, RowState, Schedule, WorkerInfo
from zeke_queue.storage.postgres.statements import PLAIN

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from psycopg import AsyncConnection, Connection
    from psycopg.abc import Buffer

    from zeke_queue.model import Completed, Extended, Failed, NewJob, Released, Waiting

Row = tuple[Any, ...]

_SEPARATOR: Final = "\x1f"
_MICROSECOND: Final = timedelta(microseconds=1)
_beyond_plain: Final = attrgetter(*PLAIN)
_PLAIN_VALUES: Final = tuple(PLAIN.values())


def microseconds(seconds: float) -> int:
    """Return a duration as statements take it, rounded here like in memory; the server rounds differently."""
    return timedelta(seconds=seconds) // _MICROSECOND


class _RawJson(Loader):
    """Leaves jsonb undecoded: a claim's payload is decoded once, when it is validated."""

    def load(self, data: Buffer) -> bytes:
        return bytes(data)


def _nearest(data: Buffer) -> datetime:
    """Return ``datetime``'s minimum or maximum, whichever is nearer to a time out of its range."""
    text = bytes(data)
    early = text.startswith((b"-", b"0001-")) or text.endswith(b"BC")
    return _FIRST if early else _LAST


class _UtcTime(Loader):
    """Converts times to UTC; one out of the range of ``datetime``, such as infinity, to the nearest in it.

    Other programs may write such a row, and it must not break the reads or claims that include it. Texts are
    in the style of the statement's transaction, which is ISO; psycopg goes by the style of the session.
    """

    def load(self, data: Buffer) -> datetime:
        try:
            return datetime.fromisoformat(str(data, "ascii")).astimezone(UTC)
        except (ValueError, OverflowError):
            return _nearest(data)


class _LocalTime(Loader):
    """Converts starts of slots, which have no time zone, as ``_UtcTime`` does."""

    def load(self, data: Buffer) -> datetime:
        text = bytes(data)
        try:
            return datetime.fromisoformat(text.decode())
        except ValueError:
            return _nearest(text).replace(tzinfo=None)


class _BinaryUtcTime(Loader):
    """The same for binary results."""

    format = Format.BINARY

    def load(self, data: Buffer) -> datetime:
        microseconds = int.from_bytes(data, signed=True)
        try:
            return _EPOCH + timedelta(microseconds=microseconds)
        except OverflowError:
            return _FIRST if microseconds < 0 else _LAST


_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)


def _own_adapters() -> AdaptersMap:
    adapters = AdaptersMap(_standard)
    adapters.register_loader("jsonb", _RawJson)
    adapters.register_loader("timestamptz", _UtcTime)
    adapters.register_loader("timestamptz", _BinaryUtcTime)
    adapters.register_loader("timestamp", _LocalTime)
    return adapters


_ADAPTERS: Final = _own_adapters()


class _OwnConversions:
    @property
    def adapters(self) -> AdaptersMap:
        """The conversions of this module."""
        return _ADAPTERS


class Cursor(_OwnConversions, AsyncCursor[Row]):
    """A cursor with this module's conversions, regardless of an application's settings of the connection."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        super().__init__(connection, row_factory=tuple_row)


class SyncCursor(_OwnConversions, psycopg.Cursor[Row]):
    """The same on a synchronous connection."""

    def __init__(self, connection: Connection[Any]) -> None:
        super().__init__(connection, row_factory=tuple_row)


def conflict_parameters(wanted: Sequence[NewJob | UUID]) -> dict[str, Any]:
    """Return the parameters of ``find_conflicts.sql``; none if no uniqueness rule concerns any of them."""
    columns = [_place(one) for one in wanted]
    if not any(name is None or key is not None or slot for _, name, key, slot, _ in columns):
        return {}
    names = ("ids", "names", "singleton_keys", "slot_seconds", "slot_offsets")
    return {name: list(column) for name, column in zip(names, zip(*columns, strict=True), strict=True)}


def _place(wanted: NewJob | UUID) -> Row:
    if isinstance(wanted, UUID):
        return wanted, None, None, None, None
    return wanted.id, wanted.name, wanted.singleton_key, wanted.slot_seconds, wanted.slot_offset


def of_new_jobs(jobs: Sequence[NewJob]) -> dict[str, Any]:
    """Return the parameters of ``insert.sql``, as arrays."""
    columns = [of_new_job(job) for job in jobs]
    return {name: [row[name] for row in columns] for name in columns[0]}


def is_plain(job: NewJob) -> bool:
    """Return whether ``insert_plain`` can insert the whole job."""
    return _beyond_plain(job) == _PLAIN_VALUES


def of_new_job(job: NewJob) -> dict[str, Any]:
    """Return the parameters of ``insert_one.sql``, and of its shortened variants."""
    return {
        "id": job.id,
        "name": job.name,
        "data": job.data,
        "priority": job.priority,
        "delay": microseconds(job.delay),
        "start_at": job.start_at,
        "retry_limit": job.retry_limit,
        "retry_delay": job.retry_delay,
        "retry_backoff": job.retry_backoff,
        "retry_delay_max": job.retry_delay_max,
        "expire_in": microseconds(job.expire_in),
        "singleton_key": job.singleton_key,
        "slot_seconds": job.slot_seconds,
        "slot_offset": job.slot_offset,
        "policy": job.policy,
        "group_key": job.group_key,
        "parent": job.parent,
        "meta": job.meta,
        "fresh": job.fresh,
    }


def of_completed(completed: Sequence[Completed]) -> dict[str, str]:
    """Return the parameters of ``complete.sql``.

    Raises:
        SerializationError: an output has a control character that no JSON text can hold.
    """
    outputs = _SEPARATOR.join([outcome[2] or "" for outcome in completed])
    if outputs.count(_SEPARATOR) != len(completed) - 1:
        raise SerializationError("output: it has a control character, which must be escaped in JSON")
    return {
        "ids": "{" + ",".join([outcome[0].hex for outcome in completed]) + "}",
        "attempts": "{" + ",".join([str(outcome[1]) for outcome in completed]) + "}",
        "outputs": outputs,
    }


class Outcomes:
    """Outcomes of every kind as the columns of ``settle.sql``."""

    def __init__(
        self,
        completed: Iterable[Completed] = (),
        failed: Iterable[Failed] = (),
        released: Iterable[Released] = (),
        waiting: Iterable[Waiting] = (),
    ) -> None:
        self.rows: list[tuple[UUID, int, str, int | None, str | None, bool]] = [
            *((c.id, c.attempt, "completed", None, c.output, False) for c in completed),
            *(
                (
                    f.id,
                    f.attempt,
                    f.final.value if f.retry_in is None else "retry",
                    None if f.retry_in is None else microseconds(f.retry_in),
                    f.output,
                    True,
                )
                for f in failed
            ),
            *((r.id, r.attempt, "created", microseconds(r.delay), None, False) for r in released),
            *((w.id, w.attempt, "created", 0, None, False) for w in waiting),
        ]

    @property
    def may_collide(self) -> bool:
        """Return whether a job returns to waiting, for which its slot must be free."""
        return any(row[3] is not None for row in self.rows)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of ``settle.sql``."""
        names = ("ids", "attempts", "states", "delays", "outputs", "faileds")
        columns: list[list[Any]] = [list(column) for column in zip(*self.rows, strict=True)]
        return dict(zip(names, columns or [[] for _ in names], strict=True))

    def only(self, ids: Collection[UUID], *, returning: bool | None = None) -> Outcomes:
        """Return the outcomes of these jobs; by ``returning``, those that wait again, or the others."""
        some = Outcomes()
        some.rows = [
            row
            for row in self.rows
            if row[0] in ids and (returning is None or returning is (row[3] is not None))
        ]
        return some

    def one_by_one(self) -> list[Outcomes]:
        """Return each outcome on its own, in the order of the ids."""
        singles: list[Outcomes] = []
        for row in sorted(self.rows, key=lambda row: row[0]):
            single = Outcomes()
            single.rows = [row]
            singles.append(single)
        return singles

    def failing_with(self, output: str) -> Outcomes:
        """Return these outcomes as final failures with this output."""
        ended = Outcomes()
        ended.rows = [(row[0], row[1], "failed", None, output, True) for row in self.rows]
        return ended


def of_extended(extended: Sequence[Extended]) -> dict[str, Any]:
    """Return the parameters of ``extend.sql``."""
    return {
        "ids": [asked.id for asked in extended],
        "attempts": [asked.attempt for asked in extended],
        "lengths": [microseconds(asked.seconds) for asked in extended],
    }


def of_worker(worker: WorkerInfo) -> dict[str, Any]:
    """Return the parameters of ``heartbeat.sql``."""
    return {
        "worker": worker.id,
        "host": worker.host,
        "pid": worker.pid,
        "queues": list(worker.queues),
        "duties": list(worker.duties),
        "lease": microseconds(worker.lease),
    }


def of_events(events: Sequence[JobEvent]) -> dict[str, Any]:
    """Return the parameters of ``append_events.sql``."""
    return {
        "ids": [event.job_id for event in events],
        "attempts": [event.attempt for event in events],
        "kinds": [event.kind for event in events],
        "datas": [event.data for event in events],
        "numbers": [event.number for event in events],
    }


def of_late(attempts: Mapping[UUID, int]) -> dict[str, Any]:
    """Return the parameters of ``trim_events.sql``."""
    return {"ids": list(attempts), "attempts": list(attempts.values()), "limit": TRIMMED_AT_ONCE}


def of_schedule(schedule: Schedule, *, declared: bool) -> dict[str, Any]:
    """Return the parameters of ``put_schedule.sql``; ``declared`` records it as code's definition."""
    definition = {**asdict(schedule), "last_tick": None, "next_tick": None}
    del definition["of_pgboss"]
    definition["data"] = None if schedule.data is None else jsonb.loads(schedule.data)
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "task": schedule.task,
        "zone": schedule.zone,
        "data": schedule.data,
        "options": jsonb.dumps(dict(schedule.options)),
        "catch_up": schedule.catch_up.value,
        "description": schedule.description,
        "paused": schedule.paused,
        "declared": jsonb.dumps(definition) if declared else None,
    }


def job(row: Row) -> Job:
    """Return a row of ``get.sql``, whose columns are in the order of the value's fields."""
    values = list(row)
    values[2] = RowState(values[2])
    for place in _DECODED:
        if (text := values[place]) is not None:
            values[place] = _read(text)
    values[_HISTORY] = _attempts(values[_HISTORY])
    return Job(*values)


_PLACE: Final = {name: place for place, name in enumerate(Job.__slots__)}
_HISTORY: Final = _PLACE["history"]
_DECODED: Final = [_PLACE[name] for name in ("data", "output", "meta", "history")]


def _read(text: str | bytes) -> Any:
    """Return a value, or its text if Python can't hold it (number too long, arrays too deep)."""
    try:
        return jsonb.loads(text)
    except SerializationError:
        return text.decode() if isinstance(text, bytes) else text


def _attempts(history: Any) -> tuple[Attempt, ...]:
    """Return a job's history; none if another program has written an entry of another form."""
    try:
        return tuple(_attempt(entry) for entry in history or ())
    except (KeyError, TypeError, ValueError, OverflowError):
        return ()


def _attempt(entry: dict[str, Any]) -> Attempt:
    at, worker = datetime.fromisoformat(entry["at"]), entry["worker"]
    if at.tzinfo is None or any(type(entry[key]) is not kind for key, kind in _KINDS):
        raise TypeError
    return Attempt(
        entry["attempt"],
        at.astimezone(UTC),
        RowState(entry["state"]),
        entry["error"],
        None if worker is None else UUID(str(worker)),
    )


_KINDS: Final = (("attempt", int), ("error", dict))


def event(row: Row) -> JobEvent:
    """Return a row of ``events.sql``."""
    job_id, attempt, kind, data, seq, at = row
    return JobEvent(job_id, attempt, kind, data.decode(), seq, at)


def worker(row: Row) -> WorkerInfo:
    """Return a row of ``workers.sql``."""
    identity, host, pid, queues, *rest, duties, jobs = row
    return WorkerInfo(identity, host, pid, tuple(queues), *rest, duties=tuple(duties), active_jobs=jobs)


def queue(row: Row) -> QueueSettings:
    """Return a row of ``queues.sql``."""
    name, limit, paused_on, limited_with = row
    return QueueSettings(name, limit, paused_on, tuple(limited_with or ()))


def schedule(row: Row) -> Schedule:
    """Return a row of ``schedules.sql``."""
    name, cron, task, zone, data, options, catch_up, description, paused, last_tick, next_tick, of_pgboss = (
        row
    )
    return Schedule(
        name=name,
        cron=cron,
        task=task,
        zone=zone,
        data=data,
        options=_read(options) if options else {},
        catch_up=CatchUp(catch_up),
        description=description,
        paused=paused,
        last_tick=last_tick,
        next_tick=next_tick,
        of_pgboss=of_pgboss,
    )
