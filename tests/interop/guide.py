"""Runs docs/adopt-pgboss.md: its programs, commands and SQL in order, beside the real pg-boss 9 with cron on.

``python -m tests.interop.guide`` needs ``npm ci`` in ``pgboss9``, and takes two to three minutes, since
pg-boss's cron fires once a minute. After each section its outcome is checked in the tables: which system ran
which jobs, and that no tick was lost or fired twice.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from tests.database import EMBEDDED, new_run, server
from tests.interop.node import HERE
from tests.tidy import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = ROOT / "docs" / "adopt-pgboss.md"
POLLS = 1_800
"""Tenths of a second for which an outcome is awaited: pg-boss's cron may take two minutes."""

RAN = """
    select count(*) from (
        select name, state, completedon, {worker} as worker from pgboss.job
        union all select name, state, completedon, {worker} from pgboss.archive
    ) as job
    where name = %s and state = 'completed' and completedon > %s and (worker is not null) = %s
"""
COLUMN = "select true from pg_attribute where attrelid = to_regclass('pgboss.job') and attname = 'worker'"


def blocks(text: str) -> Iterator[tuple[str, str, str]]:
    """Yield the page's blocks of code: the heading above, the language, the text."""
    heading = ""
    for found in re.finditer(r"^## ([^\n]+)$|^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        heading = found[1] or heading
        if found[2]:
            yield heading, found[2], found[3]


class Reader:
    """Does what the page says, in a folder; programs that it starts again replace the earlier ones."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self._dsn, self._folder = dsn, folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))  # noqa: TID251 - Node is found there
        self._environment = {"DATABASE_PRIMARY_URL": dsn, "PATH": path, "PYTHONPATH": str(ROOT)}

    def follow(self, language: str, text: str) -> None:
        """Write a file, run commands, or run SQL."""
        if language in ("js", "python"):
            name = re.sub(r"^(?://|#) ([\w.]+).*$", r"\1", text.splitlines()[0])
            with (self._folder / name).open("a", encoding="utf-8") as file:
                file.write(f"{text}\n\n")
        elif language == "sql":
            with psycopg.connect(self._dsn, autocommit=True) as connection:
                for statement in statements(text):
                    connection.execute(statement.encode())
        else:
            for line in text.splitlines():
                self._command(line.removeprefix("$ "))

    def _command(self, line: str) -> None:
        sys.stdout.write(f"$ {line}\n")
        sys.stdout.flush()
        words = shlex.split(line.removesuffix("&"))
        if not line.endswith("&"):
            subprocess.run(words, cwd=self._folder, env=self._environment, check=True)
            return
        self.stop(words[0])
        self._running[words[0]] = subprocess.Popen(
            words,
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def stop(self, program: str) -> None:
        """End a program as a deployment does."""
        if running := self._running.pop(program, None):
            running.send_signal(signal.SIGTERM)
            running.wait()

    def stop_all(self) -> None:
        """End every program."""
        for program in list(self._running):
            self.stop(program)


def statements(text: str) -> list[str]:
    """Return the statements of a block; those of a transaction together."""
    if text.startswith("BEGIN;"):
        return [text]
    return [part.strip() for part in text.split(";") if part.strip()]


class Outcomes:
    """What must come of each section."""

    def __init__(self, connection: psycopg.Connection[Any], reader: Reader) -> None:
        self._connection, self._reader = connection, reader
        self._since = self._one("select now()")

    def begin(self) -> None:
        """Note that a section begins: jobs of earlier ones do not count."""
        self._since = self._one("select now()")

    def check(self, heading: str) -> None:
        """Wait for the outcome of a section."""
        checks = {
            "Where you are": self._node_alone,
            "Add Zeke's tables": self._node_alone,
            "Move the first queue": self._mail_moved,
            "Send to a queue that Node still serves": self._sent_to_node,
            "Move a schedule": self._schedule_moved,
            "Stop Node": self._node_stopped,
            "Back out": self._node_alone,
        }
        checks[heading]()
        sys.stdout.write(f"{heading}: as the page says\n")

    def _node_alone(self) -> None:
        self._ran("mail", zeke=False)
        self._ran("report", zeke=False)

    def _sent_to_node(self) -> None:
        self._ran("resize", zeke=False, times=1)

    def _mail_moved(self) -> None:
        self.begin()  # the deployment of Node has ended
        self._ran("mail", zeke=True)
        self._ran("report", zeke=False)
        assert not self._count("mail", zeke=False), "Node still ran jobs of the moved queue"

    def _schedule_moved(self) -> None:
        self._ran("report", zeke=True)
        assert self._one("select count(*) from only pgboss.schedule") == 0
        self.begin()  # a last tick of pg-boss's cron has been served
        self._ran("report", zeke=True, times=2)
        twice = self._connection.execute(
            "select date_trunc('minute', createdon), count(*) from pgboss.job"
            " where name = 'report' and createdon > %s group by 1 having count(*) > 1",
            [self._since],
        ).fetchall()
        assert not twice, f"ticks that were fired twice: {twice}"

    def _node_stopped(self) -> None:
        self._reader.stop("node")
        self._connection.execute("update pgboss.version set cron_on = now() - interval '3 minutes'")
        self._connection.execute(
            "insert into pgboss.schedule (name, cron, data) values ('resize', '* * * * *', '{\"image\": 2}')"
        )
        self._ran("resize", zeke=True)
        self._ran("report", zeke=True)
        self._connection.execute("delete from only pgboss.schedule")
        self._reader.stop("zeke")

    def _ran(self, name: str, *, zeke: bool, times: int | None = None) -> None:
        """Wait until one of the systems has run so many jobs of a queue in this section, or a further one."""
        wanted = times or self._count(name, zeke=zeke) + 1
        for polls in count():
            if self._count(name, zeke=zeke) >= wanted:
                return
            assert polls < POLLS, f"{'Zeke' if zeke else 'Node'} ran no job of {name}"
            threading.Event().wait(0.1)

    def _count(self, name: str, *, zeke: bool) -> int:
        if self._one("select to_regclass('pgboss.archive')") is None:
            return 0
        worker = "worker" if self._connection.execute(COLUMN).fetchall() else "null::uuid"
        query = RAN.format(worker=worker).encode()
        return int(self._connection.execute(query, [name, self._since, zeke]).fetchall()[0][0])

    def _one(self, query: str) -> Any:
        return self._connection.execute(query.encode()).fetchall()[0][0]


def main() -> int:
    """Follow the page; an assertion fails where it is wrong."""
    with tempfile.TemporaryDirectory() as folder, server(EMBEDDED, new_run()) as dsn:
        (Path(folder) / "node_modules").symlink_to(HERE / "node_modules")
        reader = Reader(dsn, Path(folder))
        found = list(blocks(PAGE.read_text(encoding="utf-8")))
        try:
            with psycopg.connect(dsn, autocommit=True) as connection:
                outcomes = Outcomes(connection, reader)
                last = ""
                for (heading, language, text), following in zip(found, [*found[1:], None], strict=True):
                    if heading != last:
                        outcomes.begin()
                    last = heading
                    reader.follow(language, text)
                    if following is None or following[0] != heading:
                        outcomes.check(heading)
        finally:
            reader.stop_all()
    return 0


if __name__ == "__main__":
    sys.exit(main())
