"""The private server: access, start and stop, and recovery."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from zeke_queue.errors import StorageUnavailableError, UsageError
from zeke_queue.storage.embedded.server import EmbeddedPostgres


@pytest.fixture
def directory() -> Iterator[Path]:
    """A folder for a server: in the system's temporary folder, which any user may enter."""
    with tempfile.TemporaryDirectory(prefix="zeke-test-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder, "server")


def ask(dsn: str, question: str = "select 1") -> object:
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute(question.encode()).fetchone()
        return row and row[0]


def postmaster(directory: Path) -> int:
    return int((directory / "data/postmaster.pid").read_text().split()[0])


def runs(dsn: str) -> bool:
    try:
        ask(dsn)
    except psycopg.OperationalError:
        return False
    return True


def test_ephemeral_server_has_its_settings_and_is_removed_when_its_block_ends() -> None:
    settings = {"application_name": "it's", "work_mem": "5MB"}
    with EmbeddedPostgres.start(ephemeral=True, fsync=False, settings=settings) as server:
        assert ask(server.dsn, "select current_user::text") == "zeke"
        assert (ask(server.dsn, "show work_mem"), ask(server.dsn, "show fsync")) == ("5MB", "off")
    assert not server.directory.exists()


def test_server_is_private_to_its_owner_and_has_no_port(directory: Path) -> None:
    with EmbeddedPostgres.start(directory, fsync=False) as server:
        assert directory.stat().st_mode & 0o777 == 0o700
        assert (directory / "data").stat().st_mode & 0o777 == 0o700
        assert (directory / "data/pg_hba.conf").stat().st_mode & 0o077 == 0
        assert ask(server.dsn, "show listen_addresses") == ""
        assert conninfo_to_dict(server.dsn)["host"] == str(directory)
        assert Path(directory, ".s.PGSQL.5432").stat().st_mode & 0o777 == 0o700


def test_other_users_are_rejected_although_the_folder_is_open(directory: Path) -> None:
    with EmbeddedPostgres.start(directory, fsync=False):
        rules = (directory / "data/pg_hba.conf").read_text().split()
        assert rules == ["local", "all", "all", "peer", "map=zeke"]
        with pytest.raises(psycopg.OperationalError, match=r"[Pp]eer authentication failed"):
            ask(f"postgresql://postgres@/zeke?host={directory}")


def test_persistent_server_keeps_its_data_and_address(directory: Path) -> None:
    with EmbeddedPostgres.start(directory, fsync=False) as server, psycopg.connect(server.dsn) as connection:
        connection.execute("create table kept as select 7 as number")
    assert not runs(server.dsn)
    with EmbeddedPostgres.start(directory, fsync=False) as again:
        assert again.dsn == server.dsn
        assert ask(again.dsn, "select number from kept") == 7


@pytest.mark.nightly
def test_last_user_stops_the_server(directory: Path) -> None:
    first = EmbeddedPostgres.start(directory, fsync=False)
    second = EmbeddedPostgres.start(directory)
    first.stop()
    assert runs(second.dsn)
    second.stop()
    assert not runs(second.dsn)
    second.stop()


@pytest.mark.nightly
def test_concurrent_starts_share_one_server(directory: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        servers = list(pool.map(lambda _: EmbeddedPostgres.start(directory, fsync=False), range(6)))
    assert len({ask(server.dsn, "select pg_postmaster_start_time()::text") for server in servers}) == 1
    for server in servers:
        server.stop()
    assert not runs(servers[0].dsn)


@pytest.mark.nightly
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restart_keeps_the_address_and_committed_rows(directory: Path, mode: str) -> None:
    with EmbeddedPostgres.start(directory, ephemeral=True, fsync=False) as server:
        with psycopg.connect(server.dsn) as connection:
            connection.execute("create table kept as select 7 as number")
        started = ask(server.dsn, "select pg_postmaster_start_time()::text")
        server.restart(mode)  # type: ignore[arg-type]
        assert ask(server.dsn, "select number from kept") == 7
        assert ask(server.dsn, "select pg_postmaster_start_time()::text") != started


@pytest.mark.nightly
def test_killed_server_is_started_again(directory: Path) -> None:
    with EmbeddedPostgres.start(directory, ephemeral=True, fsync=False) as server:
        os.kill(postmaster(directory), signal.SIGKILL)
        with EmbeddedPostgres.start(directory, fsync=False) as again:
            assert runs(again.dsn)
        assert runs(server.dsn)


@pytest.mark.nightly
def test_server_that_ends_during_a_join_is_started_again(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedPostgres.start(directory, ephemeral=True, fsync=False):
        dying = postmaster(directory)
        os.kill(dying, signal.SIGSTOP)  # its socket takes connections all the same, as one does that dies
        connect = psycopg.connect

        def connect_to_the_dying(*args: Any, **more: Any) -> psycopg.Connection:
            monkeypatch.setattr(psycopg, "connect", connect)
            os.kill(dying, signal.SIGKILL)
            return connect(*args, **more)

        monkeypatch.setattr(psycopg, "connect", connect_to_the_dying)
        with EmbeddedPostgres.start(directory, fsync=False) as again:
            assert postmaster(directory) != dying
            assert runs(again.dsn)


def refuse_to_connect(monkeypatch: pytest.MonkeyPatch, why: str, *, times: int | None = None) -> None:
    connect, left = psycopg.connect, itertools.count() if times is None else iter(range(times))

    def refuse(*args: Any, **more: Any) -> psycopg.Connection:
        if next(left, None) is None:
            return connect(*args, **more)
        raise psycopg.OperationalError(why)

    monkeypatch.setattr(psycopg, "connect", refuse)


@pytest.mark.nightly
def test_recovering_server_is_awaited(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedPostgres.start(directory, ephemeral=True, fsync=False):
        refuse_to_connect(monkeypatch, "FATAL:  the database system is starting up", times=8)
        with EmbeddedPostgres.start(directory, fsync=False) as again:
            assert runs(again.dsn)


@pytest.mark.nightly
def test_server_that_rejects_connections_is_reported_with_its_log(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with EmbeddedPostgres.start(directory, ephemeral=True, fsync=False):
        refuse_to_connect(monkeypatch, "no room")
        with pytest.raises(StorageUnavailableError, match=r"can't be used: no room(.|\n)*ready to accept"):
            EmbeddedPostgres.start(directory, fsync=False)


@pytest.mark.nightly
def test_reused_process_id_does_not_prevent_a_start(directory: Path) -> None:
    with EmbeddedPostgres.start(directory, fsync=False):
        pass
    stale = f"{os.getpid()}\n{directory}/data\n1700000000\n5432\n{directory}\n\n 1 1\nready   \n"
    (directory / "data/postmaster.pid").write_text(stale)
    with EmbeddedPostgres.start(directory, fsync=False) as server:
        assert runs(server.dsn)


@pytest.mark.nightly
def test_server_of_a_killed_process_is_adopted_and_stopped(directory: Path) -> None:
    program = (
        "import os, sys; from zeke_queue.storage.embedded.server import EmbeddedPostgres;"
        " EmbeddedPostgres.start(sys.argv[1], fsync=False); os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(directory)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with EmbeddedPostgres.start(directory) as server:
        assert runs(server.dsn)
    assert not runs(server.dsn)


@pytest.mark.nightly
@pytest.mark.parametrize("named", [False, True])
def test_abandoned_ephemeral_server_is_removed_by_the_next_one(directory: Path, *, named: bool) -> None:
    one, next_one = (directory / f"zeke-postgres-{place}" if named else None for place in "ab")
    where = None if one is None else str(one)
    program = (
        "import os; from zeke_queue.storage.embedded.server import EmbeddedPostgres;"
        f" server = EmbeddedPostgres.start({where!r}, ephemeral=True, fsync=False);"
        " print(server.directory, flush=True); os.kill(os.getpid(), 9)"
    )
    left = Path(
        subprocess.run(
            [sys.executable, "-c", program], check=False, capture_output=True, text=True
        ).stdout.strip()
    )
    assert left.exists()
    with EmbeddedPostgres.start(next_one, ephemeral=True, fsync=False):
        assert not left.exists()


@pytest.mark.nightly
@pytest.mark.parametrize("begun", [[False], [True, False], [False, True]])
def test_unused_persistent_server_is_not_removed(directory: Path, begun: list[bool]) -> None:
    lasting = directory / "zeke-postgres-main"
    users = [(one, EmbeddedPostgres.start(lasting, ephemeral=one, fsync=False)) for one in begun]
    for _, user in sorted(users, key=lambda user: not user[0]):  # the temporary user leaves first
        user.stop()
    with EmbeddedPostgres.start(directory / "zeke-postgres-test", ephemeral=True, fsync=False):
        assert (lasting / "data" / "PG_VERSION").exists()


@pytest.mark.nightly
def test_long_path_gets_a_short_socket(directory: Path) -> None:
    deep = directory / ("d" * 60) / ("e" * 60)
    directory.mkdir()
    directory.chmod(0o755)
    deep.parent.mkdir(parents=True)
    deep.parent.chmod(0o755)
    with EmbeddedPostgres.start(deep, ephemeral=True, fsync=False) as server:
        place = Path(str(conninfo_to_dict(server.dsn)["host"]))
        assert runs(server.dsn)
        assert place != deep
        assert place.stat().st_mode & 0o777 == 0o700
    assert not place.exists()


def test_folder_with_other_files_is_refused_and_left_unchanged(directory: Path) -> None:
    (directory / "data").mkdir(parents=True)
    directory.chmod(0o755)
    (directory / "letter").write_text("dear ann")
    with pytest.raises(UsageError, match="not empty"):
        EmbeddedPostgres.start(directory)
    assert directory.stat().st_mode & 0o777 == 0o755


def test_folder_that_cannot_be_created_or_has_no_binaries_is_named(directory: Path) -> None:
    with pytest.raises(UsageError, match="no initdb"):
        EmbeddedPostgres.start(directory, binaries="/nowhere")
    directory.parent.joinpath("file").write_text("a file")
    with pytest.raises(UsageError, match="file/below can't be created"):
        EmbeddedPostgres.start(directory.parent / "file" / "below")


@pytest.mark.nightly
def test_failed_start_is_reported_with_its_reason(directory: Path) -> None:
    with pytest.raises(StorageUnavailableError, match="shared_buffers"):
        EmbeddedPostgres.start(directory, fsync=False, settings={"shared_buffers": "much"})
    with EmbeddedPostgres.start(directory, ephemeral=True, fsync=False) as server:
        assert runs(server.dsn)
