"""What an experiment checks beside executions: its processes, and families of jobs."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.cases import check_each
from tests.chaos import process
from tests.chaos.checker import Row, Verdict
from tests.chaos.experiment import check_families, end
from tests.torture.nodes import Node, Program
from tests.torture.recording import Journal
from zeke_queue.errors import StorageUnavailableError

PARENT = UUID(int=1)


@dataclass(frozen=True)
class Script(Program):
    """A process that runs a line of Python."""

    text: str = ""

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.text]


async def test_process_that_ended_by_itself_is_reported_however_it_ended(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "harness", "harness", 0.0, 9)
    nodes: list[Node] = []
    waits = "import signal; signal.sigwait([signal.SIGTERM])"
    for name, text in (("w1", ""), ("w2", "import os; os.kill(os.getpid(), 9)"), ("w3", waits)):
        part = Script("worker", name, 0, 0, "", str(tmp_path / "log"), 0.0, 1, text)
        nodes.append(Node(part, journal, tmp_path / "out", tmp_path))
        await nodes[-1].start()
    for node in nodes[:2]:
        process: Any = vars(node)["_process"]
        await process.wait()
    assert await end(nodes) == ["w1 ended by itself", "w2 ended by itself"]
    journal.close()


async def test_worker_that_an_outage_ends_is_not_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[Exception] = [StorageUnavailableError("gone"), StorageUnavailableError("gone again")]

    @asynccontextmanager
    async def connect(*_: object, **__: object) -> AsyncGenerator[None]:
        if len(errors) == 2:
            raise errors.pop()
        yield

    async def run(_: object) -> None:
        if errors:
            raise errors.pop()

    monkeypatch.setattr(process.Queue, "connect", connect)
    monkeypatch.setattr(process, "Worker", repr)
    monkeypatch.setattr(process, "run_until_signalled", run)
    part = process.Part("worker", "w1", 0, 0, "host=none", str(tmp_path / "log"), 0.0, 1, {})
    with pytest.raises(StorageUnavailableError, match=r"gone$"):
        await process.play(part)


def test_each_parent_has_its_children() -> None:
    def check(children: int, orphans: int, complaints: list[str]) -> None:
        rows = {PARENT: Row("parent", "completed", 3, 3)}
        parents = [PARENT] * children + [UUID(int=2)] * orphans
        rows |= {UUID(int=9 + n): Row("child", "completed", 1, 1, parent) for n, parent in enumerate(parents)}
        verdict = Verdict()
        check_families(rows, verdict)
        assert list(verdict.unexplained) == complaints

    cases = [
        (2, 0, []),
        (0, 0, ["it has 0 children"]),
        (3, 0, ["it has 3 children"]),
        (2, 1, ["a child's parent is missing"]),
    ]
    check_each(cases, check)
