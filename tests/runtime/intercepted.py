"""A storage in memory that calls a test before each operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.storage.forwarding import Call, forward
from zeke_queue.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.clocks import FrozenClock


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
