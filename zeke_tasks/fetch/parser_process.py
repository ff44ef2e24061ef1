"""The main loop of a process of `parser_pool`: runs the functions it receives, one at a time, within limits.

Messages are pickled: requests are (function, arguments, options), replies are (result, exception, traceback).
"""

from __future__ import annotations

import pickle
import signal
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from zeke_queue.errors import UsageError
from zeke_queue.system.subprocess_main import serve

if TYPE_CHECKING:
    from zeke_queue.system.subprocess_main import Parent


def main() -> None:
    """Serve the parent until it ends."""
    _limit_memory(int(sys.argv[2]))
    seconds = float(sys.argv[3])

    def answer(request: bytes, _: Parent) -> bytes:
        # SIGPROF has no handler here, so it ends the process anywhere, also in C code.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        return _answer(request)

    serve(answer)


def _limit_memory(most: int) -> None:
    """Limit the address space, where the system supports it; larger allocations raise ``MemoryError``."""
    if sys.platform == "linux":
        import resource  # noqa: PLC0415 - not every system has it

        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _answer(request: bytes) -> bytes:
    try:
        function, args, options = pickle.loads(request)  # noqa: S301 - it is our own parent's
        return _returned(function(*args, **options))
    except MemoryError:
        # The remaining memory may not suffice for more.
        return pickle.dumps((None, MemoryError(), ""))
    except BaseException as error:  # noqa: BLE001 - the caller raises it
        return _raised(error)


def _returned(value: Any) -> bytes:
    try:
        return pickle.dumps((value, None, ""), pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        raise
    except Exception as error:
        kind = type(value).__name__
        raise UsageError(f"The result, of type {kind}, can't be sent to another process: {error}") from error


def _raised(error: BaseException) -> bytes:
    """Pickle an exception, or a substitute if it can't be pickled or would end the parent."""
    told = "".join(traceback.format_exception(error))
    if isinstance(error, Exception):
        with suppress(Exception):  # the exception's own code may raise anything
            data = pickle.dumps((None, error, told), pickle.HIGHEST_PROTOCOL)
            # Its constructor may reject the arguments that pickle passes.
            pickle.loads(data)  # noqa: S301 - it was written a line above
            return data
    stand_in = UsageError(f"{type(error).__name__}: {error}")
    return pickle.dumps((None, stand_in, told), pickle.HIGHEST_PROTOCOL)
