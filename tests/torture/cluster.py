"""The server of a run: a private one, whose log is decoded, and its faults."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
from collections import Counter
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import psycopg
from psycopg.conninfo import conninfo_to_dict

from tests.postgres.pooler import Pooler
from tests.torture.decoding import TABLES, Commit, lsn, read_change, read_commit
from zeke_queue.storage.embedded.server import EmbeddedPostgres
from zeke_queue.storage.postgres import migrate
from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    import random  # noqa: TID251 - its type
    from collections.abc import Iterator

SLOT: Final = "torture"
_BATCH: Final = 20_000
_POOL: Final = 30
_PREPARED: Final = 100
_BETWEEN_TRIES: Final = 0.2
_TRIES: Final = 300
_SETTINGS: Final = {
    "wal_level": "logical",
    "max_connections": "200",
    "shared_buffers": "64MB",
    # A suspended backend keeps its locks, as on any machine; here nothing ends it either.
    "deadlock_timeout": "200ms",
    # After a crash the server is back sooner.
    "checkpoint_timeout": "30s",
    "log_min_messages": "warning",
}
_PEEK: Final = (
    "select lsn::text, data from pg_logical_slot_peek_changes(%(slot)s, null, %(most)s,"
    " 'include-timestamp', 'on', 'include-xids', 'on', 'skip-empty-xacts', 'on')"
)
_OPTIONS: Final = "-c timezone=UTC -c datestyle=ISO -c intervalstyle=iso_8601"
_LEFT: Final = (
    "select (select count(*) from pgboss.job) + (select count(*) from pgboss.archive),"
    " (select coalesce(sum(attempt * 10 + array_position(enum_range(null::pgboss.job_state), state)), 0)"
    " from pgboss.job)::bigint"
)
_BACKENDS: Final = (
    "select pid from pg_stat_activity where datname = current_database() and application_name = 'zeke'"
    " order by backend_start, pid"
)

_TABLE_OF_JOBS: Final = ("job", "archive")

Mode = Literal["fast", "immediate"]


class Cluster:
    """A server and its one database, migrated, with a slot that decodes all that is done to it.

    Args:
        server: a running one.
        pooler: what processes reach it through; None if they reach it directly.
    """

    def __init__(self, server: EmbeddedPostgres, pooler: Pooler | None = None) -> None:
        self._server = server
        self._pooler = pooler
        self._clock = SystemClock()
        self.restarting = asyncio.Lock()

    @property
    def dsn(self) -> str:
        """The way to the server that no fault is on."""
        return self._server.dsn

    @property
    def socket(self) -> Path:
        """The socket behind every link."""
        if self._pooler is not None:
            return self._pooler.socket
        return Path(str(conninfo_to_dict(self.dsn)["host"]), ".s.PGSQL.5432")

    def dsn_over(self, folder: Path) -> str:
        """Return a connection string by way of a link that listens in a folder."""
        parts = conninfo_to_dict(self.dsn)
        return f"postgresql://{parts['user']}@/{parts['dbname']}?host={folder}"

    @classmethod
    @contextmanager
    def started(cls, *, pooled: bool = False) -> Iterator[Cluster]:
        """Start a server, and PgBouncer in transaction mode before it if ``pooled``."""
        with ExitStack() as stack:
            server = stack.enter_context(
                EmbeddedPostgres.start(ephemeral=True, fsync=False, settings=_SETTINGS)
            )
            migrate.migrate(server.dsn)
            with psycopg.connect(server.dsn, autocommit=True) as connection:
                for table in TABLES:
                    connection.execute(f"alter table pgboss.{table} replica identity full".encode())
                connection.execute("select pg_create_logical_replication_slot(%s, 'test_decoding')", [SLOT])
            pooler = Pooler(server.dsn, size=_POOL, prepared=_PREPARED) if pooled else None
            yield cls(server, None if pooler is None else stack.enter_context(pooler))

    async def restart(self, mode: Mode) -> None:
        async with self.restarting:
            await asyncio.to_thread(self._server.restart, mode)

    async def kill_backend(self, draw: random.Random) -> bool:
        """Kill -9 a server process, after which the server restarts all others; False if there was none."""
        async with self.restarting:
            pid = await self._some_backend(draw)
            if pid is None:
                return False
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            await self.answers()
            return True

    async def disturb(self, draw: random.Random, *, end: bool) -> bool:
        """Make the server cancel a statement of one connection, or end the connection."""
        pid = await self._some_backend(draw)
        if pid is None:
            return False
        with suppress(psycopg.OperationalError):
            async with await self.connected() as connection:
                function = "pg_terminate_backend" if end else "pg_cancel_backend"
                await connection.execute(f"select {function}(%s)".encode(), [pid])
            return True
        return False

    async def left(self) -> tuple[int, int]:
        """Return how many jobs are left, live and archived, and a number that any step of one moves."""
        async with await self.connected() as connection:
            (row,) = await (await connection.execute(_LEFT.encode())).fetchall()
        return row

    async def answers(self) -> None:
        while True:
            with suppress(psycopg.OperationalError):
                async with await self.connected():
                    return
            await self._clock.sleep(_BETWEEN_TRIES)

    async def _some_backend(self, draw: random.Random) -> int | None:
        try:
            async with await self.connected() as connection:
                found = await (await connection.execute(_BACKENDS.encode())).fetchall()
        except psycopg.OperationalError:
            return None
        return draw.choice(found)[0] if found else None

    async def connected(self) -> psycopg.AsyncConnection:
        """Return a connection of the run's own, which no fault hits but those of the server."""
        return await psycopg.AsyncConnection.connect(
            self.dsn, autocommit=True, application_name="torture", options=_OPTIONS
        )


class Decoder:
    """Reads the slot, and keeps each commit once, as a line of a file.

    A line is ``[lsn, time, [change, …]]``. What was read is looked at first and taken out of the slot later,
    so that a crash in between loses nothing; repeated changes are recognised by their position in the log.
    """

    def __init__(self, cluster: Cluster, path: Path) -> None:
        self._cluster = cluster
        self._file = path.open("a", encoding="utf-8")
        self._clock = SystemClock()
        self._done = 0
        self.tally: Counter[str] = Counter()
        """How many jobs were sent, claimed, ended in each state, archived, purged."""

    def close(self) -> None:
        self._file.close()

    async def run(self) -> None:
        """Read on and on, through restarts, until cancelled."""
        while True:
            with suppress(psycopg.OperationalError):
                await self.read()
            await self._clock.sleep(0.5)

    async def read_to_the_end(self) -> None:
        """Read the rest, once the current reader has released the slot."""
        for tried in itertools.count(1):
            try:
                await self.read()
            except psycopg.OperationalError:
                if tried >= _TRIES:
                    raise
                await self._clock.sleep(_BETWEEN_TRIES)
            else:
                return

    async def read(self) -> None:
        async with await self._cluster.connected() as connection:
            while True:
                cursor = await connection.execute(_PEEK.encode(), {"slot": SLOT, "most": _BATCH})
                rows = await cursor.fetchall()
                for commit in commits(rows):
                    self._keep(commit)
                if not rows:
                    return
                await connection.execute(
                    "select pg_replication_slot_advance(%s, %s::pg_lsn)", [SLOT, rows[-1][0]]
                )

    def _keep(self, commit: Commit) -> None:
        if commit.lsn <= self._done:
            return
        self._done = commit.lsn
        self.tally.update(filter(None, map(happened, commit.rows)))
        self._file.write(json.dumps([commit.lsn, commit.at.isoformat(), commit.rows]) + "\n")
        self._file.flush()


def commits(rows: list[tuple[str, str]]) -> Iterator[Commit]:
    """Group the slot's output, one position and text per row, into commits."""
    changes: list[str] = []
    for place, text in rows:
        if text.startswith("BEGIN"):
            changes = []
        elif (at := read_commit(text)) is not None:
            yield Commit(lsn(place), at, changes)
        else:
            changes.append(text)


def happened(text: str) -> str | None:
    """Return in a word the effect of a printed change on a job."""
    change = read_change(text)
    if change is None or change.table not in _TABLE_OF_JOBS:
        return None
    table, old, new = change
    if old is None:
        return "sent" if table == "job" else "archived"
    if new is None:
        return "purged" if table == "archive" else None
    return None if old["state"] == new["state"] else new["state"]


def read_commits(path: Path) -> Iterator[Commit]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            place, at, rows = json.loads(line)
            yield Commit(place, datetime.fromisoformat(at), rows)
