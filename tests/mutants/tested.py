"""Mutants that named tests find, since no search does: of HTTP, the command line, fetching, and of locks.

``python -m tests.mutants.tested NAME…`` plants each mutant in a fresh process, runs its tests there, and
fails if they pass; without a name, it does so for all. Then it runs the tests that failed, without a mutant.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.mutants.catalog import CRASHES
from tests.mutants.changes import Changes, add_options, select
from tests.mutants.doubles import DOUBLES
from tests.mutants.edges import EDGES
from tests.mutants.heartbeat import HEARTBEAT
from tests.mutants.migration import MIGRATION
from tests.mutants.outcomes import OUTCOMES
from tests.mutants.patching import Tested, install, is_installed
from tests.mutants.patching import tested as _tested
from tests.mutants.processes import ForkedError, forked, say
from tests.mutants.requests import REQUESTS
from tests.mutants.retention import RETENTION
from tests.mutants.serving import SERVING

if TYPE_CHECKING:
    from collections.abc import Sequence

PROCESSES: Final = 2
"""Mutants that are tried at once."""

HANG: Final = 600.0
"""Seconds after which a process is ended; its mutant survives."""


TESTED: Final[tuple[Tested, ...]] = (
    *DOUBLES,
    *HEARTBEAT,
    *OUTCOMES,
    *CRASHES,
    *RETENTION,
    *MIGRATION,
    _tested(
        "scrape-after-the-end-reads",
        "zeke_queue.web.metrics",
        "        self._closed = True\n",
        "",
        "A scrape that comes after the end of the application reads by connections that are closed.",
        "tests/web/test_search_budget.py",
        "-k",
        "scrape_after",
    ),
    _tested(
        "cancelled-scrape-goes-on",
        "zeke_queue.web.metrics",
        "or (scrape is not None and scrape.cancelling())",
        "",
        "A scrape that is cancelled while the application ends raises another error.",
        "tests/web/test_search_budget.py",
        "-k",
        "scrape_that_is_cancelled",
    ),
    _tested(
        "locked-job-stops-the-rescue",
        "zeke_queue.maintenance.rescuer",
        "if not failures or is_outage(error):",
        "if not failures or isinstance(error, LockTimeoutError) or is_outage(error):",
        "A job whose slot another transaction has locked keeps all overdue jobs from being rescued.",
        "tests/runtime/test_maintenance.py::test_job_whose_slot_is_locked_does_not_stop_the_others",
    ),
    _tested(
        "begins-in-the-last-moment",
        "zeke_queue.worker.state",
        "                job.deadline = min(job.deadline, now)\n",
        "                pass\n",
        "A job that begins within a microsecond of its deadline runs for as long as its handler likes.",
        "tests/unit/test_worker_state.py",
        "-k",
        "moment",
    ),
    _tested(
        "limited-waits-until-quick-ones-run-out",
        "zeke_queue.worker.claims",
        "            if capacity:\n",
        "            if capacity is None:\n",
        "A task with a limit gets a few jobs a second from a worker that other tasks keep busy.",
        "tests/runtime/test_claims_of_both_kinds.py",
    ),
    _tested(
        "slow-storage-leaves-no-time-ahead",
        "zeke_queue.worker.claims",
        "                self._fair_at = math.inf\n",
        "                self._fair_at = now\n",
        "A worker whose claims take long claims no more jobs than it has pool tasks.",
        "tests/runtime/test_claims_of_both_kinds.py",
    ),
    _tested(
        "never-ahead-of-a-claim",
        "zeke_queue.worker.claims",
        "                self._full_claims > 0 and self.brought_quick",
        "                False and self.brought_quick",
        "A worker whose jobs take less time than a claim claims no more of them than it has pool tasks.",
        "tests/runtime/test_claims_of_both_kinds.py",
    ),
    _tested(
        "limited-waits-for-slow-jobs",
        "zeke_queue.worker.claims",
        "        places = self._size - load.slow - ",
        "        places = self._size - ",
        "A worker whose pool tasks have slow jobs keeps the jobs of a limited task from other workers.",
        "tests/unit/test_worker_claims.py",
        "-k",
        "slow",
    ),
    _tested(
        "limited-asked-without-end",
        "zeke_queue.worker.claims",
        "                    queue.ask_at = now + FAIR_INTERVAL\n",
        "",
        "A worker asks for a limited queue again and again, although others' jobs come first.",
        "tests/unit/test_worker_claims.py",
        "-k",
        "beside",
    ),
    _tested(
        "store-for-the-whole-pool",
        "zeke_queue.worker.claims",
        "places = max(1, self._size - load.slow - self._limits)\n",
        "places = self._size\n",
        "Slow jobs with a limit take most pool tasks, and the most urgent job waits behind a long store.",
        "tests/runtime/test_claims_of_both_kinds.py",
        "-k",
        "most_urgent",
    ),
    _tested(
        "limited-not-asked-in-time",
        "zeke_queue.worker.loops",
        "                if action.timeout is None:\n                    await self._wake_claims.wait()",
        "                if True:\n                    await self._wake_claims.wait()",
        "A few more urgent jobs keep a limited queue from being asked until half of the store is used up.",
        "tests/runtime/test_claims_of_both_kinds.py",
        "-k",
        "less_urgent",
    ),
    _tested(
        "ahead-after-slow-jobs",
        "zeke_queue.worker.claims",
        "self.brought_quick and any(",
        "any(",
        "A worker with slow jobs claims for an empty quick queue after each full claim.",
        "tests/unit/test_worker_claims.py",
        "-k",
        "had_none",
    ),
    *EDGES,
    *SERVING,
    _tested(
        "open-transactions-not-named",
        "zeke_queue.cli.database",
        "info.oldest.seconds < OPEN_TRANSACTION",
        "info.oldest.seconds < LONG_TRANSACTION",
        "Doctor does not name the transaction because of whose locks calls fail.",
        "tests/cli/test_doctor.py",
        "-k",
        "limit_of_locks",
    ),
    _tested(
        "each-lock-awaited-anew",
        "zeke_queue.storage.memory.locks",
        "            left = began + limit - self._clock.monotonic()\n",
        "            left = limit\n",
        "A statement that waits for several locked rows waits the whole time for each of them.",
        "tests/conformance/test_locks.py::test_time_for_a_lock_counts_from_the_first_wait",
    ),
    _tested(
        "applications-give-locks-up",
        "zeke_queue.storage.memory.locks",
        "            limit = LOCK_SECONDS if owner is None else owner.lock_seconds\n",
        "            limit = None if owner and owner.lock_seconds else LOCK_SECONDS\n",
        "A statement in an application's transaction gives up a lock, and one in our own never does.",
        "tests/conformance/test_locks.py::test_own_transaction_gives_up_and_an_application_waits",
    ),
    _tested(
        "ends-ahead-awaited",
        "zeke_queue.storage.memory.tables",
        " or row.completed_on - now > AHEAD_MAX",
        "",
        "A job whose end another program wrote as infinity is never archived.",
        "tests/conformance/test_retention.py",
        "-k",
        "plausible",
    ),
    _tested(
        "size-by-writing-it-out",
        "zeke_queue.core.jsonb",
        "    exact = size + _growth(text)\n",
        "    exact = len(normalise(text).encode())\n",
        "A small body of large numbers is written out to find its size.",
        "tests/unit/core/test_jsonb_size.py",
    ),
    _tested(
        "fractions-count-twice",
        "zeke_queue.core.jsonb",
        'growth -= 1 if sign == "-" else 1 + len(digits)',
        "growth -= 1",
        "The digits of a fraction count twice in the size of a payload.",
        "tests/unit/core/test_jsonb_size.py",
    ),
    *REQUESTS,
    _tested(
        "link-unseen-at-level-warning",
        "zeke_queue.cli.first_key",
        ' logger.warning("sign_in_link"',
        ' logger.info("sign_in_link"',
        "The first key is stored, and its link is logged where LOG_LEVEL hides it.",
        "tests/cli/test_serve.py",
        "-k",
        "whatever_the_level",
    ),
    _tested(
        "api-beside-nobody",
        "zeke_queue.cli.serve",
        ", beside=queue) as api_queue",
        ") as api_queue",
        "Without LISTEN, jobs of the API in `zeke up` wait for the next poll.",
        "tests/cli/test_serve.py",
        "-k",
        "wakes_the_worker",
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests of mutants; return 1 if one survives, or is found by a test that fails without it."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.tested", description=__doc__)
    names = [one.mutant.name for one in TESTED]
    parser.add_argument("name", nargs="*", help="mutants to try; all by default")
    add_options(parser)
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.name if name not in names]:
        parser.error(f"name: must be that of a mutant, got {', '.join(unknown)}")
    wanted = [one for one in TESTED if not given.name or one.mutant.name in given.name]
    wanted = select(wanted, given, Changes.touch)
    from tests.database import choose, new_run, server  # noqa: PLC0415 - a child has the runtime patched

    with server(choose(None), new_run()) as dsn:
        return 0 if are_found(wanted, dsn) else 1


def are_found(wanted: Sequence[Tested], dsn: str) -> bool:
    """Return whether each mutant is found, by a test that passes without it."""
    with ThreadPoolExecutor(PROCESSES) as pool:
        killers: dict[str, str | None] = {}
        for one, killer in zip(wanted, pool.map(partial(_killer, dsn), wanted), strict=True):
            say(f"{'SURVIVES' if killer is None else 'found'}: {one.mutant.name}")
            killers[one.mutant.name] = killer
        tests = sorted({killer for killer in killers.values() if killer is not None})
        halves = [half for half in (tests[::2], tests[1::2]) if half]
        unsound = {test for failed in pool.map(partial(_failing, dsn), halves) for test in failed}
    for name, killer in killers.items():
        if killer in unsound:
            say(f"NOT FOUND: {name}: {killer} fails without it, too")
    return bool(killers) and None not in killers.values() and not unsound


def _killer(dsn: str, one: Tested) -> str | None:
    """Return the first test that fails with a mutant, in a process of its own."""
    with suppress(ForkedError):
        failed = forked(_run_with, dsn, one, seconds=HANG)
        return failed[0] if failed else None
    return None


def _failing(dsn: str, tests: Sequence[str]) -> Sequence[str]:
    """Return which tests fail without a mutant."""
    with suppress(ForkedError):
        return forked(_run, dsn, tests, seconds=HANG)
    return tests


def _run_with(dsn: str, one: Tested) -> list[str]:
    install([one.mutant])
    failed = _run(dsn, ("-x", *one.tests))
    # A test that never imports the mutant fails for another reason.
    return failed if is_installed(one.mutant) else []


def _run(dsn: str, arguments: Sequence[str]) -> list[str]:
    """Run tests in this process; return those that fail."""
    import pytest  # noqa: PLC0415 - its plugins import the runtime, which is patched first

    failed: list[str] = []

    class Failures:
        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed:
                failed.append(report.nodeid)

    os.environ["ZEKE_TEST_DSN"] = dsn  # noqa: TID251 - that of the run's one server
    # The hook that rewrites assertions would load the module itself.
    options = ["-q", "-n", "0", "--flaky", "0", "--assert=plain", "-p", "no:cacheprovider"]
    try:
        code = pytest.main([*options, *arguments], plugins=[Failures()])
    except Exception:
        # What a test that failed has left open is raised at the end, alone or in a group.
        if not failed:
            raise
        return failed
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise RuntimeError(f"pytest ended with {code}")
    return failed


if __name__ == "__main__":
    sys.exit(main())
