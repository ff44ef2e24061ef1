"""How a connection waits for its server: its socket stays with the event loop from one statement to the next.

psycopg adds the socket to the loop for each wait, with a timer beside it, and takes it off again; that, and
one more turn of the loop, is a tenth of what a small statement takes. What is not the plain case is left to
psycopg, from where it is: a server that takes no more for now, a time limit, a cancellation, a pipeline, an
event loop that is not asyncio's own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from psycopg import AsyncConnection, OperationalError
from psycopg.pq import ConnStatus, PipelineStatus, TransactionStatus
from psycopg.waiting import Ready, Wait

if TYPE_CHECKING:
    from types import TracebackType

    from psycopg.abc import PQGen

T = TypeVar("T")


class _Registered(NamedTuple):
    """A socket that is with an event loop.

    Attributes:
        loop: which.
        socket: its number.
        double: another number for it, which is the one that the loop has. It is ours to close, so it is never
            another connection's while it is with the loop, whoever closes the socket itself, and when.
    """

    loop: asyncio.AbstractEventLoop
    socket: int
    double: int


class WaitingConnection(AsyncConnection[Any]):
    """A connection that waits at less cost."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._registered: _Registered | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._unasked = 0

    async def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Do what a generator of psycopg's has to do on this connection; see ``AsyncConnection.wait``."""
        loop = asyncio.get_running_loop()
        if (
            args
            or kwargs
            or self.pgconn.pipeline_status != PipelineStatus.OFF
            or not isinstance(loop, asyncio.SelectorEventLoop)
        ):
            return await self._wait_otherwise(gen, *args, **kwargs)
        socket = self.pgconn.socket
        try:
            status = next(gen)
            while status == Wait.R:
                self._register(loop, socket)
                self._waiter = loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
                status = gen.send(Ready.R)
        except StopIteration as stop:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                return cast("T", stop.value)
            # A COPY may go on like this for long; psycopg sees to it that others have their turn.
            return await self._wait_otherwise(_ended(stop.value))
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit) as error:
            if self.pgconn.status == ConnStatus.BAD:
                raise
            return await self._wait_otherwise(_Interrupted(gen, error))
        except Exception:
            # The connection may be lost, and nobody closes one that is.
            self.forget_socket()
            raise
        return await self._wait_otherwise(_from(gen, status))

    def forget_socket(self) -> None:
        """Take the socket off the event loop."""
        registered, self._registered = self._registered, None
        if registered is not None:
            try:
                registered.loop.remove_reader(registered.double)
            finally:
                os.close(registered.double)

    async def close(self) -> None:
        """Close the connection; who waits for it meanwhile is told."""
        self.forget_socket()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(OperationalError("the connection was closed"))
        await super().close()

    async def _wait_otherwise(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Wait by psycopg's own means, which remove the socket from the loop afterwards."""
        self.forget_socket()
        return await super().wait(gen, *args, **kwargs)

    def _register(self, loop: asyncio.AbstractEventLoop, socket: int) -> None:
        if self._registered is None or self._registered[:2] != (loop, socket):
            self.forget_socket()
            self._registered = _Registered(loop, socket, os.dup(socket))
            loop.add_reader(self._registered.double, self._can_be_read)

    def _can_be_read(self) -> None:
        """Wake the waiting task; a second call, before that task has run, does nothing."""
        if self._waiter is not None:
            self._unasked = 0
            if not self._waiter.done():
                self._waiter.set_result(None)
        elif self._unasked:
            # The server says something that nobody asked for; the next statement will read it.
            self.forget_socket()
        else:
            self._unasked += 1


def _ended(value: T) -> PQGen[T]:
    """Return work that is done."""
    return value
    yield  # makes it a generator


def _from(work: PQGen[T], status: Wait) -> PQGen[T]:
    """Return the rest of work that waits for this."""
    while True:
        ready = yield status
        try:
            status = work.send(ready)
        except StopIteration as stop:
            return stop.value


class _Interrupted(Generator[Wait, "Ready | int", T]):
    """Work that was cancelled while it waited to read: raises that first, and goes on when it is resumed.

    So the wait that psycopg resumes finds the statement withdrawn, or its answer.
    """

    def __init__(self, work: PQGen[T], error: BaseException) -> None:
        self._work = work
        self._error: BaseException | None = error

    def send(self, value: Ready | int | None) -> Wait:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        return self._work.send(Ready.NONE if value is None else value)

    def throw(
        self, typ: Any, val: BaseException | object = None, tb: TracebackType | None = None
    ) -> Wait:  # pragma: no cover - asked for by the type, called by nobody
        return self._work.throw(typ, val, tb)
