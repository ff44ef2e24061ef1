"""A storage in memory that calls a test before it does what it was asked."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from zeke_queue.storage.memory import MemoryStorage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.clocks import FrozenClock

VERBS = ("insert", "settle", "archive", "lock_expired", "record_tick")


class Intercepted(MemoryStorage):
    """A storage that calls ``before`` with the verb and the arguments of a call, in transactions too.

    What ``before`` raises is raised in place of the call.
    """

    def __init__(self, clock: FrozenClock) -> None:
        super().__init__(clock)
        self.before: Callable[..., None] = lambda _verb, *_arguments, **_options: None
        self._intercept(self)

    @asynccontextmanager
    async def transaction(self, connection: Any = None) -> AsyncIterator[Any]:
        async with super().transaction(connection) as opened:
            self._intercept(opened)
            yield opened

    def _intercept(self, owner: Any) -> None:
        for verb in VERBS:
            if hasattr(owner, verb):
                setattr(owner, verb, self._call(verb, getattr(owner, verb)))

    def _call(self, verb: str, real: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*arguments: Any, **options: Any) -> Any:
            self.before(verb, *arguments, **options)
            return await real(*arguments, **options)

        return call
