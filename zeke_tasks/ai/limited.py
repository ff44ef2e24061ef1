"""Rate limiting in front of any AI client."""

from __future__ import annotations

from asyncio import Lock, Semaphore
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from pydantic import BaseModel

from zeke_queue.system.clock import Clock
from zeke_tasks.ai.client import AIClient, Answer, Embedded, M, Prompt, Quote, quote_of
from zeke_tasks.ai.errors import AIRateLimited

WINDOW: Final = 60.0
"""Length in seconds of the sliding window to which the limit applies."""

_INSTANT: Final = 1e-9
"""Seconds below the resolution of any clock, and the rounding error of time differences."""


class Limited:
    """A client that calls another one within a rate limit, first come, first served.

    A job that waits here occupies a worker, one that is snoozed does not. So a call that would have to wait
    for long raises AIRateLimited, as a server's own limit does. When the other client reports that a limit is
    reached, it is not called until the time that it named.

    Calls are counted per process: two workers may make twice as many.

    Args:
        inner: the client that is called.
        clock: gives the time and sleeps.
        requests_per_minute: limit of calls started within any 60 seconds.
        at_once: limit of concurrent calls.
        patience: seconds that a call waits for its turn; one that would wait longer raises AIRateLimited.
    """

    def __init__(
        self, inner: AIClient, clock: Clock, *, requests_per_minute: int, at_once: int, patience: float = 30.0
    ) -> None:
        self._inner = inner
        self._clock = clock
        self._patience = patience
        self._places = Semaphore(at_once)
        # The call that holds this lock begins next; the others queue for the lock.
        self._next = Lock()
        self._in_line = 0
        self._most = requests_per_minute
        self._begun: deque[float] = deque(maxlen=requests_per_minute)
        self._closed_until = 0.0

    async def ask(self, prompt: Prompt, text: str, answer: type[M]) -> Answer[M]:
        """Ask when it is this call's turn; errors of the other client propagate.

        Raises:
            AIRateLimited: the wait would exceed ``patience``.
        """
        async with self._turn():
            return await self._inner.ask(prompt, text, answer)

    async def embed(self, texts: Sequence[str]) -> Embedded:
        """Embed when it is this call's turn; errors of the other client propagate.

        Raises:
            AIRateLimited: the wait would exceed ``patience``.
        """
        async with self._turn():
            return await self._inner.embed(texts)

    def quote(
        self, texts: Sequence[str], prompt: Prompt | None = None, answer: type[BaseModel] | None = None
    ) -> Quote:
        """Return the other client's quote."""
        return quote_of(self._inner, texts, prompt, answer)

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None]:
        self._refuse_while_closed()
        if (seconds := self._seconds_to_wait(self._in_line)) > self._patience:
            raise AIRateLimited(seconds, "too many requests wait already")
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

        The actual starts of calls are counted, not the planned ones, so that a process that was suspended
        does not exceed the limit afterwards.
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
        """Return how long a call with ``before`` calls ahead of it waits, if none of them takes long."""
        rounds, place = divmod(before, self._most)
        earlier = len(self._begun) + place - self._most
        wait = 0.0 if earlier < 0 else self._begun[earlier] + WINDOW - self._clock.monotonic()
        return (wait if wait > _INSTANT else 0.0) + rounds * WINDOW

    def _refuse_while_closed(self) -> None:
        if (seconds := self._closed_until - self._clock.monotonic()) > 0:
            raise AIRateLimited(seconds, "the AI's rate limit was reached shortly before")
