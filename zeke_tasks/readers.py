"""Processes that read documents, so that what a stranger's document does to a parser ends no worker.

The parsers are C, and not all of them bear threads: lxml has ended processes in which several threads used it
at once, each on a document of its own (adbar/trafilatura issues 840 and 925). A process reads one document at
a time, within limits, and what ends it fails that document alone. Processes also use more than one processor.
"""

from __future__ import annotations

import asyncio
import pickle
import signal
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

from zeke_queue.children import ChildEnded, Children
from zeke_queue.errors import UsageError, ZekeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

P = ParamSpec("P")
T = TypeVar("T")

SECONDS: Final = 60.0
"""How long a document may be read. Extraction takes some hundredths of a second a page."""

MEMORY: Final = 2 * 1024**3
"""Bytes of address space of a process that reads; the libraries take up some 150 MiB of it."""

_OF_THE_DOCUMENT: Final = frozenset(
    {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}
)
"""What ends a process whose code is at fault. Others, such as SIGKILL, come from outside."""


class Unreadable(ZekeError):
    """A document is too much for the parsers: they crashed on it, or needed too much time or memory."""


class Readers:
    """Runs functions in processes that take one call at a time; an async context manager.

    Args:
        most: how many run at once; as many as there are processors by default.
        seconds: what a call may take, once a process has it.
        memory: bytes of address space that a process may have, where the system can limit it.
    """

    def __init__(self, most: int | None = None, *, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._seconds = seconds
        self._memory = memory
        self._children = Children("zeke_tasks.reader", str(memory), most=most)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._children.close()

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
        """Call a function in a process; if the caller is cancelled, the process is killed.

        Args:
            function: one of the top level of a module that can be imported.
            args, options: what can be pickled; so must be what it returns.

        Raises:
            Unreadable: it took too long or too much memory, or ended its process twice.
            UsageError: the function, an argument or the result can't be pickled.
            ChildEnded: the process ended for a reason that is not the document's.
            Exception: what the function raised.
        """
        request = _pickled(function, args, options)
        try:
            answer = await self._ask(request)
        except ChildEnded as ended:
            if not _of_the_document(ended):
                raise
            answer = await self._ask_again(request)
        return cast("T", _result(answer, self._memory))

    async def _ask(self, request: bytes) -> bytes:
        async with self._children.child() as child:
            child.send(request)
            try:
                async with asyncio.timeout(self._seconds):
                    return await child.receive()
            except TimeoutError:
                raise Unreadable(f"reading it takes more than {self._seconds:g} seconds") from None

    async def _ask_again(self, request: bytes) -> bytes:
        """Ask another process, for a crash may come from what the first one had read before."""
        try:
            return await self._ask(request)
        except ChildEnded as ended:
            if not _of_the_document(ended):
                raise
            raise Unreadable(f"reading it ends the process that does it, by {ended}") from ended


def _of_the_document(ended: ChildEnded) -> bool:
    return -ended.code in _OF_THE_DOCUMENT


def _pickled(function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> bytes:
    try:
        return pickle.dumps((function, args, options), pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise UsageError(f"{function!r} can't be called in another process: {error}") from error


def _result(answer: bytes, memory: int) -> Any:
    """Return what the function returned, or raise what it raised."""
    # Its other end is our own code, which a document has no way to change.
    raised, value = pickle.loads(answer)  # noqa: S301
    if not raised:
        return value
    if isinstance(value, MemoryError):
        raise Unreadable(f"reading it takes more than {memory // 1024**2} MiB of memory") from value
    raise value
