"""A link between one process and the server, on which things go wrong on demand.

It listens on a Unix socket in its own folder, and forwards data. ``up`` is towards the server,
``down`` towards the process. Every connection of the process goes through its link, those that cancel
statements too, so a link cuts off a single process.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal

from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Way = Literal["up", "down"]
WAYS: Final[tuple[Way, ...]] = ("up", "down")
SOCKET: Final = ".s.PGSQL.5432"
_CHUNK: Final = 65_536
_ROWS: Final = re.compile(rb"C....(?:SELECT|INSERT 0|UPDATE|DELETE) [1-9]", re.DOTALL)
"""A command that is complete, and of how many rows. Source: PostgreSQL's manual, message formats."""


class _Pair:
    """One connection of the process, and the matching one to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.writers: dict[Way, asyncio.StreamWriter] = {"up": server, "down": client}
        self.ended: set[Way] = set()

    def abort(self) -> None:
        """Break both at once; data in flight is lost."""
        for writer in self.writers.values():
            writer.transport.abort()

    def half_close(self, way: Way) -> None:
        """Close one end; the other end is not notified."""
        self.ended.add(way)
        writer = self.writers[way]
        if not writer.transport.is_closing():
            with suppress(OSError):
                writer.write_eof()


class Link:
    """The link of one process."""

    def __init__(self, server: Path, folder: Path) -> None:
        self._server_path = server
        self._folder = folder
        self._clock = SystemClock()
        self._listening: asyncio.Server | None = None
        self._pairs: set[_Pair] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._refusing = False
        self._lost_answers = 0
        self._with_rows = False
        self._latency: Callable[[], float] | None = None
        self._open = {way: asyncio.Event() for way in WAYS}
        for gate in self._open.values():
            gate.set()

    @property
    def host(self) -> Path:
        """The folder that a connection string names."""
        return self._folder

    @property
    def connections(self) -> int:
        return len(self._pairs)

    async def start(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._listening = await asyncio.start_unix_server(self._accept, str(self._folder / SOCKET))

    async def stop(self) -> None:
        if self._listening is not None:
            self._listening.close()
        self.heal()
        self.drop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self, *ways: Way) -> None:
        """Hold what goes these ways, and its end, until the link is healed; nothing is lost."""
        for way in ways or WAYS:
            self._open[way].clear()

    def refuse(self) -> None:
        self._refusing = True

    def delay(self, latency: Callable[[], float]) -> None:
        """Delay each piece, in both directions, by a number of seconds."""
        self._latency = latency

    def drop(self) -> None:
        for pair in tuple(self._pairs):
            pair.abort()

    def lose_answer(self, answers: int = 1, *, with_rows: bool = False) -> None:
        """Break a connection before the server's next answers, or next that have rows; all was executed."""
        self._lost_answers += answers
        self._with_rows = with_rows

    def half_close(self, way: Way) -> None:
        """End all connections one way; the other end's part is held until the link is healed."""
        self._open["up" if way == "down" else "down"].clear()
        for pair in tuple(self._pairs):
            pair.half_close(way)

    def heal(self) -> None:
        """Forward everything from now on, including held data."""
        self._refusing = False
        self._lost_answers = 0
        self._latency = None
        for gate in self._open.values():
            gate.set()

    def _is_lost(self, data: bytes) -> bool:
        return self._lost_answers > 0 and (not self._with_rows or _ROWS.search(data) is not None)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            writer.transport.abort()
            return
        try:
            from_server, to_server = await asyncio.open_unix_connection(str(self._server_path))
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, to_server)
        self._pairs.add(pair)
        try:
            await asyncio.gather(self._pump(pair, reader, "up"), self._pump(pair, from_server, "down"))
        finally:
            self._pairs.discard(pair)
            pair.abort()

    async def _pump(self, pair: _Pair, reader: asyncio.StreamReader, way: Way) -> None:
        writer = pair.writers[way]
        try:
            while data := await reader.read(_CHUNK):
                if self._latency is not None:
                    await self._clock.sleep(self._latency())
                await self._open[way].wait()
                if way == "down" and self._is_lost(data):
                    self._lost_answers -= 1
                    pair.abort()
                    return
                if way not in pair.ended:  # otherwise it knows that the stream has ended
                    writer.write(data)
                    await writer.drain()
            await self._open[way].wait()
            pair.half_close(way)
        except OSError:
            pair.abort()  # one of the two ends broke it
