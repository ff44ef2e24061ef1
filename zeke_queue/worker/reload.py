"""Restarts a worker's process when its code changes, for development.

The worker runs in a child process, since a Python program can't reload itself reliably. It is ended by
SIGTERM, so running jobs get their shutdown timeout, and those still running after it return to the queue.
"""

from __future__ import annotations

import asyncio
import importlib
import signal
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.errors import UsageError
from zeke_queue.system import logging as log
from zeke_queue.system.install_hints import install
from zeke_queue.system.waiting import first

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

SETTLING_DOWN: Final = 400
"""Milliseconds in which further changes belong to the same one, since editors write files in steps."""

ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""Signals that end it; SIGHUP is sent when a terminal closes."""


async def serve_reloading(command: Sequence[str], paths: Sequence[Path]) -> int:
    """Run a command and restart it whenever Python files change; SIGTERM, SIGINT and SIGHUP end both.

    Args:
        command: program and arguments; must end gracefully on SIGTERM.
        paths: files and folders that are watched.

    Returns:
        The command's exit code after one of these signals.

    Raises:
        UsageError: ``watchfiles`` is not installed.
    """
    changes = _changes(paths)
    stopping = asyncio.Event()
    process: asyncio.subprocess.Process | None = None

    def stop() -> None:
        # The first signal is passed on below; the command itself handles a second one.
        if stopping.is_set() and process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in ENDING:
        loop.add_signal_handler(number, stop)
    try:
        while True:
            # A process group of its own: a terminal sends Ctrl-C to the whole group, so the command would get
            # it twice, from the terminal and from here, and cut the timeout short.
            process = await asyncio.create_subprocess_exec(*command, process_group=0)
            # A command that exits on its own, most likely because of a bug, restarts after a change.
            changed = await first(stopping.wait(), _next(changes))
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            code = await process.wait()
            if stopping.is_set():
                return code
            log.get_logger().info("worker_reloading", changed=changed)
    finally:
        if process is not None and process.returncode is None:
            process.terminate()
            await process.wait()
        for number in ENDING:
            loop.remove_signal_handler(number)


async def _next(changes: AsyncIterator[Any]) -> list[str]:
    return sorted(path for _, path in await anext(changes))


def _changes(paths: Sequence[Path]) -> AsyncIterator[Any]:
    try:
        watchfiles: Any = importlib.import_module("watchfiles")
    except ImportError:
        raise UsageError(
            f"--reload needs the package watchfiles, which is not installed: {install('reload')}"
        ) from None
    return watchfiles.awatch(*paths, watch_filter=watchfiles.PythonFilter(), step=SETTLING_DOWN)
