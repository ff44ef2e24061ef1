"""Child processes that do work for this one: started when needed, reused, killed when nobody waits any more.

A child is a fresh interpreter, not a fork: a fork of a process with threads and open connections inherits
locks that nobody will release and sockets that two then share. Messages are bytes with their length in front.
When this process ends, however it ends, its children do; what a child runs stands in `parent`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections import deque
from typing import TYPE_CHECKING, Final

from pydantic_core import to_json

from zeke_queue import log
from zeke_queue.errors import ZekeError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

LENGTH_BYTES: Final = 4


class ChildEnded(ZekeError):
    """A child process ended before it had answered.

    Attributes:
        code: its exit code; minus the number of the signal that ended it.
    """

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(_how(code))


class Children:
    """A pool of child processes that all run one module.

    Args:
        module: what a child runs, as ``python -m`` does; it should call `parent.serve`.
        arguments: its arguments, after the one that `parent.serve` reads.
        most: how many run at once; as many as there are processors by default.
    """

    def __init__(self, module: str, *arguments: str, most: int | None = None) -> None:
        self._command = (module, *arguments)
        self._most = most or os.cpu_count() or 1
        self._idle: list[Child] = []
        self._all: list[Child] = []
        self._queue: deque[asyncio.Future[None]] = deque()
        self._busy = 0

    @contextlib.asynccontextmanager
    async def child(self) -> AsyncGenerator[Child]:
        """Wait for a turn, and give a child for one exchange; what is raised inside of it kills the child."""
        await self._turn()
        try:
            child = await self._child()
            try:
                yield child
            except BaseException:
                child.kill()
                raise
            self._idle.append(child)
        finally:
            self._busy -= 1
            self._next()

    async def close(self) -> None:
        """Kill all children."""
        children, self._all, self._idle = self._all, [], []
        for child in children:
            child.kill()
        await asyncio.gather(*(child.ended() for child in children))

    async def _turn(self) -> None:
        """Wait for one of the places, in order."""
        while self._busy >= self._most:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._queue.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._next()
                raise
            finally:
                with contextlib.suppress(ValueError):
                    self._queue.remove(turn)
        self._busy += 1

    def _next(self) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def _child(self) -> Child:
        """Return an idle child, or a new one; one that died while it was idle must not fail a job."""
        while self._idle:
            child = self._idle.pop()
            if child.listens:
                return child
            child.kill()
        return await self._start()

    async def _start(self) -> Child:
        child = await Child.start(self._command)
        self._all = [*(other for other in self._all if not other.has_ended), child]
        return child


class Child:
    """One child process, and the pipe to it."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, command: tuple[str, ...]) -> Child:
        """Start an interpreter with one end of a socket pair."""
        module, *arguments = command
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                module,
                str(theirs.fileno()),
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
            )
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=2**26)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        child = cls(process, reader, writer)
        child.send(to_json({"path": sys.path, "log": log.settings(), "parent": os.getpid()}))
        return child

    def send(self, message: bytes) -> None:
        """Send a message to the child."""
        self._writer.write(len(message).to_bytes(LENGTH_BYTES) + message)

    async def receive(self) -> bytes:
        """Wait for a message of the child.

        Raises:
            ChildEnded: the process is gone.
        """
        try:
            length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES))
            return await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, OSError):
            raise ChildEnded(await self._process.wait()) from None

    def kill(self) -> None:
        """End the process at once."""
        self._writer.close()
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.returncode is not None

    @property
    def listens(self) -> bool:
        """Whether the process is there to take a job."""
        return not (self.has_ended or self._reader.at_eof())

    async def ended(self) -> None:
        """Wait until the process has ended."""
        await self._process.wait()


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
