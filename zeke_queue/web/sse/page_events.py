"""The events of a page, from a generator."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from zeke_queue.system.waiting import end
from zeke_queue.web.sse import frames

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable


class ServerEvent(NamedTuple):
    """An event of a generator."""

    event: str
    data: str
    id: str | None = None


class PageEvents:
    """A source of events from a generator, which is resumed after the client has received the last event.

    Args:
        events: the generator, which is closed at the end.
    """

    stalled = False

    def __init__(self, events: AsyncGenerator[ServerEvent]) -> None:
        self._events = events
        self._task: asyncio.Task[None] | None = None
        self._next: bytes = b""
        self._taken = asyncio.Event()

    def begin(self, wake: Callable[[], None]) -> None:
        """Start reading from the generator."""
        self._task = asyncio.ensure_future(self._run(wake))
        self._task.add_done_callback(lambda _: wake())

    async def take(self) -> bytes | None:
        """Return the next event; ``b""`` if it is not available yet, None at the end."""
        if self._next:
            event, self._next = self._next, b""
            self._taken.set()
            return event
        if self._task is None or not self._task.done():
            return b""
        self._task.result()  # raises the generator's error in the stream
        return None

    async def close(self) -> None:
        """Close the generator."""
        if self._task is not None:
            await end(self._task)
        await self._events.aclose()

    async def _run(self, wake: Callable[[], None]) -> None:
        async with aclosing(self._events) as events:
            async for one in events:
                self._taken.clear()
                self._next = frames.event(one.event, one.data, one.id)
                wake()
                await self._taken.wait()
