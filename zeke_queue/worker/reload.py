"""Restarts a worker's process when its code changes, for development.

The process is a child of this one, since a Python program can't reload itself faithfully. It is ended by
SIGTERM, so running jobs get their grace, and those that don't end in it go back to the queue.
"""

from __future__ import annotations

import asyncio
import importlib
import signal
from typing import TYPE_CHECKING, Any, Final

from zeke_queue.errors import UsageError
from zeke_queue.system import logging as log
from zeke_queue.system.install_hints import install

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

SETTLING_DOWN: Final = 400
"""Milliseconds in which further changes belong to the same one: editors write files in steps."""

ENDING: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""What ends it: the last one is a terminal's that is closed."""


async def serve_reloading(command: Sequence[str], paths: Sequence[Path]) -> int:
    """Run a command and start it anew whenever Python files change; SIGTERM, SIGINT and SIGHUP end both.

    Args:
        command: program and arguments; it ends gracefully on SIGTERM.
        paths: folders to watch.

    Returns:
        The command's exit code when the end was asked for.

    Raises:
        UsageError: ``watchfiles`` is not installed.
    """
    changes = _changes(paths)
    stopping = asyncio.Event()
    process: asyncio.subprocess.Process | None = None

    def hear() -> None:
        # The first is passed on below; a second one means what it means to the command itself.
        if stopping.is_set() and process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in ENDING:
        loop.add_signal_handler(number, hear)
    try:
        while True:
            # A group of its own: Ctrl-C on a terminal is sent to the whole group, and the command would hear
            # of it twice, from the terminal and from here, and give its jobs no grace.
            process = await asyncio.create_subprocess_exec(*command, process_group=0)
            # One that ends by itself, of a mistake in its code most likely, is started again after a change.
            changed = await _until_change(changes, stopping)
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
            code = await process.wait()
            if not changed or stopping.is_set():
                return code
            log.get_logger().info("worker_reloading", changed=changed)
    finally:
        if process is not None and process.returncode is None:
            process.terminate()
            await process.wait()
        for number in ENDING:
            loop.remove_signal_handler(number)


async def _until_change(changes: AsyncIterator[Any], stopping: asyncio.Event) -> list[str]:
    """Wait for a change, and return its files; none if the end was asked for."""
    change = asyncio.ensure_future(_next(changes))
    stop = asyncio.ensure_future(stopping.wait())
    try:
        await asyncio.wait((change, stop), return_when=asyncio.FIRST_COMPLETED)
        return [] if stop.done() else change.result()
    finally:
        for task in (change, stop):
            task.cancel()
        await asyncio.gather(change, stop, return_exceptions=True)


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
