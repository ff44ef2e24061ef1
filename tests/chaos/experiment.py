"""One fault under one load: before it, while it is injected, after it, and until all jobs have ended."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter, defaultdict
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

from tests.chaos.checker import ALL, SETTLED_WITHIN, Row, Verdict, by_job, check, sum_of
from tests.chaos.executions import Tail, executions
from tests.chaos.faults import FaultContext
from tests.chaos.load import Load
from tests.chaos.process import Part
from tests.chaos.speeds import GAP_MAX, Speeds, longest_gap, speeds
from tests.chaos.tasks import CHILDREN, SCHEDULE, make_catalog
from tests.interop.keys import add_key
from tests.torture.nodes import Node
from tests.torture.recording import Journal
from zeke_queue.client.parts import parts_of
from zeke_queue.client.queue import Queue
from zeke_queue.core.leases import validity
from zeke_queue.maintenance.scheduler import tick_id
from zeke_queue.storage.access import Scope
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.system.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from tests.chaos.checker import Disturbance
    from tests.chaos.executions import Execution
    from tests.chaos.faults import Fault
    from tests.chaos.servers import Database

ROOT: Final = Path(__file__).parents[2]
WORKERS: Final = ("w1", "w2", "w3")

WORKLOADS: Final[Mapping[str, tuple[str, ...]]] = {
    "plain": ("plain",),
    "limited": ("limited",),
    "parents, children": ("parent", "child"),
    "ticks": ("tick",),
    "streams": ("streamed",),
}
"""The tasks of each workload."""

PATIENCE: Final = 60.0
"""Seconds without an end of a job after which those that are left count as stuck."""

START_SECONDS: Final = 120.0
TICK_DELAY: Final = 3.0
"""Seconds that a tick may be late when nothing disturbs it any more."""

_OPEN: Final = "select count(*) from pgboss.job where state in ('created', 'retry', 'active')"
_PROGRESS: Final = (
    "select job_id, (data ->> 'value')::float, count(*)"
    " from pgboss.job_event where kind = 'progress' group by 1, 2"
)
_ROWS: Final = (
    "select id, name, state::text, attempt, case when jsonb_typeof(output) = 'number' then output::int end,"
    " parent from (select id, name, state, attempt, output, parent from pgboss.job"
    " union all select id, name, state, attempt, output, parent from pgboss.archive) jobs"
)


@dataclass(frozen=True)
class Size:
    """How large an experiment is.

    Attributes:
        jobs: to be sent at least.
        before, after: seconds of the load before the first fault, and after the last one, at least.
        lease, heartbeat: of the workers, in seconds.
        concurrency: jobs that one worker runs at once.
        is_speed_judged: whether jobs that are slower after the fault than before make it fail. Not in a short
            run or on a busy machine, where the speed varies as much without a fault.
    """

    jobs: int
    before: float = 5.0
    after: float = 8.0
    lease: float = 15.0
    heartbeat: float = 5.0
    concurrency: int = 20
    is_speed_judged: bool = False


@dataclass
class Result:
    """What came of an experiment.

    Attributes:
        speeds: of several runs, those of the median one.
        ratios: of the speeds after and before in each of several runs, ascending.
    """

    verdicts: dict[str, Verdict]
    speeds: Speeds
    complaints: list[str] = field(default_factory=list[str])
    ratios: list[float] = field(default_factory=list[float])

    @property
    def is_passed(self) -> bool:
        return not self.complaints and all(verdict.is_passed for verdict in self.verdicts.values())


def joined(results: Sequence[Result]) -> Result:
    """Return several runs of one fault as one: the sums of their counts, and the speeds of the median run."""
    verdicts = {name: sum_of([one.verdicts[name] for one in results]) for name in results[0].verdicts}
    by_ratio = sorted((one.speeds for one in results), key=lambda speed: speed.ratio or 0.0)
    complaints = [text for one in results for text in one.complaints]
    complaints += [
        f"{name}: no job was sent"
        for one in results
        for name, verdict in one.verdicts.items()
        if not verdict.sent
    ]
    ratios = [speed.ratio or 0.0 for speed in by_ratio]
    return Result(verdicts, by_ratio[(len(results) - 1) // 2], complaints, ratios)


class Experiment:
    """One fault on a database of its own.

    Args:
        fault: what is injected.
        size: how large it is.
        folder: for the logs of the processes.
        seed: of the choices.
        say: prints a line of progress.
    """

    def __init__(self, fault: Fault, size: Size, folder: Path, seed: int, say: Callable[[str], None]) -> None:
        self._fault = fault
        self._size = size
        self._folder = folder
        self._say = say
        self._clock = SystemClock()
        self._entropy = SeededEntropy(seed)
        self._seed = seed

    async def run(self) -> Result:
        """Run it; everything that was started has ended afterwards."""
        with ExitStack() as servers:
            database = await asyncio.to_thread(self._fault.database, servers)
            async with AsyncExitStack() as stack:
                return await self._run(database, stack)

    async def _run(self, database: Database, stack: AsyncExitStack) -> Result:
        nodes, api, url = self._nodes(database, stack)
        settings = Settings.load(database_primary_url=database.dsn, **database.settings)
        queue = await stack.enter_async_context(Queue.connect(make_catalog(None), settings=settings))
        token = await add_key(queue, "chaos", Scope.READ)
        for node in (*nodes, api):
            await node.start()
        load = Load(queue, url, token, [Tail(Path(n.part.journal), n.name) for n in nodes])
        loading = asyncio.ensure_future(load.run())
        context = FaultContext(
            database,
            nodes,
            api,
            self._size.lease,
            validity(self._size.lease, self._size.heartbeat),
            min(5.0, self._size.lease / 2),
            self._clock,
            self._entropy.stream("faults"),
        )
        try:
            times = await self._phases(load, context)
            load.stop()
            await loading
            until = await self._stop_ticks(queue)
            await self._drain(database, load)
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        complaints = await end([*nodes, api])
        complaints += [f"{count} sends failed: {error}" for error, count in load.failed.items()]
        load.read()
        executed = [one for node, lines in load.lines.items() for one in executions(node, lines)]
        verdicts = await self._verdicts(database, load, executed, context, until)
        (self._folder / "times.json").write_text(json.dumps([times, sorted(load.ends)]))
        if (gap := longest_gap(load.ends, times[0], times[-1])) >= GAP_MAX:
            complaints.append(f"no job ended for {gap:.0f} s")
        return Result(verdicts, speeds(sorted(load.ends), *times), complaints)

    def _nodes(self, database: Database, stack: AsyncExitStack) -> tuple[list[Node], Node, str]:
        journal = Journal(
            self._folder / "harness.jsonl", "harness", self._clock.monotonic(), len(WORKERS) + 1
        )
        stack.callback(journal.close)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        settings = {
            "jobs_lease": self._size.lease,
            "jobs_heartbeat_interval": self._size.heartbeat,
            "jobs_concurrency": self._size.concurrency,
            **database.settings,
        }
        nodes: list[Node] = []
        for place, name in enumerate((*WORKERS, "api")):
            part = Part(
                "api" if name == "api" else "worker",
                name,
                place,
                0,
                database.dsn,
                str(self._folder / f"{name}.log"),
                0.0,
                self._seed,
                settings,
                port,
            )
            node = Node(part, journal, self._folder / f"{name}.out", ROOT)
            stack.push_async_callback(node.kill)
            nodes.append(node)
        return nodes[:-1], nodes[-1], f"http://127.0.0.1:{port}"

    async def _phases(self, load: Load, context: FaultContext) -> tuple[float, float, float, float]:
        """Go through the phases; return when the first was at full speed, and when each of the next began."""
        clock, size = self._clock, self._size
        started = clock.monotonic()
        while not all(load.lines[node.name] for node in context.workers):
            if clock.monotonic() - started > START_SECONDS:
                raise RuntimeError(f"a worker does nothing; the logs of all are in {self._folder}")
            await clock.sleep(0.2)
        began = clock.monotonic() + 1.0
        await self._until(load, began + size.before, size.jobs * 3 // 10)
        faulty_from = clock.monotonic()
        for number in range(self._fault.times):
            await self._fault.inject(context)
            self._say(f"    {number + 1} of {self._fault.times}; {load.completed} jobs completed")
            await clock.sleep(1.0)
        for node in (*context.workers, context.api):
            node.resume()
            await node.start()
        # Only the fault "none" leaves nothing behind.
        faulty_until = max((one.until for one in context.done), default=faulty_from)
        await self._until(load, clock.monotonic() + size.after, size.jobs)
        return began, faulty_from, faulty_until, clock.monotonic()

    async def _until(self, load: Load, at: float, jobs: int) -> None:
        """Wait until a time at the earliest, and until so many jobs have ended, unless none does any more."""
        before, since = load.completed, self._clock.monotonic()
        while self._clock.monotonic() < at or load.completed < jobs:
            await self._clock.sleep(0.1)
            if load.completed > before:
                before, since = load.completed, self._clock.monotonic()
            elif self._clock.monotonic() - since > PATIENCE:
                return

    async def _stop_ticks(self, queue: Queue) -> datetime:
        """Delete the schedule; return until when its ticks must have been served."""
        storage = parts_of(queue).storage
        until = await storage.now() - timedelta(seconds=TICK_DELAY)
        await storage.delete_schedule(SCHEDULE)
        return until

    async def _drain(self, database: Database, load: Load) -> None:
        before, since = -1, self._clock.monotonic()
        while True:
            ((left,),) = await database.fetch(_OPEN)
            load.read()
            if left == 0:
                return
            if left + load.completed != before:
                before, since = left + load.completed, self._clock.monotonic()
            elif self._clock.monotonic() - since > PATIENCE + 2 * self._size.lease:
                return
            await self._clock.sleep(0.2)

    async def _verdicts(
        self,
        database: Database,
        load: Load,
        executed: Sequence[Execution],
        context: FaultContext,
        until: datetime,
    ) -> dict[str, Verdict]:
        rows = {row[0]: Row(*row[1:]) for row in await database.fetch(_ROWS)}
        done, forgot = context.done, context.forgot
        happened = json.dumps([*done, forgot], indent=1)
        (self._folder / "disturbances.json").write_text(happened, encoding="utf-8")
        ran = by_job(executed)
        expected = expected_jobs(load.sent, rows, until)
        verdicts: dict[str, Verdict] = {}
        for name, tasks in WORKLOADS.items():
            jobs = [job for job, task in expected.items() if task in tasks]
            verdicts[name] = check(jobs, rows, ran, done, acknowledged=load.acknowledged, forgot=forgot)
        stored: defaultdict[UUID, Counter[float | None]] = defaultdict(Counter)
        for job, value, count in await database.fetch(_PROGRESS):
            stored[job][value] = count
        check_streams(load, stored, done, verdicts["streams"], None if forgot is None else rows.keys())
        check_families(rows, verdicts["parents, children"])
        return verdicts


async def end(nodes: Sequence[Node]) -> list[str]:
    """Stop processes; return what was wrong with them, such as one that had ended by itself."""
    for node in nodes:
        # Nothing is wrong with the database any more.
        node.troubled = False
        node.look()
    stopped = await asyncio.gather(*(node.drain(PATIENCE) for node in nodes))
    late = [
        f"{node.name} did not stop in {PATIENCE:g} s"
        for node, by_itself in zip(nodes, stopped, strict=True)
        if not by_itself
    ]
    return late + [failure for node in nodes for failure in node.failed]


def check_families(rows: Mapping[UUID, Row], verdict: Verdict) -> None:
    """Check that each parent has its children, and each child its parent."""
    children = Counter(row.parent for row in rows.values() if row.task == "child")
    for job in {*children, *(job for job, row in rows.items() if row.task == "parent")}:
        if job is None or job not in rows:
            verdict.complain("a child's parent is missing", job or UUID(int=0))
        elif children[job] != CHILDREN:
            verdict.complain(f"it has {children[job]} children", job)


def check_streams(
    load: Load,
    stored: Mapping[UUID, Mapping[float | None, int]],
    disturbances: Sequence[Disturbance],
    verdict: Verdict,
    known: Collection[UUID] | None = None,
) -> None:
    """Check what the streams of followed jobs showed.

    Args:
        load: has what was wrong with them.
        stored: how often each progress of a job is stored.
        disturbances: what the faults did.
        verdict: gets the complaints.
        known: the stored jobs, if the database may have lost others; None if it may not.
    """
    for job, complaint in load.broken.items():
        if known is None or job in known:
            verdict.complain(complaint, job)

    def is_disturbed(at: float) -> bool:
        return any(one.meets(ALL, at - SETTLED_WITHIN, at) for one in disturbances)

    for job, at in load.unshown.items():
        is_stored = bool(stored.get(job, {}).get(1.0))
        if not is_disturbed(at) or (not is_stored and known is None):
            what = "its stream ended before its last progress" if is_stored else "its last progress was lost"
            verdict.complain(what, job)
    for job, (shown, at) in load.repeated.items():
        more = any(count > stored.get(job, {}).get(value, 0) for value, count in shown.items())
        if more and known is None:
            verdict.complain("its stream showed a progress twice", job)
        elif not is_disturbed(at):
            verdict.complain("its progress was stored twice", job)


def expected_jobs(sent: Mapping[UUID, str], rows: Mapping[UUID, Row], until: datetime) -> dict[UUID, str]:
    """Return the jobs that must have been executed, with their tasks: those sent, children, and all ticks."""
    expected = dict(sent)
    expected |= {job: row.task for job, row in rows.items() if row.task == "child"}
    ticks = {instant_of(job): job for job, row in rows.items() if row.task == "tick"}
    if ticks:
        expected |= dict.fromkeys(ticks.values(), "tick")
        at, last = min(ticks), max(until, *ticks)
        while at <= last:
            expected[tick_id(SCHEDULE, at)] = "tick"
            at += timedelta(seconds=1)
    return expected


def instant_of(tick: UUID) -> datetime:
    """Return the instant of a tick, with which its job's id begins."""
    return datetime.fromtimestamp((int(tick) >> 80) // 1000, UTC)
