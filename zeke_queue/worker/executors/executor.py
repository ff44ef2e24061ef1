"""The interfaces that run handlers which are not coroutines; the simulator implements them inline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from zeke_queue.errors import SerializationError, ZekeError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from zeke_queue.model import Claimed
    from zeke_queue.task.task import Task


class Encoded:
    """A result that was converted to JSON where the handler ran, or the error of that conversion.

    Args:
        text: the JSON; None if the handler returned nothing.
        refused: why there is no JSON.
    """

    __slots__ = ("_refused", "_text")

    def __init__(self, text: str | None, refused: str | None = None) -> None:
        self._text = text
        self._refused = refused

    @property
    def text(self) -> str | None:
        """The JSON text; None if the handler returned nothing.

        Raises:
            SerializationError: the result can't be converted, as if the conversion happened here.
        """
        if self._refused is not None:
            raise SerializationError(self._refused)
        return self._text


class RemoteFailure(ZekeError):
    """A handler failed in another process.

    Attributes:
        output: JSON text with type, message and traceback, as recorded in the other process.
    """

    def __init__(self, message: str, output: str) -> None:
        super().__init__(message)
        self.output = output


class ProcessCrashed(ZekeError):
    """The process that ran a handler ended before the handler did."""


class Reporter(Protocol):
    """The part of a job's context that a handler in another process reports to."""

    task: str

    def progress(self, value: float, message: str | None = None) -> object:
        """Store the job's progress."""
        ...

    def keep(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        """Store a log line of the handler."""
        ...


class SyncExecutor(Protocol):
    """Runs blocking handlers outside the event loop."""

    async def run(self, function: Callable[[], Any]) -> Any:
        """Run a blocking function and return its result.

        Cancelling the caller does not end the function.
        """
        ...

    def close(self) -> None:
        """End idle threads and processes now, the others when their function returns."""
        ...


class ProcessExecutor(Protocol):
    """Runs CPU-bound handlers in processes of their own."""

    async def run(self, task: Task[Any, Any], claimed: Claimed, job: Reporter) -> Any:
        """Run a task's handler in its own process; cancelling the caller kills the process.

        Args:
            task: the task to run; the process finds it by module and name.
            claimed: the job, with its payload as stored.
            job: the context, which stores progress and log lines of the handler.

        Returns:
            The result, or its JSON as ``Encoded``.

        Raises:
            RemoteFailure: the handler raised.
            ProcessCrashed: the process ended, or can't run the task.
        """
        ...

    async def close(self) -> None:
        """End all processes."""
        ...
