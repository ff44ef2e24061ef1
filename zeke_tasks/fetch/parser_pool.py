"""Processes that read documents, so that what a stranger's document does to a parser ends no worker.

The parsers are C, and not all of them bear threads: lxml has ended processes in which several threads used it
at once, each on a document of its own (adbar/trafilatura issues 840 and 925). A process reads one document at
a time, within limits, and what ends it fails that document alone. Processes also use more than one processor.

What goes wrong may come from what a process has read before, or from this machine: a document is blamed when
it went wrong in two processes, of which the second had read nothing else.
"""

from __future__ import annotations

import asyncio
import pickle
import signal
import sys
from typing import TYPE_CHECKING, Any, Final, NamedTuple, ParamSpec, Protocol, TypeVar, cast

from zeke_queue.errors import UsageError, ZekeError
from zeke_queue.system.subprocess_pool import ChildEnded, Children
from zeke_tasks.fetch.libraries import load_parsers

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

    from zeke_queue.system.subprocess_pool import Child

P = ParamSpec("P")
T = TypeVar("T")

SECONDS: Final = 60.0
"""Processor time that a document may take. Most pages take some hundredths of a second, one of 5 MiB nine."""

PATIENCE: Final = 600.0
"""Seconds until a process that does nothing is given up, as it may when it waits for a lock of its own."""

MEMORY: Final = 1024**3
"""Bytes of address space of a process that reads; the libraries take up some 150 MiB, a page of 5 MiB 330."""

DOCUMENTS: Final = 1000
"""Documents after which a process makes way for another, with whatever it has not given back."""

_OF_CODE: Final = frozenset(
    getattr(signal, name, None) for name in ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP")
)
"""Signals that end a process for what its code does."""


class Unreadable(ZekeError):
    """The document is too much for the parsers: they crash on it, or need too much time or memory."""


class ReaderKilled(ZekeError):
    """What was to read a document was killed twice: by the system, as it seems, for want of memory."""


class Compute(Protocol):
    """Runs a function that reads a document, which keeps a processor busy; `Readers` is one."""

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
        """Return what the function returns, or raise what it raises.

        Raises:
            Unreadable: the document is too much for the parsers.
            ReaderKilled: the machine had too little for it, as it seems.
        """
        ...


class Readers:
    """Runs functions in processes that take one call at a time; an async context manager.

    Args:
        most: how many run at once; as many as there are processors that this process may use by default.
        seconds: processor time that a call may take.
        patience: seconds that a call may take, however little it does.
        memory: bytes of address space that a process may have, where the system can limit it (Linux).
        prepare: what each process calls before it gets a document. What goes wrong in it is not a document's
            fault, and is raised as it is.
    """

    def __init__(
        self,
        most: int | None = None,
        *,
        seconds: float = SECONDS,
        patience: float = PATIENCE,
        memory: int = MEMORY,
        prepare: Callable[[], object] = load_parsers,
    ) -> None:
        self._seconds = seconds
        self._patience = patience
        self._memory = _possible(memory)
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
        """Start a process and prepare it, to learn now whether documents can be read here.

        Raises:
            ChildEnded: a process can't run here.
            Exception: what ``prepare`` raises.
        """
        async with self._children.child():
            pass

    async def __call__(self, function: Callable[P, T], /, *args: P.args, **options: P.kwargs) -> T:
        """Call a function in a process; if the caller is cancelled, the process is killed.

        Args:
            function: one of the top level of a module that can be imported.
            args, options: what can be pickled; so must be what it returns.

        Raises:
            Unreadable: it took too long or too much memory or crashed, in two processes.
            ReaderKilled: something outside ended the processes, which may be want of memory.
            ChildEnded: a process ended by itself, or can't be started: something is wrong with this machine.
            UsageError: the function, an argument or the result can't be pickled.
            Exception: what the function raised, with the traceback of the other process as its cause.
        """
        request = _pickled(function, args, options)
        try:
            answer = await self._ask(request, fresh=False)
        except (Unreadable, ReaderKilled):
            answer = await self._ask(request, fresh=True)
        return cast("T", _result(answer))

    async def _ask(self, request: bytes, *, fresh: bool) -> _Answer:
        async with self._children.child(fresh=fresh) as child:
            child.send(request)
            try:
                async with asyncio.timeout(self._patience):
                    answer = _answer(await child.receive())
            except TimeoutError:
                raise Unreadable(f"reading it takes more than {self._patience:g} seconds") from None
            except ChildEnded as ended:
                if (blamed := self._blamed(ended)) is None:
                    raise
                raise blamed from ended
            if isinstance(answer.error, MemoryError):
                # Raised in here, which ends the process: its memory is full.
                size = f"{self._memory // 1024**2} MiB"
                raise Unreadable(f"reading it takes more than {size} of memory") from answer.error
            return answer

    async def _prepare(self, child: Child) -> None:
        child.send(self._first)
        _result(_answer(await child.receive()))

    def _blamed(self, ended: ChildEnded) -> ZekeError | None:
        """Return what a process that ended says of what it read; None if that says nothing."""
        number = -ended.code
        if number == signal.SIGPROF:
            return Unreadable(f"reading it takes more than {self._seconds:g} seconds of processor time")
        if number in _OF_CODE:
            return Unreadable(f"the parsers crash on it, with {ended.how}")
        if number == signal.SIGKILL:
            return ReaderKilled(
                "the process that read it was killed, as a system does that runs out of memory; give the "
                "worker more memory"
            )
        return None


class _Answer(NamedTuple):
    """What a function returned, or raised, and where."""

    value: Any
    error: Exception | None
    traceback: str


class _Told(Exception):
    """The traceback of another process, as text."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def _answer(message: bytes) -> _Answer:
    # Our own code wrote it. Whoever takes over that process is this user already, and needs no pickle.
    return _Answer(*pickle.loads(message))  # noqa: S301


def _result(answer: _Answer) -> Any:
    if answer.error is not None:
        raise answer.error from _Told(answer.traceback)
    return answer.value


def _possible(memory: int) -> int:
    """Return as much of a limit as may be set here."""
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
