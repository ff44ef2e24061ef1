"""Heartbeats on a separate connection, so that no other statement, transaction or event loop delays them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from psycopg import AsyncConnection, IsolationLevel, OperationalError
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from zeke_queue.storage.postgres import rows
from zeke_queue.storage.postgres.error_mapping import as_storage_error, no_driver_errors, translated
from zeke_queue.storage.postgres.rows import Cursor
from zeke_queue.storage.postgres.session import SET_LOCAL, local_parameters
from zeke_queue.storage.postgres.statements import statement

if TYPE_CHECKING:
    from typing import LiteralString
    from uuid import UUID

    from zeke_queue.model import WorkerInfo
    from zeke_queue.storage.postgres.session import Session

_CONNECT_SECONDS: Final = 5
"""Seconds to connect, shared by the hosts of the DSN: one that does not answer must not delay the others."""

_CONNECT_SECONDS_MIN: Final = 2
"""Minimum seconds for one host; also libpq's minimum."""

_SETTINGS: Final = {
    # The server must not keep running a heartbeat that the client has abandoned.
    "statement_timeout": "10000",
    # A heartbeat that a crash of the server loses is sent again, so a slow disk need not delay it.
    "synchronous_commit": "off",
}


class HeartbeatConnection:
    """Sends heartbeats over one connection; while one is without an answer, the next opens another.

    It belongs to the event loop on which it is used first.

    Args:
        session: where to connect, and the settings of each transaction.
        schema: the schema of the tables.
    """

    def __init__(self, session: Session, schema: str) -> None:
        parameters = conninfo_to_dict(session.conninfo)
        hosts = str(parameters.get("host") or parameters.get("hostaddr") or "").count(",") + 1
        timeout = max(_CONNECT_SECONDS_MIN, _CONNECT_SECONDS // hosts)
        self._conninfo = make_conninfo(session.conninfo, connect_timeout=timeout)
        self._settings = local_parameters({**session.ours, **_SETTINGS})
        self._text: LiteralString = statement("heartbeat", schema)
        self._idle: AsyncConnection[Any] | None = None

    async def heartbeat(self, worker: WorkerInfo) -> dict[UUID, int]:
        """Record that a worker is alive; see ``WorkerStore``."""
        connection, self._idle = self._idle, None
        with no_driver_errors(), translated():
            if is_new := connection is None:
                connection = await self._connect()
            try:
                if is_new:
                    await connection.set_isolation_level(IsolationLevel.READ_COMMITTED)
                answer = await self._send(connection, worker)
            except BaseException:
                connection.pgconn.finish()
                raise
        if self._idle is None:
            self._idle = connection
        else:
            await connection.close()
        return answer

    async def close(self) -> None:
        """Close the connection."""
        if self._idle is not None:
            await self._idle.close()

    async def _connect(self) -> AsyncConnection[Any]:
        try:
            return await AsyncConnection.connect(self._conninfo, prepare_threshold=None)
        except OperationalError as error:
            # No SettingsError, which would end the worker: its options were accepted when it started, and a
            # pooler with another configuration may refuse them for a while.
            raise as_storage_error(error) or error from None

    async def _send(self, connection: AsyncConnection[Any], worker: WorkerInfo) -> dict[UUID, int]:
        settings, heartbeat = Cursor(connection), Cursor(connection)
        async with connection.pipeline(), connection.transaction():
            await settings.execute(SET_LOCAL, self._settings)
            await heartbeat.execute(self._text, {**rows.of_worker(worker), "now": None})
        return dict(await heartbeat.fetchall())
