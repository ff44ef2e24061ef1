"""Applies the storage calls of simulated runs to Postgres; answers, rows and notifications must be equal.

Where rows were locked, or the simulated network delivered a statement late, Postgres may answer otherwise;
``_claim`` and ``_insert`` say how. ``python -m tests.model.replays`` replays many runs.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg
from psycopg.conninfo import make_conninfo

from tests.conformance.driver import Abandoned
from tests.conformance.planting import EMPTY
from tests.model.pair import every_row
from tests.model.trace import record
from zeke_queue.errors import LockTimeoutError, ZekeError
from zeke_queue.model import Claimed, ClaimedJobs, QueueCapacity
from zeke_queue.storage.memory import Snapshot
from zeke_queue.storage.memory.uniqueness import Hold
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.storage.postgres.verbs import job_channel, work_channel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from typing import LiteralString

    from tests.model.trace import Entry, Trace
    from zeke_queue.storage.jobs import Transaction
    from zeke_sim.experiment.scenario import Scenario

SCHEMA: Final = "pgboss"

EVERY: Final = 50
"""Calls between two comparisons of all rows."""

IMPATIENT: Final = "-c lock_timeout=20ms"
"""Recorded calls did not wait in memory, so they must not wait on Postgres; probes must, but not for long."""

NOTIFYING: Final = frozenset(
    {
        "append_events",
        "cancel",
        "claim",
        "commit",
        "declare",
        "insert",
        "insert_child",
        "pause_queue",
        "resume",
    }
    | {"resume_waiting", "retry", "settle", "settle_unlocked", "suspend"}
)
"""Calls that may notify. Notifications of other calls are found with the next of these."""

LOCK_JOB: Final[LiteralString] = "select from pgboss.job where id = %s for update"
LOCK_QUEUE: Final[LiteralString] = "select from pgboss.queue where name = %s for update"
HIDE: Final[LiteralString] = """
update pgboss.job set startafter = startafter + interval '1752000 hours'
where id in (select id from pgboss.job where id = any(%s) for update skip locked)
returning id
"""
HIDE_OTHERS: Final[LiteralString] = """
update pgboss.job set startafter = startafter + interval '1752000 hours'
where id in (
    select id from pgboss.job
    where name = any(%s) and state < 'active' and startafter <= %s and id <> all(%s::uuid[])
    for update skip locked
)
returning id
"""
SHOW: Final[LiteralString] = """
update pgboss.job set startafter = startafter - interval '1752000 hours' where id = any(%s)
"""
LOCK_KEY: Final[LiteralString] = "insert into pgboss.job (name, singletonkey) values (%s, %s)"
BEATS: Final[LiteralString] = """
update pgboss.worker set beat_on = given.beat_on
from unnest(%s::uuid[], %s::timestamptz[]) as given (id, beat_on)
where worker.id = given.id
"""
WATCH: Final[LiteralString] = """
insert into pgboss.watcher (job_id, watcher, until)
select given, ('00000000-0000-0000-0000-' || lpad(%s::text, 12, '0'))::uuid, 'infinity'
from unnest(%s::uuid[]) as given
on conflict do nothing
"""
UNWATCH: Final[LiteralString] = """
delete from pgboss.watcher
where watcher = ('00000000-0000-0000-0000-' || lpad(%s::text, 12, '0'))::uuid and job_id = any(%s::uuid[])
"""


class Difference(AssertionError):
    """Postgres and memory differ."""


class Replay:
    """A Postgres storage, to which the calls of traces are applied one after the other."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._now: datetime
        self._storage: PostgresStorage
        self._rows: psycopg.AsyncConnection[Any]
        self._sent: set[UUID] = set()
        self._blocks: dict[int, tuple[AbstractAsyncContextManager[Transaction], Transaction]] = {}
        self._told: set[tuple[str, str]] = set()
        self._watched: dict[UUID, set[int]] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, dsn: str) -> AsyncGenerator[Replay]:
        """Connect to a migrated database that only traces use."""
        self = cls(dsn)
        impatient = make_conninfo(dsn, options=IMPATIENT)
        opening = PostgresStorage.open(impatient, max_size=30, listen=False, now=lambda: self._now)
        connect = psycopg.AsyncConnection[Any].connect
        async with opening as self._storage, await connect(dsn, autocommit=True) as self._rows:
            self._rows.add_notify_handler(lambda told: self._told.add((told.channel, told.payload)))
            for channel in (work_channel(SCHEMA), job_channel(SCHEMA)):
                await self._rows.execute(f"listen {channel}")  # type: ignore[arg-type]
            yield self

    async def play(self, trace: Trace) -> None:
        """Apply a trace to an empty database.

        Raises:
            Difference: an answer, a row or a notification differs.
        """
        await self._begin(trace)
        try:
            for number, entry in enumerate(trace.entries):
                try:
                    await self._apply(entry)
                    if number in trace.rows:
                        await self._compare_rows(trace.rows[number])
                except Difference as difference:
                    said = "".join(f"\n  {one}" for one in trace.entries[max(0, number - 3) : number])
                    raise Difference(f"{number}: {entry}\n{difference}\nafter:{said}") from None
        finally:
            for number in list(self._blocks):
                await self._roll_back(number)

    async def _begin(self, trace: Trace) -> None:
        self._now = trace.epoch
        self._watched.clear()
        self._sent.clear()
        await self._rows.execute(EMPTY)
        await self._storage.declare([], trace.schedules)
        for schedule in trace.schedules:
            if schedule.last_tick is not None:
                async with self._storage.transaction() as transaction:
                    await transaction.record_tick(schedule.name, schedule.last_tick, schedule.next_tick)
        await self._rows.execute("select")
        self._told.clear()

    async def _apply(self, entry: Entry) -> None:
        self._now = entry.at
        match entry.verb:
            case "begin" | "commit" | "rollback":
                await self._open_or_end(entry)
            case "lock":
                await self._lock(entry)
            case "watch" | "unwatch" | "beats":
                await self._write(entry)
            case "probe":
                await self._probe(entry.arguments["call"])
            case "claim":
                await self._claim(entry)
            case _ if entry.answer is LockTimeoutError:
                return  # it has changed nothing; its probe has shown that it waits
            case "insert":
                await self._insert(entry)
            case _:
                self._check(entry, await self._ask(entry))
        if entry.verb in NOTIFYING and (entry.transaction is None or entry.verb == "commit"):
            await self._check_told(entry)

    async def _open_or_end(self, entry: Entry) -> None:
        number = entry.transaction or 0
        if entry.verb == "begin":
            block = self._storage.transaction(**entry.arguments)
            self._blocks[number] = block, await block.__aenter__()
        elif entry.verb == "commit":
            await self._blocks.pop(number)[0].__aexit__(None, None, None)
        else:
            await self._roll_back(number)

    async def _roll_back(self, number: int) -> None:
        block, _ = self._blocks.pop(number)
        with suppress(Abandoned):
            await block.__aexit__(Abandoned, Abandoned(), None)

    async def _insert(self, entry: Entry) -> None:
        """Insert jobs; one that was inserted before is not marked as fresh, whichever insert came first.

        Postgres does not search for a fresh job, so it might give another answer, which no caller awaits any
        more, or insert a job again that has been archived meanwhile. If all jobs exist, it may wait for a
        transaction that changes one of them, where memory answers at once.
        """
        jobs = entry.arguments["jobs"]
        known = {job.id for job in jobs} <= self._sent
        jobs = [replace(job, fresh=job.fresh and job.id not in self._sent) for job in jobs]
        self._sent.update(job.id for job in jobs)
        answer = await self._ask(replace(entry, arguments={"jobs": jobs}))
        if not (known and answer is LockTimeoutError and entry.transaction is None):
            self._check(entry, answer)

    async def _ask(self, entry: Entry) -> Any:
        """Make a call; return its answer, or the type of its error."""
        target: Any = self._storage if entry.transaction is None else self._blocks[entry.transaction][1]
        if not hasattr(target, entry.verb):
            target = target.access
        try:
            return await asyncio.wait_for(getattr(target, entry.verb)(**entry.arguments), 60)
        except ZekeError as error:
            return type(error)

    def _check(self, entry: Entry, answer: Any) -> None:
        if entry.answered and answer != entry.answer:
            raise Difference(f"  memory   {entry.answer}\n  postgres {answer}")

    async def _probe(self, call: Entry) -> None:
        """Make a call that must wait for a lock, but not for long."""
        if call.transaction is None:
            answer = await self._ask(call)
        else:
            connection = self._blocks[call.transaction][1].connection
            await connection.execute("savepoint probe")
            answer = await self._ask(call)
            await connection.execute("rollback to savepoint probe")
        if answer is not LockTimeoutError:
            raise Difference(f"  memory   waits for a lock: {call}\n  postgres {answer}")

    async def _lock(self, entry: Entry) -> None:
        """Lock a row or a key as another program does."""
        if entry.transaction is None or entry.answer is False:
            return
        connection = self._blocks[entry.transaction][1].connection
        key = entry.arguments["key"]
        if isinstance(key, UUID):
            await connection.execute(LOCK_JOB, [key])
        elif isinstance(key, Hold):
            await connection.execute(LOCK_KEY, [key.name, key.key])
        else:
            await connection.execute(LOCK_QUEUE, [key.partition("\0")[2]])

    async def _write(self, entry: Entry) -> None:
        """Write what the simulator has without a call: heartbeats, and which jobs are watched."""
        if entry.verb == "beats":
            beats = entry.arguments["beats"]
            await self._rows.execute(BEATS, [list(beats), list(beats.values())])
            return
        watch, ids = entry.arguments["watch"], entry.arguments["ids"]
        await self._rows.execute(WATCH if entry.verb == "watch" else UNWATCH, [watch, list(ids)])
        for job_id in ids:
            watches = self._watched.setdefault(job_id, set())
            (watches.add if entry.verb == "watch" else watches.discard)(watch)

    async def _claim(self, entry: Entry) -> None:
        """Claim while the rows that memory skipped are hidden.

        If some of the rows are locked, Postgres guarantees no order, and may return fewer jobs than are free.
        Then all other rows are hidden too, and the call is repeated until it has returned all jobs.
        """
        hidden: list[UUID] = []
        if entry.skipped:
            hidden = await self._ids(HIDE, [list(entry.skipped)])
        meets_locks = len(hidden) < len(set(entry.skipped))
        if meets_locks:
            names, kept = [one.name for one in entry.arguments["capacity"]], [job.id for job in entry.answer]
            hidden += await self._ids(HIDE_OTHERS, [names, entry.at, kept])
        answer = await self._ask(entry)
        if isinstance(answer, ClaimedJobs):
            if answer.left_out:
                if not entry.answer.left_out:
                    raise Difference("  memory   left no queue out")
                await self._storage.declare([], [])  # or it leaves them out for some real time
            if meets_locks:
                await self._claim_rest(entry, answer)
        if hidden:
            await self._rows.execute(SHOW, [hidden])
        self._check(entry, answer)

    async def _ids(self, statement: LiteralString, parameters: list[Any]) -> list[UUID]:
        return [row[0] for row in await (await self._rows.execute(statement, parameters)).fetchall()]

    async def _claim_rest(self, entry: Entry, answer: list[Claimed]) -> None:
        while len(answer) < len(entry.answer):
            taken = [job.name for job in answer]
            rest = [
                QueueCapacity(name, room - taken.count(name)) for name, room in entry.arguments["capacity"]
            ]
            rest = [one for one in rest if one.limit > 0]
            wanted = {"capacity": rest, "limit": len(entry.answer) - len(answer)}
            more = await self._ask(replace(entry, arguments=entry.arguments | wanted))
            if not more:
                return
            answer += more
            answer.sort(key=lambda job: (-job.priority, job.start_after, job.id))

    async def _check_told(self, entry: Entry) -> None:
        """Compare the notifications of an entry: all that reach a sleeper or a watcher must be sent."""
        await self._rows.execute("select")
        told, self._told = self._told, set()
        work = work_channel(SCHEMA)
        queues = {name for channel, name in told if channel == work}
        jobs = {UUID(name) for channel, name in told if channel != work}
        lost = (entry.queues & entry.asleep) - queues
        unheard = {job for job in entry.changed if self._watched.get(job)} - jobs
        if lost or unheard:
            raise Difference(f"notifies of {queues} {jobs}, not of {lost} {unheard}")
        if entry.verb != "commit" and (queues - entry.queues or jobs - entry.jobs):
            raise Difference(f"notifies of {queues} {jobs}, but memory of {entry.queues} {entry.jobs}")

    async def _compare_rows(self, expected: Snapshot) -> None:
        found = await every_row(self._rows)
        for table in Snapshot.__slots__:
            mine, theirs = getattr(expected, table), getattr(found, table)
            if mine != theirs:
                raise Difference(f"{table}:\n{_apart(mine, theirs)}")


def _apart(mine: list[Any], theirs: list[Any]) -> str:
    lines = [f"  memory   {one}" for one in mine if one not in theirs]
    lines += [f"  postgres {one}" for one in theirs if one not in mine]
    return "\n".join(lines or [f"  memory   {mine}", f"  postgres {theirs}"])


def check(runner: asyncio.Runner, replay: Replay, scenario: Scenario, seed: int) -> int:
    """Run a scenario, replay its calls on Postgres, and return their number.

    Raises:
        Difference: Postgres did something else; it says after which call.
    """
    trace = record(scenario, seed, EVERY)
    try:
        runner.run(replay.play(trace))
    except Difference as difference:
        # Rows were compared at intervals: now after each entry, to name the one that made the difference.
        runner.run(replay.play(record(scenario, seed, 1)))
        raise AssertionError(f"not found again: {difference}") from difference
    return len(trace.entries)
