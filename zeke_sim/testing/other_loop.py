"""A real event loop in another thread, and proxies for its objects."""

from __future__ import annotations

import asyncio
import inspect
import threading
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__tracebackhide__ = True  # pytest then shows the test's own lines

T = TypeVar("T")

_END: Final = object()


class Thread:
    """A real event loop in its own thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="zeke-sim-postgres", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop, and block until it returns."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def close(self) -> None:
        """Stop the loop and join the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Across:
    """A proxy for an object of the other loop, such as a connection, whose coroutines any loop can await.

    Attributes:
        across: the object itself.
    """

    def __init__(self, across: Any, thread: Thread) -> None:
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
