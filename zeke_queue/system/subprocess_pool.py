"""Child processes that work for this one: started on demand, reused, killed when no caller waits for them.

A child is a fresh interpreter, not a fork: a fork of a process with threads and open connections would
inherit locks that are never released and sockets that both then share. Messages are bytes, preceded by their
length. Children end with this process, however it ends; their side of the pipe is `subprocess_main`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

from pydantic_core import to_json

from zeke_queue.errors import UsageError, ZekeError
from zeke_queue.system import logging as log

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

LENGTH_BYTES: Final = 4

_BEGIN: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
    "from importlib import import_module; import_module(sys.argv.pop(1)).main()"
)
"""The start of a child's program: it finds modules as its parent does, not in the current directory."""


class ChildEnded(ZekeError):
    """A child process that ended before it had answered.

    Attributes:
        code: its exit code; minus the number of the signal that ended it.
        how: the same as text.
    """

    def __init__(self, code: int) -> None:
        self.code = code
        self.how = _how(code)
        super().__init__(f"A child process ended with {self.how} before it had answered{_advice(code)}")


class MessageTooLong(ZekeError):
    """A child's message that exceeds the limit of its reader, who has not read it."""


class Children:
    """A pool of child processes that all run one module.

    Args:
        module: the module whose ``main()`` a child runs, which should call `subprocess_main.serve`.
        arguments: the child's ``sys.argv`` after the position that `subprocess_main.serve` reads.
        most: how many run concurrently; by default as many as the processors that this process may use.
        exchanges: how many exchanges a child serves before it is replaced; unlimited by default.
        prepare: awaited with each new child, before its first use.
    """

    def __init__(
        self,
        module: str,
        *arguments: str,
        most: int | None = None,
        exchanges: int | None = None,
        prepare: Callable[[Child], Awaitable[None]] | None = None,
    ) -> None:
        self._command = (module, *arguments)
        self._exchanges = exchanges
        self._prepare = prepare
        self._places = asyncio.Semaphore(most or processors())
        self._idle: list[Child] = []
        self._all: list[Child] = []
        self._closed = False

    @contextlib.asynccontextmanager
    async def child(self, *, fresh: bool = False) -> AsyncGenerator[Child]:
        """Wait for a turn and yield a child for one exchange; an exception in the block kills the child.

        Args:
            fresh: yield a child that has not been used yet.

        Raises:
            UsageError: the pool is closed, or is closed meanwhile.
        """
        async with self._places:
            child = await self._child(fresh=fresh)
            try:
                yield child
            except BaseException:
                child.kill()
                raise
            child.served += 1
            if child.served == self._exchanges:
                child.kill()
            else:
                self._idle.append(child)

    async def close(self) -> None:
        """Kill all children permanently; waiting callers get an error."""
        self._closed = True
        children, self._all, self._idle = self._all, [], []
        for child in children:
            child.kill()
        await asyncio.gather(*(child.ended() for child in children))

    async def _child(self, *, fresh: bool) -> Child:
        """Return an idle child or a new one; skip those that died while idle, which must not fail a job."""
        self._check()
        while self._idle:
            child = self._idle.pop()
            if child.listens and not fresh:
                return child
            child.kill()
            if fresh:  # an idle child makes room, so the limit is never exceeded
                break
        return await self._start()

    async def _start(self) -> Child:
        child = await Child.start(self._command)
        try:
            self._check()
            self._all = [*(other for other in self._all if not other.has_ended), child]
            if self._prepare is not None:
                await self._prepare(child)
        except BaseException:
            child.kill()
            raise
        return child

    def _check(self) -> None:
        if self._closed:
            raise UsageError("These child processes are closed and take no more calls; start another worker")


class Child:
    """One child process, and the pipe to it.

    Attributes:
        served: how many exchanges it has completed.
    """

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.served = 0
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, command: tuple[str, ...]) -> Child:
        """Start an interpreter with one end of a socket pair."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                reader, writer = await asyncio.open_unix_connection(sock=ours, limit=2**26)
            except BaseException:
                ours.close()
                raise
            module, *arguments = command
            try:
                # Do this last, since a caller that is cancelled here leaves no process behind.
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",
                    "-c",
                    _BEGIN,
                    json.dumps(sys.path, default=str),
                    module,
                    str(theirs.fileno()),
                    *arguments,
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                )
            except BaseException:
                writer.close()
                raise
        child = cls(process, reader, writer)
        child.send(to_json({"log": log.settings(), "parent": os.getpid()}))
        return child

    def send(self, message: bytes) -> None:
        """Send a message to the child."""
        self._writer.write(len(message).to_bytes(LENGTH_BYTES) + message)

    async def receive(self, most: int | None = None) -> bytes:
        """Wait for a message from the child.

        Args:
            most: how many bytes it may have.

        Raises:
            ChildEnded: the process is gone.
            MessageTooLong: the message is longer; the child is of no further use.
        """
        try:
            length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES))
            if most is not None and length > most:
                raise MessageTooLong(f"A child process answered with {length} bytes, {most} at most")
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
        """Whether the process is there to take a message, as far as the system knows."""
        if self.has_ended or self._writer.is_closing():
            return False
        # The loop notices an end only at its next turn, and an idle child sends nothing to read.
        poll = select.poll()
        poll.register(self._writer.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    async def ended(self) -> None:
        """Wait until the process has ended."""
        await self._process.wait()


def processors() -> int:
    """Return the number of processors that this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def _advice(code: int) -> str:
    if code == -signal.SIGKILL:
        return "; the system may have killed it for lack of memory: see the system's log"
    return "; see what it wrote to standard error" if code > 0 else ""
