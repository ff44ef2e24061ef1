"""A limit on the concurrent searches of one interface, by the storage's connections.

A search is a read whose cost grows with the number of jobs: a page of jobs, or counts.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from zeke_queue.web.errors import RETRY_AFTER, ApiError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

KEPT: Final = 2
"""Connections that searches leave to all other requests, such as those that authenticate callers; of two
connections, one."""

WAIT_TIMEOUT: Final = 5.0
"""Seconds that a search waits for others to end."""


class SearchBudget:
    """Limits the searches of an interface that run at once.

    Args:
        most: maximum number of concurrent searches.
    """

    def __init__(self, most: int) -> None:
        self._free = asyncio.Semaphore(most)

    @classmethod
    def of_both(cls, connections: int) -> tuple[SearchBudget, SearchBudget]:
        """Divide the storage's connections: return the searches of the API, and those of the dashboard.

        Each has less than half of the connections. Where there are too few for that, both share one place.
        """
        if (most := (connections - KEPT) // 2) > 0:
            return cls(most), cls(most)
        shared = cls(1)
        return shared, shared

    @asynccontextmanager
    async def search(self) -> AsyncGenerator[None]:
        """Hold one of the places for a block, waiting for a free one.

        Raises:
            ApiError: 503 if none is free in time.
        """
        try:
            async with asyncio.timeout(WAIT_TIMEOUT):
                await self._free.acquire()
        except TimeoutError:
            raise ApiError(
                503,
                "Too many searches run at once; narrow them by task, status or time of creation, and retry"
                " later",
                headers={"retry-after": RETRY_AFTER},
            ) from None
        try:
            yield
        finally:
            self._free.release()
