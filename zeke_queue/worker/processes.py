"""Child processes for CPU-bound handlers: started when needed, reused, killed at the deadline or on cancel.

A child is a fresh interpreter, not a fork: a fork of a process with threads and open connections inherits
locks that nobody will release and sockets that two then share. It is told where the task is defined and
looks it up, so that nothing but JSON crosses the pipe. When the worker's process ends, however it ends, its
children do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

from zeke_queue import log
from zeke_queue.core import jsonb
from zeke_queue.signals import Fail, Retry, Snooze
from zeke_queue.worker.executor import Encoded, ProcessCrashed, RemoteFailure

if TYPE_CHECKING:
    from zeke_queue.context import JobContext
    from zeke_queue.model import Claimed
    from zeke_queue.task import Task
    from zeke_queue.worker.host import Host

LENGTH_BYTES: Final = 4


class Processes:
    """A pool of child processes.

    Args:
        most: how many run at once; as many as there are processors by default.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most or os.cpu_count() or 1
        self._idle: list[_Child] = []
        self._all: list[_Child] = []
        self._queue: deque[asyncio.Future[None]] = deque()
        self._busy = 0

    async def run(self, task: Task[Any, Any], claimed: Claimed, job: JobContext, host: Host) -> Encoded:
        """Run a task's handler in a child; if the caller is cancelled the child is killed.

        Raises:
            RemoteFailure: the handler raised.
            ProcessCrashed: the child ended before the handler did, or can't be started.
            Signal: the handler raised a signal.
        """
        await self._turn()
        try:
            child = await self._child()
            try:
                answer = await child.call(_request(task, claimed), job, host)
            except BaseException:
                child.kill()
                raise
            self._idle.append(child)
        finally:
            self._busy -= 1
            self._next()
        return _result(answer)

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

    async def _child(self) -> _Child:
        """Return an idle child, or a new one; one that died while it was idle must not fail a job."""
        while self._idle:
            child = self._idle.pop()
            if child.listens:
                return child
            child.kill()
        return await self._start()

    async def _start(self) -> _Child:
        child = await _Child.start()
        self._all = [*(other for other in self._all if not other.has_ended), child]
        return child


class _Child:
    """One child process, and the pipe to it."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls) -> _Child:
        """Start an interpreter with one end of a socket pair."""
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "zeke_queue.worker.child",
                str(theirs.fileno()),
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
        child._send({"path": sys.path, "log": log.settings(), "parent": os.getpid()})
        return child

    async def call(self, request: dict[str, Any], job: JobContext, host: Host) -> dict[str, Any]:
        """Let the child run a job, passing on what the handler notes."""
        self._send(request)
        while True:
            try:
                length = int.from_bytes(await self._reader.readexactly(LENGTH_BYTES))
                message = jsonb.loads(await self._reader.readexactly(length))
            except (asyncio.IncompleteReadError, OSError):
                code = await self._process.wait()
                raise ProcessCrashed(
                    f"The process that ran task {job.task!r} ended with {_how(code)} before its handler did"
                ) from None
            if "progress" in message:
                host.progress(job, *message["progress"])
            elif "line" in message:
                host.keep(job, *message["line"])
            else:
                return message

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

    def _send(self, message: dict[str, Any]) -> None:
        data = to_json(message)
        self._writer.write(len(data).to_bytes(LENGTH_BYTES) + data)


def _request(task: Task[Any, Any], claimed: Claimed) -> dict[str, Any]:
    handler = task.handler
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    in_main = handler.__module__ == "__main__"
    return {
        "module": (spec.name if spec is not None else None) if in_main else handler.__module__,
        "file": getattr(main, "__file__", None) if in_main else None,
        "name": handler.__qualname__,
        "task": task.name,
        "job": [
            str(claimed.id),
            claimed.attempt,
            claimed.retry_count,
            None if claimed.parent is None else str(claimed.parent),
        ],
        "data": None if claimed.data is None else claimed.data.decode(),
        "meta": None if claimed.meta is None else claimed.meta.decode(),
    }


def _result(answer: dict[str, Any]) -> Encoded:
    """Return what the handler returned, or raise what it raised."""
    match answer:
        case {"output": output}:
            return Encoded(output)
        case {"refused": why}:
            return Encoded(None, refused=why)
        case {"retry": [after, reason]}:
            raise Retry(after, reason)
        case {"fail": reason}:
            raise Fail(reason)
        case {"snooze": seconds}:
            raise Snooze(seconds)
        case {"error": output, "message": message}:
            raise RemoteFailure(message, output)
        case _:
            raise ProcessCrashed(f"The process gave an answer that can't be understood: {sorted(answer)}")


def _how(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"
