"""Mutants of the Postgres storage, each with one change: which test finds it, and how soon.

``python -m tests.interleaving.mutants_postgres`` tries all, or those that are named, and ends with 1 if one
is not found. ``--all`` asks every test of a mutant instead of the first that finds it, and ``--whole`` all of
a test's cases instead of the likely ones. A mutant is a copy of the project in which one text stands instead
of another.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.database import EMBEDDED, server
from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT: Final = Path(__file__).parents[2]
STORE: Final = Path("zeke_queue/storage/postgres")
COPIED: Final = ("zeke_queue", "zeke_tasks", "zeke_sim", "tests", "docs", "pyproject.toml")
"""What the tests need: one that fails without its files would find every mutant."""

INTERLEAVING: Final = "tests/interleaving/test_interleavings.py"
MODEL: Final = "tests/model/test_model.py"
SECONDS: Final = 900
"""Seconds of one test after which it counts as not finding the mutant; the model test shrinks its finding
before it reports."""


class Mutant(NamedTuple):
    """One way to break the storage.

    Attributes:
        file: below ``zeke_queue/storage/postgres``.
        old: a text that occurs in it once, and ``new`` its replacement.
        judges: pytest's arguments, in the order of attempts.
    """

    name: str
    file: str
    old: str
    new: str
    judges: tuple[str, ...]


def races(name: str) -> tuple[str, ...]:
    """Return the interleavings of the scripts that have this in their names."""
    return (f"{INTERLEAVING} -k {name}",)


LIMIT: Final = races("two-claims-at-a-limit")
DRAWN: Final = races("drawn")
ODD_ROWS: Final = ("tests/postgres/test_odd_rows.py",)

MUTANTS: Final = (
    # Claims
    Mutant(
        "claim without SKIP LOCKED",
        "sql/claim.sql",
        "for update skip locked\n",
        "for update\n",
        races("claims-of-rows"),
    ),
    Mutant(
        "claim without any lock",
        "sql/claim.sql",
        "            for update skip locked\n",
        "",
        races("claims-of-rows"),
    ),
    Mutant("claim without the queue's lock", "claims.py", "if not locked:", "if True:", LIMIT),
    Mutant(
        "count before the queue is locked",
        "claims.py",
        'found = (await self._pool.run_all(lock, Statement("claim", parameters, literal)))[1]',
        'found = (await self._pool.run_all(Statement("claim", parameters, literal), lock))[0]',
        LIMIT,
    ),
    Mutant(
        "claim in one snapshot with the lock",
        "connection_pool.py",
        '"begin isolation level read committed"',
        '"begin isolation level repeatable read"',
        LIMIT,
    ),
    Mutant(
        "statistics of two snapshots",
        "connection_pool.py",
        '"begin isolation level repeatable read, read only"',
        '"begin isolation level read committed"',
        races("sends-and-looks-again"),
    ),
    Mutant(
        "a limit wakes only those that are idle",
        "sql/declare_queues.sql",
        "stored.name))\nfrom stored\n",
        "stored.name))\nfrom stored\nwhere exists (\n"
        "    select from {schema}.worker where worker.asleep and stored.name = any(worker.queues)\n)\n",
        races("gets-room"),
    ),
    Mutant(
        "limit too high by one",
        "sql/claim.sql",
        "queue.concurrency_limit - (",
        "queue.concurrency_limit + 1 - (",
        (*LIMIT, MODEL),
    ),
    Mutant(
        "claim from a paused queue",
        "sql/claim.sql",
        "queue.paused_on is null\n        and ",
        "",
        (*races("a-pause-against"), MODEL),
    ),
    Mutant(
        "new limits are never heard of",
        "claims.py",
        "if marks or any(",
        "if marks and any(",
        (*races("new-to"), *DRAWN),
    ),
    Mutant(
        "marks that are never gone without",
        "claims.py",
        "if marks or any(",
        "if any(",
        ("tests/postgres/test_marks.py",),
    ),
    Mutant(
        "marks that are trusted for ever",
        "claims.py",
        "return name in self._marks and now < self._full_look_due.get(name, 0.0)",
        "return name in self._marks",
        ("tests/postgres/test_marks.py",),
    ),
    # Settlements
    Mutant(
        "complete without the fence",
        "sql/complete.sql",
        "        and job.attempt = outcome.attempt\n",
        "",
        (*races("an-old-attempt"), MODEL),
    ),
    Mutant(
        "settle without the fence",
        "sql/settle.sql",
        "        and job.attempt = outcome.attempt\n",
        "",
        (*races("an-old-attempt"), MODEL),
    ),
    Mutant(
        "extend without the fence",
        "sql/extend.sql",
        "    and job.attempt = given.attempt\n",
        "",
        (*races("an-old-attempt"), MODEL),
    ),
    Mutant(
        "complete without the state",
        "sql/complete.sql",
        "        and job.state between 'active' and 'active'\n",
        "",
        (*races("cancelling-against"), MODEL),
    ),
    Mutant(
        "settle without the state",
        "sql/settle.sql",
        "        and job.state between 'active' and 'active'\n",
        "",
        (*races("lives-after-all"), MODEL),
    ),
    Mutant(
        "settled twice is not mine",
        "verbs.py",
        "if repeated and len(changed) < number:",
        "if False:",
        (*races("cancelling-against"), MODEL),
    ),
    Mutant(
        "a taken place breaks the batch",
        "verbs.py",
        "        async with self._runner.atomic():\n            return await",
        "        if True:\n            return await",
        (*races("a-return"), MODEL),
    ),
    Mutant(
        "cancel what has ended",
        "sql/cancel.sql",
        "job.state between 'created' and 'active'",
        "job.state between 'created' and 'completed'",
        (*races("cancelling-against"), MODEL),
    ),
    Mutant(
        "a circle is closed by two at once",
        "verbs.py",
        '            await self._runner.run("lock_jobs", {"ids": unlocked})\n',
        "",
        races("close-a-circle"),
    ),
    Mutant(
        "a wait is not followed",
        "sql/wait_chain.sql",
        "chain.state::text in ('created', 'retry')",
        "chain.state::text in ('retry')",
        races("in-a-circle"),
    ),
    Mutant(
        "a batch in a transaction in any order",
        "verbs.py",
        "if self._runner.in_transaction and len(ids) > 1:",
        "if False:",
        races("another-order-than"),
    ),
    Mutant(
        "settlements in a transaction in any order",
        "verbs.py",
        "if self._runner.in_transaction and number > 1:",
        "if False:",
        races("that-lie-and-are-named"),
    ),
    Mutant(
        "settlements in a transaction as they are named",
        "sql/lock_active.sql",
        "    order by asked.id\n",
        "",
        races("that-lie-and-are-named"),
    ),
    Mutant(
        "settled one by one without a lock on all",
        "verbs.py",
        "        await self._lock_active([row[:2] for row in outcomes.rows])\n",
        "",
        races("settled-one-by-one"),
    ),
    Mutant(
        "return of what ended otherwise",
        "sql/requeue.sql",
        " and job.state::text = any(%(from_states)s::text[])",
        "",
        (*races("what-was-cancelled"), MODEL),
    ),
    # Sends
    Mutant(
        "insert without ON CONFLICT",
        "sql/insert.sql",
        "    on conflict do nothing\n",
        "",
        (*races("batches-under-keys"), MODEL),
    ),
    Mutant(
        "insert of one without ON CONFLICT",
        "sql/insert_one.sql",
        "on conflict do nothing\n",
        "",
        (*races("sends-under-one-key"), MODEL),
    ),
    Mutant(
        "a refused send is taken for one that was made",
        "verbs.py",
        "return [job.id if job.id in ids else None for job in jobs]",
        "return [job.id for job in jobs]",
        (*races("sends-under-one-key"), MODEL),
    ),
    Mutant(
        "a send that is known is taken for refused",
        "verbs.py",
        "        if missing:\n",
        "        if False:\n",
        (*races("one-id-sent"), MODEL),
    ),
    # Sweeps and schedules
    Mutant(
        "overdue without any lock",
        "sql/lock_expired.sql",
        "for update of job skip locked\n",
        "",
        races("against-maintenance"),
    ),
    Mutant(
        "overdue without SKIP LOCKED",
        "sql/lock_expired.sql",
        "for update of job skip locked\n",
        "for update of job\n",
        races("against-maintenance"),
    ),
    Mutant(
        "archive without SKIP LOCKED",
        "sql/archive.sql",
        "for update skip locked\n    ) as oldest",
        "for update\n    ) as oldest",
        races("two-archivings"),
    ),
    Mutant(
        "archive takes waiting rows",
        "sql/archive.sql",
        "            and state > 'active'\n            and completedon\n",
        "            and coalesce(completedon, createdon)\n",
        ("tests/conformance/test_retention.py", MODEL),
    ),
    # Rows of other programs
    Mutant(
        "attempts counted past the end of int",
        "sql/claim.sql",
        "case when attempt < 2147483647 then attempt + 1 else 1 end",
        "attempt + 1",
        ODD_ROWS,
    ),
    Mutant(
        "retries counted past the end of int",
        "sql/claim.sql",
        " and retrycount < 2147483647",
        "",
        ODD_ROWS,
    ),
    Mutant(
        "history taken for a list",
        "sql/settle.sql",
        "when jsonb_typeof(job.history) is distinct from 'array' then '[]'",
        "when job.history is null then '[]'",
        ODD_ROWS,
    ),
    Mutant(
        "deadline past the calendar",
        "sql/lock_expired.sql",
        "least(greatest(startedon, timestamptz '0001-01-01 00:00+00'), timestamptz '9999-12-31 00:00+00')",
        "startedon",
        ODD_ROWS,
    ),
    Mutant(
        "schedules without any lock",
        "sql/lock_due_schedules.sql",
        "for update of listed skip locked\n",
        "",
        races("schedulers"),
    ),
    Mutant(
        "schedules without SKIP LOCKED",
        "sql/lock_due_schedules.sql",
        "for update of listed skip locked\n",
        "for update of listed\n",
        races("schedulers"),
    ),
    Mutant(
        "a completed job sends no completion job",
        "sql/complete.sql",
        "    where done.on_complete\n",
        "    where false\n",
        (
            "tests/postgres/test_beside_pgboss.py::test_job_that_asks_for_it_sends_a_completion_job_at_its_end",
        ),
    ),
    Mutant(
        "a settled job sends no completion job",
        "sql/settle.sql",
        "    where done.on_complete\n",
        "    where false\n",
        (
            "tests/postgres/test_beside_pgboss.py::test_job_that_asks_for_it_sends_a_completion_job_at_its_end",
        ),
    ),
    Mutant(
        "a retried job sends a completion job",
        "sql/settle.sql",
        "job.on_complete and job.state > 'active' and",
        "job.on_complete and",
        ("tests/postgres/test_beside_pgboss.py::test_job_that_is_not_at_its_end_sends_no_completion_job",),
    ),
    Mutant(
        "a completion job sends one of its own",
        "sql/settle.sql",
        "and left(job.name, 9) <> '__state__'",
        "",
        ("tests/postgres/test_beside_pgboss.py::test_job_that_is_not_at_its_end_sends_no_completion_job",),
    ),
    Mutant(
        "schedules of pg-boss are due while it fires them",
        "sql/lock_due_schedules.sql",
        "            true\n        )\n",
        "            true\n        ) is not null\n",
        ("tests/postgres/test_beside_pgboss.py",),
    ),
    Mutant(
        "schedules of pg-boss count as never served by it",
        "sql/lock_due_schedules.sql",
        "greatest(last_tick, cron_on)",
        "last_tick",
        ("tests/postgres/test_beside_pgboss.py",),
    ),
    Mutant(
        "a stored schedule leaves the one of pg-boss",
        "sql/put_schedule.sql",
        "    where name = %(name)s::text\n)\n",
        "    where false\n)\n",
        ("tests/postgres/test_beside_pgboss.py",),
    ),
    # Wake-ups
    Mutant(
        "wake-up of a transaction as if it ended at once",
        "verbs.py",
        '"always": runner.in_transaction,',
        '"always": False,',
        races("falls-asleep"),
    ),
    Mutant(
        "no wake-up for room in a limited queue",
        "sql/complete.sql",
        "ended.name = queue.name and queue.concurrency_limit is not null",
        "ended.name = queue.name and queue.concurrency_limit is null",
        races("falls-asleep"),
    ),
    # The server
    Mutant(
        "no retry of what the server undid",
        "error_mapping.py",
        '_SERIALIZATION: Final = ("40001", "40P01")',
        '_SERIALIZATION: Final = ("40000",)',
        (*DRAWN, "tests/postgres/test_connect.py"),
    ),
    Mutant(
        "the machine's clock",
        "connection_pool.py",
        '"now": None if now is None else now()}',
        '"now": (now or __import__("zeke_queue.system.clock").clock.SystemClock().now)()}',
        ("tests/postgres/test_server_clock.py",),
    ),
)


class Found(NamedTuple):
    """The verdict on a mutant: the name of the failed test, or None, and the seconds that it took."""

    test: str | None
    seconds: float


def applied(mutant: Mutant, text: str) -> str:
    """Return a file's text with the mutant's replacement."""
    if text.count(mutant.old) != 1:
        raise ValueError(
            f"{mutant.name}: {mutant.old!r} stands {text.count(mutant.old)} times in {mutant.file}"
        )
    return text.replace(mutant.old, mutant.new)


def judge(mutant: Mutant, judged_by: str, dsn: str) -> Found:
    """Run a test over a mutant, on a server with a role that may create databases."""
    clock = SystemClock()
    begun = clock.monotonic()
    with tempfile.TemporaryDirectory(prefix="zeke-mutant-") as folder:
        copy = Path(folder)
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(ROOT / name, copy / name)
        broken = copy / STORE / mutant.file
        broken.write_text(applied(mutant, broken.read_text(encoding="utf-8")), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
        command.append("--flaky=0")
        environment = {**_environment(), "ZEKE_TEST_DSN": dsn, "PYTHONPATH": folder}
        try:
            ran = subprocess.run(
                [*command, *judged_by.split()],
                cwd=copy,
                env=environment,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return Found(None, clock.monotonic() - begun)
    failed = [line for line in ran.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    if ran.returncode not in (0, 1) or (ran.returncode == 1) != bool(failed):
        raise RuntimeError(f"{mutant.name}: pytest ended with {ran.returncode}:\n{ran.stdout}{ran.stderr}")
    test = failed[0].split(" ", 1)[1].partition(" - ")[0] if failed else None
    return Found(test, clock.monotonic() - begun)


def _environment() -> dict[str, str]:
    return dict(os.environ)  # noqa: TID251 - handed on to another process


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of the names of those to try")
    parser.add_argument("--all", action="store_true", help="ask every test, not only the first that finds it")
    parser.add_argument("--whole", action="store_true", help="try all of a test's cases, not the likely ones")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    asked = parser.parse_args(arguments)
    chosen = [m for m in MUTANTS if not asked.names or any(part in m.name for part in asked.names)]
    with server(EMBEDDED, f"mutants{os.getpid()}") as dsn, ThreadPoolExecutor(asked.jobs) as pool:
        found = pool.map(lambda mutant: _report(mutant, dsn, every=asked.all, whole=asked.whole), chosen)
        lost = [mutant.name for mutant, was_found in zip(chosen, found, strict=True) if not was_found]
    sys.stdout.write(f"{len(chosen) - len(lost)} of {len(chosen)} were found\n")
    return 1 if lost else 0


def _report(mutant: Mutant, dsn: str, *, every: bool, whole: bool) -> bool:
    """Try one and print a line for each test; return whether a test found it."""
    found = False
    for judged_by in mutant.judges:
        result = judge(mutant, judged_by.partition(" -k ")[0] if whole else judged_by, dsn)
        sys.stdout.write(f"{result.seconds:6.1f} s  {mutant.name}: {result.test or 'NOT FOUND'}\n")
        sys.stdout.flush()
        found = found or result.test is not None
        if found and not every:
            break
    return found


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
