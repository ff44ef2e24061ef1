"""What the programs of the Python peers share: their arguments, and a log in the format of ours."""

from __future__ import annotations

import asyncio
import os
import sys
import time  # noqa: TID251 - a peer's program has no clock of ours
from typing import NamedTuple
from uuid import UUID

CONCURRENCY = 20


class Arguments(NamedTuple):
    """``setup``, ``work`` or ``send``; the database; the log; and of a sender, which jobs."""

    command: str
    dsn: str
    log: str
    first: int
    count: int


def arguments() -> Arguments:
    command, dsn, log, *numbers = sys.argv[1:]
    first, count = map(int, numbers or ("0", "0"))
    return Arguments(command, dsn, log, first, count)


class Log:
    """A log of executions; several lines share a call of ``fsync``."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._next: asyncio.Future[None] | None = None
        self._syncing: asyncio.Task[None] | None = None

    async def write(self, what: str, number: int, attempt: int) -> None:
        line = f"{what} plain    {UUID(int=number + 1)} {attempt:06d} {time.monotonic():014.6f}\n"
        os.write(self._file, line.encode())
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.ensure_future(self._sync())
        await asyncio.shield(self._next)

    async def _sync(self) -> None:
        while self._next is not None:
            done, self._next = self._next, None
            await asyncio.to_thread(os.fsync, self._file)
            done.set_result(None)
