"""The log of executions: fixed-width lines, on disk before the work that they announce counts.

All attempts that run at once share a call of ``fsync``, so the disk limits the number of calls, not of jobs.
Times are the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

CLAIMED: Final = "K"
BEGAN: Final = "B"
RETURNED: Final = "R"
WAITS: Final = "W"
RAISED: Final = "X"
CANCELLED: Final = "C"
LOST: Final = "L"
FAILED: Final = "F"
HOW: Final = {
    RETURNED: "returned",
    WAITS: "waits",
    RAISED: "raised",
    CANCELLED: "cancelled",
    LOST: "lost",
    FAILED: "failed",
}

_LINE: Final = "{} {:<8} {} {:06d} {:014.6f}\n"
WIDTH: Final = len(_LINE.format(BEGAN, "plain", UUID(int=0), 0, 0.0))


class Line(NamedTuple):
    """A line of the log: a step of an attempt."""

    what: str
    task: str
    job: UUID
    attempt: int
    at: float


@dataclass
class Execution:
    """An attempt that a process executed.

    Attributes:
        job, attempt, task: of the job.
        node: the process's name.
        began, ended: seconds of the monotonic clock; ``ended`` is None if the log has no end.
        how: ``returned``; ``waits``; ``raised``, as the storage was unavailable; ``cancelled``; ``lost``, as
            the job was another's; or ``failed``, by any other error. None without an end.
        asked: when its claim was sent.
    """

    job: UUID
    attempt: int
    task: str
    node: str
    began: float
    ended: float | None = None
    how: str | None = None
    asked: float = -math.inf


class ExecutionLog:
    """The log of one process, to which its handlers append."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._clock = SystemClock()
        self._next: asyncio.Future[None] | None = None
        self._syncing: asyncio.Task[None] | None = None

    async def write(self, what: str, task: str, job: UUID, attempt: int) -> None:
        """Append a line, and return once it is on the disk."""
        self.append(what, task, job, attempt)
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        if self._syncing is None or self._syncing.done():
            self._syncing = asyncio.ensure_future(self._sync())
        # A handler that is cancelled must not cancel what others wait for.
        await asyncio.shield(self._next)

    def append(self, what: str, task: str, job: UUID, attempt: int, at: float | None = None) -> None:
        """Append a line, of this moment unless ``at`` is given, which is on the disk some time later."""
        at = self._clock.monotonic() if at is None else at
        os.write(self._file, _LINE.format(what, task, job, attempt, at).encode())

    async def _sync(self) -> None:
        while self._next is not None:
            done, self._next = self._next, None
            await asyncio.to_thread(os.fsync, self._file)
            done.set_result(None)


class Tail:
    """Reads a log that grows."""

    def __init__(self, path: Path, node: str) -> None:
        self.node = node
        self._path = path
        self._at = 0

    def read(self) -> list[Line]:
        """Return the whole lines that were appended since the last call."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._at)
            data = file.read()
        data = data[: len(data) // WIDTH * WIDTH]
        self._at += len(data)
        return [parse(text) for text in data.decode().splitlines()]


def parse(text: str) -> Line:
    what, task, job, attempt, at = text.split()
    return Line(what, task, UUID(job), int(attempt), float(at))


def executions(node: str, lines: Iterable[Line]) -> Iterator[Execution]:
    """Yield the executed attempts of one process's log, in the order in which they began."""
    of_attempt: defaultdict[tuple[UUID, int], list[Execution]] = defaultdict(list)
    found: list[Execution] = []
    asked: dict[tuple[UUID, int], float] = {}
    for line in lines:
        same = of_attempt[line.job, line.attempt]
        if line.what == CLAIMED:
            asked[line.job, line.attempt] = line.at
        elif line.what == BEGAN:
            at = asked.pop((line.job, line.attempt), line.at)
            one = Execution(line.job, line.attempt, line.task, node, line.at, asked=at)
            same.append(one)
            found.append(one)
        else:
            # A handler may be cancelled while the line of its return is written, so the last end counts.
            one = next((each for each in reversed(same) if each.ended is None), same[-1])
            one.ended, one.how = line.at, HOW[line.what]
    yield from found
