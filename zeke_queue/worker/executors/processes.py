"""CPU-bound handlers in child processes, started on demand, reused, and killed at the deadline or on cancel.

A child gets the location of the task's definition and imports it, so only JSON crosses the pipe.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic_core import to_json

from zeke_queue.core import jsonb
from zeke_queue.system.subprocess_pool import ChildEnded, Children
from zeke_queue.task.signals import Fail, Retry, Snooze, Wait
from zeke_queue.worker.executors.executor import Encoded, ProcessCrashed, RemoteFailure

if TYPE_CHECKING:
    from zeke_queue.model import Claimed
    from zeke_queue.system.subprocess_pool import Child
    from zeke_queue.task.task import Task
    from zeke_queue.worker.executors.executor import Reporter


class Processes:
    """A pool of child processes.

    Args:
        most: how many run concurrently; by default as many as there are processors.
    """

    def __init__(self, most: int | None = None) -> None:
        self._children = Children("zeke_queue.worker.executors.child", most=most)

    async def run(self, task: Task[Any, Any], claimed: Claimed, job: Reporter) -> Encoded:
        """Run a task's handler in a child; cancelling the caller kills the child.

        Raises:
            RemoteFailure: the handler raised.
            ProcessCrashed: the child ended before the handler did, or can't be started.
            Signal, Wait: the handler raised it.
        """
        async with self._children.child() as child:
            answer = await _call(child, _request(task, claimed), job)
        return _result(answer)

    async def close(self) -> None:
        """Kill all children."""
        await self._children.close()


async def _call(child: Child, request: dict[str, Any], job: Reporter) -> dict[str, Any]:
    """Run a job in a child process, forwarding its progress and log lines."""
    child.send(to_json(request))
    while True:
        try:
            message = jsonb.loads(await child.receive())
        except ChildEnded as ended:
            raise ProcessCrashed(
                f"The process that ran task {job.task!r} ended with {ended.how} before its handler did"
            ) from None
        if "progress" in message:
            job.progress(*message["progress"])
        elif "line" in message:
            job.keep(*message["line"])
        else:
            return message


def _request(task: Task[Any, Any], claimed: Claimed) -> dict[str, Any]:
    handler = task.handler
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    in_main = handler.__module__ == "__main__"
    return {
        "module": (spec.name if spec is not None else None) if in_main else handler.__module__,
        "file": getattr(main, "__file__", None) if in_main else None,
        "name": handler.__qualname__,
        "task": task.name,
        "job": [
            str(claimed.id),
            claimed.attempt,
            claimed.retry_count,
            claimed.priority,
            None if claimed.parent is None else str(claimed.parent),
        ],
        "data": None if claimed.data is None else claimed.data.decode(),
        "meta": None if claimed.meta is None else claimed.meta.decode(),
    }


def _result(answer: dict[str, Any]) -> Encoded:
    """Return the handler's result, or raise its error."""
    match answer:
        case {"output": output}:
            return Encoded(output)
        case {"refused": why}:
            return Encoded(None, refused=why)
        case {"retry": [after, reason]}:
            raise Retry(after, reason)
        case {"fail": reason}:
            raise Fail(reason)
        case {"snooze": seconds}:
            raise Snooze(seconds)
        case {"wait": child}:
            raise Wait(UUID(child))
        case {"error": output, "message": message}:
            raise RemoteFailure(message, output)
        case _:
            raise ProcessCrashed(f"The process gave an answer that can't be understood: {sorted(answer)}")
