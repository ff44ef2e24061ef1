"""Mutants that named tests find, since no search does: of HTTP, the command line, fetching, and of locks.

``python -m tests.mutants.tested NAME…`` plants each mutant in a fresh process, runs its tests there, and
fails if they pass; without a name, it does so for all.
"""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from tests.mutants.edges import EDGES
from tests.mutants.heartbeat import HEARTBEAT
from tests.mutants.outcomes import OUTCOMES
from tests.mutants.patching import Tested, install
from tests.mutants.patching import tested as _tested
from tests.mutants.retention import RETENTION
from tests.mutants.serving import SERVING

if TYPE_CHECKING:
    from collections.abc import Sequence

OUT: Final = "--in-this-process"
"""The option of the process in which a mutant lives."""

PROCESSES: Final = 2
"""Mutants that are tried at once."""


TESTED: Final[tuple[Tested, ...]] = (
    *HEARTBEAT,
    *OUTCOMES,
    *RETENTION,
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
    _tested(
        "parts-in-texts-count",
        "zeke_queue.web.request_bodies",
        '|"(?:[^"\\\\]++|\\\\.)*+")*+',
        '|")*+',
        "Brackets in texts count as parts of a body.",
        "tests/web/test_bad_input.py",
    ),
    _tested(
        "trpc-reads-first",
        "zeke_queue.web.trpc.router",
        " and await context.is_authenticated():",
        ":",
        "tRPC reads the body of an unknown caller.",
        "tests/web/test_unread_bodies.py",
    ),
    _tested(
        "form-read-first",
        "zeke_queue.web.dashboard.dashboard",
        "            caller, needs_token = await self._shared.parts.guard.identify(request)\n",
        "            await request.body()\n"
        "            caller, needs_token = await self._shared.parts.guard.identify(request)\n",
        "The dashboard reads the form of an unknown caller.",
        "tests/web/test_unread_bodies.py",
    ),
    _tested(
        "token-of-forms-not-checked",
        "zeke_queue.web.dashboard.dashboard",
        "            if needs_token:\n",
        "            if needs_token and form is None:\n",
        "A form needs no CSRF token.",
        "tests/web/dashboard/test_sign_in.py",
    ),
    _tested(
        "header-without-end",
        "zeke_queue.web.http_connection",
        "            Phase.HEADER: self._deadlines.header,\n            Phase.BODY: self",
        "            Phase.BODY: self",
        "A client may take any time for the header of a request.",
        "tests/web/test_connections.py",
    ),
    _tested(
        "deadline-anew-with-each-byte",
        "zeke_queue.web.http_connection",
        "if phase is not self.phase or self.cycle is not self._request:",
        "if phase is not Phase.RESPONSE:",
        "Each byte gives a client the whole time again.",
        "tests/web/test_connections.py",
    ),
    _tested(
        "unread-response-without-end",
        "zeke_queue.web.http_connection",
        "self._unread = self.loop.call_later(STALL_SECONDS, self._on_unread, self._buffered(), waited)",
        "pass",
        "A client that does not read its response keeps its connection.",
        "tests/web/test_connections.py",
    ),
    _tested(
        "unread-body-counts",
        "zeke_queue.web.http_connection",
        "        if self.flow.read_paused:",
        "        if False:",
        "A body that the application does not read counts as late.",
        "tests/web/test_connections.py",
    ),
    _tested(
        "files-all-taken",
        "zeke_queue.web.acceptor",
        "int(files * FILES_SHARE)",
        "files",
        "Connections may take all files of the process.",
        "tests/web/test_connections.py",
    ),
    _tested(
        "no-idle-connection-is-closed",
        "zeke_queue.web.acceptor",
        "                next(iter(self._waiting)).abort()\n",
        "                pass\n",
        "At the limit of connections none that waits is closed.",
        "tests/web/test_connections.py",
    ),
    _tested(
        "connections-without-a-limit",
        "zeke_queue.web.acceptor",
        "        while len(self._open) >= self.limit:\n",
        "        while len(self._open) >= self.limit and self._waiting:\n",
        "While all connections are busy, there may be any number of them.",
        "tests/web/test_connections.py::test_new_connection_waits_while_all_others_are_busy",
    ),
    _tested(
        "accepts-without-a-pause",
        "zeke_queue.web.acceptor",
        "                    await self._clock.sleep(ACCEPT_PAUSE)\n",
        "                    await self._clock.sleep(0)\n",
        "A process without files tries to accept connections all the time.",
        "tests/web/test_connections.py",
    ),
    _tested(
        "each-accept-error-is-logged",
        "zeke_queue.web.acceptor",
        "if now - self._logged.get(event, -LOG_INTERVAL) >= LOG_INTERVAL:",
        "if True:",
        "Each failed attempt to accept a connection is logged.",
        "tests/web/test_connections.py",
    ),
    _tested(
        "searches-without-a-limit",
        "zeke_queue.web.search_budget",
        "most := (connections - KEPT) // 2",
        "most := connections",
        "Searches of the API may take all connections.",
        "tests/web/test_search_budget.py",
    ),
    _tested(
        "read-without-a-limit",
        "zeke_queue.storage.postgres.connection_pool",
        "        if seconds is not None:\n",
        "        if False:\n",
        "A search may take as long as any statement.",
        "tests/postgres/test_session.py",
        "-k",
        "takes_too_long",
    ),
    _tested(
        "pool-of-the-worker",
        "zeke_queue.cli.serve",
        "    most = web.api_pool_max or settings.jobs_pool_max\n",
        "    most = settings.jobs_pool_max\n",
        "API_POOL_MAX has no effect.",
        "tests/web/test_search_budget.py",
    ),
    _tested(
        "slow-readers-cut-off",
        "zeke_queue.web.http_connection",
        "        waited = 0.0 if self._buffered() < before else waited + STALL_SECONDS\n",
        "        waited += STALL_SECONDS\n",
        "A client that reads slowly gets a part of its response.",
        "tests/web/test_connections.py",
    ),
    _tested(
        "nearly-read-responses-without-end",
        "zeke_queue.web.http_connection",
        " and self.phase is not Phase.CLOSING:",
        ":",
        "A closing connection whose client stops reading near the end stays.",
        "tests/web/test_connections.py",
    ),
    _tested(
        "half-bodies-keep-their-connections",
        "zeke_queue.web.http_connection",
        "Phase.HEADER, Phase.BODY, Phase.LINGER}",
        "Phase.HEADER, Phase.LINGER}",
        "Clients that send half a form keep all others out.",
        "tests/web/test_connections.py",
    ),
    _tested(
        "answered-requests-refused",
        "zeke_queue.web.http_connection",
        "if message is not None and self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):",
        "if message is not None:",
        "What is not HTTP after a response is an error in the log.",
        "tests/web/test_connections.py",
    ),
    _tested(
        "refused-requests-go-on",
        "zeke_queue.web.http_connection",
        "            cycle.disconnected = True\n",
        "            pass\n",
        "The application answers a request that was refused.",
        "tests/web/test_connections.py",
    ),
    _tested(
        "room-before-there-is-a-client",
        "zeke_queue.web.acceptor",
        "            try:\n                accepted, _ = await",
        "            await self._has_room()\n            try:\n                accepted, _ = await",
        "At the limit less one, new connections are closed.",
        "tests/web/test_connections.py",
    ),
    _tested(
        "clients-that-left-logged",
        "zeke_queue.web.dashboard.dashboard",
        "                ClientDisconnect: answer_disconnected,\n",
        "",
        "Each client that leaves in the middle of a form is an error in the log.",
        "tests/web/test_unread_bodies.py",
    ),
    _tested(
        "small-pools-all-searched",
        "zeke_queue.web.search_budget",
        "        return shared, shared\n",
        "        return shared, cls(1)\n",
        "Searches may take all connections of a pool of two.",
        "tests/web/test_search_budget.py",
    ),
    _tested(
        "found-without-a-limit",
        "zeke_queue.web.api",
        "        async with self.searches.search():\n            return await self.storage.find(query)\n",
        "        return await self.storage.find(query)\n",
        "Pages of jobs may take all connections.",
        "tests/web/test_search_budget.py",
    ),
    _tested(
        "counts-without-a-limit",
        "zeke_queue.storage.postgres.overview",
        'Statement("lag", {}), plain=True, seconds=self.read_seconds\n',
        'Statement("lag", {}), plain=True\n',
        "Counting jobs takes as long as any statement.",
        "tests/postgres/test_session.py",
        "-k",
        "takes_too_long",
    ),
    _tested(
        "pause-counts-first",
        "zeke_queue.web.rest.queues",
        "    await set_queue_paused(parts, name, paused=True)\n",
        "    await all_queues(parts)\n    await set_queue_paused(parts, name, paused=True)\n",
        "A queue can't be paused while searches are at their limit.",
        "tests/web/test_search_budget.py",
    ),
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


def main(arguments: Sequence[str]) -> int:
    """Run the tests of the named mutants, or of all; return 1 if one survives."""
    if arguments[:1] == [OUT]:
        return _run(next(one for one in TESTED if one.mutant.name == arguments[1]))
    wanted = [one.mutant.name for one in TESTED if not arguments or one.mutant.name in arguments]
    survivors = 0
    with ThreadPoolExecutor(PROCESSES) as pool:
        for name, is_found in zip(wanted, pool.map(_is_found, wanted), strict=True):
            sys.stdout.write(f"{'found' if is_found else 'SURVIVES'}: {name}\n")
            sys.stdout.flush()
            survivors += not is_found
    return 1 if survivors or not wanted else 0


def _is_found(name: str) -> bool:
    command = [sys.executable, "-m", "tests.mutants.tested", OUT, name]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    # Exit code 1 is a failed test; any other one is an error of the run.
    return ended.returncode == 1


def _run(one: Tested) -> int:
    install([one.mutant])
    import pytest  # noqa: PLC0415 - its plugins import the runtime, which is patched first

    # The hook that rewrites assertions would load the module itself.
    options = ["-q", "-x", "-n", "0", "--flaky", "0", "--assert=plain", "-p", "no:cacheprovider"]
    return int(pytest.main([*options, *one.tests]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
