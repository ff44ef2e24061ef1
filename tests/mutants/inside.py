"""Runs chosen tests of the tree in the current directory, as ``matrix`` orders.

A script of its own, which imports nothing of the house: the tree may be at another commit than this file.
``python -P inside.py`` imports what all tests need of others, and then has a child of its own for each order,
whose path it reads from its input. What comes of it is written to the order's journal, a line of JSON an
event, so that a child that dies tells how far it came.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
import time  # noqa: TID251 - it measures tests
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType


REWRITE = "ignore::pytest.PytestAssertRewriteWarning"
"""Plugins imported before pytest begins keep their asserts unchanged."""

PRELOADED = (
    *(
        "pytest_asyncio.plugin",
        "_hypothesis_pytestplugin",
        "hypothesis",
        "anyio.pytest_plugin",
        "xdist.plugin",
    ),
    *("asyncio", "trio", "psycopg", "psycopg_pool", "pydantic", "pydantic_settings", "structlog", "croniter"),
    *("rich.console", "typer", "fastapi", "uvicorn", "httpx2", "sqlalchemy.ext.asyncio", "psutil"),
)


class Journal:
    """Appends events to a file."""

    def __init__(self, path: str) -> None:
        self._file = Path(path).open("a", encoding="utf-8")  # noqa: SIM115 - open until the process ends

    def write(self, event: str, **values: Any) -> None:
        """Write an event and flush it."""
        self._file.write(json.dumps({"event": event, **values}) + "\n")
        self._file.flush()


class Layers:
    """Runs the tests in the order's order, and each layer only until one fails."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._tests: dict[str, str] = order["tests"]
        self._usual: dict[str, float] = order["usual"]
        self._wall: dict[str, float] = order["wall"]
        self._seconds: float = order["seconds"]
        self._hangs: float = order["hangs"]
        self._journal = Journal(order["journal"])
        self._killed: set[str] = set()
        self._failed = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Make Hypothesis stop at its first failure instead of shrinking it; conftest.py is loaded by now."""
        if (hypothesis := sys.modules.get("hypothesis")) is not None:
            phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
            hypothesis.settings.register_profile("mutants", hypothesis.settings(), phases=phases)
            hypothesis.settings.load_profile("mutants")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be imported fails all its tests, and is reported by the first one."""
        if report.failed:
            for test, layer in self._tests.items():
                if test.partition("::")[0] == report.nodeid.partition("::")[0]:
                    self._kill(layer, test)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep the ordered tests, in their order."""
        places = {test: place for place, test in enumerate(self._tests)}
        items[:] = sorted((i for i in items if i.nodeid in places), key=lambda item: places[item.nodeid])

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run the requested tests within the time limit."""
        left = list(session.items)
        while left:
            item = left.pop(0)
            layer = self._tests[item.nodeid]
            if layer in self._killed or _processor_time() + self._usual.get(item.nodeid, 0.0) > self._seconds:
                self._finish(session, left)
                continue
            self._failed = False
            self._journal.write("begin", test=item.nodeid, layer=layer)
            self._run(item, left[0] if left else None, self._hangs + 3 * self._wall.get(item.nodeid, 0.0))
            if self._failed:
                self._kill(layer, item.nodeid)
            else:
                self._journal.write("pass", test=item.nodeid, layer=layer)
        self._journal.write("end", seconds=_processor_time())
        return True

    def _run(self, item: pytest.Item, following: pytest.Item | None, seconds: float) -> None:
        """Run a test; it fails at its time limit, and again every few seconds until it ends."""
        signal.signal(signal.SIGALRM, _hang)
        signal.setitimer(signal.ITIMER_REAL, seconds, 5)
        try:
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        except pytest.fail.Exception:
            self._failed = True
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    @staticmethod
    def _finish(session: pytest.Session, left: list[pytest.Item]) -> None:
        """Tear down fixtures that the next test does not share, after a skipped one that was announced."""
        with contextlib.suppress(Exception):
            session._setupstate.teardown_exact(left[0] if left else None)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record a failure of any part of a test."""
        self._failed = self._failed or report.failed

    def _kill(self, layer: str, test: str) -> None:
        if layer not in self._killed:
            self._killed.add(layer)
            self._journal.write("kill", test=test, layer=layer)


class Contexts:
    """Makes coverage record the test that executes a line."""

    def __init__(self, order: dict[str, Any]) -> None:
        import coverage  # noqa: PLC0415 - who runs mutants needs none

        self._journal = Journal(order["journal"])
        self._coverage = coverage.Coverage(
            data_file=order["data"], include=order["include"], config_file=False, messages=False
        )
        self._coverage.set_option("run:relative_files", True)  # noqa: FBT003 - as coverage wants it
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Switch to a test's context for all its parts."""
        self._coverage.switch_context(item.nodeid)
        self._failed, cpu, wall = False, _processor_time(), time.perf_counter()
        try:
            return (yield)
        finally:
            self._coverage.switch_context("")
            spent = [round(_processor_time() - cpu, 2), round(time.perf_counter() - wall, 2)]
            self._journal.write("ran", test=item.nodeid, spent=spent, failed=self._failed)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Record a failure of any part of a test; a test that fails without the mutant kills nothing."""
        self._failed = self._failed or report.failed

    def pytest_sessionfinish(self) -> None:
        """Save the records."""
        self._coverage.stop()
        self._coverage.save()
        self._journal.write("end", seconds=_processor_time())


def _hang(_number: int, _frame: FrameType | None) -> None:
    pytest.fail("it hangs")


def _processor_time() -> float:
    return sum(os.times()[:4])


def listed() -> Iterator[dict[str, Any]]:
    """Yield the tree's mutants: of the runtime, of SQL, and of the simulator."""
    home = "tests.mutants" if Path("tests/mutants/table.py").exists() else "zeke_sim.mutants"
    for one in importlib.import_module(f"{home}.table").TABLE:
        yield _of_a_module("runtime", one)
    if Path("tests/interleaving/mutants_postgres.py").exists():
        sql = importlib.import_module("tests.interleaving.mutants_postgres")
        for one in sql.MUTANTS:
            file, judges = f"zeke_queue/storage/postgres/{one.file}", list(one.tests)
            values = {"file": file, "old": one.old, "new": one.new, "judges": judges}
            yield {"table": "sql", "name": one.name, **values, "statements": _statements(one.file)}
    if Path(home.replace(".", "/"), "simulator.py").exists():
        for one in importlib.import_module(f"{home}.simulator").SIMULATOR_MUTANTS:
            yield _of_a_module("simulator", one.breaks)


def _of_a_module(table: str, one: Any) -> dict[str, Any]:
    path = one.module.replace(".", "/")
    file = f"{path}/__init__.py" if Path(path).is_dir() else f"{path}.py"
    return {"table": table, "name": one.name, "file": file, "old": one.old, "new": one.new}


def _statements(file: str) -> list[str]:
    """Return the names under which Python executes the statements of a SQL file."""
    if not file.endswith(".sql"):
        return []
    variants = importlib.import_module("zeke_queue.storage.postgres.statements").VARIANTS
    name = Path(file).stem
    return [name, *(variant for variant, (base, _) in variants.items() if base == name)]


def main(order: dict[str, Any]) -> int:
    """Carry out an order; returns the exit code."""
    if order["mode"] == "list":
        Journal(order["journal"]).write("mutants", mutants=list(listed()))
        return 0
    plugin = Contexts(order) if order["mode"] == "coverage" else Layers(order)
    plain = ["-q", "-p", "no:cacheprovider", "--continue-on-collection-errors", "--rootdir=.", "-W", REWRITE]
    plain += ["--hypothesis-seed=0", "-o", "faulthandler_timeout=0"]
    return pytest.main([*plain, *order["files"]], plugins=[plugin])


def in_a_child(order: dict[str, Any]) -> dict[str, Any]:
    """Carry out an order in a child and end its remaining processes.

    Return its exit code and whether it timed out.
    """
    child, late = os.fork(), False
    if child == 0:
        _be_the_child(order)

    def stop(*_: object) -> None:
        nonlocal late
        late = True
        os.killpg(child, signal.SIGKILL)

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, order.get("longest", 0))
    try:
        _, status = os.waitpid(child, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
    return {"code": os.waitstatus_to_exitcode(status), "late": late}


def _be_the_child(order: dict[str, Any]) -> NoReturn:
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        with Path(order["output"]).open("w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        code = main(order)
    except BaseException:  # noqa: BLE001 - it ends here, whatever it was
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        # Threads that a test has left behind keep no process up.
        os._exit(code)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for name in PRELOADED if Path("zeke_queue").exists() else ():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    for path in sys.stdin:
        done = in_a_child(json.loads(Path(path.strip()).read_text(encoding="utf-8")))
        sys.stdout.write(json.dumps(done) + "\n")
        sys.stdout.flush()
