"""The file of a recorded history: lines of JSON, compressed by gzip, each an object with one key.

The first line is the ``history`` (version, time window), then come lines for each ``queue``, ``schedule``,
``worker`` and ``job`` in any order, and the last line is the ``end`` with the number of jobs, so that a
truncated file is detected. A field with its default value is left out. Times are aware, in ISO 8601.
"""

from __future__ import annotations

import gzip
import zlib
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, NaiveDatetime, ValidationError

from zeke_queue.core.failure import shown
from zeke_queue.model import RowState
from zeke_sim.errors import SimulationError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from datetime import datetime
    from pathlib import Path

VERSION: Final = 1

JOBS_MAX: Final = 100_000
"""Default maximum number of jobs in a history."""

LINE_MAX: Final = 16 * 1024 * 1024
"""Maximum length of a line in bytes."""

Payloads = Literal["none", "redacted", "full"]

_MAGIC: Final = b"\x1f\x8b"
_WRITTEN: Final = "pass a file that `zeke sim record` wrote"


class _Value(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Header(_Value):
    """What was recorded.

    Attributes:
        recorded_on: the time of recording by the database's clock, like the following times.
        since, until: the time window: jobs that existed in it and had not ended before it.
        archive_after, delete_after: retention in seconds, by the settings of the process that recorded.
    """

    version: int
    recorded_on: AwareDatetime
    since: AwareDatetime
    until: AwareDatetime
    payloads: Payloads = "none"
    archive_after: float = Field(default=86_400.0, ge=0)
    delete_after: float = Field(default=604_800.0, ge=0)


class RecordedQueue(_Value):
    """A queue's settings when it was recorded; earlier ones are not stored."""

    name: str
    concurrency_limit: int | None = None
    paused_on: AwareDatetime | None = None
    limited_with: tuple[str, ...] = ()


class RecordedSchedule(_Value):
    """A schedule's row when it was recorded."""

    name: str
    task: str
    cron: str
    zone: str = "UTC"
    paused: bool = False
    last_tick: AwareDatetime | None = None
    next_tick: AwareDatetime | None = None


class RecordedWorker(_Value):
    """A registered worker when it was recorded; ``number`` is its number in jobs and attempts."""

    number: int
    queues: tuple[str, ...] = Field(default=(), strict=False)
    lease: float = Field(gt=0)
    started_on: AwareDatetime | None = None
    beat_on: AwareDatetime | None = None


class RecordedAttempt(_Value):
    """A failed attempt: when it ended, and the state that followed."""

    attempt: int
    at: AwareDatetime
    state: RowState
    worker: int | None = None
    error: str | None = None


class RecordedTick(_Value):
    """The occurrence of a schedule that a job is."""

    schedule: str
    at: AwareDatetime


class RecordedJob(_Value):
    """A job's row, with the names of ``zeke_queue.model.Job``.

    Attributes:
        worker: the number of its last worker.
        failures: its failed attempts, at most the last 25.
        error: the type of the last error.
        superseded, while_storing: whether it failed because another job took its place, or when its outcome
            was stored.
        payload_bytes: the length of the payload, even where it is not recorded.
        payload, meta, output: as the header's ``payloads`` says; absent for ``none``.
    """

    id: UUID
    name: str
    state: RowState
    priority: int = 0
    attempt: int = 0
    retry_count: int = 0
    retry_limit: int = 0
    retry_delay: int = 0
    retry_backoff: bool = False
    retry_delay_max: int | None = None
    start_after: AwareDatetime
    started_on: AwareDatetime | None = None
    expire_in: float
    created_on: AwareDatetime
    completed_on: AwareDatetime | None = None
    archived_on: AwareDatetime | None = None
    singleton_key: str | None = None
    singleton_on: NaiveDatetime | None = None
    worker: int | None = None
    policy: str | None = None
    group_key: str | None = None
    parent: UUID | None = None
    waits_for: UUID | None = None
    awaited: bool = False
    failures: tuple[RecordedAttempt, ...] = Field(default=(), strict=False)
    error: str | None = None
    superseded: bool = False
    while_storing: bool = False
    tick: RecordedTick | None = None
    payload_bytes: int = 0
    payload: Any = None
    meta: dict[str, Any] | None = None
    output: Any = None


class End(_Value):
    """The end of the file."""

    jobs: int


class _Line(_Value):
    history: Header | None = None
    queue: RecordedQueue | None = None
    schedule: RecordedSchedule | None = None
    worker: RecordedWorker | None = None
    job: RecordedJob | None = None
    end: End | None = None


@dataclass(slots=True)
class Recording:
    """A history as read from a file; ``jobs`` are in the order in which they were created."""

    header: Header
    queues: list[RecordedQueue] = field(default_factory=list[RecordedQueue])
    schedules: list[RecordedSchedule] = field(default_factory=list[RecordedSchedule])
    workers: list[RecordedWorker] = field(default_factory=list[RecordedWorker])
    jobs: list[RecordedJob] = field(default_factory=list[RecordedJob])


@contextmanager
def writing(path: Path) -> Generator[Writer]:
    """Write a file under a temporary name, and rename it when it is complete."""
    part = path.with_name(f".{path.name}.part")
    try:
        with gzip.open(part, "wt", encoding="utf-8", compresslevel=6) as file:
            yield Writer(file)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


class Writer:
    """Writes lines.

    Attributes:
        jobs: the number of jobs written.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.jobs = 0

    def add(
        self, value: Header | RecordedQueue | RecordedSchedule | RecordedWorker | RecordedJob | End
    ) -> None:
        """Write a value as a line."""
        self.jobs += isinstance(value, RecordedJob)
        text = value.model_dump_json(exclude_defaults=True, ensure_ascii=True)
        self._file.write(f'{{"{_KEYS[type(value)]}":{text}}}\n')

    def end(self) -> None:
        """Write the last line."""
        self.add(End(jobs=self.jobs))


_KEYS: Final[dict[type, str]] = {
    Header: "history",
    RecordedQueue: "queue",
    RecordedSchedule: "schedule",
    RecordedWorker: "worker",
    RecordedJob: "job",
    End: "end",
}


def read(path: Path, *, limit: int = JOBS_MAX) -> Recording:
    """Read a history.

    Args:
        limit: the maximum number of jobs, since a replay holds all of them in memory.

    Raises:
        SimulationError: the file can't be read, a line is invalid, the end is missing, or it has more jobs.
    """
    recording: Recording | None = None
    ended: End | None = None
    for number, text in _lines(path):
        where = f"{path}, line {number}"
        line = _parsed(where, text)
        if ended is not None:
            raise SimulationError(f"{where}: must not follow the `end`, got {shown(text)}; {_WRITTEN}")
        if recording is None:
            recording = Recording(_header(where, line))
        elif line.job is not None:
            if len(recording.jobs) == limit:
                raise SimulationError(
                    f"{where}: must have at most {limit} jobs, got more; raise --limit, or record a shorter"
                    " time"
                )
            recording.jobs.append(line.job)
        elif line.queue is not None:
            recording.queues.append(line.queue)
        elif line.schedule is not None:
            recording.schedules.append(line.schedule)
        elif line.worker is not None:
            recording.workers.append(line.worker)
        else:
            ended = line.end
    if recording is None or ended is None or ended.jobs != len(recording.jobs):
        found = 0 if recording is None else len(recording.jobs)
        due = "an `end`" if ended is None else f"{ended.jobs} jobs"
        raise SimulationError(
            f"{path}: must have {due} at its end, got {found} jobs: it is truncated; {_WRITTEN}"
        )
    recording.jobs.sort(key=lambda job: (job.created_on, job.id))
    return recording


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the lines with their numbers, of a file that may be compressed or not."""
    number = 0
    try:
        with path.open("rb") as raw:
            compressed = raw.read(len(_MAGIC)) == _MAGIC
            raw.seek(0)
            file: Any = gzip.GzipFile(fileobj=raw) if compressed else raw
            while line := file.readline(LINE_MAX + 1):
                number += 1
                if len(line) > LINE_MAX:
                    raise SimulationError(
                        f"{path}, line {number}: must have at most {LINE_MAX} bytes, got more; {_WRITTEN}"
                    )
                yield number, line
    except OSError as error:
        raise SimulationError(f"{path}: {error.strerror or error}; {_WRITTEN}") from None
    except (EOFError, zlib.error) as error:
        raise SimulationError(f"{path}: damaged after line {number}: {error}; {_WRITTEN}") from None


def _parsed(where: str, text: bytes) -> _Line:
    try:
        line = _Line.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        needed = first["msg"].replace("Input should", "must", 1)
        got = "" if first["type"] == "missing" else f", got {shown(first['input'])}"
        needed = "must be given" if first["type"] == "missing" else needed[0].lower() + needed[1:]
        raise SimulationError(f"{where}: {field + ': ' if field else ''}{needed}{got}; {_WRITTEN}") from None
    if len(line.model_fields_set) != 1 or line == _Line():
        keys = ", ".join(f"`{key}`" for key in _KEYS.values())
        raise SimulationError(f"{where}: must be an object with one of {keys}; {_WRITTEN}")
    return line


def _header(where: str, line: _Line) -> Header:
    header = line.history
    if header is None:
        raise SimulationError(f"{where}: must be the `history`, got another line; {_WRITTEN}")
    if header.version != VERSION:
        raise SimulationError(
            f"{where}: history.version: must be {VERSION}, got {header.version}; record it again with this"
            " version of zeke"
        )
    if not header.since < header.until:
        raise SimulationError(f"{where}: history.until: must be after since, got {header.until}; {_WRITTEN}")
    return header


def at_of(moment: datetime, since: datetime) -> float:
    """Return a time in seconds since the window began."""
    return (moment - since).total_seconds()
