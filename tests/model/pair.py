"""Two storages that receive the same calls, and must give the same answers and notify of the same."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from psycopg.rows import dict_row

from tests.clocks import FrozenClock
from tests.conformance.driver import rolled_back
from tests.conformance.planting import COLUMNS, EMPTY, PlantInPostgres
from tests.model.strategies import NAMES, START
from zeke_queue.errors import ZekeError
from zeke_queue.model import (
    FINAL,
    Attempt,
    CatchUp,
    Job,
    JobEvent,
    RowState,
    Schedule,
    WorkerInfo,
)
from zeke_queue.storage.access import ApiKey, Scope
from zeke_queue.storage.memory import MemoryStorage, Snapshot
from zeke_queue.storage.memory.tables import Session, Window
from zeke_queue.storage.notifier import Notifier
from zeke_queue.storage.postgres import rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence
    from typing import LiteralString

    import psycopg

    from zeke_queue.storage import Storage
    from zeke_queue.storage.jobs import Transaction


ROWS: dict[str, LiteralString] = {
    "jobs": "SELECT * FROM pgboss.job ORDER BY id",
    "archive": "SELECT * FROM pgboss.archive ORDER BY id",
    "schedules": 'SELECT *, data::text AS text FROM pgboss.zeke_schedule ORDER BY name COLLATE "C"',
    "queues": 'SELECT * FROM pgboss.queue ORDER BY name COLLATE "C"',
    "workers": "SELECT * FROM pgboss.worker ORDER BY id",
    "events": "SELECT *, data::text AS data FROM pgboss.job_event ORDER BY seq",
    "keys": "SELECT * FROM pgboss.api_key ORDER BY id",
    "sessions": "SELECT * FROM pgboss.api_session ORDER BY digest",
    "windows": "SELECT caller, ends_on, calls FROM pgboss.rate_limit ORDER BY caller",
}
"""Every row, read past the storage under test."""


IDS: Final = range(0x1000, 0x1100)
"""The numbers of the jobs that the machine sends."""

LISTEN: LiteralString = "LISTEN zeke_work_pgboss; LISTEN zeke_job_pgboss"

MARK: LiteralString = "SELECT pg_notify('zeke_work_pgboss', '')"
"""Notifies the listener itself, which then has heard of all that has been committed before."""

WATCH: LiteralString = """
INSERT INTO pgboss.watcher (job_id, watcher, until)
SELECT ('00000000-0000-0000-0000-' || lpad(to_hex(id), 12, '0'))::uuid, gen_random_uuid(), '9999-12-31'
FROM generate_series(%s::int, %s::int - 1) AS id
"""

FETCH_OF_PGBOSS = """
UPDATE pgboss.job SET state = 'active', startedon = %s, completedon = NULL,
    retrycount = CASE WHEN state = 'retry' THEN retrycount + 1 ELSE retrycount END
WHERE id = %s AND state < 'active'
"""

END_OF_PGBOSS = "UPDATE pgboss.job SET state = 'completed', completedon = %s WHERE id = %s"

LOCKING = frozenset({"lock_expired", "lock_due_schedules"})
"""Verbs that only transactions have."""

WAKING = frozenset(
    {"insert", "insert_child", "settle", "settle_unlocked", "suspend", "cancel", "resume", "retry"}
    | {"resume_waiting", "declare", "pause_queue", "transaction"}
)
"""Verbs that may notify workers."""


class Recorder(Notifier):
    """Records which queues and jobs are notified."""

    has_waiters = True  # pyright: ignore[reportAssignmentType] - however many there are

    def __init__(self, clock: FrozenClock) -> None:
        super().__init__(clock)
        self.queues: set[str] = set()
        self.jobs: set[UUID] = set()

    def queue(self, name: str) -> None:
        self.queues.add(name)

    def job(self, job_id: UUID) -> None:
        self.jobs.add(job_id)


class Pair:
    """The memory storage and the Postgres storage under test, on one clock."""

    def __init__(
        self,
        run: Callable[[Coroutine[Any, Any, Any]], Any],
        postgres: Storage,
        connection: psycopg.AsyncConnection[Any],
        clock: FrozenClock,
        dsn: str,
    ) -> None:
        self._run = run
        self._connection = connection
        self._plant = PlantInPostgres(dsn)
        self.postgres = postgres
        self.clock = clock
        self._payloads: set[str] = set()
        connection.add_notify_handler(lambda notification: self._payloads.add(notification.payload))
        run(connection.execute(LISTEN))

    def start_anew(self) -> None:
        """Forget everything, the time too; all jobs that the machine will send are watched."""
        self.clock.advance((START - self.clock.now()).total_seconds())
        self.memory, self._recorder = MemoryStorage(self.clock), Recorder(self.clock)
        self.memory._notifier = self.memory._direct.notifier = self._recorder
        self._note_states()
        self._run(self._connection.execute(EMPTY))
        self._run(self._connection.execute(WATCH, [IDS.start, IDS.stop]))
        # A storage may remember for a moment which queues have limits, unless it declares some itself.
        self._run(self.postgres.declare([], []))

    def both(self, verb: str, *arguments: Any, **options: Any) -> Any:
        """Do something with both; the answers must be equal."""
        return self._alike(verb, lambda storage: _call(storage, verb, *arguments, **options))

    def in_transaction(self, steps: Sequence[Step], *, commit: bool) -> None:
        """Do several things in one transaction of each; answers and callbacks must be equal."""
        self._alike("transaction", lambda storage: _transact(storage, steps, commit=commit), always=commit)

    def plant(self, job: Job) -> None:
        """Write a row past both, without notifications."""
        self.memory.plant([job])
        self._run(self._plant(job))
        self._note_states()

    def execute(self, statement: str, parameters: Sequence[Any]) -> None:
        """Run a statement of another program on Postgres alone."""
        self._run(self._connection.execute(statement, parameters))  # type: ignore[arg-type]
        self._note_states()

    def fetch_as_pgboss(self, job_id: UUID) -> None:
        """Claim a job past both, without a worker; a trigger counts the attempt."""
        now, tables = self.clock.now(), self.memory.tables
        row = tables.jobs.get(job_id)
        if row is not None and row.waits:
            tables.take_out(row)
            row.begin(None, now)
            tables.put_in(row)
        self.execute(FETCH_OF_PGBOSS, [now, job_id])

    def end_as_pgboss(self, ids: Sequence[UUID]) -> None:
        """Complete jobs past both, without resuming their parents."""
        now, tables = self.clock.now(), self.memory.tables
        for job_id in ids:
            row = tables.jobs.get(job_id)
            if row is not None and row.state not in FINAL:
                tables.take_out(row)
                row.end(RowState.COMPLETED, now)
                tables.put_in(row)
                self.execute(END_OF_PGBOSS, [now, job_id])

    def have_failed(self, job_id: UUID, times: int) -> None:
        """Write directly to both that a live job failed the given number of times."""
        at, error = self.clock.now(), {"type": "E", "message": "boom"}
        tries = [Attempt(number, at, RowState.RETRY, error) for number in range(times)]
        self.memory.tables.jobs[job_id].history = tuple(tries)
        stored = {"at": at.isoformat(), "state": "retry", "error": error, "worker": None}
        text = json.dumps([{"attempt": one.attempt, **stored} for one in tries])
        self.execute("UPDATE pgboss.job SET history = %s::jsonb WHERE id = %s", [text, job_id])

    def check(self) -> None:
        """Compare every row, and what was notified."""
        expected, found = self.memory.dump(), self._run(every_row(self._connection))
        for table in Snapshot.__slots__:
            mine, theirs = getattr(expected, table), getattr(found, table)
            assert mine == theirs, f"{table}:\n  memory   {mine}\n  postgres {theirs}"
        self._check_watched(expected.events)

    def _alike(
        self, what: str, ask: Callable[[Storage], Awaitable[Any]], *, always: bool | None = None
    ) -> Any:
        """Return the answer of both.

        Args:
            what: the call, for an error.
            ask: makes it.
            always: whether workers are notified that do not sleep; None if only those that sleep.
        """
        asleep = self._asleep()
        expected = self._run(_outcome(ask(self.memory)))
        found = self._run(_outcome(ask(self.postgres)))
        assert expected == found, f"{what}:\n  memory   {expected}\n  postgres {found}"
        if what in WAKING:
            self._check_woken(what, asleep, always=always)
        return expected

    def _asleep(self) -> set[str]:
        """Return the queues on which live workers sleep."""
        now, workers = self.clock.now(), self.memory.tables.workers.values()
        alive = [one for one in workers if one.beat_on and one.beat_on + timedelta(seconds=one.lease) >= now]
        return {name for worker in alive if worker.asleep for name in worker.queues}

    def _check_woken(self, what: str, asleep: set[str], *, always: bool | None) -> None:
        """Compare the queues that a call notified: all on which workers sleep, and no others."""
        self._run(self._connection.execute(MARK))
        assert "" in self._payloads
        found = {name for name in self._payloads if name in NAMES}
        self._payloads -= {*NAMES, ""}
        expected = set[str]() if always is False else set(self._recorder.queues)
        least = expected if always else expected & asleep
        self._recorder.queues.clear()
        assert least <= found, f"{what}: must notify {sorted(least)}, notifies {sorted(found)}"
        assert found <= expected or always, f"{what}: notifies {sorted(found)}, needs {sorted(expected)}"

    def _check_watched(self, events: Sequence[JobEvent]) -> None:
        """Check that each job was notified that changed since the last check or has a new event."""
        found = {UUID(name) for name in self._payloads}
        changed = {
            job_id for job_id, state in self._states.items() if self._state(job_id) not in (state, None)
        }
        changed |= {event.job_id for event in events if event.seq > self._seen and event.job_id.int in IDS}
        assert changed <= found, f"watchers are not notified of {changed - found}"
        assert found <= self._recorder.jobs, f"watchers are notified of {found - self._recorder.jobs}"
        self._note_states()

    def _note_states(self) -> None:
        """Forget what was notified, and remember in which states jobs are now."""
        self._payloads.clear()
        self._recorder.jobs.clear()
        self._recorder.queues.clear()
        self._seen = self.memory.tables.event_seq
        self._states = {
            job_id: self._state(job_id) for job_id in self.memory.tables.jobs if job_id.int in IDS
        }

    def _state(self, job_id: UUID) -> Any:
        row = self.memory.tables.jobs.get(job_id)
        return None if row is None else (row.state, row.attempt)


class Step:
    """One thing done in a transaction, or (``outside``) beside it while it is open."""

    def __init__(self, verb: str, *arguments: Any, outside: bool = False) -> None:
        self.verb = verb
        self.arguments = arguments
        self.outside = outside

    def __repr__(self) -> str:
        return f"Step({self.verb!r}, {', '.join(map(repr, self.arguments))}{', outside=True' * self.outside})"


async def every_row(connection: psycopg.AsyncConnection[Any]) -> Snapshot:
    """Read every row from Postgres, past any storage."""
    cursors = {table: connection.cursor(row_factory=dict_row) for table in ROWS}
    async with connection.pipeline():
        for table, cursor in cursors.items():
            await cursor.execute(ROWS[table])
    tables = {table: await cursor.fetchall() for table, cursor in cursors.items()}
    return Snapshot(
        jobs=list(map(_job, tables["jobs"])),
        archive=list(map(_job, tables["archive"])),
        schedules=list(map(_schedule, tables["schedules"])),
        queues=[rows.queue(tuple(row.values())) for row in tables["queues"]],
        workers=list(map(_worker, tables["workers"])),
        events=[JobEvent(**row) for row in tables["events"]],
        keys=list(map(_key, tables["keys"])),
        sessions=[Session(**row) for row in tables["sessions"]],
        windows=[Window(**row) for row in tables["windows"]],
    )


async def _call(storage: Storage, verb: str, *arguments: Any, **options: Any) -> Any:
    if verb not in LOCKING:
        owner = storage.access if hasattr(storage.access, verb) else storage
        return await getattr(owner, verb)(*arguments, **options)
    async with storage.transaction() as transaction:
        return await getattr(transaction, verb)(*arguments, **options)


async def _transact(storage: Storage, steps: Sequence[Step], *, commit: bool) -> list[Any]:
    answers: list[Any] = []
    opening = storage.transaction if commit else lambda: rolled_back(storage)
    async with opening() as transaction:
        transaction.on_commit(lambda: answers.append("committed"))
        transaction.on_rollback(lambda: answers.append("rolled back"))
        for step in steps:
            target: Storage | Transaction = storage if step.outside else transaction
            answers.append(await getattr(target, step.verb)(*step.arguments))
    return answers


async def _outcome(answer: Awaitable[Any]) -> Any:
    """Return an answer, or the type of the error that came instead; a wait for a lock is an error too."""
    try:
        return await asyncio.wait_for(answer, 120)
    except ZekeError as error:
        return type(error)


def _job(row: dict[str, Any]) -> Job:
    columns = {field: row[column] for column, field in COLUMNS.items()}
    columns["row_state"] = RowState(row["state"])
    columns["expire_in"] = row["expirein"].total_seconds()
    return Job(
        **columns,
        data=row["data"],
        meta=row["meta"],
        output=row["output"],
        history=tuple(
            Attempt(
                attempt["attempt"],
                datetime.fromisoformat(attempt["at"]),
                RowState(attempt["state"]),
                attempt["error"],
                attempt["worker"] and UUID(attempt["worker"]),
            )
            for attempt in row["history"] or ()
        ),
        archived_on=row.get("archivedon"),
    )


def _schedule(row: dict[str, Any]) -> Schedule:
    return Schedule(
        name=row["name"],
        cron=row["cron"],
        task=row["task"],
        zone=row["timezone"],
        data=row["text"],
        options=row["options"],
        catch_up=CatchUp(row["catch_up"]),
        description=row["description"],
        paused=row["paused"],
        last_tick=row["last_tick"],
        next_tick=row["next_tick"],
    )


def _key(row: dict[str, Any]) -> ApiKey:
    return ApiKey(**{**row, "scopes": frozenset(map(Scope, row["scopes"]))})


def _worker(row: dict[str, Any]) -> WorkerInfo:
    return WorkerInfo(
        **{
            **row,
            "queues": tuple(row["queues"]),
            "duties": tuple(row["duties"]),
            "lease": row["lease"].total_seconds(),
        }
    )
