"""What a process of `readers` runs: functions that it is told, one at a time, within limits.

Messages both ways are pickled: (function, arguments, options) one way, (whether it raised, what) the other.
"""

from __future__ import annotations

import pickle
import sys
from typing import TYPE_CHECKING, Any

from zeke_queue.errors import UsageError
from zeke_queue.parent import serve

if TYPE_CHECKING:
    from zeke_queue.parent import Parent


def main() -> None:
    """Serve the parent until it is gone."""
    _limit_memory(int(sys.argv[2]))
    serve(_answer)


def _limit_memory(most: int) -> None:
    """Make what goes beyond a number of bytes fail with ``MemoryError``, where the system can."""
    if sys.platform == "linux":
        import resource  # noqa: PLC0415 - not every system has it

        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _answer(request: bytes, parent: Parent) -> bytes:
    del parent
    try:
        function, args, options = pickle.loads(request)  # noqa: S301 - it is our own parent's
        value = function(*args, **options)
    except MemoryError as error:
        # What is left may not do for the traceback of it.
        return _pickled(raised=True, value=MemoryError(str(error)))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is raised where the call was made
        return _pickled(raised=True, value=error)
    return _pickled(raised=False, value=value)


def _pickled(*, raised: bool, value: Any) -> bytes:
    """Pickle an answer; what can't cross is told as an error that can."""
    try:
        data = pickle.dumps((raised, value), pickle.HIGHEST_PROTOCOL)
        if raised:
            # An exception's own constructor may refuse what pickle gives it.
            pickle.loads(data)  # noqa: S301
    except Exception as error:  # noqa: BLE001 - a value's own code may raise anything
        return pickle.dumps((True, _untold(raised=raised, value=value, why=error)), pickle.HIGHEST_PROTOCOL)
    return data


def _untold(*, raised: bool, value: Any, why: Exception) -> UsageError:
    kind = type(value).__name__
    if raised:
        return UsageError(f"{kind}: {value} (which can't be sent to another process: {why})")
    return UsageError(f"The result, of type {kind}, can't be sent to another process: {why}")


if __name__ == "__main__":
    main()
