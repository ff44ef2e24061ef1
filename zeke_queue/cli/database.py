"""The part of ``zeke doctor`` that checks whether a database is usable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from zeke_queue.cli.checks import Finding, Grade
from zeke_queue.cli.render import length
from zeke_queue.core.names import schema_name
from zeke_queue.core.timeouts import LOCK_SECONDS
from zeke_queue.errors import PermissionDeniedError, SchemaVersionError, StorageError
from zeke_queue.storage.postgres import migrate
from zeke_queue.storage.postgres.server_info import read_server_info

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from zeke_queue.storage.postgres.server_info import ServerInfo

LONG_TRANSACTION: Final = 300.0
"""Age in seconds of a transaction that is a warning: vacuum must clean a queue's table every minute."""

OPEN_TRANSACTION: Final = LOCK_SECONDS
"""Age in seconds from which the oldest transaction is named: a statement may have failed because of it."""

NOTIFY_USAGE_WARNED: Final = 0.1
"""The used share of the server's notification queue that is reported; it is usually empty."""


async def inspect(dsn: str, schema: str) -> tuple[list[Finding], bool]:
    """Check a database in any state; change nothing.

    Returns:
        The findings, and whether a worker could use the database.
    """
    schema = schema_name(schema)
    try:
        info = await read_server_info(dsn, schema)
    except StorageError as error:
        return [_unfit("database", error)], False
    found = [_server(info), *_pooler(info)]
    try:
        await migrate.check(dsn, schema)
    except PermissionDeniedError as error:
        return [*found, _lacking(info, schema, error)], False
    except SchemaVersionError as error:
        return [*found, _unfit("tables", error)], False
    except StorageError as error:
        return [*found, _unfit("database", error)], False
    # The number is omitted: one migration is for new tables only, and another one for adopted ones.
    about = f"schema {schema}: pg-boss 9's (version {migrate.PGBOSS_VERSION}), all migrations applied"
    found += [Finding(Grade.OK, "tables", about), *_api_rights(info, schema)]
    found += [*_oldest(info), *_notifications(info), *_indexes(info, schema)]
    return found, not info.standby


def _server(info: ServerInfo) -> Finding:
    server = f"PostgreSQL {info.version}" + (" (an embedded server)" if info.embedded else "")
    about = f"{server}, database {info.database}, role {info.role}"
    if info.standby:
        return Finding(
            Grade.PROBLEM,
            "database",
            f"{about}: it is a read-only standby",
            "set DATABASE_PRIMARY_URL to the primary",
        )
    return Finding(Grade.OK, "database", about)


def _pooler(info: ServerInfo) -> Iterator[Finding]:
    if info.pooler == "transactions":
        yield Finding(
            Grade.OK,
            "database",
            "a pooler gives each transaction another connection: LISTEN receives nothing, so idle workers"
            " find jobs of other processes by polling",
            "for jobs that start at once, connect to Postgres directly",
        )
    elif info.pooler == "sessions":
        yield Finding(
            Grade.OK,
            "database",
            "a pooler gives each client a connection of its own, so its pool must have one for each"
            " connection of every process",
        )


def _unfit(about: str, error: StorageError) -> Finding:
    """Return a finding for an error, whose last sentence is the remedy."""
    said = " ".join(str(error).split())
    found, _, advice = said.rpartition(". ")
    return Finding(Grade.PROBLEM, about, found or said, advice if found else None)


def _lacking(info: ServerInfo, schema: str, error: PermissionDeniedError) -> Finding:
    """Return a finding with all missing rights, and the statements that grant them."""
    if not info.missing_rights:
        return _unfit("rights", error)
    usage = f"grant usage on schema {schema} to {_quoted(info.role)};"
    return Finding(
        Grade.PROBLEM,
        "rights",
        f"role {info.role} lacks in schema {schema}: {_listed(info.missing_rights)}",
        f"as the tables' owner, run `zeke migrate --grant {info.role}`, or these: {usage}"
        f" {_grants(info.missing_rights, info.role, schema)}",
    )


def _api_rights(info: ServerInfo, schema: str) -> Iterator[Finding]:
    """Return the rights that a role lacks to serve the HTTP API; workers do not need them."""
    if info.missing_api_rights:
        yield Finding(
            Grade.OK,
            "rights",
            f"role {info.role} can run workers, but not serve the HTTP API or create keys: it lacks in"
            f" schema {schema}: {_listed(info.missing_api_rights)}",
            f"to allow that, as the tables' owner: {_grants(info.missing_api_rights, info.role, schema)}",
        )


async def require_api_rights(dsn: str, schema: str) -> None:
    """Check the role's rights for the HTTP API's keys, sessions and limits; change nothing.

    Raises:
        PermissionDeniedError: rights are missing; the message has all of them, and the statements that grant
            them.
        SchemaVersionError: the tables are missing, or not up to date.
        StorageUnavailableError: the database can't be reached.
    """
    await migrate.check(dsn, schema)
    info = await read_server_info(dsn, schema)
    if info.missing_api_rights:
        raise PermissionDeniedError(
            f"Role {info.role!r} can't serve the HTTP API: it lacks in schema {schema}:"
            f" {_listed(info.missing_api_rights)}. As the tables' owner:"
            f" {_grants(info.missing_api_rights, info.role, schema)}"
        )


def _listed(lacking: Mapping[str, tuple[str, ...]]) -> str:
    return "; ".join(f"{', '.join(rights)} on {table}" for table, rights in lacking.items())


def _grants(lacking: Mapping[str, tuple[str, ...]], role: str, schema: str) -> str:
    return " ".join(
        f"grant {', '.join(rights)} on {schema}.{table} to {_quoted(role)};"
        for table, rights in lacking.items()
    )


def _quoted(role: str) -> str:
    return '"{}"'.format(role.replace('"', '""'))


def _oldest(info: ServerInfo) -> Iterator[Finding]:
    if info.oldest is None or info.oldest.seconds < OPEN_TRANSACTION:
        return
    found = f"{info.oldest.what} has had a transaction open for {length(info.oldest.seconds)}"
    remedy = "end it: commit or roll back where it was begun, or select pg_terminate_backend(PID)"
    if info.oldest.seconds < LONG_TRANSACTION:
        yield Finding(Grade.OK, "database", found, f"if it keeps a row locked, {remedy}")
    else:
        effect = "vacuum can't remove rows that died since, and claims get slower"
        yield Finding(Grade.WARNING, "database", f"{found}; {effect}", remedy)


def _notifications(info: ServerInfo) -> Iterator[Finding]:
    usage, holder = info.notifications
    if usage >= NOTIFY_USAGE_WARNED:
        yield Finding(
            Grade.WARNING,
            "database",
            f"the server's notification queue is {usage:.0%} full; when it is full, statements send no"
            " notifications, and workers and watchers find changes by polling",
            f"end the session that prevents its cleanup, probably {holder or 'one of another role'}:"
            " select pg_terminate_backend(PID)",
        )


def _indexes(info: ServerInfo, schema: str) -> Iterator[Finding]:
    if info.costly_indexes:
        names = [f"{schema}.{name}" for name in info.costly_indexes]
        effect = "halves the speed, and serves" if len(names) == 1 else "halve the speed, and serve"
        yield Finding(
            Grade.WARNING,
            "tables",
            f"pg-boss's {' and '.join(names)} {effect} only pg-boss's own fetch",
            "when pg-boss no longer fetches jobs here: "
            + " ".join(f"drop index concurrently {name};" for name in names),
        )
