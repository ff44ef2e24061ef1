"""The executor of a real worker: threads and processes of this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from zeke_queue.worker.executors.processes import Processes
from zeke_queue.worker.executors.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from zeke_queue.model import Claimed
    from zeke_queue.task.task import Task
    from zeke_queue.worker.executors.executor import Reporter


class LocalExecutor:
    """Runs sync handlers in threads, and CPU-bound ones in processes.

    Args:
        processes: how many at most; further jobs wait in their slots. By default as many as there are
            processors.
    """

    def __init__(self, processes: int | None = None) -> None:
        self._threads = Threads()
        self._processes = Processes(processes)

    async def run_sync(self, call: Callable[[], Any]) -> Any:
        """Run a function in a thread."""
        return await self._threads.run(call)

    async def run_process(self, task: Task[Any, Any], claimed: Claimed, job: Reporter) -> Any:
        """Run a task's handler in a process."""
        return await self._processes.run(task, claimed, job)

    async def close(self) -> None:
        """End idle threads and all processes."""
        self._threads.close()
        await self._processes.close()
