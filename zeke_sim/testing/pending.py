"""Calls of a test interface that run when they are awaited, and a record of those that were not."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Unpack

    from zeke_queue.core.options import SendOptions
    from zeke_queue.task.run import Run
    from zeke_queue.task.task import Task

R = TypeVar("R")
T = TypeVar("T")


class Pending(Generic[T]):
    """A call that runs when it is awaited.

    Attributes:
        awaited: whether the call was awaited.
        what: the call and its source location, for error messages.
    """

    __slots__ = ("_start", "awaited", "what")

    def __init__(self, start: Callable[[], Generator[Any, Any, T]], what: str) -> None:
        self._start = start
        self.awaited = False
        self.what = what

    def __await__(self) -> Generator[Any, Any, T]:
        self.awaited = True
        return self._start()


class PendingCalls:
    """A test interface whose calls must be awaited."""

    def __init__(self) -> None:
        self._calls: list[Pending[Any]] = []

    def forgotten(self) -> list[str]:
        """Return the calls that were never awaited."""
        return [call.what for call in self._calls if not call.awaited]

    def _pending(self, name: str, start: Callable[[], Generator[Any, Any, T]]) -> Pending[T]:
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        while frame.f_globals["__name__"].startswith(f"{__package__}.") and frame.f_back is not None:
            frame = frame.f_back
        pending = Pending(start, f"zeke.{name}() at {frame.f_code.co_filename}:{frame.f_lineno}")
        self._calls.append(pending)
        return pending


class PendingSender(PendingCalls):
    """A test interface that sends jobs by calls that must be awaited."""

    @overload
    def send(
        self, task: Task[Any, R], payload: object = None, **options: Unpack[SendOptions]
    ) -> Pending[Run[R]]: ...
    @overload
    def send(
        self, task: str, payload: object = None, **options: Unpack[SendOptions]
    ) -> Pending[Run[Any]]: ...

    def send(
        self, task: str | Task[Any, Any], payload: object = None, **options: Unpack[SendOptions]
    ) -> Pending[Run[Any]]:
        """Send a job; see ``zeke_queue.Queue.send``."""
        return self._sent("send", task, payload, options)

    @overload
    def trigger(
        self, task: Task[Any, R], payload: object = None, **options: Unpack[SendOptions]
    ) -> Pending[Run[R]]: ...
    @overload
    def trigger(
        self, task: str, payload: object = None, **options: Unpack[SendOptions]
    ) -> Pending[Run[Any]]: ...

    def trigger(
        self, task: str | Task[Any, Any], payload: object = None, **options: Unpack[SendOptions]
    ) -> Pending[Run[Any]]:
        """Send a job, which must be a new one, and return its run; see ``zeke_queue.Queue.trigger``."""
        return self._sent("trigger", task, payload, options)

    def _sent(
        self, call: str, task: str | Task[Any, Any], payload: object, options: SendOptions
    ) -> Pending[Run[Any]]:
        raise NotImplementedError
