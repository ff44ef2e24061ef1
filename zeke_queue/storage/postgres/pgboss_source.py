"""The schema of a pg-boss 10, 11 or 12 whose jobs are imported: what is in it, and claims of its jobs.

A job is claimed before it is stored here, and confirmed afterwards. A claimed one is active in pg-boss
without an end; ``zekeImport`` in its output has the row as it was, and the claim's time, which is its start
until pg-boss fetches it again. A confirmed one is completed. So both systems never run the same job, and an
import that was killed between the two continues with the claimed ones.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias, cast

import psycopg

from zeke_queue.core import pgboss_import as core
from zeke_queue.core.names import schema_name
from zeke_queue.core.timeouts import LOCK_SECONDS, STATEMENT_SECONDS
from zeke_queue.errors import PermissionDeniedError, SchemaVersionError, UsageError
from zeke_queue.storage.postgres.error_mapping import translated
from zeke_queue.storage.postgres.statements import statement

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Mapping
    from datetime import datetime
    from uuid import UUID

    from zeke_queue.core.pgboss_import import ImportedJob, QueueReport, ScheduleReport

BATCH: Final = 500
"""Jobs of a transaction by default."""

BATCH_BYTES: Final = 8 * 2**20
"""Stored bytes of payloads and outputs after which a transaction ends before it has ``BATCH`` jobs."""

PREVIEW_SECONDS: Final = 600
"""Limit of each statement of a preview, one of which counts all jobs; it changes and locks nothing."""

_LIMITS: Final = "select set_config('lock_timeout', %s, true), set_config('statement_timeout', %s, true)"
_MILLISECONDS: Final = [str(round(seconds * 1000)) for seconds in (LOCK_SECONDS, STATEMENT_SECONDS)]
_SESSIONS: Final = (
    "select count(*) from pg_stat_activity"
    " where datname = current_database() and application_name like 'pgboss%'"
)
_COLUMNS: Final = "select attname from pg_attribute where attrelid = to_regclass(%s)"
_PREVIEWING: Final = "select set_config('statement_timeout', %s, true)"
_WITHOUT: Final = {
    "expire_seconds": ("expire_seconds = 2147483647", "expire_in = interval '876000 hours'"),
    "heartbeat_on": ("heartbeat_on = null, ", ""),
    "blocked": ("job.blocked or job.blocking", "false"),
}
"""What statements have instead of a text where a column is missing, in earlier versions."""

_VERSION: Final = (
    "select true from pg_attribute where attrelid = to_regclass(%s) and attname = 'version'"
    " and atttypid = 'int'::regtype"
)
_USAGE: Final = (
    "select (select has_schema_privilege(oid, 'usage') from pg_namespace where nspname = %s),"
    " quote_ident(current_user)"
)
_MAY_IDENTIFY: Final = "select has_function_privilege('pg_control_system()', 'execute')"
_IDENTIFY: Final = "select system_identifier from pg_control_system()"
_RIGHT: Final = "select has_table_privilege(%s, %s)"
_TABLES: Final = ("queue", "schedule", "job")


class Session:
    """A connection whose statements run in transactions with limits, which the caller commits."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self._limited = False

    def run(self, text: str, values: Mapping[str, Any] | list[Any] | None = None) -> list[Any]:
        """Execute a statement of this package; return its rows, if it has any."""
        if not self._limited:
            self.connection.execute(_LIMITS, _MILLISECONDS)
            self._limited = True
        cursor = self.connection.execute(cast("Any", text), values)
        return cursor.fetchall() if cursor.description else []

    def commit(self) -> None:
        """End the transaction."""
        self.connection.commit()
        self._limited = False

    def rollback(self) -> None:
        """Undo the transaction, if one is open."""
        self.connection.rollback()
        self._limited = False


@contextmanager
def connect(dsn: str) -> Generator[Session]:
    """Open a session; the driver's errors are translated, and an open transaction is rolled back."""
    with (
        translated(),
        psycopg.connect(dsn, connect_timeout=10, application_name="zeke import-pgboss") as connection,
    ):
        # The next transaction may be on another connection of a pooler, which knows no such statement.
        connection.prepare_threshold = None
        yield Session(connection)


@dataclass(frozen=True, slots=True)
class Preview:
    """What a schema of pg-boss has, and what becomes of it.

    Attributes:
        cron_running: whether pg-boss has checked its schedules within two minutes.
        sessions: how many connections or registered instances of pg-boss there are.
    """

    version: int
    major: int
    queues: tuple[QueueReport, ...]
    schedules: tuple[ScheduleReport, ...]
    cron_running: bool
    sessions: int


Fate: TypeAlias = Literal["confirmed", "claimed", "back"]
"""What became of a claimed job: an import has confirmed it or not yet, or pg-boss has it back."""


class CronState(NamedTuple):
    """The state of pg-boss's cron.

    Attributes:
        checked_on: when it last checked its schedules.
        running: whether that was within two minutes.
        pending: the queues of the ticks that it has still to forward.
    """

    checked_on: datetime | None
    running: bool
    now: datetime
    pending: list[str]


class Source:
    """The jobs of a pg-boss in a schema; made by ``find``.

    Attributes:
        batch: jobs of a transaction, and ``batch_bytes`` their stored bytes.
        origin: the server, the database and the schema, which held jobs have.
    """

    def __init__(self, session: Session, schema: str, version: int) -> None:
        self.session = session
        self.batch = BATCH
        self.batch_bytes = BATCH_BYTES
        self.schema = schema
        self.version = version
        self.major = core.major_version(version, schema)
        columns = self._columns("job")
        self._adapted = [change for column, change in _WITHOUT.items() if column not in columns]
        info = session.connection.info
        # An address may differ at the next import, so it is used only if the identifier may not be read.
        permitted = session.run(_MAY_IDENTIFY)[0][0]
        server = session.run(_IDENTIFY)[0][0] if permitted else f"{info.host}:{info.port}"
        self.origin = f"{server}.{info.dbname}.{schema}"

    @classmethod
    def find(cls, session: Session, schema: str, *, writing: bool) -> Source:
        """Check the schema, and the rights to import from it.

        Raises:
            SchemaVersionError: there is none of pg-boss 10, 11 or 12.
            PermissionDeniedError: the role lacks a right; the message has the statements that grant all.
        """
        schema = schema_name(schema)
        ((usage, role),) = session.run(_USAGE, [schema])
        if usage is None or (usage and not session.run(_VERSION, [f"{schema}.version"])):
            raise SchemaVersionError(
                f"--from-schema: must be the schema of a pg-boss, got {schema}, which has no version table of"
                " one; name its schema, and its database with --from"
            )
        wanted = [("version", "select")] + [("job", "update")] * writing
        wanted += [(table, "select") for table in _TABLES]
        if usage and session.run(_COLUMNS, [f"{schema}.instance"]):
            wanted.append(("instance", "select"))
        for table, right in wanted:
            if not usage or not session.run(_RIGHT, [f"{schema}.{table}", right])[0][0]:
                raise PermissionDeniedError(
                    f"Role {role} lacks the right {right} on {schema}.{table}. As the owner of pg-boss's"
                    f" tables: grant usage on schema {schema} to {role}; grant select on all tables in schema"
                    f" {schema} to {role}; grant update on {schema}.job to {role}"
                )
        version = session.run(f"select max(version) from {schema}.version")  # noqa: S608 - the name is checked
        return cls(session, schema, version[0][0])

    def preview(self, chosen: Collection[str] | None) -> Preview:
        """Return what an import of these queues does; None for all. Changes nothing."""
        self.session.run(_PREVIEWING, [f"{PREVIEW_SECONDS}s"])
        counts: dict[str, Counter[str]] = {}
        traits: dict[str, Counter[str]] = {}
        letters: dict[str, set[str]] = {}
        for variant in ("counts", *["counts_archived"] * self._has_archive):
            for name, becomes, jobs, labels, backoff, dead in self._run(variant):
                counts.setdefault(name, Counter())[becomes] += jobs
                traits.setdefault(name, Counter()).update(labels=labels, backoff=backoff)
                letters.setdefault(name, set()).update(dead or ())
        queues = {row["name"]: row for (row,) in self._run("queues")}
        names = sorted(queues.keys() | counts.keys())
        reports = [
            core.report(
                dict(counts.get(name, {})),
                {**traits.get(name, {}), "dead_letters": sorted(letters.get(name, ()))},
                queues.get(name, {"name": name}),
                core.left_out(name, chosen) if name in queues else core.NO_QUEUE,
                self.version,
            )
            for name in names
        ]
        return Preview(
            self.version,
            self.major,
            tuple(reports),
            tuple(self.schedules(chosen)),
            self.cron().running,
            self.sessions(),
        )

    def schedules(self, chosen: Collection[str] | None) -> list[ScheduleReport]:
        """Return what becomes of the schedules."""
        return core.schedules_of(self._run("schedules"), chosen)

    def cron(self) -> CronState:
        """Return the state of pg-boss's cron."""
        return CronState(*self._run("cron", forwarded=core.FORWARDED)[0])

    def sessions(self) -> int:
        """Return how many connections or registered instances of pg-boss there are, whichever are more."""
        connections = int(self.session.run(_SESSIONS)[0][0])
        if "heartbeat_seconds" not in self._columns("instance"):
            return connections
        return max(connections, int(self._run("instances")[0][0]))

    def require_stopped(self) -> None:
        """Raise an error if a pg-boss is connected, which may still run the active jobs.

        Raises:
            UsageError: it is.
        """
        if sessions := self.sessions():
            raise UsageError(
                f"--active: must be used while pg-boss is stopped, got {sessions} of its connections or"
                " instances; stop it, since it may still run these jobs. An instance that crashed counts"
                " until it has missed three heartbeats"
            )

    def names(self) -> list[str]:
        """Return the names of the queues."""
        return [row["name"] for (row,) in self._run("queues")]

    def claim(self, name: str, first: UUID, *, active: bool) -> list[ImportedJob]:
        """Claim the next jobs of a queue that wait, or with ``active`` those that run too.

        Raises:
            UsageError: ``active``, and a pg-boss is connected, which may still run them.
        """
        if active:
            self.require_stopped()
        values = {"name": name, "first": first, "bytes": self.batch_bytes}
        return _jobs(self._run("claim" + "_active" * active, self.batch, **values))

    def claimed(self) -> list[ImportedJob]:
        """Lock some jobs that an interrupted import has claimed, and return them."""
        return _jobs(self._run("claimed", self.batch))

    def lock(self, jobs: Iterable[ImportedJob]) -> list[ImportedJob]:
        """Lock claimed jobs; return those that are still claimed."""
        values = {"names": [job.name for job in jobs], "ids": [job.source_id for job in jobs]}
        return _jobs(self._run("claimed_given", self.batch, **values))

    def fates(self, jobs: Iterable[tuple[str, UUID]]) -> dict[tuple[str, UUID], Fate]:
        """Return what became of claimed jobs, given by queue and id, whose rows are not gone."""
        names, ids = zip(*jobs, strict=True)
        rows: list[Any] = []
        # In this order, since jobs move from the first to the second.
        for variant in ("fates", *["fates_archived"] * self._has_archive):
            rows += self._run(variant, names=list(names), ids=list(ids))
        return {(name, job_id): fate for name, job_id, fate in rows}

    def confirm(self, jobs: Iterable[tuple[str, UUID]]) -> None:
        """Complete claimed jobs, given by queue and id, that are stored here."""
        names, ids = zip(*jobs, strict=True)
        self._run("confirm", names=list(names), ids=list(ids))

    def ended(self, name: str, *, history: bool) -> Generator[list[ImportedJob]]:
        """Yield the ended jobs of a queue by batches: all, or those whose slot may still exclude others."""
        for variant in ("ended", *["ended_archived"] * (self._has_archive and history)):
            first: UUID | None = core.FIRST_ID
            while first is not None:
                values = {"name": name, "first": first, "bytes": self.batch_bytes, "history": history}
                rows = self._run(variant, self.batch, **values)
                first = core.next_id(rows[-1][0]) if rows else None
                yield _jobs([row for _, wanted, *row in rows if wanted])

    @property
    def _has_archive(self) -> bool:
        return self.major == core.ARCHIVED

    def _columns(self, table: str) -> set[str]:
        return {name for (name,) in self.session.run(_COLUMNS, [f"{self.schema}.{table}"])}

    def _run(self, file: str, limit: int | None = None, /, **values: Any) -> list[Any]:
        text: str = statement(f"pgboss/{file}", self.schema, limit)
        for present, instead in self._adapted:
            text = text.replace(present, instead)
        return self.session.run(text, values)


def _jobs(rows: list[Any]) -> list[ImportedJob]:
    return [core.job_of(was, payload, None if result == "null" else result) for was, payload, result in rows]
