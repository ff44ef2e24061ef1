"""The share of the storage's connections that searches of one interface may take."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from zeke_queue.web.errors import RETRY_AFTER, ApiError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

KEPT: Final = 2
"""Connections that searches leave to all other requests, such as those that authenticate callers."""

WAIT_TIMEOUT: Final = 5.0
"""Seconds that a search waits for others to end."""


class SearchBudget:
    """Limits the searches of an interface that run at once.

    Args:
        connections: those of the storage, at most; API and dashboard each search on less than half of them.
    """

    def __init__(self, connections: int) -> None:
        self._free = asyncio.Semaphore(max(1, (connections - KEPT) // 2))

    @asynccontextmanager
    async def search(self) -> AsyncGenerator[None]:
        """Wait for a free place for a block.

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
