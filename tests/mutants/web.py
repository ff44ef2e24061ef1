"""Mutants of the HTTP API, which no simulated run reaches: each names the test that finds it.

``python -m tests.mutants.web`` tries all, or those that are named, and ends with 1 if one is not found.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Final, NamedTuple

from tests.mutants.patching import Mutant, install

REQUEST_BODIES = "zeke_queue.web.request_bodies"
JSONB = "zeke_queue.core.jsonb"
CONNECTION = "zeke_queue.web.http_connection"
ACCEPTOR = "zeke_queue.web.acceptor"


class Found(NamedTuple):
    """A mutant, and the argument of pytest that finds it."""

    mutant: Mutant
    by: str


WEB: Final = (
    Found(
        Mutant(
            "size-by-writing-it-out",
            JSONB,
            "    exact = size + _growth(text)\n",
            "    exact = len(normalise(text).encode())\n",
            "A small body of large numbers is written out to find its size.",
        ),
        "tests/unit/core/test_jsonb_size.py",
    ),
    Found(
        Mutant(
            "fractions-count-twice",
            JSONB,
            'growth -= 1 if sign == "-" else 1 + len(digits)',
            "growth -= 1",
            "The digits of a fraction count twice in the size of a payload.",
        ),
        "tests/unit/core/test_jsonb_size.py",
    ),
    Found(
        Mutant(
            "parts-in-texts-count",
            REQUEST_BODIES,
            '    bare = b"".join(_STRING.split(body))\n',
            "    bare = body\n",
            "Brackets in texts count as parts of a body.",
        ),
        "tests/web/test_bad_input.py",
    ),
    Found(
        Mutant(
            "trpc-reads-first",
            "zeke_queue.web.trpc.router",
            " and await context.is_authenticated():",
            ":",
            "tRPC reads the body of an unknown caller.",
        ),
        "tests/web/test_unread_bodies.py",
    ),
    Found(
        Mutant(
            "form-read-first",
            "zeke_queue.web.dashboard.dashboard",
            "            caller, needs_token = await self._shared.parts.guard.identify(request)\n",
            "            await request.body()\n"
            "            caller, needs_token = await self._shared.parts.guard.identify(request)\n",
            "The dashboard reads the form of an unknown caller.",
        ),
        "tests/web/test_unread_bodies.py",
    ),
    Found(
        Mutant(
            "token-of-forms-not-checked",
            "zeke_queue.web.dashboard.dashboard",
            "            if needs_token:\n",
            "            if needs_token and form is None:\n",
            "A form needs no CSRF token.",
        ),
        "tests/web/dashboard/test_sign_in.py",
    ),
    Found(
        Mutant(
            "header-without-end",
            CONNECTION,
            "            Phase.HEADER: self._deadlines.header,\n            Phase.BODY: self",
            "            Phase.BODY: self",
            "A client may take any time for the header of a request.",
        ),
        "tests/web/test_connections.py",
    ),
    Found(
        Mutant(
            "deadline-anew-with-each-byte",
            CONNECTION,
            "if phase is not self.phase or self.cycle is not self._request:",
            "if phase is not Phase.RESPONSE:",
            "Each byte gives a client the whole time again.",
        ),
        "tests/web/test_connections.py",
    ),
    Found(
        Mutant(
            "unread-response-without-end",
            CONNECTION,
            "            self._unread = self.loop.call_later(READ_TIMEOUT, self.abort)\n",
            "            pass\n",
            "A client that does not read its response keeps its connection.",
        ),
        "tests/web/test_connections.py",
    ),
    Found(
        Mutant(
            "unread-body-counts",
            CONNECTION,
            "        if self.flow.read_paused:",
            "        if False:",
            "A body that the application does not read counts as late.",
        ),
        "tests/web/test_connections.py",
    ),
    Found(
        Mutant(
            "files-all-taken",
            ACCEPTOR,
            "int(files * FILES_SHARE)",
            "files",
            "Connections may take all files of the process.",
        ),
        "tests/web/test_connections.py",
    ),
    Found(
        Mutant(
            "nobody-makes-room",
            ACCEPTOR,
            "                next(iter(self._waiting)).abort()\n",
            "                pass\n",
            "At the limit of connections none that waits is closed.",
        ),
        "tests/web/test_connections.py",
    ),
    Found(
        Mutant(
            "accepts-without-a-pause",
            ACCEPTOR,
            "                    await self._clock.sleep(ACCEPT_PAUSE)\n",
            "                    await self._clock.sleep(0)\n",
            "A process without files tries to accept connections all the time.",
        ),
        "tests/web/test_connections.py",
    ),
    Found(
        Mutant(
            "trouble-logged-each-time",
            ACCEPTOR,
            "if now - self._logged.get(event, -LOG_INTERVAL) >= LOG_INTERVAL:",
            "if True:",
            "Each failed attempt to accept a connection is logged.",
        ),
        "tests/web/test_connections.py",
    ),
    Found(
        Mutant(
            "searches-without-a-limit",
            "zeke_queue.web.search_budget",
            "asyncio.Semaphore(max(1, (connections - KEPT) // 2))",
            "asyncio.Semaphore(connections)",
            "Searches of the API may take all connections.",
        ),
        "tests/web/test_search_budget.py",
    ),
    Found(
        Mutant(
            "read-without-a-limit",
            "zeke_queue.storage.postgres.connection_pool",
            "        if seconds is not None:\n",
            "        if False:\n",
            "A search may take as long as any statement.",
        ),
        "tests/postgres/test_session.py -k takes_too_long",
    ),
    Found(
        Mutant(
            "pool-of-the-worker",
            "zeke_queue.cli.serve",
            "    most = web.api_pool_max or settings.jobs_pool_max\n",
            "    most = settings.jobs_pool_max\n",
            "API_POOL_MAX has no effect.",
        ),
        "tests/web/test_search_budget.py",
    ),
)


def is_found(found: Found) -> bool:
    """Return whether the test fails on the mutant, in a process of its own."""
    command = [sys.executable, "-m", "tests.mutants.web", "--apply", found.mutant.name]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    verdict = "found" if run.returncode == 1 else f"NOT FOUND ({run.returncode})"
    print(f"{found.mutant.name}: {verdict}")  # noqa: T201 - the command's output
    return run.returncode == 1


def apply(name: str) -> int:
    """Run the test of a mutant with its patch, and return pytest's status."""
    import pytest  # noqa: PLC0415 - the mutants are also listed where it is not installed

    (found,) = (one for one in WEB if one.mutant.name == name)
    install([found.mutant])
    return pytest.main(["-q", "-x", "-n", "0", "--flaky", "0", "-p", "no:cacheprovider", *found.by.split()])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--apply"]:
        sys.exit(apply(sys.argv[2]))
    asked = [one for one in WEB if not sys.argv[1:] or one.mutant.name in sys.argv[1:]]
    missed = [one for one in asked if not is_found(one)]
    sys.exit(1 if missed else 0)
