"""PgBouncer in transaction mode in front of a test's database."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.selecting import found
from zeke_queue.storage.embedded.system_user import SYSTEM_USER

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONFIG = """
[databases]
* = {target}
[pgbouncer]
pool_mode = {mode}
query_wait_timeout = {patience}
server_login_retry = 1
default_pool_size = {size}
server_round_robin = {in_turn:d}
max_client_conn = 1000
max_prepared_statements = {prepared}
auth_type = any
ignore_startup_parameters = {ignored}
listen_addr =
unix_socket_dir = {folder}
listen_port = 6432
logfile = {folder}/log
pidfile = {folder}/pid
"""

_SOCKET = ".s.PGSQL.6432"


class Pooler:
    """PgBouncer, as a context.

    Args:
        target: the database behind it.
        size: its connections to the server.
        prepared: prepared statements that it tracks for each client; 0 if it tracks none.
        ignored: parameters of a connection that it drops; it refuses others that it does not know.
        mode: ``transaction``, or ``session`` to give each client a connection.
        patience: seconds that a client waits for a connection, before its own is ended.
        in_turn: whether its connections are used in turn; otherwise the last used one is preferred.
    """

    def __init__(
        self,
        target: str,
        *,
        size: int = 2,
        prepared: int = 0,
        ignored: str = "",
        mode: str = "transaction",
        in_turn: bool = True,
        patience: int = 120,
    ) -> None:
        self._target = {**conninfo_to_dict(target)}
        self._database = self._target.pop("dbname")
        self._target.pop("options", None)
        if self._target.get("host") == "localhost":
            self._target["host"] = "127.0.0.1"  # PgBouncer asks a name server, which need not know it
        self._settings = {"size": size, "prepared": prepared, "ignored": ignored}
        self._settings |= {"mode": mode, "in_turn": in_turn, "patience": patience}
        self._temporary = tempfile.TemporaryDirectory(prefix="zeke-pooler-")
        self._folder = Path(self._temporary.name)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """The database by way of the pooler."""
        return make_conninfo(
            host=str(self._folder), port=6432, dbname=self._database, user=self._target.get("user")
        )

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self._folder / _SOCKET

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()
        self._temporary.cleanup()

    def restart(self) -> None:
        """End it with all its connections, as a crash does, and start it again."""
        self._stop(at_once=True)
        for name in ("pid", _SOCKET):
            (self._folder / name).unlink(missing_ok=True)
        self._start()

    def _start(self) -> None:
        config = self._folder / "pgbouncer.ini"
        target = " ".join(f"{key}={value}" for key, value in self._target.items())
        config.write_text(_CONFIG.format(target=target, folder=self._folder, **self._settings))
        user = _server_user()
        if user is not None:
            for path in (self._folder, config):
                os.chown(path, user.pw_uid, user.pw_gid)
        self._process = subprocess.Popen(
            [found("pgbouncer") or "pgbouncer", "--quiet", str(config)],
            user=user.pw_uid if user else None,
            stderr=subprocess.PIPE,
        )
        with ExitStack() as failed:
            failed.callback(self._stop)
            _wait_for(self.socket, self._process)
            failed.pop_all()

    def _stop(self, *, at_once: bool = False) -> None:
        process, self._process = self._process, None
        if process is not None:
            with process:
                if at_once:
                    process.kill()
                else:
                    process.terminate()


@contextmanager
def pooled(dsn: str, *, ignored: str = "") -> Iterator[str]:
    """Yield the DSN of a pooler before this database.

    The pooler has two connections to the server and gives each transaction the next one, so a setting, a lock
    or a prepared statement that should outlive its transaction is missing in the next one.

    Args:
        ignored: parameters of a connection that it drops; it refuses others that it does not know.
    """
    with Pooler(dsn, ignored=ignored) as pooler:
        yield pooler.dsn


def _server_user() -> pwd.struct_passwd | None:
    """Return the embedded server's system user: PgBouncer does not run as root either."""
    return pwd.getpwnam(SYSTEM_USER) if os.geteuid() == 0 else None


def _wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(path))
            except OSError:
                continue
            return
    raise AssertionError(f"pgbouncer ended: {process.communicate()[1].decode()}")
