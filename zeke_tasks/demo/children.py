"""Supervised worker processes: a process that ends unexpectedly is restarted."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from zeke_queue.errors import ZekeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Self

    from zeke_queue.system.clock import Clock

PATIENCE: Final = 8.0
"""Seconds between SIGTERM and SIGKILL."""

RESTARTS: Final = 10
"""Restarts of one child after which it is abandoned."""


LAST_LINES: Final = 5
"""Final lines of a child's log that are shown when it is abandoned."""


class ChildKeepsDying(ZekeError):
    """A child ended after each of its restarts; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Child:
    """A process to keep running.

    Attributes:
        name: the name in messages.
        command: arguments of the Python interpreter.
        log: the file for its output.
    """

    name: str
    command: Sequence[str]
    log: Path


class Children:
    """Keeps processes running while it is open. An async context manager.

    Args:
        children: the processes.
        report: called with a message at each start and each unexpected exit.
        clock: sleeps before a restart.
    """

    def __init__(self, children: Sequence[Child], report: Callable[[str], None], clock: Clock) -> None:
        self._children = children
        self._report = report
        self._clock = clock
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._stopping = False

    async def __aenter__(self) -> Self:
        """Start every child."""
        try:
            for child in self._children:
                process = await self._start(child)
                self._keepers.append(asyncio.create_task(self._keep(child, process)))
                self._report(f"{child.name} runs as pid {process.pid}")
        except BaseException:  # a cancellation too: `__aexit__` is not called
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all children, and wait until they have ended."""
        await self._stop()

    async def _stop(self) -> None:
        self._stopping = True
        for process in self._running.values():
            with suppress(ProcessLookupError):
                process.terminate()
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(*self._keepers, return_exceptions=True)
        except TimeoutError:
            for process in self._running.values():
                with suppress(ProcessLookupError):
                    process.kill()
            await asyncio.gather(*self._keepers, return_exceptions=True)

    def check(self) -> None:
        """Raise the error that ended the supervision of a child, if any.

        Raises:
            ChildKeepsDying: a child ended too often.
        """
        for keeper in self._keepers:
            if keeper.done() and not self._stopping:
                keeper.result()

    async def _keep(self, child: Child, process: asyncio.subprocess.Process) -> None:
        """Wait for a child's end, and restart it unless it was stopped."""
        for _ in range(RESTARTS):
            code = await process.wait()
            if self._stopping:
                return
            how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
            await self._clock.sleep(0.2)
            if self._stopping:
                return
            ended, process = process.pid, await self._start(child)
            if self._stopping:
                process.terminate()  # it was not running yet when the others were stopped
            self._report(f"{child.name} (pid {ended}) {how}; started again as pid {process.pid}")
        await process.wait()
        said = child.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST_LINES:]
        # The folder of the log may be deleted later, so the message includes the end of the log.
        raise ChildKeepsDying("\n".join([f"{child.name} ended {RESTARTS} times. The end of its log:", *said]))

    async def _start(self, child: Child) -> asyncio.subprocess.Process:
        with child.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *child.command,
                # The pipe closes when this process ends, for any reason; the child then ends too.
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
        self._running[child.name] = process
        return process
