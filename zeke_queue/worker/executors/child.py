"""The program of a child process for handlers: finds tasks and runs them one at a time.

Messages in both directions are JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import math
import runpy
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from pydantic_core import from_json, to_json
from typing_extensions import override

from zeke_queue.core import jsonb
from zeke_queue.core.failure import MESSAGE_MAX, clean, error_output, plain
from zeke_queue.errors import SerializationError, UsageError
from zeke_queue.model import Claimed
from zeke_queue.system.subprocess_main import serve
from zeke_queue.task.context import JobContext
from zeke_queue.task.signals import Fail, Retry, Snooze, Wait
from zeke_queue.task.task import Task

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from typing import NoReturn

    from zeke_queue.system.subprocess_main import Parent

_MESSAGE_DEPTH: Final = 3
"""Levels of nesting that belong to the message; deeper levels are values of a handler."""


class ProcessJobContext(JobContext[Any]):
    """A context in a child: forwards progress and log lines to the parent, and refuses the rest."""

    __slots__ = ("_parent",)

    def __init__(self, claimed: Claimed, task: str, parent: Parent) -> None:
        super().__init__(claimed, task, math.inf)
        self._parent = parent

    @property
    def resources(self) -> NoReturn:
        """Raise ``UsageError``: the catalog's resources are open in the worker's process."""
        self._refuse("resources")

    @override
    def transaction(self, connection: object = None, *, lock: bool = True) -> NoReturn:
        """Raise ``UsageError``."""
        self._refuse("transaction")

    def run_coroutine(self, coroutine: Coroutine[Any, Any, Any]) -> NoReturn:
        """Raise ``UsageError``."""
        coroutine.close()
        self._refuse("run_coroutine")

    def _report(self, value: float, message: str | None) -> None:
        self._parent.send(_encoded({"progress": [value, message]}))

    def _store_line(self, level: str, message: str, fields: Mapping[str, Any]) -> None:
        self._parent.send(_encoded({"line": [level, message, dict(fields)]}))

    @override
    async def _extend(self, seconds: float) -> NoReturn:
        self._refuse("extend")

    @override
    async def _send(self, task: object, payload: object, options: object, *, insist: bool) -> NoReturn:
        self._refuse("trigger" if insist else "send")

    @override
    async def _start_child(self, task: object, payload: object, key: str, options: object) -> NoReturn:
        self._refuse("start_child and call")

    @override
    async def _get(self, job_id: UUID) -> NoReturn:
        self._refuse("wait_for and stored")

    def _refuse(self, name: str) -> NoReturn:
        raise UsageError(
            f"job.{name}: a handler in a process has no connection to the storage; return what is needed, "
            "and do it in an async handler"
        )


def _encoded(message: dict[str, Any]) -> bytes:
    try:
        return to_json(message, serialize_unknown=True, inf_nan_mode="strings")
    except Exception:  # noqa: BLE001 - no value that a handler reports may end its process
        return to_json(_mended(message, _MESSAGE_DEPTH))


def _mended(part: Any, depth: int) -> Any:
    """Return a part of a message, with values that have no JSON form as text."""
    if depth > 0 and isinstance(part, dict):
        members = cast("dict[Any, Any]", part).items()
        return {clean(str(key), MESSAGE_MAX): _mended(value, depth - 1) for key, value in members}
    if depth > 0 and isinstance(part, list):
        return [_mended(value, depth - 1) for value in cast("list[Any]", part)]
    return clean(part, MESSAGE_MAX) if isinstance(part, str) else plain(part)


def main() -> None:
    """Serve the parent until it exits."""
    serve(lambda message, parent: _encoded(_answer(from_json(message), parent)))


def _answer(request: dict[str, Any], parent: Parent) -> dict[str, Any]:
    try:
        task = _look_up(request["module"], request["file"], request["name"], request["task"])
        result = _run(task, request, parent)
    except Retry as asked:
        return {"retry": [asked.after, asked.reason]}
    except Fail as asked:
        return {"fail": asked.reason}
    except Snooze as asked:
        return {"snooze": asked.seconds}
    except Wait as asked:
        return {"wait": str(asked.child)}
    except BaseException as error:  # noqa: BLE001 - anything a handler raises fails its job, SystemExit included
        return _failure(error)
    return _written(result)


def _written(result: Any) -> dict[str, Any]:
    try:
        return {"output": None if result is None else jsonb.dumps(result)}
    except SerializationError as error:
        return {"refused": str(error)}
    except BaseException as error:  # noqa: BLE001 - code of a result may raise anything, too
        return _failure(error)


def _failure(error: BaseException) -> dict[str, Any]:
    output = error_output(error)
    return {"error": output, "message": jsonb.loads(output)["message"]}


def _run(task: Task[Any, Any], request: dict[str, Any], parent: Parent) -> Any:
    data = request["data"]
    payload = task.validate_json(None if data is None else data.encode())
    arguments = [payload] if task.takes_payload else []
    if task.takes_job:
        arguments.append(ProcessJobContext(_claimed(request), task.name, parent))
    result = task.handler(*arguments)
    return asyncio.run(result) if inspect.iscoroutine(result) else result


def _claimed(request: dict[str, Any]) -> Claimed:
    """Rebuild the part of the claim that a context shows."""
    job_id, attempt, retry_count, priority, parent = request["job"]
    meta = request["meta"]
    return Claimed(
        id=UUID(job_id),
        name=request["task"],
        data=None,
        attempt=attempt,
        priority=priority,
        retry_count=retry_count,
        retry_limit=0,
        retry_delay=0,
        retry_backoff=False,
        retry_delay_max=None,
        expire_in=math.inf,
        start_after=_UNKNOWN,
        parent=None if parent is None else UUID(parent),
        meta=None if meta is None else meta.encode(),
    )


def _look_up(module: str | None, file: str | None, name: str, task: str) -> Task[Any, Any]:
    """Return a task by the location of its handler; the parent's main script is loaded by its path."""
    if (module, file, name, task) not in _known:
        if module is not None:
            found: Any = importlib.import_module(module)
            for part in name.split("."):
                found = getattr(found, part)
        elif file is not None:
            found = runpy.run_path(file, run_name="__zeke_main__")[name]
        else:
            raise UsageError(f"Task {task!r}: its handler was not defined in a file; move it to a module")
        _known[module, file, name, task] = (
            cast("Task[Any, Any]", found) if isinstance(found, Task) else Task(found, task, process=True)
        )
    return _known[module, file, name, task]


_UNKNOWN: Final = datetime.min.replace(tzinfo=UTC)
_known: dict[tuple[str | None, str | None, str, str], Task[Any, Any]] = {}
