"""Proxies for objects of an event loop in another thread."""

from __future__ import annotations

import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from zeke_queue.system.loop_thread import LoopThread

__tracebackhide__ = True  # pytest then shows the test's own lines

_END: Final = object()


class Across:
    """A proxy for an object of the other loop, such as a connection, whose coroutines any loop can await.

    Attributes:
        across: the object itself.
    """

    def __init__(self, across: Any, thread: LoopThread[Any]) -> None:
        self.across = across
        self._thread = thread

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.across, name)
        if not inspect.iscoroutinefunction(attribute):
            return self._calling(attribute) if callable(attribute) else self._wrapped(attribute)

        @wraps(attribute)
        async def across(*args: Any, **options: Any) -> Any:
            return self._wrapped(self._thread.run(attribute(*args, **options)))

        return across

    async def __aenter__(self) -> Any:
        return self._wrapped(self._thread.run(self.across.__aenter__()))

    async def __aexit__(self, *error: object) -> Any:
        return self._thread.run(self.across.__aexit__(*error))

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> Any:
        async def following() -> Any:
            return await anext(self.across, _END)

        if (row := self._thread.run(following())) is _END:
            raise StopAsyncIteration
        return row

    def _calling(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        def calling(*args: Any, **options: Any) -> Any:
            return self._wrapped(plain(*args, **options))

        return calling

    def _wrapped(self, value: Any) -> Any:
        """Wrap objects that must be used on the other loop: connections, cursors, and context managers."""
        foreign = type(value).__module__.startswith("psycopg") or hasattr(value, "__aenter__")
        return Across(value, self._thread) if foreign else value
