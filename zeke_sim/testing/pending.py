"""Calls of a test interface, which are coroutines, and a record of those that were never awaited."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Unpack

    from zeke_queue.core.options import SendOptions
    from zeke_queue.task.run import Run
    from zeke_queue.task.task import Task

R = TypeVar("R")
T = TypeVar("T")


Pending: TypeAlias = "Coroutine[Any, Any, T]"
"""A call that runs when it is awaited, or as a task."""


class PendingCalls:
    """A test interface whose calls must be awaited."""

    def __init__(self) -> None:
        self._calls: list[tuple[Pending[Any], str]] = []

    def forgotten(self) -> list[str]:
        """Return the calls that were never awaited, with their source locations, and close them."""
        forgotten = [
            (call, what)
            for call, what in self._calls
            if inspect.getcoroutinestate(call) == inspect.CORO_CREATED
        ]
        for call, _ in forgotten:
            call.close()
        return [what for _, what in forgotten]

    def _pending(self, name: str, call: Pending[T]) -> Pending[T]:
        frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
        while frame.f_globals["__name__"].startswith(f"{__package__}.") and frame.f_back is not None:
            frame = frame.f_back
        self._calls.append((call, f"zeke.{name}() at {frame.f_code.co_filename}:{frame.f_lineno}"))
        return call


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
