"""A storage in memory that calls a test before each operation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.clocks import FrozenClock
from zeke_queue.storage.forwarding import Call, forward
from zeke_queue.storage.memory import MemoryStorage


class Intercepted:
    """Calls ``before`` with each call of its ``storage``, in transactions too.

    An error raised by ``before`` replaces the call.
    """

    def __init__(self, clock: FrozenClock) -> None:
        self.before: Callable[[Call], None] = lambda _call: None
        self.storage = forward(MemoryStorage(clock), self._invoke)

    async def _invoke(self, call: Call, made: Callable[[], Awaitable[Any]]) -> Any:
        self.before(call)
        return await made()
