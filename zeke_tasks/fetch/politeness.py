"""Limits of requests per host, so that a site with many articles does not get all requests concurrently."""

from __future__ import annotations

from asyncio import Semaphore
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from zeke_queue.system.clock import Clock

# Number of remembered hosts above which idle ones are forgotten.
_REMEMBERED = 1000


@dataclass(slots=True)
class _Host:
    """One host: the number of waiting and active requests, and when the next may start."""

    turns: Semaphore
    users: int = 0
    next_start: float = 0.0


class Turns:
    """Limits concurrent requests per host, and spaces their starts.

    Requests are counted per process: two workers may make twice as many.

    Args:
        clock: gives the time and sleeps.
        per_host: limit of concurrent requests to one host.
        gap: seconds between the starts of two requests to one host.
    """

    def __init__(self, clock: Clock, *, per_host: int, gap: float) -> None:
        self._clock = clock
        self._per_host = per_host
        self._gap = gap
        self._hosts: dict[str, _Host] = {}

    @asynccontextmanager
    async def turn(self, host: str, *, gap: float | None = None) -> AsyncGenerator[None]:
        """Wait for the host's turn, first come, first served, and hold it until the block ends.

        Args:
            host: the host.
            gap: seconds until the start of the next request to this host, if they differ from the usual.
        """
        entry = self._entry(host)
        entry.users += 1
        try:
            async with entry.turns:
                # The start is reserved before the sleep, so that later requests queue behind it.
                now = self._clock.monotonic()
                start = max(now, entry.next_start)
                entry.next_start = start + (self._gap if gap is None else gap)
                if start > now:
                    await self._clock.sleep(start - now)
                yield
        finally:
            entry.users -= 1

    def _entry(self, host: str) -> _Host:
        if host not in self._hosts and len(self._hosts) >= _REMEMBERED:
            now = self._clock.monotonic()
            self._hosts = {n: h for n, h in self._hosts.items() if h.users or h.next_start > now}
        if host not in self._hosts:
            self._hosts[host] = _Host(Semaphore(self._per_host))
        return self._hosts[host]
