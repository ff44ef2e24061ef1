"""Processes that parse documents, so that an untrusted document that crashes a parser can't end a worker.

The parsers are written in C, and not all are thread-safe: lxml has crashed in processes in which several
threads used it, each on its own document (adbar/trafilatura issues 840 and 925). A process parses one
document at a time, within limits, and a crash fails only that document. Processes also use several
processors.

A crash may be caused by earlier documents of the process, or by this machine. So a document is blamed only
after two processes have failed on it, of which the second had parsed nothing else. Processor time is counted
per document, so one that uses up its time is not read again.
"""

from __future__ import annotations

import asyncio
import pickle
import signal
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, Protocol, TypeVar, cast

from zeke_queue.errors import UsageError, ZekeError
from zeke_queue.system.subprocess_pool import ChildEnded, Children, MessageTooLong
from zeke_tasks.fetch.libraries import load_parsers

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from zeke_queue.system.subprocess_pool import Child

P = ParamSpec("P")
T = TypeVar("T")

SECONDS: Final = 30.0
"""CPU seconds per document. Most pages take some hundredths of a second, one of 5 MiB takes nine seconds."""

PATIENCE: Final = 600.0
"""Wall-clock seconds per call, after which a hanging process is killed, such as one in a deadlock."""

MEMORY: Final = 1024**3
"""Bytes of address space of a process; the libraries use some 150 MiB, a page of 5 MiB uses 330 MiB."""

RESULT: Final = 64 * 2**20
"""Bytes of the result of a call: a document of a few kilobytes may be read as gigabytes of text."""

DOCUMENTS: Final = 1000
"""Documents after which a process is replaced, which frees memory that it has leaked."""

_OF_CODE: Final = frozenset(
    getattr(signal, name, None) for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP")
)
"""Signals that end a process because of an error in its code."""


class Unreadable(ZekeError):
    """The parsers crash on the document, or need too much time or memory."""


class TooExpensive(Unreadable):
    """Reading the document takes too much time or memory, and would again."""


class ParserKilled(ZekeError):
    """The process that parsed a document was killed twice, presumably by the system for lack of memory."""


class Compute(Protocol):
    """Runs a CPU-bound function that parses a document; implemented by `ParserPool`."""

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
        """Return the function's result, or raise its error.

        Raises:
            Unreadable: the parsers crash on the document or exceed their limits.
            ParserKilled: the process was killed, presumably for lack of memory.
        """
        ...


class ParserPool:
    """Runs functions in processes, each one call at a time. An async context manager.

    Args:
        most: maximum number of processes; by default the number of processors available to this process.
        seconds: limit of CPU seconds per call.
        patience: limit of wall-clock seconds per call.
        memory: limit of a process's address space in bytes, where the system supports it (Linux).
        result: limit of a call's result in bytes.
        prepare: is called by each process before its first document. Its errors are not blamed on a document
            and propagate.
    """

    def __init__(
        self,
        most: int | None = None,
        *,
        seconds: float = SECONDS,
        patience: float = PATIENCE,
        memory: int = MEMORY,
        result: int = RESULT,
        prepare: Callable[[], object] = load_parsers,
    ) -> None:
        self._seconds = seconds
        self._patience = patience
        self._memory = _possible(memory)
        self._most = result
        self._first = _pickled(prepare, (), {})
        self._children = Children(
            "zeke_tasks.fetch.parser_process",
            str(self._memory),
            str(seconds),
            most=most,
            exchanges=DOCUMENTS,
            prepare=self._prepare,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._children.close()

    async def start(self) -> None:
        """Start and prepare a process, to find out now whether documents can be parsed here.

        Raises:
            ChildEnded: a process can't run here.
            Exception: raised by ``prepare``.
        """
        async with self._children.child():
            pass

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
        """Call a function in a process; on cancellation the process is killed.

        Args:
            function: a function at the top level of an importable module.
            args, options: must be picklable, as must the result.

        Raises:
            Unreadable: it crashed or hung, or exceeded its memory, in two processes.
            TooExpensive: it exceeded its processor time, or its memory in two processes, or its result is too
                long.
            ParserKilled: the processes were killed from outside, possibly for lack of memory.
            ChildEnded: a process exited on its own or can't be started, so this machine has a problem.
            UsageError: the function, an argument or the result can't be pickled.
            Exception: raised by the function, with the traceback of the other process as its cause.
        """
        request = _pickled(function, args, options)
        try:
            answer = await self._ask(request, fresh=False)
        except (Unreadable, ParserKilled) as failed:
            if isinstance(failed, TooExpensive) and not isinstance(failed.__cause__, MemoryError):
                raise
            answer = await self._ask(request, fresh=True)
        return cast("T", _result(answer))

    async def _ask(self, request: bytes, *, fresh: bool) -> _Answer:
        async with self._children.child(fresh=fresh) as child:
            child.send(request)
            try:
                async with asyncio.timeout(self._patience):
                    answer = _answer(await child.receive(self._most))
            except MessageTooLong as error:
                raise TooExpensive(f"its content takes more than {self._most} bytes") from error
            except TimeoutError:
                raise Unreadable(f"reading it takes more than {self._patience:g} seconds") from None
            except ChildEnded as ended:
                if (blamed := self._blamed(ended)) is None:
                    raise
                raise blamed from ended
            if isinstance(answer.error, MemoryError):
                # The process's memory is full, so it is ended too.
                size = f"{self._memory // 1024**2} MiB"
                raise TooExpensive(f"reading it takes more than {size} of memory") from answer.error
            return answer

    async def _prepare(self, child: Child) -> None:
        child.send(self._first)
        _result(_answer(await child.receive()))

    def _blamed(self, ended: ChildEnded) -> ZekeError | None:
        """Return the error to blame on the document of an ended process; None if it is not to blame."""
        number = -ended.code
        if number == signal.SIGPROF:
            return TooExpensive(f"reading it takes more than {self._seconds:g} seconds of processor time")
        if number in _OF_CODE:
            return Unreadable(f"the parsers crash on it, with {ended.how}")
        if number == signal.SIGKILL:
            return ParserKilled(
                "the process that read it was killed, probably for lack of memory; give the "
                "worker more memory"
            )
        return None


class _Answer(NamedTuple):
    """The result of a function, or its exception with the traceback."""

    value: Any
    error: Exception | None
    traceback: str


class _Told(Exception):
    """The traceback of another process, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _answer(message: bytes) -> _Answer:
    # The message is written by our own code. An attacker who controls that process already runs as this user,
    # so unpickling gives no further access.
    return _Answer(*pickle.loads(message))  # noqa: S301


def _result(answer: _Answer) -> Any:
    if answer.error is not None:
        raise answer.error from _Told(answer.traceback)
    return answer.value


def _possible(memory: int) -> int:
    """Return the limit, reduced to what may be set here."""
    if sys.platform != "linux":
        return memory
    import resource  # noqa: PLC0415 - not every system has it

    _, most = resource.getrlimit(resource.RLIMIT_AS)
    return memory if most == resource.RLIM_INFINITY else min(memory, most)


def _pickled(function: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> bytes:
    if getattr(function, "__module__", None) == "__main__":
        raise UsageError(f"{function!r} is of the program's main module: move it to one that can be imported")
    try:
        return pickle.dumps((function, args, options), pickle.HIGHEST_PROTOCOL)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise UsageError(f"{function!r} can't be called in another process: {error}") from error
