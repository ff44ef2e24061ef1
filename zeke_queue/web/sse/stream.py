"""A stream of server-sent events as an ASGI response: two tasks, whatever happens on it.

The request's own task asks the source, sends, and waits; a second one waits for the client to go away. What
is due by time (a comment that keeps the connection alive, the end of the stream) one task says to all of the
streams. Nothing is asked of the source before the client has taken what was sent, so a slow reader costs no
memory, and holds up nobody.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from starlette.responses import JSONResponse, Response

from zeke_queue.errors import StorageUnavailableError
from zeke_queue.system.clock import wait
from zeke_queue.system.logging import get_logger
from zeke_queue.system.waiting import end
from zeke_queue.web.sse import frames

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from starlette.types import Message, Receive, Scope, Send

    from zeke_queue.system.clock import Clock
    from zeke_queue.web.sse.sources import Source

    Still = Callable[[], Awaitable[bool]]

RETRY_AFTER: Final = 5
"""Seconds after which one that found no room may ask again."""

COMES_BACK: Final = (1.0, 3.0)
"""Seconds after which browsers come back to a stream that has ended; each draws its own, so that those of a
server that was started again do not come all at once."""

STUCK: Final = 60.0
"""Seconds for which a client may take nothing of what it is sent, before it is let go."""

STOPPING: Final = frames.comment("the server is stopping; come back")
UNWANTED: Final = frames.comment("who opened this may not follow it any more, as far as can be told")

ASKED_AT_ONCE: Final = 8
"""How many callers are looked for at once, of those whose streams are open."""

GRACE: Final = 1.0
"""Seconds that streams have to end when they are told to; those whose clients take nothing are cut off."""


class Room:
    """Room for streams, and who has how much of it.

    Args:
        most: streams at once.
        most_of_one: those of one caller; 0 for any number.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most = most
        self._most_of_one = most_of_one
        self._taken = 0
        self._taken_by: Counter[str | None] = Counter()

    def take(self, caller: str | None) -> None:
        """Take the room of one more stream, for a caller or for nobody in particular."""
        self._taken += 1
        self._taken_by[caller] += 1

    def give_back(self, caller: str | None) -> None:
        """Give back what ``take`` took, so that of callers without a stream nothing is kept."""
        self._taken -= 1
        self._taken_by[caller] -= 1
        if not self._taken_by[caller]:
            del self._taken_by[caller]

    def refusal(self, caller: str | None) -> Response | None:
        """Return the answer to one for whom there is no room; None if there is some."""
        if caller is not None and 0 < self._most_of_one <= self._taken_by[caller]:
            which = f"{self._most_of_one} streams of this caller are open, which is the limit"
            return _refusal(429, f"{which}; end one, or try again in a while")
        if self._taken >= self._most:
            return _refusal(503, f"{self._most} streams are open, which is the limit; try again in a while")
        return None


def _refusal(status: int, why: str) -> Response:
    return JSONResponse({"error": why}, status, {"retry-after": str(RETRY_AFTER)})


class Streams:
    """The streams of one application that are open.

    Args:
        clock: what all of them go by.
        room: how many there may be.
        keep_alive: seconds after which one on which nothing was sent says that it is there.
        tick: seconds between two looks at what is due by time.
    """

    def __init__(self, clock: Clock, room: Room, *, keep_alive: float, tick: float = 1.0) -> None:
        self.clock = clock
        self.keep_alive = keep_alive
        self._room = room
        self._tick = tick
        self._open: dict[EventStream, None] = {}
        self._ticking: asyncio.Task[None] | None = None
        self._all_left: asyncio.Future[None] | None = None
        self._closed = False
        self._groups: dict[Still, _Group] = {}
        self._asking: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Return how many are open."""
        return len(self._open)

    def refusal(self, caller: str | None) -> Response | None:
        """Return the answer to one who may have no stream now; None if it may."""
        return self.stopping() if self._closed else self._room.refusal(caller)

    def stopping(self) -> Response:
        """Return the answer to one who comes while all of this ends."""
        return _refusal(503, "The server is stopping; try again in a while")

    def enter(self, stream: EventStream) -> None:
        """Count one more."""
        self._open[stream] = None
        self._room.take(stream.caller)
        if stream.still is not None:
            group = self._groups.setdefault(stream.still, _Group(self.clock.monotonic()))
            group.streams[stream] = None
        if self._ticking is None:
            self._ticking = asyncio.ensure_future(self._go_on_ticking())

    async def leave(self, stream: EventStream) -> None:
        """Count one less."""
        del self._open[stream]
        self._room.give_back(stream.caller)
        if stream.still is not None and (group := self._groups.get(stream.still)) is not None:
            group.streams.pop(stream, None)
            if not group.streams:
                del self._groups[stream.still]
        if self._open:
            return
        if self._all_left is not None and not self._all_left.done():
            self._all_left.set_result(None)
        ticking, self._ticking = self._ticking, None
        asking, self._asking = self._asking, None
        for task in (ticking, asking):
            if task is not None:
                await end(task)

    async def close(self) -> None:
        """End all streams, each as its client can: it comes back, to whoever serves then."""
        self._closed = True
        for stream in list(self._open):
            stream.finish()
        await self._until_all_left(GRACE)
        for stream in list(self._open):
            stream.cut()
        await self._until_all_left(GRACE)

    async def _until_all_left(self, seconds: float) -> None:
        if self._open:
            self._all_left = asyncio.get_running_loop().create_future()
            await wait(self.clock, self._all_left, seconds)

    async def _go_on_ticking(self) -> None:
        while True:
            await self.clock.sleep(self._tick)
            now = self.clock.monotonic()
            for stream in list(self._open):
                stream.tick(now)
            if self._asking is None or self._asking.done():
                due = [still for still, group in self._groups.items() if now >= group.at + self.keep_alive]
                if due:
                    self._asking = asyncio.ensure_future(self._ask(due))

    async def _ask(self, due: list[Still]) -> None:
        """Ask of each whether it still holds, a few at a time: one that is slow to say holds up no others."""
        waiting = iter(due)
        async with asyncio.TaskGroup() as asking:
            for _ in range(ASKED_AT_ONCE):
                asking.create_task(self._ask_in_turn(waiting))

    async def _ask_in_turn(self, waiting: Iterator[Still]) -> None:
        """Ask once for all streams that go by the same, and end them if it does not hold."""
        for still in waiting:
            group = self._groups.get(still)
            if group is None:
                continue  # its last stream ended meanwhile
            group.at = self.clock.monotonic()
            try:
                good = await still()
            except Exception:  # noqa: BLE001 - a host application's way may raise anything; nobody is let stay for it
                get_logger().exception("stream_caller_unknown")
                good = False
            for stream in () if good else list(group.streams):
                stream.finish(UNWANTED)


@dataclass
class _Group:
    """Streams that may go on as long as the same holds.

    Attributes:
        at: when that was asked last; of the first stream, when it came.
    """

    at: float
    streams: dict[EventStream, None] = field(default_factory=dict["EventStream", None])


class EventStream(Response):
    """One stream.

    Args:
        streams: among which it counts.
        source: what is sent; begun and ended here.
        timeout: seconds after which it ends.
        farewell: what is sent then.
        spread: 0 to 1, where in the range of ``COMES_BACK`` its client comes back.
        still: whether who opened it may still follow it; of streams whose ``still`` are equal, one is asked.
        caller: whose it is, as the room of one caller is counted; None for nobody's in particular.
    """

    def __init__(
        self,
        streams: Streams,
        source: Source,
        *,
        timeout: float,
        farewell: bytes = b"",
        spread: float = 0.5,
        still: Still | None = None,
        caller: str | None = None,
    ) -> None:
        super().__init__(headers=frames.HEADERS)
        del self.headers["content-length"]
        self._streams = streams
        self._source = source
        self.still = still
        self.caller = caller
        self._timeout = timeout
        self._farewell = farewell
        soonest, latest = COMES_BACK
        self._comes_back = soonest + spread * (latest - soonest)
        self._leash: asyncio.Timeout | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._woken = False
        self._last: bytes | None = None
        self._sending_since: float | None = None
        self._sent_at = self._ends_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what the source has, until it is over, the time is up, or the client is gone.

        To HEAD, which frameworks let a route for GET answer as well, it sends its headers and is no stream.
        """
        if scope["method"] == "HEAD":
            await self._source.end()
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b""})
            return
        if (refusal := self._streams.refusal(self.caller)) is not None:
            await refusal(scope, receive, send)
            return
        try:
            self._source.begin(self.wake)
        except StorageUnavailableError:
            await self._streams.stopping()(scope, receive, send)
            return
        self._streams.enter(self)
        leaving = asyncio.ensure_future(_until_gone(receive))
        leaving.add_done_callback(lambda _: self.cut())
        leash = self._leash = asyncio.timeout(None)
        try:
            async with leash:
                await self._send_all(send)
        except TimeoutError:
            if not leash.expired():
                raise
        finally:
            self._leash = None
            # One that is given up on may be so again at each of these, and has to leave all the same.
            try:
                await end(leaving)
            finally:
                try:
                    await self._source.end()
                finally:
                    await self._streams.leave(self)

    def wake(self) -> None:
        """Wake the stream, since there may be something to send."""
        self._woken = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def finish(self, last: bytes = STOPPING) -> None:
        """End it as soon as what is being sent was taken, with a last piece."""
        self._last = last
        self.wake()

    def cut(self) -> None:
        """End it at once, whatever it is at."""
        leash, self._leash = self._leash, None
        if leash is not None:
            leash.reschedule(0.0)

    def tick(self, now: float) -> None:
        """Check whether something is due by time."""
        if self._sending_since is not None:
            if now - self._sending_since >= STUCK:
                self.cut()
        elif self._source.waits or now >= min(self._ends_at, self._sent_at + self._streams.keep_alive):
            self.wake()

    async def _send_all(self, send: Send) -> None:
        clock = self._streams.clock
        self._sent_at = clock.monotonic()
        self._ends_at = self._sent_at + self._timeout
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        await self._send(send, frames.retry(self._comes_back))
        while self._last is None and clock.monotonic() < self._ends_at:
            self._woken = False
            piece = await self._source.take()
            if piece is None:
                await self._send(send, b"", more=False)
                return
            if piece:
                await self._send(send, piece)
            elif clock.monotonic() >= self._sent_at + self._streams.keep_alive:
                await self._send(send, frames.KEEP_ALIVE)
            else:
                await self._wait()
        await self._send(send, self._farewell if self._last is None else self._last, more=False)

    async def _send(self, send: Send, piece: bytes, *, more: bool = True) -> None:
        """Send a piece; that lasts until there is room for it, so for as long as its client takes nothing."""
        message: Message = {"type": "http.response.body", "body": piece, "more_body": more}
        self._sending_since = self._streams.clock.monotonic()
        await send(message)
        self._sending_since, self._sent_at = None, self._streams.clock.monotonic()

    async def _wait(self) -> None:
        if not self._woken:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
