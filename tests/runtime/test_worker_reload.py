"""``--reload``: a worker's process starts anew when its code changes."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from tests.runtime.workers.place import PATIENCE, until
from zeke_queue.errors import UsageError
from zeke_queue.worker.reload import serve_reloading

SCRIPT = """
import pathlib, signal, sys, threading
over = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: over.set())
log = pathlib.Path(sys.argv[1])
with log.open("a") as file:
    file.write("started\\n")
over.wait()
with log.open("a") as file:
    file.write("ended\\n")
"""


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").split() if path.exists() else []


async def test_a_change_ends_the_process_gracefully_and_starts_it_anew(tmp_path: Path) -> None:
    pytest.importorskip("watchfiles", reason="watchfiles is for development and not installed here")
    code, log = tmp_path / "code", tmp_path / "log"
    code.mkdir()
    script = tmp_path / "script.py"
    script.write_text(SCRIPT, encoding="utf-8")
    serving = asyncio.ensure_future(serve_reloading([sys.executable, str(script), str(log)], [code]))
    await until(lambda: lines(log) == ["started"])

    def changed() -> bool:
        # Again and again: the first change may come before the watching begins.
        (code / "tasks.py").write_text(f"# {len(lines(log))}", encoding="utf-8")
        return lines(log)[:3] == ["started", "ended", "started"]

    await until(changed)
    async with asyncio.timeout(PATIENCE):
        while not serving.done():
            signal.raise_signal(signal.SIGTERM)
            await asyncio.wait([serving], timeout=0.05)
    assert serving.result() == 0
    assert lines(log)[-1] == "ended"


async def test_without_watchfiles_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(UsageError, match="pip install watchfiles"):
        await serve_reloading(["true"], [Path()])
