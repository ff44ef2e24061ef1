"""Processes that run a task on Postgres, and kill themselves at one of its statements.

``python -m tests.tasks.killed DSN`` imports everything, and then forks a process for each line of its input,
a task and the number of a point. It answers ``killed``, or with the number of points that were passed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.clocks import FrozenClock
from tests.tasks.beginnings import web
from tests.tasks.crashes import run_by
from tests.tasks.domain import Domain, memory_domain
from tests.tasks.jobs import CALM, Jobs
from tests.tasks.scripted import ScriptedAI
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.worker import Worker
from zeke_sim.loop.event_loop import HANDLER
from zeke_sim.world import lines
from zeke_tasks.catalog import MODULES
from zeke_tasks.store.postgres import PostgresRepository

LEASED: Final = {**CALM, "lease": 60.0, "heartbeat_interval": 30.0}
"""Options of a worker whose jobs are rescued an hour later."""


class Watch:
    """Counts the points that a handler passes, and kills the process at one of them.

    Args:
        point: the number of the point, from 1; 0 for none.
    """

    def __init__(self, point: int) -> None:
        self._point = point
        self.passed = 0

    def pass_line(self, line: int) -> None:
        """Count a point, and kill the process if it is the chosen one."""
        self.passed += 1
        if self.passed == self._point:
            place = lines.LINES[line] if line >= 0 else "the end of the handler"
            os.write(2, f"killed at {place}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, handler: Any) -> Any:
        """Return a handler whose points are counted here, with one more after it has returned."""

        async def watched(*arguments: Any) -> Any:
            token = HANDLER.set(self)
            try:
                result = await handler(*arguments)
                self.pass_line(-1)
            finally:
                HANDLER.reset(token)
            return result

        return watched


async def work(dsn: str, task: str, point: int) -> int:
    """Run the due jobs of a task until none is left, or the process is killed; return the points passed."""
    watch, clock = Watch(point), FrozenClock()
    async with PostgresStorage.open(dsn, min_size=1, max_size=6, now=clock.now) as storage:
        domain = Domain(storage, PostgresRepository(clock.now), clock)
        queue = Jobs(domain, web(), ScriptedAI()).worked()
        watched = queue.catalog.get(task)
        watched.handler = watch.around(watched.handler)
        await Worker(queue, tasks=run_by(task), **LEASED).drain()
    return watch.passed


def serve(dsn: str) -> None:
    """Run a process for each line of the input."""
    lines.insert(lines.modules_of(tuple(module.__name__ for module in MODULES)))
    Jobs(memory_domain(), web())  # imports and compiles what each process needs
    answers = os.dup(1)
    os.dup2(2, 1)  # what a job logs
    for line in sys.stdin:
        task, point = line.split()
        child = os.fork()
        if not child:
            passed = asyncio.run(work(dsn, task, int(point)))
            os.write(answers, b"%d\n" % passed)
            return
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if status:
            os.write(answers, b"killed\n" if status == -signal.SIGKILL else b"failed\n")


class KilledProcesses:
    """Starts the processes, one at a time."""

    def __init__(self, server: subprocess.Popen[str]) -> None:
        self._server = server

    def run(self, task: str, point: int = 0) -> int | None:
        """Run a process to its end; return the number of points that it passed, None if it was killed."""
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(f"{task} {point}\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline().strip()
        assert answer != "failed", "the process failed; see its standard error"
        return None if answer == "killed" else int(answer)


@contextmanager
def killed_processes(dsn: str) -> Iterator[KilledProcesses]:
    """Start the process that starts others."""
    command = [sys.executable, "-m", "tests.tasks.killed", dsn]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield KilledProcesses(server)


if __name__ == "__main__":
    serve(sys.argv[1])
