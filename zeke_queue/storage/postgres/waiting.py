"""Waiting for the server: a connection's socket stays registered with the event loop between statements.

psycopg registers the socket for each wait, with a timer, and removes it again; that, and one more turn of the
loop, takes a tenth of the time of a small statement. All other cases are left to psycopg: a server
that accepts no more data for now, a time limit, a cancellation, a pipeline, an event loop other than
asyncio's own.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Generator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from psycopg import AsyncConnection, OperationalError
from psycopg.pq import ConnStatus, PipelineStatus, TransactionStatus
from psycopg.waiting import Ready, Wait

if TYPE_CHECKING:
    from types import TracebackType

    from psycopg.abc import PQGen

T = TypeVar("T")


class _Registered(NamedTuple):
    """A socket registered with an event loop.

    Attributes:
        descriptor: the socket's.
        double: a duplicate descriptor, which is the one registered. Only this module closes it, so its
            number is not reused by another connection while registered, even if the socket itself is closed.
    """

    loop: asyncio.AbstractEventLoop
    descriptor: int
    double: int


class WaitingConnection(AsyncConnection[Any]):
    """A connection that waits at lower cost."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._registered: _Registered | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._unasked = 0
        self.asked_at = 0.0

    async def wait(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Run a generator of psycopg on this connection; see ``AsyncConnection.wait``."""
        loop = asyncio.get_running_loop()
        self.asked_at = loop.time()
        if (
            args
            or kwargs
            or self.pgconn.pipeline_status != PipelineStatus.OFF
            or not isinstance(loop, asyncio.SelectorEventLoop)
        ):
            return await self._wait_otherwise(gen, *args, **kwargs)
        descriptor = self.pgconn.socket
        try:
            status = next(gen)
            while status == Wait.R:
                self._register(loop, descriptor)
                self._waiter = loop.create_future()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
                status = gen.send(Ready.R)
        except StopIteration as stop:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                return cast("T", stop.value)
            # A COPY may continue like this for long; psycopg yields to other tasks.
            return await self._wait_otherwise(_ended(stop.value))
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit) as error:
            if self.pgconn.status == ConnStatus.BAD:
                raise
            return await self._wait_otherwise(_Interrupted(gen, error))
        except Exception:
            # The connection may be lost, and lost ones are not closed explicitly.
            self.forget_socket()
            raise
        return await self._wait_otherwise(_from(gen, status))

    def is_silent(self, since: float) -> bool:
        """Return whether a statement sent before ``since``, by the loop's time, has no answer."""
        return self.asked_at < since and self.pgconn.transaction_status == TransactionStatus.ACTIVE

    def cut(self) -> None:
        """Shut the socket down, so that a wait on the connection ends with the error of a lost server."""
        with suppress(OSError, OperationalError), socket.socket(fileno=os.dup(self.pgconn.socket)) as double:
            double.shutdown(socket.SHUT_RDWR)

    def forget_socket(self) -> None:
        """Unregister the socket from the event loop."""
        registered, self._registered = self._registered, None
        if registered is not None:
            try:
                registered.loop.remove_reader(registered.double)
            finally:
                os.close(registered.double)

    async def close(self) -> None:
        """Close the connection; a task that waits on it gets an error."""
        self.forget_socket()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(OperationalError("the connection was closed"))
        await super().close()

    async def _wait_otherwise(self, gen: PQGen[T], *args: Any, **kwargs: Any) -> T:
        """Wait by psycopg's own means, which then unregister the socket."""
        self.forget_socket()
        return await super().wait(gen, *args, **kwargs)

    def _register(self, loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
        if self._registered is None or self._registered[:2] != (loop, descriptor):
            self.forget_socket()
            self._registered = _Registered(loop, descriptor, os.dup(descriptor))
            loop.add_reader(self._registered.double, self._can_be_read)

    def _can_be_read(self) -> None:
        """Wake the waiting task; a second call, before that task has run, does nothing."""
        if self._waiter is not None:
            self._unasked = 0
            if not self._waiter.done():
                self._waiter.set_result(None)
        elif self._unasked:
            # The server sent something unrequested; the next statement will read it.
            self.forget_socket()
        else:
            self._unasked += 1


def _ended(value: T) -> PQGen[T]:
    """Return a generator that is done."""
    return value
    yield  # makes this a generator


def _from(work: PQGen[T], status: Wait) -> PQGen[T]:
    """Return the rest of a generator that waits for this status."""
    while True:
        ready = yield status
        try:
            status = work.send(ready)
        except StopIteration as stop:
            return stop.value


class _Interrupted(Generator[Wait, "Ready | int", T]):
    """A generator cancelled while it waited to read: raises that first, and continues when resumed.

    So the wait that psycopg resumes finds the statement cancelled, or its result.
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
    ) -> Wait:  # pragma: no cover - required by the type, never called
        return self._work.throw(typ, val, tb)
