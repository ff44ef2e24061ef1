"""Information on a database for ``zeke doctor`` that no verb of the storage returns.

It is read on a separate connection, so that it is available for a database that can't be used: one without
the tables, with another system's, or where the role lacks rights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import psycopg

from zeke_queue.core.names import schema_name
from zeke_queue.storage.postgres.error_mapping import check_server, translated
from zeke_queue.storage.postgres.migrate import API_RIGHTS, RIGHTS
from zeke_queue.storage.postgres.pooler import is_pooled, is_shared
from zeke_queue.storage.postgres.session import LIMIT_READS, accepted
from zeke_queue.storage.postgres.statements import statement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COSTLY_INDEXES: Final = ("job_fetch", "job_name")
"""Indexes of pg-boss 9's fetch; this package uses none of them, and they halve the speed."""


class LongTransaction(NamedTuple):
    """A transaction that keeps vacuum from removing dead rows: its description, and its age in seconds."""

    what: str
    seconds: float


class Notifications(NamedTuple):
    """The notification queue: its used share, and the session that probably prevents its cleanup."""

    usage: float
    holder: str | None


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """The state of a database, as visible to its role.

    Attributes:
        version: the server's version, as it reports it.
        standby: whether it is a read-only standby of another server.
        embedded: whether ``--embedded`` or the demo started it.
        admitted: the connections that the server admits to the role and the database.
        pooler: what a pooler before the server gives connections to; None if there is none.
        missing_rights: by table, the required rights that the role lacks, without tables that do not exist.
        missing_api_rights: the same for the additional rights of the HTTP API.
        oldest: the oldest transaction of the database; None if the role can see none.
        notifications: the notification queue.
        costly_indexes: those of ``COSTLY_INDEXES`` that exist.
    """

    version: str
    role: str
    database: str
    standby: bool
    embedded: bool
    admitted: int
    pooler: Literal["transactions", "sessions"] | None
    missing_rights: Mapping[str, tuple[str, ...]]
    missing_api_rights: Mapping[str, tuple[str, ...]]
    oldest: LongTransaction | None
    notifications: Notifications
    costly_indexes: tuple[str, ...]


class PgBoss(NamedTuple):
    """The traces of a pg-boss on the same tables.

    Attributes:
        maintained: seconds since it did maintenance, and ``cron``, since it did cron; None if it never did.
        doubled: the names of its schedules that are also names of ours.
    """

    maintained: float | None
    cron: float | None
    doubled: Sequence[str] = ()


async def read_server_info(dsn: str, schema: str = "pgboss") -> ServerInfo:
    """Return information on a database in any state; change nothing.

    Raises:
        StorageUnavailableError: it can't be reached.
        UnsupportedServerError: the server is older than PostgreSQL 15.
    """
    schema = schema_name(schema)
    needed = {**RIGHTS, **API_RIGHTS}
    wanted = [(table, right) for table, rights in needed.items() for right in rights.split(", ")]
    tables, rights = zip(*wanted, strict=True)
    dsn = await accepted(dsn)
    with translated():
        async with await _connect(dsn) as connection:
            check_server(connection.info.server_version)

            async def ask(name: str, **parameters: Any) -> list[tuple[Any, ...]]:
                cursor = await connection.execute(statement(name, schema), {"now": None, **parameters})
                return await cursor.fetchall()

            ((version, role, database, standby, embedded, admitted),) = await ask("server_info")
            lacking: dict[str, tuple[str, ...]] = {}
            for table, right in await ask(
                "server_info_rights", schema=schema, tables=list(tables), rights=list(rights)
            ):
                lacking[table] = (*lacking.get(table, ()), right)
            oldest = await ask("server_info_oldest")
            (notifications,) = await ask("server_info_notify")
            indexes = await ask("server_info_indexes", schema=schema, names=list(COSTLY_INDEXES))
            pooled = await is_pooled(connection)
            shared = await is_shared(connection, dsn, in_doubt=False)
    return ServerInfo(
        version=version,
        role=role,
        database=database,
        standby=standby,
        embedded=embedded,
        admitted=admitted,
        pooler=("transactions" if shared else "sessions") if pooled else None,
        missing_rights={table: rights for table, rights in lacking.items() if table in RIGHTS},
        missing_api_rights={table: rights for table, rights in lacking.items() if table in API_RIGHTS},
        oldest=LongTransaction(*oldest[0]) if oldest else None,
        notifications=Notifications(*notifications),
        costly_indexes=tuple(name for (name,) in indexes),
    )


async def read_pgboss(dsn: str, schema: str = "pgboss") -> PgBoss:
    """Return when a pg-boss last worked on tables that are usable (``migrate.check``).

    Raises:
        StorageError: the database can't be reached, or the tables can't be read.
    """
    dsn = await accepted(dsn)
    with translated():
        async with await _connect(dsn) as connection, connection.transaction():
            await connection.execute(LIMIT_READS)
            cursor = await connection.execute(
                statement("server_info_pgboss", schema_name(schema)), {"now": None}
            )
            (found,) = await cursor.fetchall()
    return PgBoss(*found)


async def _connect(dsn: str) -> psycopg.AsyncConnection[tuple[Any, ...]]:
    return await psycopg.AsyncConnection.connect(
        dsn, autocommit=True, connect_timeout=10, application_name="zeke doctor"
    )
