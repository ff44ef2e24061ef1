"""PgBouncer in transaction mode in front of a test's database, where the machine has it."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg.conninfo import conninfo_to_dict, make_conninfo

from zeke_queue.storage.embedded.system_user import SYSTEM_USER

if TYPE_CHECKING:
    from collections.abc import Iterator

_CONFIG = """
[databases]
* = {target}
[pgbouncer]
pool_mode = transaction
default_pool_size = 2
max_prepared_statements = 0
auth_type = any
listen_addr =
unix_socket_dir = {folder}
listen_port = 6432
logfile = {folder}/log
pidfile = {folder}/pid
"""


@contextmanager
def pooled(dsn: str) -> Iterator[str]:
    """Yield the DSN of a pooler before this database; or this DSN, if the machine has no pooler.

    The pooler has two connections to the server and gives each transaction any of them, so a setting, a lock
    or a prepared statement that should outlive its transaction is missing in the next one.
    """
    binary = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        yield dsn
        return
    target = {**conninfo_to_dict(dsn)}
    name = target.pop("dbname")
    if target.get("host") == "localhost":
        target["host"] = "127.0.0.1"  # PgBouncer asks a name server, which need not know it
    with tempfile.TemporaryDirectory(prefix="zeke-pooler-") as temporary:
        folder = Path(temporary)
        config = folder / "pgbouncer.ini"
        config.write_text(
            _CONFIG.format(target=" ".join(f"{key}={value}" for key, value in target.items()), folder=folder)
        )
        user = _server_user()
        if user is not None:
            for path in (folder, config):
                os.chown(path, user.pw_uid, user.pw_gid)
        with subprocess.Popen(
            [binary, "--quiet", str(config)], user=user.pw_uid if user else None, stderr=subprocess.PIPE
        ) as process:
            try:
                _wait_for(folder / ".s.PGSQL.6432", process)
                yield make_conninfo(host=str(folder), port=6432, dbname=name, user=target.get("user"))
            finally:
                process.terminate()


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
