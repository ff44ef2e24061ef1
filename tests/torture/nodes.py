"""The processes of a run, and their faults."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import psutil

from zeke_queue.worker.process_signals import STUCK_EXIT
from zeke_sim.history.events import Lived

if TYPE_CHECKING:
    from tests.torture.proxy import Link
    from tests.torture.recording import Journal

_KILLED = -signal.SIGKILL


@dataclass(frozen=True)
class Program:
    """What a process gets as JSON in its one argument.

    Attributes:
        role: what it does; the module knows its roles.
        node: its name, which stays the same when it is started again.
        place: its number among all processes.
        life: how often it was started before.
        dsn: its way to the server.
        journal: the file in which it records what it does.
        epoch: the monotonic clock's time at which the run began.
        seed: the seed of its draws.
    """

    MODULE: ClassVar[str]

    role: str
    node: str
    place: int
    life: int
    dsn: str
    journal: str
    epoch: float
    seed: int

    def command(self) -> list[str]:
        return [sys.executable, "-m", self.MODULE, json.dumps(asdict(self))]


def end_with_parent() -> None:
    """End this process and its group at once when the parent has gone, which holds standard input open."""

    def read() -> None:
        while os.read(0, 1):
            pass
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=read, daemon=True).start()


class Node:
    """One process, which lives several times."""

    def __init__(self, part: Program, journal: Journal, log: Path, root: Path) -> None:
        self.part = part
        self._journal = journal
        self._log = log
        self._root = root
        self._process: asyncio.subprocess.Process | None = None
        self._stopped = self._noted = False
        self._lives = 0
        self._had_written = 0
        self._changing = asyncio.Lock()
        self.failed: list[str] = []
        """Each life that ended with an error of its own."""
        self.troubled = True
        """Whether its way to the server may be cut: a handler within a statement can't heed in time then."""

    @property
    def name(self) -> str:
        return self.part.node

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    @property
    def starts(self) -> int:
        return self._lives

    async def start(self) -> None:
        async with self._changing:
            if self._process is not None:
                return
            part = replace(self.part, life=self._lives)
            self._had_written = self._written()
            self._lives += 1
            with self._log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *part.command(),
                    cwd=self._root,
                    stdin=asyncio.subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    # A group of its own, so that a key that is pressed reaches us alone, and what it starts
                    # ends with it; in our session, so that the system wakes and ends it if we are killed.
                    process_group=0,
                )
            self._lived("started")

    async def kill(self) -> bool:
        """Kill it; False if it does not run, or ended by itself before."""
        async with self._changing:
            if self._process is None:
                return False
            self._signal(signal.SIGKILL)
            code = await self._process.wait()
            self._gone(code, "killed")
            return code == _KILLED

    async def drain(self, patience: float | None = None) -> bool:
        """Tell it to stop, and kill it ``patience`` seconds later; return whether it stopped on its own."""
        async with self._changing:
            if self._process is None:
                return True
            self._lived("stopping")
            self._signal(signal.SIGTERM)
            by_itself = True
            try:
                async with asyncio.timeout(patience):
                    code = await self._process.wait()
            except TimeoutError:
                by_itself = False
                self._signal(signal.SIGKILL)
                code = await self._process.wait()
            self._gone(code, "stopped" if by_itself else "killed")
            return by_itself

    async def pause(self) -> bool:
        """Pause it; False if it is paused already, or does not run."""
        process = self._process
        if process is None or self._stopped:
            return False
        self._stopped = True
        self._signal(signal.SIGSTOP)
        while process is self._process and self._stopped and not _stands_still(process.pid):
            await self._journal.clock.sleep(0.001)
        if process is self._process and self._stopped:
            self._lived("paused")
            self._noted = True
        return True

    def resume(self) -> None:
        if self._process is not None and self._stopped:
            if self._noted:
                # Before it can do anything.
                self._lived("resumed")
            self._signal(signal.SIGCONT)
        self._stopped = self._noted = False

    def look(self) -> None:
        """Record an unexpected exit."""
        process = self._process
        if process is not None and process.returncode is not None and not self._changing.locked():
            self._gone(process.returncode, "stopped")
            self.failed.append(f"{self.name} ended by itself")

    def _gone(self, code: int, how: Literal["killed", "stopped"]) -> None:
        self._process = None
        self._stopped = self._noted = False
        self._lived(how)
        if code == -signal.SIGTERM and not self.works:
            return  # it was still being loaded, and did not listen to signals yet
        if code == STUCK_EXIT and self.troubled:
            return
        if code not in (0, _KILLED):
            self.failed.append(f"{self.name} ended with {code}; its log is {self._log}")

    @property
    def works(self) -> bool:
        """Whether it has written anything down since it was started last."""
        return self._written() > self._had_written

    def _written(self) -> int:
        path = Path(self.part.journal)
        return path.stat().st_size if path.exists() else 0

    def _signal(self, number: signal.Signals) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                if number is signal.SIGTERM:
                    process.send_signal(number)
                else:
                    os.killpg(process.pid, number)

    def _lived(self, what: Literal["started", "killed", "paused", "resumed", "stopping", "stopped"]) -> None:
        self._journal.write(Lived(self._journal.at(), self.name, what))


class LinkedNode(Node):
    """A process whose way to the server is a link with faults."""

    def __init__(self, part: Program, link: Link, journal: Journal, log: Path, root: Path) -> None:
        super().__init__(part, journal, log, root)
        self.link = link


def _stands_still(pid: int) -> bool:
    """Return whether a process has stopped: the signal takes a moment to reach one that runs."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_STOPPED
    except psutil.NoSuchProcess:
        return True
