"""Keep to a rate limit, before a client of any kind."""

from __future__ import annotations

from asyncio import Lock, Semaphore
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from zeke_queue.system.clock import Clock
from zeke_tasks.ai.client import AIClient, Answer, Embedded, M, Prompt
from zeke_tasks.ai.errors import AIRateLimited

WINDOW: Final = 60.0
"""Seconds in any of which there are no more calls than the limit says."""

_INSTANT: Final = 1e-9
"""Seconds that no clock tells apart, and that differences of times may be wrong by."""


class Limited:
    """A client that calls another one no more often than a limit allows, first come first served.

    Who would have to wait for long is told to come back, as a server would: a job that waits here holds a
    worker's place, one that was put off does not. When the other client says that a limit is reached, nobody
    calls it until the time that it named.

    It counts within one process: two workers are twice as much.

    Args:
        inner: who is called.
        clock: tells the time and sleeps.
        requests_per_minute: calls that begin within any 60 seconds.
        at_once: calls that are under way at a time.
        patience: seconds that a call waits here for its turn; who would wait longer is told to come back.
    """

    def __init__(
        self, inner: AIClient, clock: Clock, *, requests_per_minute: int, at_once: int, patience: float = 30.0
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._patience = patience
        self._places = Semaphore(at_once)
        # Whoever holds it is the next to begin; the others are in line behind it.
        self._next = Lock()
        self._in_line = 0
        self._most = requests_per_minute
        self._begun: deque[float] = deque(maxlen=requests_per_minute)
        self._closed_until = 0.0

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        """Ask when it is this call's turn; raises what the other client raises.

        Raises:
            AIRateLimited: the turn does not come soon enough.
        """
        async with self._turn():
            return await self._inner.ask(prompt, text, answer)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed when it is this call's turn; raises what the other client raises.

        Raises:
            AIRateLimited: the turn does not come soon enough.
        """
        async with self._turn():
            return await self._inner.embed(texts)

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None]:
        self._refuse_while_closed()
        if (seconds := self._seconds_to_wait(self._in_line)) > self._patience:
            raise AIRateLimited(seconds, "as many requests wait as can begin before long")
        self._in_line += 1
        try:
            await self._places.acquire()
        except BaseException:
            self._in_line -= 1
            raise
        try:
            await self._begin()
            yield
        except AIRateLimited as error:
            if error.retry_after is not None:
                self._closed_until = max(self._closed_until, self._clock.monotonic() + error.retry_after)
            raise
        finally:
            self._places.release()

    async def _begin(self) -> None:
        """Wait until a call may begin, and count it.

        What is counted is when calls began, not when they were to begin: a process that stood still for a
        while begins none too many afterwards.
        """
        try:
            async with self._next:
                while (seconds := self._seconds_to_wait(0)) > 0:
                    await self._clock.sleep(seconds)
                self._refuse_while_closed()
                self._begun.append(self._clock.monotonic())
        finally:
            self._in_line -= 1

    def _seconds_to_wait(self, before: int) -> float:
        """Return how long one waits who has so many before it, if none of them takes long."""
        rounds, place = divmod(before, self._most)
        earlier = len(self._begun) + place - self._most
        wait = 0.0 if earlier < 0 else self._begun[earlier] + WINDOW - self._clock.monotonic()
        return (wait if wait > _INSTANT else 0.0) + rounds * WINDOW

    def _refuse_while_closed(self) -> None:
        if (seconds := self._closed_until - self._clock.monotonic()) > 0:
            raise AIRateLimited(seconds, "the AI's rate limit was reached shortly before")
