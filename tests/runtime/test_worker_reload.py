"""``--reload``: a worker's process restarts when its code changes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conformance.driver import soon
from tests.runtime.workers.place import PATIENCE, until
from zeke_queue.errors import UsageError
from zeke_queue.worker import reload
from zeke_queue.worker.reload import serve_reloading

# Signals are waited for and not handled: a handler that sets an event may run while the event's lock is held.
SCRIPT = """
import pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
log = pathlib.Path(sys.argv[1])
with log.open("a") as file:
    file.write("started\\n")
signal.sigwait({signal.SIGTERM})
with log.open("a") as file:
    file.write("ended\\n")
"""

SLOW_TO_END = """
import os, pathlib, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
log = pathlib.Path(sys.argv[1])
with log.open("a") as file:
    file.write(f"{os.getpid()}\\n")
signal.sigwait({signal.SIGTERM})
with log.open("a") as file:
    file.write("asked\\n")
signal.sigwait({signal.SIGTERM})
"""


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split() if path.exists() else []


async def test_missing_watchfiles_is_an_error_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(UsageError, match=r'pip install "\.\[reload\]"'):
        await serve_reloading(["true"], [Path()])


class Changes:
    """Changes reported by a test, in place of watching folders."""

    def __init__(self) -> None:
        self.seen: asyncio.Queue[str] = asyncio.Queue()

    async def __call__(self, _paths: Any) -> AsyncIterator[Any]:
        while True:
            yield {(1, await self.seen.get())}


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> Changes:
    made = Changes()
    monkeypatch.setattr(reload, "_changes", made.__call__)
    return made


async def test_stop_during_a_reload_starts_no_new_process(tmp_path: Path, changes: Changes) -> None:
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text(SLOW_TO_END, encoding="utf-8")
    serving = asyncio.ensure_future(serve_reloading([sys.executable, str(script), str(log)], [tmp_path]))
    await until(lambda: len(lines(log)) == 1)
    changes.seen.put_nowait("tasks.py")
    await until(lambda: lines(log)[1:] == ["asked"])
    signal.raise_signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE):
        while not serving.done():
            signal.raise_signal(signal.SIGTERM)
            await asyncio.wait([serving], timeout=0.05)
    assert serving.result() == 0
    assert len(lines(log)) == 2


async def test_cancelled_reload_ends_its_process(tmp_path: Path, changes: Changes) -> None:
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text(SCRIPT, encoding="utf-8")
    serving = asyncio.ensure_future(serve_reloading([sys.executable, str(script), str(log)], [tmp_path]))
    await until(lambda: lines(log) == ["started"])
    (child,) = [one for one in psutil.Process().children() if str(script) in one.cmdline()]
    serving.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    assert not child.is_running()
    assert lines(log) == ["started", "ended"]


async def test_closed_terminal_ends_the_process(tmp_path: Path, changes: Changes) -> None:
    """It is in its own group, which the terminal does not signal, and would serve old code forever."""
    script, log = tmp_path / "script.py", tmp_path / "log"
    script.write_text(SCRIPT, encoding="utf-8")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the default action would end the tests
    try:
        serving = asyncio.ensure_future(serve_reloading([sys.executable, str(script), str(log)], [tmp_path]))
        await until(lambda: lines(log) == ["started"])
        signal.raise_signal(signal.SIGHUP)
        assert await soon(serving) == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert lines(log) == ["started", "ended"]
