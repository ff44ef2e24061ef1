"""Points in an application's code, and processes that are killed at them."""

from __future__ import annotations

import asyncio
import functools
import gc
import importlib
import sys
import weakref
from contextlib import asynccontextmanager, contextmanager
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.sim.worlds import played, scenario_of, sending
from zeke_queue import Catalog, JobContext
from zeke_sim import double
from zeke_sim.experiment.crashes import CRASHES, crash_everywhere
from zeke_sim.experiment.plan import Plan
from zeke_sim.experiment.run import run
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.history.events import Ended, Fault
from zeke_sim.loop.event_loop import HANDLER
from zeke_sim.testing.environment import with_resources
from zeke_sim.world import lines
from zeke_sim.world.faults import NONE
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator
    from pathlib import Path
    from types import FrameType

SHOP = '''
import contextlib

told = []

class Bank:
    def __init__(self):
        super().__init__()
        self.charges = 0

    async def charge(self):
        self.charges += 1

@contextlib.asynccontextmanager
async def tx():
    """Log what happens."""
    told.append("begin")
    try:
        yield
    finally:
        told.append("commit")

async def handler(x):
    """Charge."""
    bank = Bank()
    async with tx():
        await bank.charge()
    for i in range(2):
        if i:
            await bank.charge()
        elif i == 0:
            y = [await g(x) for _ in range(1)] + [await g(1)]
    def inner():
        nonlocal y
        y = x
        return y
    return await g(inner())

async def g(x):
    match x:
        case 1:
            return 1
        case _:
            return x
'''

PASSED = """
bank = Bank() | super().__init__() | self.charges = 0 | async with tx(): | told.append("begin") | yield |
await bank.charge() | self.charges += 1 | after await bank.charge() | after yield | told.append("commit") |
for i in range(2): | if i: | elif i == 0: | y = [await g(x) for _ in range(1)] + [await g(1)] | match x: |
return x |
after y = [await g(x) for _ in range(1)] + [await g(1)] | match x: | return 1 |
after y = [await g(x) for _ in range(1)] + [await g(1)] | if i: | await bank.charge() | self.charges += 1 |
after await bank.charge() | return await g(inner()) | y = x | return y | match x: | return x
"""


class Recorder:
    """Stands for the handler of a world, and records the points that it passes outside of this module."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        # Not a method, which has points itself once another test has run handlers of this module.
        self.pass_line = lambda line: _record(self, lines.LINES[line])


_record = lambda recorder, point: (  # noqa: E731 - a lambda has no points
    point.file.endswith("test_lines.py")
    or recorder.passed.append(f"{'after ' if point.after else ''}{point.text}")
)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module of an application, with points."""
    (tmp_path / "shop_with_points.py").write_text(SHOP, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("shop_with_points")
    yield module
    del sys.modules["shop_with_points"]


def test_points_precede_statements_and_follow_what_no_statement_follows(shop: Any) -> None:
    before = shop.handler
    lines.insert(lines.modules_of(("shop_with_points",)))
    recorder = Recorder()
    token = HANDLER.set(recorder)
    try:
        assert asyncio.run(before(5)) == 5
    finally:
        HANDLER.reset(token)
    assert recorder.passed == [one.strip() for one in PASSED.replace("\n", " ").split("|")]
    assert before.__doc__ == "Charge."
    assert lines.count_in(before) == 13
    assert [lines.LINES[line].owner for line in lines.lines_of_class(shop.Bank)] == [
        *("Bank.__init__", "Bank.__init__", "Bank.charge")
    ]
    assert {lines.LINES[line].file for line in lines.lines_of_class(shop.Bank)} == {"shop_with_points.py"}
    assert asyncio.run(before(5)) == 5, "a point has no effect outside of a world"


def stubborn() -> int:
    while True:
        try:
            left.append("tried")
            return len(left)
        except BaseException:  # noqa: BLE001 - as an application should not
            left.append("ended by force")


async def waits_stubbornly() -> int:
    while True:
        try:
            await asyncio.sleep(5)  # noqa: TID251
            return stubborn()
        except BaseException:  # noqa: BLE001
            left.append("ended by force")


def test_killed_code_that_cannot_be_cancelled_ends_with_the_run() -> None:
    catalog = Catalog()

    @catalog.task("look", retry_limit=2)
    async def look() -> None:
        await asyncio.gather(asyncio.to_thread(stubborn), waits_stubbornly())

    for results, outcome in crash_everywhere(scenario_of(catalog, sending("look"), workers=2, phase=200.0)):
        assert outcome.violation is None
        assert results.tried < 20


def test_tracers_see_handlers() -> None:
    catalog = Catalog()
    seen: set[str] = set()

    @catalog.task("look")
    async def look() -> None:
        blocking()

    def trace(frame: FrameType, _event: str, _argument: object) -> None:
        seen.add(frame.f_code.co_name)

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        played(scenario_of(catalog, sending("look"), workers=2, phase=50.0), {}, CRASHES)
    finally:
        sys.settrace(before)
    assert {"look", "blocking"} <= seen, "coverage of handlers would be lost"


SHAPES = """
import types
\x0c
PAIR = (lambda: 1, lambda: 2)

@types.coroutine
def switch():
    yield

async def handler():
    await switch()
    assert await one() == 2

async def one():
    return 1

class Row:
    def __del__(self):
        pass
        print("collected")
"""


def test_rewritten_functions_do_what_they_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shapes_with_points.py").write_text(SHAPES, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module: Any = importlib.import_module("shapes_with_points")
    lines.insert(["shapes_with_points"])
    assert [one() for one in module.PAIR] == [1, 2], "lambdas of one line are told apart"
    recorder = Recorder()
    token = HANDLER.set(recorder)
    try:
        with pytest.raises(AssertionError):
            asyncio.run(module.handler())
        module.Row()
    finally:
        HANDLER.reset(token)
    # An explanation of the assertion would show a call within it; an exception in __del__ is only printed.
    assert recorder.passed == ["await switch()", "yield", "assert await one() == 2", "return 1"]
    assert lines.count_in(functools.wraps(module.handler)(lambda: None)) == 2


DEEP = "\n".join(
    [
        "def handler(x):",
        *(f"    {'if' if not n else 'elif'} x == {n}:\n        return {n}" for n in range(400)),
        f"    return {' + '.join(['x'] * 900)}",
    ]
)


def test_deeply_nested_code_has_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deep_with_points.py").write_text(DEEP, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module: Any = importlib.import_module("deep_with_points")
    assert len(lines.insert(["deep_with_points"])) == 801
    assert [module.handler(399), module.handler(1000)] == [399, 900_000]


def test_reloaded_module_has_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "fresh_with_points.py"
    file.write_text("def handler():\n    return 1\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module: Any = importlib.import_module("fresh_with_points")
    first = lines.insert(["fresh_with_points"])
    importlib.reload(module)
    assert lines.insert(["fresh_with_points"]) == first, "points of unchanged code are the same ones"
    file.write_text("def handler():\n    x = 2\n    return x\n", encoding="utf-8")
    del sys.modules["fresh_with_points"]
    importlib.invalidate_caches()
    again = importlib.import_module("fresh_with_points")
    assert len(lines.insert(["fresh_with_points"])) == 2
    recorder = Recorder()
    token = HANDLER.set(recorder)
    try:
        assert [module.handler(), again.handler()] == [1, 2]
    finally:
        HANDLER.reset(token)
    assert recorder.passed == ["return 1", "x = 2", "return x"]


# Kills. What follows is the code of an application, whose handlers are killed.

left: list[str] = []
"""Actions of a process after it was killed; there must be none."""

kept: list[Any] = []
"""Objects that handlers held."""


@contextmanager
def guard() -> Generator[None]:
    try:
        yield
    except BaseException:
        left.append("except")
        raise
    finally:
        left.append("exit")


@asynccontextmanager
async def connection() -> AsyncGenerator[None]:
    yield
    await asyncio.sleep(0)  # noqa: TID251 - as an application does
    left.append("closed")


class Whole:
    """An object of the handler, which must be collected after the run."""


def blocking() -> None:
    whole = Whole()
    kept.append(weakref.ref(whole))
    with guard():
        left.append("worked")
        left.append("worked on")


async def in_a_task() -> None:
    async with connection():
        await asyncio.sleep(1)  # noqa: TID251
        with guard():
            blocking()


async def waits() -> None:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(in_a_task())
            await asyncio.sleep(0)  # noqa: TID251
    finally:
        left.append("finally")


def rows() -> Generator[int]:
    try:
        yield 1
        yield 2
    finally:
        left.append("closed")


async def charge(row: int) -> None:
    left.append(f"charged {row}")


async def collects() -> None:
    charges = [charge(row) for row in rows()]
    await asyncio.gather(*charges)


async def iterates() -> None:
    for row in rows():
        await charge(row)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("handler", "complete"),
    [
        pytest.param(collects, ["closed", "charged 1", "charged 2"], marks=pytest.mark.nightly),
        pytest.param(iterates, ["charged 1", "charged 2", "closed"], marks=pytest.mark.nightly),
        (blocking, ["worked", "worked on", "exit"]),
        (waits, ["worked", "worked on", "exit", "exit", "closed", "finally"]),
    ],
    ids=["coroutines", "generator", "sync", "async"],
)
def test_killed_process_finishes_nothing(handler: Any, complete: list[str]) -> None:
    catalog = Catalog()

    @catalog.task("look", retry_limit=2)
    async def look(job: JobContext) -> int:
        left.clear()
        result = handler()
        if result is not None:
            await result
        return job.attempt

    texts: list[str] = []
    results = None
    for results, outcome in crash_everywhere(scenario_of(catalog, sending("look"), workers=2, phase=200.0)):
        assert outcome.violation is None, outcome.violation
        affected = [one for event in outcome.events if isinstance(event, Fault) for one in event.affected]
        assert len(affected) == min(1, results.tried)
        ended = [event for event in outcome.events if isinstance(event, Ended)]
        assert [(one.how, one.value) for one in ended] == [("returned", 1 + len(affected))]
        assert left == complete
        texts += [one.line.text for one in affected if one.line is not None]
    assert results is not None
    assert results.tried == results.points > 8
    inside = {'left.append("worked on")', "await asyncio.gather(*charges)", "await charge(row)"}
    assert inside & set(texts)
    gc.collect()
    assert all(one() is None for one in kept), "what killed handlers held is kept after the run"


class Account:
    def __init__(self) -> None:
        self.moved: list[str] = []

    def move(self) -> None:
        self.moved.append("out")
        self.moved.append("in")


class Resources(NamedTuple):
    account: Account


@pytest.mark.parametrize("make", [Resources, lambda account: {"account": account}], ids=["tuple", "dict"])
def test_items_of_resources_are_not_interrupted(make: Any) -> None:
    account = Account()
    catalog = with_resources(Catalog(), make(account))

    @catalog.task("look", retry_limit=2)
    async def look(job: JobContext) -> None:
        found: Any = job.resources
        (found["account"] if isinstance(found, dict) else found.account).move()

    for _ in crash_everywhere(scenario_of(catalog, sending("look"), workers=2, phase=200.0)):
        assert account.moved == ["out", "in"] * (len(account.moved) // 2)


def test_classes_of_doubles_are_collected_after_the_run() -> None:
    catalog = Catalog()
    doubles: list[Any] = []

    @catalog.task("look")
    async def look(job: JobContext) -> None:
        job.resources.move()

    def build(_draws: Any) -> Setup:
        made = double(Account)
        doubles.append(weakref.ref(type(made)))
        return Setup(with_resources(catalog, made), clients={"c1": sending("look")}, workers=1, phase=1.0)

    outcome = played(Scenario("given", "", build), knobs=NONE.but(kinds=("kill_line",)))
    assert outcome.violation is None, outcome.violation
    del outcome
    gc.collect()
    assert [one() for one in doubles] == [None]


@pytest.mark.nightly
def test_points_after_the_fault_phase_are_tried() -> None:
    """A handler may last longer than the fault phase, which then ends when it has ended."""
    catalog = Catalog()

    @catalog.task("look", retry_limit=2, expire_in=3600)
    async def look() -> None:
        await asyncio.sleep(900)  # noqa: TID251
        left.clear()

    results = None
    for results, outcome in crash_everywhere(scenario_of(catalog, sending("look"), phase=1.0, quiet=9000.0)):
        assert len([event for event in outcome.events if isinstance(event, Fault)]) == min(1, results.tried)
    assert results is not None
    assert results.tried > 2


def test_points_of_other_worlds_are_not_counted(shop: Any) -> None:
    """A plan names points by number, so it must not matter what else ran in the process."""
    catalog = Catalog()

    @catalog.task("look", retry_limit=2)
    async def look() -> int:
        return await shop.g(1)

    def passed(*code: str) -> list[str]:
        scenario = scenario_of(catalog, sending("look"), phase=50.0, code=code)
        plan = Plan("given", 0, "crashes", CRASHES, {})
        return [str(one.affected.line) for one in run(scenario, plan, trace=True).passed]

    alone = passed()
    assert len(passed("shop_with_points")) > len(alone)
    assert passed() == alone


class Replacing(SourceFileLoader):
    """A loader that changes what is in a file."""

    def get_data(self, path: str) -> bytes:
        """Return the changed text."""
        return super().get_data(path).replace(b"1", b"2")


def test_points_are_inserted_into_the_text_that_a_loader_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, file = "replaced_by_loader", tmp_path / "replaced_by_loader.py"
    file.write_text("def number():\n    return 1\n", encoding="utf-8")
    spec = spec_from_file_location(name, file, loader=Replacing(name, str(file)))
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    lines.insert([name])
    assert (module.number(), lines.LINES[-1].text) == (2, "return 2")
