"""Migrates tables of pg-boss 9 in use, and measures what waits: ``python -m tests.interop.adopt [ROWS]``.

pg-boss 9.0.3 makes the tables, which get a million rows (or ``ROWS``) of all states, of which some are
archived. Beside a Node process that sends, fetches and ends jobs, and reports that read the whole table,
``zeke migrate`` is killed a few times and then runs to its end. Afterwards Node must work as before, and
``zeke migrate --check`` must succeed; on damaged tables it must agree with the real pg-boss 9. Needs
``npm ci`` in ``pgboss9``.

Exit code 1 if a statement of Node waited for a lock longer than a second. The time of whole statements is
printed too; it depends on the machine, which builds indexes meanwhile.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time  # noqa: TID251 - measures a real server
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg

from tests.database import EMBEDDED, new_run, server
from tests.interop.node import Node

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 1.0
"""Seconds that a statement of pg-boss may wait for a lock."""

KILLED_AFTER = (4.0, 4.0, 8.0)
"""Seconds after which the first runs of the migration are killed."""

FILL = """
    insert into pgboss.job
        (name, data, state, startafter, startedon, completedon, createdon, keepuntil, singletonkey, output)
    select 'old-' || n % 20, jsonb_build_object('n', n, 'text', repeat('x', 100)), states[n % 10 + 1],
        now() + case when n % 10 < 2 then interval '1 day' else interval '0' end, now(),
        case when n % 10 > 2 then now() - interval '1 minute' end, now() - n * interval '1 second',
        now() + interval '14 days', case when n % 3 = 0 then n::text end, '{"ok": true}'
    from generate_series(1, %s) as n, (select array['created', 'retry', 'active', 'completed', 'completed',
        'completed', 'completed', 'cancelled', 'expired', 'failed']::pgboss.job_state[] as states) as s
"""
ARCHIVE = """
    with ended as (delete from pgboss.job where state > 'active' and (data->>'n')::int % 2 = 1 returning *)
    insert into pgboss.archive select * from ended
"""
DAMAGES = (
    "select",  # no damage
    "alter table pgboss.job drop column on_complete",
    "truncate pgboss.job; alter table pgboss.job add team text not null",
    "alter table pgboss.job alter createdon drop default",
    "drop table pgboss.archive cascade",
    "truncate pgboss.job; alter table pgboss.job add check (singletonkey is null)",
)
"""What pg-boss 9 fails at, and a check must find."""

WAITS = """
    select extract(epoch from clock_timestamp() - l.waitstart)::float8, a.query,
        (select string_agg(b.application_name || ': ' || left(b.query, 60), '; ')
         from unnest(pg_blocking_pids(l.pid)) as p join pg_stat_activity as b on b.pid = p)
    from pg_locks as l join pg_stat_activity as a using (pid)
    where not l.granted and l.waitstart is not null and a.application_name = 'node'
    order by 1 desc limit 1
"""


class Waits:
    """Finds the longest wait of Node's statements for a lock, by asking the server all the time."""

    def __init__(self, dsn: str) -> None:
        self.longest: tuple[float, str, str] = (0.0, "", "")
        self._dsn = dsn

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Ask while the block runs, with reports that read the whole table meanwhile."""
        ended = threading.Event()
        threads = [threading.Thread(target=one, args=[ended]) for one in (self._ask, self._report)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            ended.set()
            for thread in threads:
                thread.join()

    def _ask(self, ended: threading.Event) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            while not ended.wait(0.02):
                for seconds, query, blockers in connection.execute(WAITS).fetchall():
                    found = seconds, " ".join(query.split())[:60], blockers or ""
                    self.longest = max(self.longest, found)

    def _report(self, ended: threading.Event) -> None:
        with psycopg.connect(self._dsn, autocommit=True, application_name="report") as connection:
            while not ended.wait(0.5):
                connection.execute("select count(*), pg_sleep(2) from pgboss.job")


def migrate(dsn: str, *options: str, killed_after: float | None = None) -> int | None:
    """Run ``zeke migrate``; return its exit code, or None if it was killed."""
    command = [sys.executable, "-m", "zeke_queue.cli", "--database", dsn, "migrate", *options]
    with subprocess.Popen(command) as process:
        try:
            return process.wait(killed_after)
        except subprocess.TimeoutExpired:
            process.kill()
            return None


def tell(what: str, told: dict[str, Any]) -> None:
    """Print the longest time by kind of statement."""
    times = {kind: f"{longest} ms of {count}" for kind, (count, longest) in sorted(told["times"].items())}
    sys.stdout.write(f"{what}: {times}; errors {told['errors']}\n")
    sys.stdout.flush()


def differences(dsn: str) -> list[str]:
    """Return the damages about which ``zeke migrate --check`` and the real pg-boss 9 disagree."""
    found: list[str] = []
    for damage in DAMAGES:
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("drop schema pgboss cascade")
            with Node(dsn):
                pass
            migrate(dsn)
            connection.execute(damage.encode())
        by_check = migrate(dsn, "--check") == 0
        works = True
        try:
            with Node(dsn) as node:
                node.ask("load")
                threading.Event().wait(5)
                works = not node.ask("report")["errors"]
        except AssertionError:
            works = False
        if by_check != works or works != (damage == "select"):
            found.append(f"{damage}: --check says {by_check}, pg-boss 9 works: {works}")
    return found


def main(rows: int) -> int:
    """Measure, compare, and return the exit code."""
    with server(EMBEDDED, new_run()) as dsn:
        with Node(dsn):
            pass
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute(FILL.replace("%s", str(rows)).encode())
            connection.execute(ARCHIVE)
            connection.execute("vacuum analyze pgboss.job, pgboss.archive")
        waits = Waits(dsn)
        with Node(dsn) as node:
            node.ask("load")
            node.ask("report")
            threading.Event().wait(10)
            tell("before", node.ask("report"))
            migrate(dsn, "--plan")
            begun = time.monotonic()
            with waits.watched():
                for seconds in KILLED_AFTER:
                    migrate(dsn, killed_after=seconds)
                code = migrate(dsn)
            sys.stdout.write(f"migrated {rows} rows in {time.monotonic() - begun:.0f} s, code {code}\n")
            told = node.ask("report")
            tell("meanwhile", told)
            node.ask("rest")
        with Node(dsn) as node:
            node.ask("load")
            threading.Event().wait(3)
            tell("afterwards", node.ask("report"))
            node.ask("rest")
        code = code or migrate(dsn, "--check")
        differ = differences(dsn)
    sys.stdout.writelines(f"{one}\n" for one in differ)
    sys.stdout.write(f"longest wait for a lock: {waits.longest}\n")
    return int(bool(code or told["errors"] or differ) or waits.longest[0] > LIMIT)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 1_000_000))
