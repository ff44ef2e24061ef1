"""Where each statement of a client stops until the scheduler releases it.

Everything that a connection of psycopg's sends passes ``AsyncConnection.wait``, so that is where a client is
stopped: the storage is the real one, on a real pool, and only the class of the connection is another. What
goes to the server in one round trip (a transaction of several statements) is taken apart here, since the
server runs other clients' statements between them as it likes: no order is left out, and none is invented.

One that was released may stop once more, inside: ``brake`` says where.

What does not stop: the beginning of a transaction and the settings in it, savepoints but for the return to
one. They take no snapshot and no lock, so their order makes no difference.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args
from unittest.mock import patch

import psycopg
from psycopg.conninfo import make_conninfo

from tests.database import UNHURRIED
from tests.interleaving.history import Op
from zeke_queue.core import contended_queues
from zeke_queue.storage.postgres import PostgresStorage, connection_pool
from zeke_queue.storage.postgres.connection_pool import ConnectionPool
from zeke_queue.storage.postgres.connections import Connection
from zeke_queue.storage.postgres.listener import Listener
from zeke_queue.storage.postgres.statements import VARIANTS, Notify, names, statement

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from psycopg.abc import PQGen

    from tests.clocks import FrozenClock

T = TypeVar("T")

SCHEMA = "pgboss"
DEADLOCK_TIMEOUT = "20ms"
"""The server's time until it checks for deadlocks: the clients wait for no other timeout."""

UNDO = b"do $$ begin raise exception 'for the sake of another' using errcode = '40001'; end $$"
"""Makes the server abort a transaction as in a conflict."""

_UNSTOPPED = ("begin", "select set_config", "set local", "savepoint", "release")
_LIMIT = re.compile(r"\blimit (\d+|\{limit\})")


class Gate:
    """The gate of one client: at most one of its statements waits here or runs on the server.

    Args:
        changed: notified when the client stops, or one of its statements has ended.
        tick: counts, and returns the number of, a thing that happened.
    """

    def __init__(self, changed: Callable[[], None], tick: Callable[[], int]) -> None:
        self._changed = changed
        self._tick = tick
        self._go: asyncio.Future[None] | None = None
        self.is_open = True
        self.stopped_at: str | None = None
        self.running: str | None = None
        self.pid = 0
        self.op: Op | None = None
        self.undoes_next = False
        self.inside = False
        """Whether a released statement has stopped inside, at the first row that it writes."""

    async def stop(self, name: str, pid: int) -> None:
        self.pid, self.stopped_at = pid, name
        self._go = asyncio.get_running_loop().create_future()
        self._changed()
        await self._go

    def let_go(self, *, undo: bool = False) -> str:
        """Release the statement that waits here, or make the server undo its transaction; return its name."""
        assert self._go is not None
        assert self.stopped_at is not None
        self.running, self.stopped_at, self.undoes_next = self.stopped_at, None, undo
        tick = self._tick()
        if self.op is not None:
            self.op.begin = tick if self.op.begin is None else self.op.begin
            if not undo:
                self.op.statements.append(self.running)
        self._go.set_result(None)
        return self.running

    @property
    def stands(self) -> bool:
        """Return whether the client continues only on the scheduler's order."""
        return self.stopped_at is not None or self.inside

    @property
    def may_be_undone(self) -> bool:
        """Return whether the storage repeats the waiting statement after an abort.

        Callers repeat their own.
        """
        ends = self.stopped_at is None or self.stopped_at.startswith(("commit", "rollback"))
        return self.op is not None and self.op.transaction is None and not ends

    def passed(self, error: BaseException | None) -> None:
        if isinstance(error, psycopg.Error) and error.sqlstate in ("40P01", "40001") and self.op is not None:
            self.op.undone = True
            self.op.deadlocked |= error.sqlstate == "40P01"
            self.op.outrun |= error.sqlstate == "40001" and not self.undoes_next
        tick = self._tick()
        if self.op is not None and not self.undoes_next:
            self.op.ended.append(tick)
        self.running = None
        self._changed()


class GatedConnection(Connection):
    """A connection whose statements stop at a client's gate."""

    gate: Gate

    async def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        name = None if self.gate.is_open else name_of(gen)
        if name is None:
            return await super().wait(gen, *args, **kwargs)
        await self.gate.stop(name, self.pgconn.backend_pid)
        error: BaseException | None = None
        if self.gate.undoes_next:
            gen.close()
            gen = cast("PQGen[T]", self._exec_command(UNDO))
        try:
            return await super().wait(gen, *args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            self.gate.passed(error)

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[Any]:
        yield None


def name_of(gen: Any) -> str | None:
    """Return the name of the statement that a generator of psycopg's would send; None does not stop."""
    kind, values = gen.gi_code.co_name, gen.gi_frame.f_locals
    if kind == "_execute_gen":
        text = values["query"]
        if name := _names().get(_key(text)):
            return name
        text = " ".join(str(text).split())
        return None if text.startswith(_UNSTOPPED) else text
    if kind == "_exit_gen":  # of a transaction
        return "commit" if values["exc_type"] is None else "rollback"
    return {"_commit_gen": "commit", "_rollback_gen": "rollback"}.get(kind)


@cache
def _names() -> dict[str, str]:
    modes: tuple[Notify, ...] = get_args(Notify)
    return {
        _key(statement(name, SCHEMA, None, mode)): name for name in (*names(), *VARIANTS) for mode in modes
    }


def _key(text: Any) -> str:
    """Return a statement's text with any limit that was written into it left out."""
    return _LIMIT.sub("limit", str(text))


@asynccontextmanager
async def gated_storage(dsn: str, gate: Gate, clock: FrozenClock) -> AsyncIterator[PostgresStorage]:
    """Open the storage of one client, on a connection of its own."""

    class Mine(GatedConnection):
        pass

    Mine.gate = gate
    dsn = make_conninfo(dsn, options=f"{UNHURRIED} -c deadlock_timeout={DEADLOCK_TIMEOUT}")
    with patch.object(connection_pool, "Connection", Mine):
        opening = ConnectionPool.open(dsn, schema=SCHEMA, min_size=1, max_size=1, prepare=True, now=clock.now)
        opened = await opening.__aenter__()
    try:
        # The clock does not advance, so a pause would never end.
        with patch.multiple(contended_queues, RETRY_FIRST=0.0, RETRY_MAX=0.0):
            yield PostgresStorage(opened, Listener(dsn, SCHEMA, clock, enabled=False), clock)
    finally:
        gate.is_open = True
        await opening.__aexit__(None, None, None)
