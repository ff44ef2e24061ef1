"""Whether a pg-boss 9 starts and works on the tables: their definitions, and its statements, rolled back.

The statements are written from what pg-boss 9.0.3 sends: with its columns, conditions and order, but for a
queue of their own, so that no job of others is locked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg

from zeke_queue.core.names import schema_name
from zeke_queue.errors import SchemaVersionError
from zeke_queue.storage.postgres.error_mapping import is_of_values, translated
from zeke_queue.storage.postgres.migrate import PGBOSS_VERSION, connected, find
from zeke_queue.storage.postgres.session import LIMIT_READS
from zeke_queue.storage.postgres.statements import statement

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from zeke_queue.storage.postgres.migration_steps import Connection

STATES: Final = ("created", "retry", "active", "completed", "expired", "cancelled", "failed")

_STAMP: Final = "timestamp with time zone"
_NOW: Final = f"{_STAMP} not null default now()"
_JOB: Final = {
    "id": "uuid not null default gen_random_uuid()",
    "name": "text not null",
    "priority": "integer not null default 0",
    "data": "jsonb",
    "state": "job_state not null default 'created'::job_state",
    "retrylimit": "integer not null default 0",
    "retrycount": "integer not null default 0",
    "retrydelay": "integer not null default 0",
    "retrybackoff": "boolean not null default false",
    "startafter": _NOW,
    "startedon": _STAMP,
    "singletonkey": "text",
    "singletonon": "timestamp without time zone",
    "expirein": "interval not null default '00:15:00'::interval",
    "createdon": _NOW,
    "completedon": _STAMP,
    "keepuntil": f"{_STAMP} not null default (now() + '14 days'::interval)",
    "on_complete": "boolean not null default false",
    "output": "jsonb",
}
COLUMNS: Final = {
    "version": {"version": "integer not null", "maintained_on": _STAMP, "cron_on": _STAMP},
    "job": _JOB,
    "archive": {
        **{name: declared.partition(" default ")[0] for name, declared in _JOB.items()},
        "archivedon": _NOW,
    },
    "schedule": {
        "name": "text not null",
        "cron": "text not null",
        "timezone": "text",
        "data": "jsonb",
        "options": "jsonb",
        "created_on": _NOW,
        "updated_on": _NOW,
    },
    "subscription": {
        "event": "text not null",
        "name": "text not null",
        "created_on": _NOW,
        "updated_on": _NOW,
    },
}
"""The columns of pg-boss 9, as the server describes them; others must be optional in an insert."""

_INDEXES: Final = {
    "job_pkey": True,
    "job_singletonon": True,
    "job_singletonkeyon": True,
    "job_singletonkey": True,
    "job_singleton_queue": True,
    "archive_id_idx": False,
    "archive_archivedon_idx": False,
}
"""Its indexes, and whether they are unique; a schema that Zeke made lacks two that make its fetch faster."""

_NO_RIGHT: Final = "42501"
_OF_DEFINITIONS: Final = "42"
_QUEUE_KEY: Final = "__pgboss__singleton_queue"


def check_pgboss(dsn: str, schema: str = "pgboss") -> None:
    """Check that a pg-boss 9 starts and works on the tables; change nothing.

    Raises:
        SchemaVersionError: it does not; the message says what differs.
        StorageUnavailableError: the database can't be reached.
        PermissionDeniedError: the role lacks a right that pg-boss needs.
    """
    schema = schema_name(schema)
    with translated(), connected(dsn) as connection, connection.transaction(force_rollback=True):
        connection.execute(LIMIT_READS)
        # The server describes intervals in the style of the session.
        connection.execute("set local intervalstyle = 'postgres'")
        connection.execute("set local search_path = pg_catalog")
        if not find(connection, schema).tables:
            raise _fails(schema, ["it has no tables"], "Start pg-boss 9 on it, or run `zeke migrate`")
        wrong = list(_definitions(connection, schema))
        # With other definitions these would only say the same again, less clearly.
        if wrong := wrong or list(_statements(connection, schema)):
            raise _fails(schema, wrong, "Restore what differs; docs/adopt-pgboss.md says how to back out")


def _fails(schema: str, wrong: list[str], remedy: str) -> SchemaVersionError:
    return SchemaVersionError(
        f"pg-boss 9 does not work on schema {schema!r}: {'; '.join(wrong)}. {remedy}. Nothing was changed"
    )


def _definitions(connection: Connection, schema: str) -> Iterator[str]:
    """Yield how tables, enum and indexes differ from those that pg-boss 9 made."""
    for table, columns in COLUMNS.items():
        rows = _rows(connection, "columns", schema, table=f"{schema}.{table}")
        found = {name: declared.replace(f"{schema}.", "") for name, declared in rows}
        for name, declared in columns.items():
            if found.get(name) != declared:
                yield f"{table}.{name}: must be {declared}, got {found.get(name, 'no such column')}"
        for name in found.keys() - columns.keys():
            if " not null" in found[name] and " default " not in found[name]:
                yield f"{table}.{name}: must be nullable or have a default, got {found[name]}"
    states = [label for (label,) in _rows(connection, "states", schema, type=f"{schema}.job_state")]
    if states != list(STATES):
        yield f"job_state: must be {', '.join(STATES)}, got {', '.join(states) or 'no such type'}"
    indexes: dict[str, bool] = dict(_rows(connection, "indexes", schema, space=schema))
    for name, unique in _INDEXES.items():
        if indexes.get(name) != unique:
            wanted = "a valid unique index" if unique else "a valid index"
            yield f"{name}: must be {wanted}, got {'another one' if name in indexes else 'none'}"
    versions = connection.execute(f"select count(*) from {schema}.version".encode()).fetchall()  # noqa: S608 - the name is checked
    if versions != [(1,)]:
        yield f"version: must be a single row, got {versions[0][0]}"


def _statements(connection: Connection, schema: str) -> Iterator[str]:
    """Run what pg-boss 9 does in a queue of its own; yield what has another outcome."""
    ((name,),) = connection.execute("select 'zeke-check-' || gen_random_uuid()").fetchall()
    last = "send"

    def run(word: str, **parameters: Any) -> list[Any]:
        nonlocal last
        last = word
        values = {"id": None, "name": name, "key": None, "slot": False, "retrylimit": 0, "on_complete": False}
        return [row[0] for row in _rows(connection, word, schema, **{**values, **parameters})]

    try:
        for what, outcome in _outcomes(run):
            if not outcome:
                yield f"{last}: {what}"
                return
    except psycopg.Error as error:
        state = error.sqlstate or ""
        if state == _NO_RIGHT or not (is_of_values(state) or state.startswith(_OF_DEFINITIONS)):
            raise
        yield f"{last}: fails with {error.diag.message_primary}"


def _outcomes(run: Callable[..., list[Any]]) -> Iterator[tuple[str, object]]:
    """Yield what must happen, and whether it did."""
    plain = run("send", on_complete=True)
    yield "must insert a job", plain
    yield "must refuse an id that exists", not run("send", id=plain[0])
    retried = run("send", retrylimit=1)
    limited: list[Any] = []
    for rule in ({"key": "a"}, {"slot": True}, {"key": "a", "slot": True}, {"key": _QUEUE_KEY}):
        first = run("send", **rule)
        yield f"must insert the first job with {rule}", first
        yield f"must refuse the second job with {rule}", not run("send", **rule)
        limited += first
    yield "must return all jobs", _same(run("fetch"), plain + retried + limited)
    yield "must insert a job behind the active one of a singleton queue", run("send", key=_QUEUE_KEY)
    yield "must refuse the key of an active job", not run("send", key="a")
    yield "must send a completion job", run("complete", id=plain[0])
    yield "must return a job for its retry", run("fail", id=retried[0]) == ["retry"]
    yield "must expire the other active jobs", _same(run("expire"), limited)
    yield "must free the key of an expired job", run("send", key="a")
    yield "must move the ended jobs", _same(run("archive"), plain + limited)
    yield "must delete what was moved", _same(run("purge"), plain + limited)
    yield "must store a schedule", run("schedule")
    yield "must be of version 20", run("maintained") == [PGBOSS_VERSION]


def _same(found: list[Any], wanted: list[Any]) -> bool:
    return sorted(found) == sorted(wanted)


def _rows(connection: Connection, name: str, schema: str, /, **parameters: Any) -> list[tuple[Any, ...]]:
    return connection.execute(statement(f"pgboss9/{name}", schema), parameters).fetchall()
