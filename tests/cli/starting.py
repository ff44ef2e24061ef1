"""Processes of the command line: started, listened to, and never left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Timer
from typing import Any

import psutil
import pytest

from tests.tidy import ROOT

PATIENCE = 120
"""Seconds after which a process that should have ended never will."""

Start = Callable[..., AbstractContextManager["subprocess.Popen[str]"]]


def starting(dsn: str, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Return what starts ``zeke`` on a database, and sees that nothing is left of it."""
    monkeypatch.setenv("DATABASE_PRIMARY_URL", dsn)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # As in a shell, where output is buffered.
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)

    @contextmanager
    def started(*arguments: str, cwd: Path = ROOT) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [sys.executable, "-m", "zeke_queue.cli", *arguments],
            cwd=cwd,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                _kill(process)

    return started


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        for left in (*psutil.Process(process.pid).children(recursive=True), process):
            left.kill()


def heard(process: subprocess.Popen[str], message: str) -> dict[str, Any]:
    """Read log lines until one has this event, and return it."""
    return all_heard(process, message)[message]


def all_heard(process: subprocess.Popen[str], *messages: str) -> dict[str, dict[str, Any]]:
    """Read log lines until each of these events was logged, in any order; return the first of each.

    Kill a process that has not logged them after ``PATIENCE``, since reading its lines would not end.
    """
    assert process.stderr is not None
    said: list[str] = []
    found: dict[str, dict[str, Any]] = {}
    late = Timer(PATIENCE, _kill, [process])
    late.start()
    try:
        for line in process.stderr:
            said.append(line)
            entry: dict[str, Any] = json.loads(line)
            if entry["message"] in messages:
                found.setdefault(entry["message"], entry)
            if len(found) == len(messages):
                return found
    finally:
        late.cancel()
    raise AssertionError(f"never said {set(messages) - found.keys()}: {''.join(said)}")
