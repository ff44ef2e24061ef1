"""Databases for faults: one server, one behind PgBouncer, and a primary with a standby."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.postgres.pooler import Pooler
from tests.selecting import found
from zeke_queue.storage.embedded.server import EmbeddedPostgres
from zeke_queue.storage.embedded.system_user import owner_of
from zeke_queue.storage.postgres import migrate
from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from zeke_queue.storage.embedded.system_user import Owner

CONNECTIONS: Final = 80
"""Connections that a server admits."""

_SETTINGS: Final = {
    "max_connections": str(CONNECTIONS),
    "shared_buffers": "128MB",
    "log_min_messages": "warning",
    # After a crash the server is back sooner.
    "checkpoint_timeout": "30s",
    "wal_level": "replica",
}
_BETWEEN_TRIES: Final = 0.1
_ADMIN: Final = "chaos"
_TERMINATE: Final = (
    "select count(*) filter (where pg_terminate_backend(pid)) from pg_stat_activity"
    " where backend_type = 'client backend' and pid <> pg_backend_pid()"
    " and application_name <> 'another application'"
)


class Database:
    """A server with a migrated database.

    Attributes:
        settings: of the queues that use it, by name.
    """

    SERVER: ClassVar[dict[str, str]] = {}

    def __init__(self, stack: ExitStack) -> None:
        self.clock = SystemClock()
        self.settings: dict[str, Any] = {}
        self._stack = stack
        self.server = stack.enter_context(
            EmbeddedPostgres.start(ephemeral=True, settings=_SETTINGS | self.SERVER)
        )
        migrate.migrate(self.server.dsn)

    @staticmethod
    def is_possible() -> bool:
        """Return whether this machine can make one."""
        return True

    @property
    def direct(self) -> str:
        """The way to the server that no fault is on."""
        return self.server.dsn

    @property
    def dsn(self) -> str:
        """The way that applications take."""
        return self.server.dsn

    @property
    def data(self) -> Path:
        return self.server.directory / "data"

    @property
    def owner(self) -> Owner:
        return owner_of(self.server.directory)

    async def admin(self) -> psycopg.AsyncConnection:
        """Connect as the fault's author, as soon as the server admits it."""
        while True:
            with suppress(psycopg.OperationalError):
                return await psycopg.AsyncConnection.connect(
                    self.direct, autocommit=True, application_name=_ADMIN, options="-c timezone=UTC"
                )
            await self.clock.sleep(_BETWEEN_TRIES)

    async def execute(self, *statements: str) -> None:
        async with await self.admin() as connection:
            for text in statements:
                await connection.execute(text.encode())

    async def fetch(self, text: str) -> list[tuple[Any, ...]]:
        async with await self.admin() as connection:
            return await (await connection.execute(text.encode())).fetchall()

    async def restart(self, mode: Literal["fast", "immediate"]) -> bool:
        """Restart the server; return whether it is another process now."""
        before = _pid(self.server)
        await asyncio.to_thread(self.server.restart, mode)
        return _pid(self.server) != before

    async def hold(self) -> psycopg.AsyncConnection:
        """Connect as another application, whose connections ``terminate`` does not end."""
        return await psycopg.AsyncConnection.connect(
            self.direct, autocommit=True, application_name="another application"
        )

    async def terminate(self, through: psycopg.AsyncConnection | None = None) -> bool:
        """End all connections, by a statement on one of them or on a new one; return whether it ended any."""
        if through is None:
            ((count,),) = await self.fetch(_TERMINATE)
        else:
            ((count,),) = await (await through.execute(_TERMINATE.encode())).fetchall()
        return count > 0

    async def become_standby(self, seconds: float) -> bool:
        """Restart as a standby, which only reads, and promote it later; return whether it was one."""
        self.touch(self.data / "standby.signal")
        await self.restart("fast")
        ((is_standby,),) = await self.fetch("select pg_is_in_recovery()")
        await self.clock.sleep(seconds)
        await self.execute("select pg_promote()")
        return is_standby

    def touch(self, path: Path) -> None:
        path.touch(mode=0o600)
        self.give(path)

    def give(self, path: Path) -> None:
        """Make the server's user the owner."""
        if self.owner.foreign:
            os.chown(path, self.owner.uid, self.owner.gid)


class SmallQueue(Database):
    """A server whose notification queue is full soon."""

    SERVER: ClassVar[dict[str, str]] = {"max_notify_queue_pages": "64"}


class SmallDisk(Database):
    """A server whose jobs are on a disk of their own, a small one."""

    SIZE: Final = "1g"
    ROOM: Final = 32 << 20

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(stack)
        self.disk = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="zeke-disk-")))
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={self.SIZE},mode=755", "tmpfs", self.disk], check=True
        )
        stack.callback(subprocess.run, ["umount", "--lazy", self.disk], check=False)
        # The server keeps files in it open until it stops, so it stops first.
        stack.callback(self.server.stop)
        self._filler = self.disk / "filler"
        space = self.disk / "space"
        space.mkdir(mode=0o700)
        self.give(space)
        with psycopg.connect(self.direct, autocommit=True) as connection:
            connection.execute(f"create tablespace small location '{space}'".encode())
            for kind in ("table", "index"):
                connection.execute(f"alter {kind} all in tablespace pg_default set tablespace small".encode())

    @staticmethod
    def is_possible() -> bool:
        return os.geteuid() == 0 and shutil.which("mount") is not None

    def nearly_fill(self) -> None:
        """Leave little room on the disk."""
        with self._filler.open("wb", buffering=0) as file:
            while shutil.disk_usage(self.disk).free > self.ROOM:
                file.write(bytes(1 << 20))

    async def fill(self, seconds: float) -> bool:
        """Leave no room on the disk for a time; return whether a statement failed for that."""
        log = self.server.directory / "log"
        written = log.stat().st_size
        with self._filler.open("ab", buffering=0) as file:
            size = 1 << 20
            while size:
                try:
                    file.write(bytes(size))
                except OSError:
                    size >>= 4
        free = shutil.disk_usage(self.disk).free
        await self.clock.sleep(seconds)
        self._filler.unlink()
        return free == 0 and b"No space left on device" in log.read_bytes()[written:]


class Pooled(Database):
    """A server behind PgBouncer in transaction mode."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(stack)
        self.settings = {"jobs_listen": False}
        self.pooler = stack.enter_context(Pooler(self.server.dsn, size=20, prepared=200))

    @staticmethod
    def is_possible() -> bool:
        return found("pgbouncer") is not None

    @property
    def dsn(self) -> str:
        return self.pooler.dsn

    def restart_pooler(self) -> bool:
        before = self.pooler.pid
        self.pooler.restart()
        return self.pooler.pid != before


class Pair(Database):
    """A primary and a standby, which get every commit at once, and a way that leads to whichever writes."""

    SYNCHRONOUS: ClassVar[bool] = True

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(stack)
        self._admit_replication(self.server)
        self.standby = self._make_standby()
        if self.SYNCHRONOUS:
            with psycopg.connect(self.server.dsn, autocommit=True) as connection:
                connection.execute("alter system set synchronous_standby_names = '*'")
                connection.execute("select pg_reload_conf()")

    @property
    def direct(self) -> str:
        return self._dsn_of(self.server, self.standby) if hasattr(self, "standby") else self.server.dsn

    @property
    def dsn(self) -> str:
        return self.direct

    async def fail_over(self, seconds: float) -> bool:
        """Kill the primary, and promote the standby a while later; return whether it was promoted."""
        _kill_server(self.server)
        await self.clock.sleep(seconds)
        return await self.promote()

    async def promote(self) -> bool:
        """Promote the standby; return whether it was."""
        async with await psycopg.AsyncConnection.connect(self.standby.dsn, autocommit=True) as connection:
            promoted = await (await connection.execute("select pg_promote()")).fetchone()
        return promoted == (True,)

    def _admit_replication(self, server: EmbeddedPostgres) -> None:
        with (server.directory / "data" / "pg_hba.conf").open("a", encoding="utf-8") as file:
            file.write("local replication all peer map=zeke\n")
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute("select pg_reload_conf()")

    def _make_standby(self) -> EmbeddedPostgres:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="zeke-standby-")))
        owner = self.owner
        (folder / "users").touch()
        for path in (folder, folder / "users"):
            self.give(path)
        binaries = Path(psutil.Process(_pid(self.server)).exe()).parent
        primary = make_conninfo(**{**conninfo_to_dict(self.server.dsn), "application_name": "standby"})
        command = [
            str(binaries / "pg_basebackup"),
            "-d",
            primary,
            "-D",
            str(folder / "data"),
            "-R",
            "-X",
            "stream",
        ]
        done = owner.run([*command, "-c", "fast", "--no-sync"], folder)
        if done.returncode:
            raise RuntimeError(f"pg_basebackup: {done.stdout}")
        return self._stack.enter_context(EmbeddedPostgres.start(folder, settings=_SETTINGS))

    @staticmethod
    def _dsn_of(*servers: EmbeddedPostgres) -> str:
        parts: Iterable[dict[str, Any]] = (conninfo_to_dict(server.dsn) for server in servers)
        hosts = ",".join(str(part["host"]) for part in parts)
        of_one = {**conninfo_to_dict(servers[0].dsn), "host": hosts}
        return make_conninfo(**of_one, target_session_attrs="read-write")


class AsynchronousPair(Pair):
    """A primary whose standby gets commits a moment later, so those of the last moment are lost with it."""

    SYNCHRONOUS: ClassVar[bool] = False

    def __init__(self, stack: ExitStack) -> None:
        super().__init__(stack)
        self._committed = "0/0"

    async def fall_behind(self) -> None:
        """Keep commits from the standby, until it lacks more than is on its way to it."""
        self._hold_back(stopped=True)
        self._stack.callback(self._hold_back, stopped=False)
        for _ in range(_LAG_TRIES):
            for committed, behind in await self.fetch(_LAG):
                self._committed = committed
                if behind >= _LAG_BYTES:
                    return
            await self.clock.sleep(_BETWEEN_TRIES)

    def kill_primary(self) -> None:
        _kill_server(self.server)
        self._hold_back(stopped=False)

    async def promote(self) -> bool:
        """Promote the standby; return whether it was, and has lost commits."""
        received = f"select pg_wal_lsn_diff('{self._committed}', pg_last_wal_receive_lsn()) > 0"
        async with await psycopg.AsyncConnection.connect(self.standby.dsn, autocommit=True) as connection:
            lost = await (await connection.execute(received.encode())).fetchone()
        return await super().promote() and lost == (True,)

    def _hold_back(self, *, stopped: bool) -> None:
        number = signal.SIGSTOP if stopped else signal.SIGCONT
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            for process in psutil.Process(_pid(self.standby)).children():
                if "walreceiver" in " ".join(process.cmdline()):
                    process.send_signal(number)


_LAG: Final = (
    "select pg_current_wal_flush_lsn()::text, pg_wal_lsn_diff(pg_current_wal_flush_lsn(), flush_lsn)"
    " from pg_stat_replication"
)
_LAG_BYTES: Final = 1 << 20
"""What the standby must lack: more than the socket between the two holds, which it still gets."""

_LAG_TRIES: Final = 300


def _pid(server: EmbeddedPostgres) -> int:
    return int((server.directory / "data" / "postmaster.pid").read_text().split()[0])


def _kill_server(server: EmbeddedPostgres) -> None:
    """Kill -9 a server with all its processes."""
    main = psutil.Process(_pid(server))
    main.suspend()
    for process in (*main.children(recursive=True), main):
        with suppress(psutil.NoSuchProcess):
            process.kill()
