"""What a pooler between a client and the server keeps: a connection, and prepared statements."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from psycopg import AsyncConnection, OperationalError, errors, sql

_ROUNDS: Final = 3
_SECONDS: Final = 1.0


async def is_pooled(connection: AsyncConnection[Any]) -> bool:
    """Return whether the connection goes through a pooler, which gives clients process ids of its own."""
    return await _server_process(connection) != connection.info.backend_pid


async def is_shared(connection: AsyncConnection[Any], conninfo: str, *, in_doubt: bool) -> bool:
    """Return whether a pooler gives each transaction another connection to the server.

    Then our next transaction gets another process of the server, or another client gets the one that served
    us, by the order in which the pooler uses them. Otherwise it is ours: there is no pooler, or one that
    gives each client a connection.

    Args:
        connection: ours.
        conninfo: where to open others, as other clients do.
        in_doubt: the answer if the pooler has no connection for another client.
    """
    if not await is_pooled(connection):
        return False
    own = await _server_process(connection)
    for _ in range(_ROUNDS):
        if await _server_process(connection) != own:
            return True
        try:
            async with asyncio.timeout(_SECONDS):
                async with await AsyncConnection.connect(conninfo, autocommit=True) as other:
                    if await _server_process(other) == own:
                        return True
        except (OSError, OperationalError):
            return in_doubt
    return False


async def loses_prepared_statements(conninfo: str) -> bool:
    """Return whether a statement that is prepared now may be unknown to the next transaction.

    A pooler that tracks prepared statements gives them names of its own on the server's connections.
    """
    async with await AsyncConnection.connect(conninfo, autocommit=True, prepare_threshold=0) as connection:
        try:
            async with connection.transaction():
                await connection.execute("select 'prepared by zeke'")
                cursor = await connection.execute(
                    "select name from pg_prepared_statements where name like '\\_pg3\\_%'", prepare=False
                )
                kept = [name for (name,) in await cursor.fetchall()]
                for name in kept:
                    # It would be in the way of the next client that gets this connection.
                    text = sql.SQL("deallocate {}").format(sql.Identifier(name))
                    await connection.execute(text, prepare=False)
        except errors.DuplicatePreparedStatement:
            return True  # another client left it on this connection
        return bool(kept) and await is_shared(connection, conninfo, in_doubt=True)


async def _server_process(connection: AsyncConnection[Any]) -> int:
    (found,) = await (await connection.execute("select pg_backend_pid()", prepare=False)).fetchall()
    return found[0]
