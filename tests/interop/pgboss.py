"""Runs the test suite of pg-boss 9 on tables that our migrations created or extended.

``python -m tests.interop.pgboss CHECKOUT [MODE …] [--grep TITLE]`` takes a checkout of pg-boss's tag 9.0.3 in
which ``npm install`` was run; further arguments are those of mocha. Each mode runs the suite once:

- ``plain``: without us, as the control;
- ``fresh``: our migrations create the tables, and pg-boss finds them;
- ``adopted``: pg-boss creates the tables, and our migrations extend them;
- ``worker``: as ``adopted``, with a worker on each schema that runs maintenance and schedules.

Exit code 1 if a mode passed no test, if a test failed or is missing in it that passes in ``plain``, or if all
tests ran and one did not fail that must (``EXPECTED``). On a busy machine some fail in any mode.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from asyncio.subprocess import DEVNULL
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from psycopg.conninfo import conninfo_to_dict

from tests.database import EMBEDDED, new_run, server
from zeke_queue import Catalog, Queue, Worker
from zeke_queue.errors import SchemaVersionError
from zeke_queue.storage.postgres.migrate import migrate
from zeke_queue.system import logging as log
from zeke_queue.system.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODES = ("plain", "fresh", "adopted", "worker")
EXPECTED: set[tuple[str, str]] = set()
"""Modes and tests that must fail in them."""

HOOKS = Path(__file__).with_name("pgboss_hooks.mjs")


class MigrationServer:
    """Migrates a schema when a test asks for it, and runs a worker on it if the mode has one."""

    def __init__(self, dsn: str, mode: str) -> None:
        self._dsn = dsn
        self._mode = mode
        self._workers: dict[str, tuple[asyncio.Event, asyncio.Task[None]]] = {}

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry out one request: a line of a verb and a schema."""
        verb, schema = (await reader.readline()).decode().split()
        try:
            await (self._migrate(schema) if verb == "migrate" else self._leave(schema))
            answer = "done"
        except Exception as error:  # noqa: BLE001 - the test reports it
            answer = repr(error)
        writer.write(f"{answer}\n".encode())
        writer.close()

    async def _migrate(self, schema: str) -> None:
        await asyncio.to_thread(migrate, self._dsn, schema)
        if self._mode == "worker" and schema not in self._workers:
            leave = asyncio.Event()
            self._workers[schema] = leave, asyncio.create_task(self._work(schema, leave))

    async def _work(self, schema: str, leave: asyncio.Event) -> None:
        settings = Settings.load(jobs_schema=schema, jobs_pool_max=2)
        # Some tests go back to an earlier version at once.
        with suppress(SchemaVersionError):
            async with (
                Queue.connect(Catalog(), self._dsn, settings=settings) as queue,
                Worker(queue, concurrency=0, heartbeat_interval=1.0),
            ):
                await leave.wait()

    async def _leave(self, schema: str) -> None:
        if schema in self._workers:
            leave, working = self._workers.pop(schema)
            leave.set()
            await working


class Result(NamedTuple):
    """The titles of the tests that passed in a mode, and of those that failed."""

    passed: set[str]
    failed: set[str]


async def run_suite(checkout: Path, arguments: Sequence[str], dsn: str, mode: str) -> Result:
    """Run the suite once; return the titles of its tests."""
    database = json.dumps(conninfo_to_dict(dsn))
    with tempfile.TemporaryDirectory() as folder:
        report, path = Path(folder) / "report.json", f"{folder}/socket"
        env = {**os.environ, "ZEKE_MODE": mode, "ZEKE_SOCKET": path, "ZEKE_DATABASE": database}  # noqa: TID251 - Node is found by the machine's PATH
        # Without its own settings: with them the first failure ends the run, and a test has 10 s, which is
        # short for two tests side by side with our migrations on a slow machine.
        command = ["node_modules/.bin/mocha", "--no-package", "--parallel", "--jobs=2", "--timeout=30000"]
        command += [f"--require={HOOKS}", "--require=./test/hooks", "--reporter=json"]
        command += [f"--reporter-option=output={report}", *arguments]
        async with await asyncio.start_unix_server(MigrationServer(dsn, mode).answer, path):
            node = await asyncio.create_subprocess_exec(*command, cwd=checkout, env=env, stdout=DEVNULL)
            await node.wait()
        found = json.loads(report.read_text())
    failed = {test["fullTitle"]: test["err"].get("message", "") for test in found["failures"]}
    sys.stdout.writelines(f"{mode}: failed: {title}: {message}\n" for title, message in failed.items())
    sys.stdout.write(f"{mode}: {len(found['passes'])} passed, {len(failed)} failed\n")
    return Result({test["fullTitle"] for test in found["passes"]}, set(failed))


def faults(results: Mapping[str, Result], *, complete: bool) -> list[str]:
    """Return what is wrong with the results by mode.

    Args:
        complete: whether all tests ran, so that the expected failures must occur.
    """
    plain = results.get("plain", Result(set(), set()))
    found: list[str] = []
    for mode, (passed, failed) in results.items():
        expected = {title for where, title in EXPECTED if where == mode}
        if not passed:
            found.append(f"{mode}: no test passed")
        found += [f"{mode}: failed unexpectedly: {title}" for title in failed - plain.failed - expected]
        found += [f"{mode}: did not run: {title}" for title in plain.passed - passed - failed]
        if complete:
            found += [f"{mode}: did not fail, and must: {title}" for title in expected - failed]
    return found


def main(checkout: Path, arguments: Sequence[str]) -> int:
    """Run the suite in each mode; return the exit code."""
    modes = [mode for mode in MODES if mode in arguments] or MODES
    rest = [argument for argument in arguments if argument not in MODES]
    results: dict[str, Result] = {}
    for mode in modes:
        with server(EMBEDDED, new_run()) as dsn:
            results[mode] = asyncio.run(run_suite(checkout, rest, dsn, mode))
    found = faults(results, complete=not rest)
    sys.stdout.writelines(f"{fault}\n" for fault in found)
    return int(bool(found))


if __name__ == "__main__":
    log.configure_logging("json")
    sys.exit(main(Path(sys.argv[1]).absolute(), sys.argv[2:]))
