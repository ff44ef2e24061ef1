"""Live streams of HTML: fragments of pages as server-sent events, which htmx puts in their places."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

from zeke_queue.clock import wait
from zeke_queue.pacing import end
from zeke_queue.web.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Scope, Send

    from zeke_queue.clock import Clock

KEEP_ALIVE = ": here\n\n"


def frame(event: str, data: str, *, seq: int | None = None) -> str:
    """Write one event: what htmx listens to, the fragment, and the id that a browser resumes from."""
    lines = [] if seq is None else [f"id: {seq}"]
    lines.append(f"event: {event}")
    lines += [f"data: {line}" for line in data.splitlines() or [""]]
    return "\n".join(lines) + "\n\n"


class Streams:
    """The streams of one process.

    Args:
        clock: paces the signs of life.
        keep_alive: seconds after which a stream on which nothing happens says that it is there.
        most: how many may be open at once.
    """

    def __init__(self, clock: Clock, *, keep_alive: float, most: int) -> None:
        self._clock = clock
        self._keep_alive = keep_alive
        self._most = most
        self._closing = asyncio.Event()
        self.open_streams = 0

    def open(self, frames: AsyncGenerator[str]) -> StreamingResponse:
        """Answer with a stream of these frames.

        Raises:
            ApiError: 503: too many are open, or the server is about to stop.
        """
        if self.open_streams >= self._most or self._closing.is_set():
            raise ApiError(503, "Too many live streams are open here", headers={"retry-after": "5"})
        return _Streamed(self._body(frames))

    async def close(self) -> None:
        """End all streams, and open no more."""
        self._closing.set()

    async def _body(self, frames: AsyncGenerator[str]) -> AsyncGenerator[str]:
        self.open_streams += 1
        closing = asyncio.ensure_future(self._closing.wait())
        following: asyncio.Future[str | None] | None = None
        try:
            async with aclosing(frames):
                try:
                    while not closing.done():
                        following = following or asyncio.ensure_future(_next(frames))
                        if not await self._either(following, closing):
                            yield KEEP_ALIVE
                            continue
                        if not following.done() or (sent := following.result()) is None:
                            return
                        following = None
                        yield sent
                finally:
                    if following is not None:
                        await end(following)
        finally:
            closing.cancel()
            self.open_streams -= 1

    async def _either(self, *awaited: asyncio.Future[Any]) -> bool:
        """Wait for the first of these; False if none was done by the time for a sign of life."""
        if any(one.done() for one in awaited):
            return True
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def ring(_: object) -> None:
            if not waiter.done():
                waiter.set_result(None)

        for one in awaited:
            one.add_done_callback(ring)
        try:
            await wait(self._clock, waiter, self._keep_alive)
        finally:
            for one in awaited:
                one.remove_done_callback(ring)
        return any(one.done() for one in awaited)


async def _next(frames: AsyncGenerator[str]) -> str | None:
    return await anext(frames, None)


class _Streamed(StreamingResponse):
    """An event stream that leaves nothing behind, however it ends."""

    def __init__(self, frames: AsyncGenerator[str]) -> None:
        super().__init__(
            frames,
            media_type="text/event-stream",
            headers={"cache-control": "no-store", "x-accel-buffering": "no"},
        )
        self._frames = frames

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._frames.aclose()
