"""What a job, a queue or a schedule of pg-boss 10, 11 or 12 becomes here, and what of it can't be carried.

Rows are JSON objects with the columns of their table, so that columns that came with a later version are
simply missing in an earlier one. Times and intervals stay text, which Postgres reads again.

Source: pg-boss 10.1, 10.4, 11.1, 12.5, 12.20 and 12.38. Their unique indexes enforce a queue's policy by the
singleton key, where no key counts as the empty key; a key without a policy or a slot excludes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from uuid import UUID, uuid5

from zeke_queue.core import stored_options
from zeke_queue.core.cron import GRACE, Cron
from zeke_queue.core.names import queue_name
from zeke_queue.core.options import DEFAULTS, INT4_MAX, OptionLayer, merge, new_job, singleton_key
from zeke_queue.errors import InvalidNameError, SchemaVersionError, UsageError
from zeke_queue.model import FINAL, CatchUp, RowState, Schedule

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

VERSIONS: Final = {range(21, 25): 10, range(25, 27): 11, range(27, 47): 12}
"""The versions of tables by pg-boss's major version; 12.0 to 12.5 have 11's last one, 26."""

ADDING: Final = range(25, 27)
"""Versions whose backoff is the retry delay plus a doubled second, instead of their product."""

_QUEUE_OPTIONS: Final = {
    "retry_limit": "retry_limit",
    "retry_delay": "retry_delay",
    "retry_backoff": "retry_backoff",
    "retry_delay_max": "retry_delay_max",
    "expire_seconds": "expire_in",
}
"""Columns of a queue, and the options of a task that they are."""

INTERNAL: Final = "__pgboss__"
"""The prefix of pg-boss's own queues."""

KEYED: Final = frozenset({"short", "stately", "exclusive"})
"""Policies that are carried as singleton keys."""

_IN_META: Final = (
    "dead_letter", "group_tier", "trace_context", "source_name", "source_id", "source_root_id"
)  # fmt: skip
"""Columns without an equivalent, which are kept in the job's ``meta``."""

_POLICIES: Final = {
    "short": (
        "short (one waiting job a key): carried as singleton keys, which also refuse a job while one runs;"
        " declare the task with singleton_key"
    ),
    "stately": (
        "stately (one waiting, one retrying and one active job a key): one of the three carries the singleton"
        " key, the others none; declare the task with singleton_key"
    ),
    "exclusive": "exclusive: carried as singleton keys; declare the task with singleton_key",
    "singleton": (
        "singleton (one active job a key): not carried, since a singleton key here also refuses waiting jobs;"
        " declare the task with concurrency_limit=1, which holds for all keys together"
    ),
    "key_strict_fifo": (
        "key_strict_fifo: not carried, since jobs here do not wait for the one before; concurrency_limit=1"
        " runs one at a time, and a job that waits for a retry lets others pass"
    ),
}


NOT_CHOSEN: Final = "not in the catalog"
NO_QUEUE: Final = "pg-boss has no queue of this name any more"

FORWARDED: Final = INTERNAL + "send-it"
"""The queue of pg-boss whose jobs are the ticks that it has still to forward."""

FIRST_ID: Final = UUID(int=0)
"""The id before all others, which a job may have."""

SECONDS_FIRST: Final = 6
"""Fields of an expression that begins with seconds."""

ARCHIVED: Final = 10
"""The major version that moves ended jobs to a table of their own."""


class ImportedJob(NamedTuple):
    """A row to insert here.

    ``key`` and ``slot`` may exclude other jobs; ``meta`` is JSON text; ``source_id`` is its id in pg-boss.
    """

    id: UUID
    name: str
    priority: int
    data: str | None
    state: RowState
    retry_limit: int
    retry_count: int
    retry_delay: int
    retry_backoff: bool
    retry_delay_max: int | None
    start_after: str
    started_on: str | None
    key: str | None
    slot: str | None
    expire_in: str
    created_on: str
    completed_on: str | None
    keep_until: str
    output: str | None
    attempt: int
    group_key: str | None
    meta: str | None
    source_id: UUID

    def unkeyed(self) -> ImportedJob:
        """Return the job without what excludes it; its ``meta`` has the key."""
        return self._replace(key=None, slot=None, meta=_meta(self.meta, {"singleton_key": self.key}))


@dataclass(frozen=True, slots=True)
class QueueReport:
    """What an import does with a queue of pg-boss.

    Attributes:
        counts: all jobs, each in one group: its state, or ``scheduled`` if it is created and starts in the
            future; ``flow``, ``past`` (its retention), ``claimed`` or ``taken`` by an import.
        left: why its jobs stay in pg-boss; None if they are imported.
        notes: what of it can't be carried, and why.
    """

    name: str
    policy: str = "standard"
    counts: Mapping[str, int] = field(default_factory=dict[str, int])
    left: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScheduleReport:
    """What an import does with a schedule: the one stored here, or why there is none."""

    name: str
    key: str
    cron: str
    schedule: Schedule | None
    left: str | None = None

    @property
    def lost(self) -> bool:
        """Whether it was chosen, but can't be carried."""
        return self.left is not None and self.left != NOT_CHOSEN


def major_version(version: int, schema: str) -> int:
    """Return pg-boss's major version for a version of its tables.

    Raises:
        SchemaVersionError: no import exists for it; the message has the remedy.
    """
    for versions, major in VERSIONS.items():
        if version in versions:
            return major
    newest = max(VERSIONS, key=max)[-1]
    if version > newest:
        raise SchemaVersionError(
            f"--from-schema: must be of pg-boss 10 to 12 (version 21 to {newest}), got version {version} in"
            f" {schema}, which is newer; nothing was changed. Upgrade zeke-queue, or import with the pg-boss"
            " that wrote it stopped at an earlier version"
        )
    raise SchemaVersionError(
        f"--from-schema: must be of pg-boss 10 to 12 (version 21 to {newest}), got version {version} in"
        f" {schema}; "
        + (
            f"its tables are those of pg-boss 9, which need no import: run `zeke --schema {schema} migrate`"
            if version == 20  # noqa: PLR2004 - pg-boss 9's only one that migrate accepts
            else "start pg-boss 9.0.3 on it once, and run `zeke migrate` then"
        )
    )


def next_id(last: UUID) -> UUID | None:
    """Return the id after another one, where the next page of jobs begins; None behind the last one.

    >>> next_id(FIRST_ID), next_id(UUID(int=2**128 - 1))
    (UUID('00000000-0000-0000-0000-000000000001'), None)
    """
    return UUID(int=last.int + 1) if last.int < 2**128 - 1 else None


def left_out(name: str, chosen: Collection[str] | None) -> str | None:
    """Return why the jobs of a queue stay in pg-boss; None if they are imported.

    Args:
        chosen: the names to import; None for all.
    """
    if name.startswith(INTERNAL):
        return "pg-boss's own"
    try:
        queue_name(name)
    except InvalidNameError as error:
        return f"not a name here ({error})"
    return None if chosen is None or name in chosen else NOT_CHOSEN


def report(
    counts: Mapping[str, int],
    details: Mapping[str, Any],
    queue: Mapping[str, Any],
    left: str | None,
    version: int | None = None,
) -> QueueReport:
    """Return what happens with a queue, from its row and from counts of its jobs by state and by trait.

    Args:
        version: that of the tables.
    """
    policy = str(queue.get("policy") or "standard")
    notes = [_POLICIES[policy]] if policy in _POLICIES else []
    if counts.get("past"):
        notes.append(f"{counts['past']} waiting past keep_until: left, since pg-boss no longer runs them")
    if counts.get("flow"):
        notes.append(
            f"{counts['flow']} of a flow (blocked or blocking): left; a job here waits for one other"
        )
    if policy == "standard" and details.get("labels"):
        notes.append(f"{details['labels']} with a key that excludes nothing there: kept in their meta")
    if counts.get("claimed"):
        notes.append(f"{counts['claimed']} claimed by an interrupted import: the next one completes them")
    if counts.get("taken"):
        notes.append(f"{counts['taken']} imported before; pg-boss has them as completed")
    if version in ADDING and details.get("backoff"):
        notes.append(
            f"{details['backoff']} with a backoff and a delay: the delay is doubled with each retry here,"
            " while pg-boss 11 to 12.5 adds it to the doubled second"
        )
    if left is None and (defaults := _defaults(queue)):
        notes.append(f"its defaults, which jobs here have only if the task declares them: {defaults}")
    if letters := details.get("dead_letters"):
        notes.append(f"dead letter {', '.join(letters)}: kept in meta; failed jobs here stay in their queue")
    return QueueReport(str(queue["name"]), policy, counts, left, tuple(notes))


def _defaults(queue: Mapping[str, Any]) -> str:
    """Return the job options of a queue as those of a task; pg-boss stores them in each job as well."""
    declared = ((option, queue.get(column)) for column, option in _QUEUE_OPTIONS.items())
    return ", ".join(f"{option}={value}" for option, value in declared if value is not None)


def job_of(row: Mapping[str, Any], data: str | None, output: str | None) -> ImportedJob:
    """Return the job for a row.

    An active job becomes a retry, as pg-boss makes one of it when it expires; without retries left it has
    expired. A backoff begins with a second at least, as in pg-boss 10, 11 and 12.26, while 12.8 to 12.24
    repeat a job without a delay at once.

    Args:
        row: the columns of the row but ``data`` and ``output``.
        data: JSON text of the payload.
        output: JSON text of the output.
    """
    state = RowState(row["state"])
    if state is RowState.ACTIVE:
        state = RowState.RETRY if row["retry_count"] < row["retry_limit"] else RowState.EXPIRED
        output = None
    key = _key_of(row, state)
    group = _valid(row.get("group_id"))
    kept = {name: row.get(name) for name in _IN_META}
    kept["policy"] = None if row.get("policy") == "standard" else row.get("policy")
    kept["singleton_key"] = None if key == row.get("singleton_key") else row.get("singleton_key")
    kept["group_id"] = None if group == row.get("group_id") else row.get("group_id")
    return ImportedJob(
        id=UUID(row["id"]),
        name=row["name"],
        priority=row["priority"],
        data=data,
        state=state,
        retry_limit=max(0, row["retry_limit"]),
        retry_count=max(0, row["retry_count"]),
        retry_delay=max(int(row["retry_backoff"]), row["retry_delay"]),
        retry_backoff=row["retry_backoff"],
        retry_delay_max=row.get("retry_delay_max"),
        start_after=row["start_after"],
        started_on=row["started_on"],
        key=key,
        slot=row["singleton_on"],
        expire_in=row.get("expire_in") or f"{min(row['expire_seconds'], INT4_MAX)} seconds",
        created_on=row["created_on"],
        completed_on=row["completed_on"],
        keep_until=row["keep_until"],
        output=output,
        attempt=max(0, row["retry_count"]) + (row["started_on"] is not None),
        group_key=group,
        meta=_meta(None, kept),
        source_id=UUID(row["id"]),
    )


def next_try(job: ImportedJob, holder: str | None) -> ImportedJob | None:
    """Return the job to insert instead of one that was refused; None if it was imported before.

    Args:
        holder: the queue of the job here with its id; None if there is none, so that its key or its slot
            was in the way.
    """
    if holder == job.name:
        return None
    if holder is not None:
        # In pg-boss an id is unique in its queue only. A second import computes the same id.
        return job._replace(id=uuid5(job.id, job.name))
    return job.unkeyed()


def schedules_of(
    rows: Iterable[tuple[Mapping[str, Any], str | None]], chosen: Collection[str] | None
) -> list[ScheduleReport]:
    """Return the schedules for rows of pg-boss and their payloads; of two with one name, only the first."""
    reports: list[ScheduleReport] = []
    holders: dict[str, ScheduleReport] = {}
    for row, data in rows:
        one = schedule_of(row, data, chosen)
        if one.schedule is not None:
            holder = holders.setdefault(one.schedule.name, one)
            if holder is not one:
                reason = f"the schedule of {holder.name} with key {holder.key or 'none'} has its name here"
                one = ScheduleReport(one.name, one.key, one.cron, None, reason)
        reports.append(one)
    return reports


def cron_of(expression: str) -> str:
    """Return an expression of pg-boss as one of ours, whose seconds are last.

    pg-boss sends a schedule once a minute at most, so several seconds in a minute become the full minute.
    """
    fields = expression.split()
    if len(fields) != SECONDS_FIRST:
        return expression
    second, *others = fields
    single = second.isascii() and second.isdigit() and int(second) > 0
    return " ".join([*others, second] if single else others)


def first_ticks(
    schedule: Schedule, cron_on: datetime | None, now: datetime
) -> tuple[datetime | None, datetime | None]:
    """Return the first tick after pg-boss's last check of its schedules, and one that is lost, if it is.

    A tick since then that is too old to be served is lost, unless the schedule catches up.
    """
    if cron_on is None:
        return None, None
    tick = Cron.parse(schedule.cron, schedule.zone).next_after(cron_on)
    lost = tick is not None and schedule.catch_up is CatchUp.SKIP and tick < now - GRACE
    return tick, tick if lost else None


def schedule_of(row: Mapping[str, Any], data: str | None, chosen: Collection[str] | None) -> ScheduleReport:
    """Return the schedule for a row of pg-boss, whose queue may have several with a key each.

    Raises nothing: a schedule that can't be carried has a reason instead.
    """
    name, key = str(row["name"]), str(row.get("key") or "")
    reported = ScheduleReport(name, key, str(row["cron"]), None, left_out(name, chosen))
    if reported.left is not None:
        return reported
    if row.get("kind", "cron") != "cron":
        return ScheduleReport(name, key, reported.cron, None, "a recurrence rule (RFC 5545), not cron")
    theirs = cast("Mapping[str, Any]", row.get("options") or {})
    try:
        options = stored_options.write(stored_options.read(theirs).given())
        new_job(FIRST_ID, name, None, merge(OptionLayer(**options), DEFAULTS))
        schedule = Schedule(
            name=queue_name(f"{name}/{key}" if key else name),
            cron=Cron.parse(cron_of(reported.cron), str(row.get("timezone") or "UTC")).expr,
            task=name,
            zone=str(row.get("timezone") or "UTC"),
            data=data,
            options=options,
            catch_up=CatchUp.ONCE if theirs.get("missed") == "once" else CatchUp.SKIP,
        )
    except UsageError as error:
        return ScheduleReport(name, key, reported.cron, None, str(error))
    return ScheduleReport(name, key, reported.cron, schedule)


def _key_of(row: Mapping[str, Any], state: RowState) -> str | None:
    """Return the key by which the job excludes others here, or that it had when it ended."""
    given = row.get("singleton_key") or None
    if state in FINAL or row["singleton_on"] is not None or row.get("upsert_by_key"):
        return _valid(given)
    return _valid(given or row["name"]) if row.get("policy") in KEYED else None


def _valid(key: object) -> str | None:
    try:
        return singleton_key(key)
    except UsageError:
        return None


def _meta(before: str | None, more: Mapping[str, Any]) -> str | None:
    kept: dict[str, Any] = json.loads(before)["pgboss"] if before else {}
    kept |= {name: value for name, value in more.items() if value is not None}
    return json.dumps({"pgboss": kept}) if kept else None
