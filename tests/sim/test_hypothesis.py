"""Tests with ``@given`` of Hypothesis, written by the developers of an application."""

from __future__ import annotations

import re
from datetime import date, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from pydantic import AwareDatetime, BaseModel, Field, HttpUrl, field_validator

from tests.sim.plugging import WITHOUT, application, run
from zeke_queue import Catalog, UsageError
from zeke_sim.strategies import payloads, plans, workloads

if TYPE_CHECKING:
    from collections.abc import Sequence

pytest_plugins = ["pytester"]

USED = [name for name in WITHOUT if name != "hypothesispytest"]

FIXTURES = """
import random
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings, strategies as st
from shop import Order, catalog, charge, receipt
from zeke_sim import Scripted

{mark}

numbers = st.integers(20, 99)
few = settings(max_examples=5)
ran = []


@pytest.fixture
def payments():
    return Scripted("payments")


@pytest.fixture
def zeke_resources(payments):
    return payments


@pytest.fixture
async def stock(zeke, payments):
    await zeke.send(receipt, Order(number=0))
    yield payments
    ran.append("stock")


@pytest.fixture(params=["a", "b"])
def variant(request):
    return request.param


@few
@given(n=numbers)
async def test_async(zeke, stock, request, n):
    assert request.getfixturevalue("payments") is stock
    assert stock.called("charge") == []
    stock.on("charge").answers(n)
    assert await stock.charge(n) == n
    assert len(zeke.jobs()) == 1
    await zeke.send(charge, Order(number=n))
    await zeke.drain()
    assert [job.output for job in zeke.jobs(charge)] == [{{"charged": n}}]
    assert zeke.now == datetime(2026, 3, 2, 9, 0, 30, tzinfo=UTC) == datetime.now(UTC)


@few
@given(number=numbers)
def test_sync(zeke_sync, variant, number):
    assert zeke_sync.jobs() == []
    assert zeke_sync.result(zeke_sync.send(charge, Order(number=number))) == {{"charged": number}}
    ran.append(variant)


class TestOfAClass:
    @pytest.fixture
    def zeke_catalog(self):
        self.asked = True
        return catalog

    @pytest.mark.parametrize("times", [1, 2])
    @settings(max_examples=2)
    @given(number=numbers)
    def test_of_worlds(self, simulation, number, times):
        world = simulation(seeds=1, workers=1, faults="none")
        assert self.asked
        world.send(charge, Order(number=number), times=times)
        world.run()


def test_each_example_had_its_own():
    assert len(ran) >= 3 * 5
    assert {{*ran}} == {{"stock", "a", "b"}}
"""


@pytest.mark.parametrize(
    ("mark", "arguments"),
    [
        ("", ["-o", "asyncio_mode=auto"]),
        pytest.param(
            "pytestmark = pytest.mark.anyio\n\n@pytest.fixture\ndef anyio_backend():\n    return 'asyncio'\n",
            ["-p", "no:asyncio"],
            marks=pytest.mark.nightly,
        ),
    ],
    ids=["pytest-asyncio", "anyio"],
)
def test_each_example_has_fixtures_of_its_own(
    pytester: pytest.Pytester, mark: str, arguments: Sequence[str]
) -> None:
    application(pytester, FIXTURES.format(mark=mark))
    result = run(pytester, *arguments, "--setup-show", without=USED)
    result.assert_outcomes(passed=6)


WORLDS = """
import zeke_sim
import pytest
from hypothesis import example, given, settings, strategies as st
from shop import Order, receipt
from zeke_sim.strategies import plans, workloads

few = settings(max_examples=20, database=None, derandomize=True)
small = {"workers": 1, "days": 0.001, "calm": True}


@zeke_sim.test(**small, faults="none")
@few
@given(numbers=st.lists(st.integers(0, 9), max_size=3))
async def test_values(zeke, numbers):
    while numbers:
        await zeke.send(receipt, Order(number=numbers.pop()))
        assert len(numbers) < 2


class TestOfAClass:
    @zeke_sim.test(**small)
    @few
    @given(number=st.just(1), plan=plans(workers=1, kinds=["kill"], seconds=20))
    async def test_plan(self, zeke, number, plan):
        job = await zeke.wait(await zeke.trigger("slow", Order(number=number)))
        assert job.attempt == 1


@zeke_sim.test(**small, seeds=3)
@settings(max_examples=3)
@example(number=2)
@given(number=st.integers())
async def test_passes(zeke, request, number):
    assert request.node.name == "test_passes"
    await zeke.wait(await zeke.trigger(receipt, Order(number=number)))


@few
@given(number=st.integers())
@zeke_sim.test(**small)
async def test_order(zeke, number):
    pass


@few
@given(number=st.integers(), jobs=workloads([receipt], max_size=1))
def test_simulation(simulation, number, jobs):
    world = simulation(workers=1, faults="none", seeds=1)
    for job in jobs:
        world.send(job.task, job.payload, **job.options)
    world.send(receipt, Order(number=number), times=1 + (number > 4))
    world.run()
    world.check("no job is lost")
    assert number < 5


@few
@given(number=st.integers())
async def test_forgotten(zeke, number):
    zeke.send(receipt, Order(number=number))


class TestOfAutouse:
    @pytest.fixture(autouse=True)
    def sent(self, zeke_sync):
        zeke_sync.send(receipt, Order(number=1))

    @given(number=st.integers())
    def test_shared(self, zeke_sync, number):
        pass
"""

SLOW = """

@catalog.task("slow", retry_limit=9)
async def slow(order: Order) -> None:
    await asyncio.sleep(30)
"""


@pytest.mark.nightly
def test_failures_of_worlds_are_shrunk_to_the_smallest_example(pytester: pytest.Pytester) -> None:
    application(pytester, WORLDS)
    (pytester.path / "shop.py").write_text((pytester.path / "shop.py").read_text() + SLOW)
    result = run(pytester, "-o", "asyncio_mode=auto", without=USED)
    result.assert_outcomes(passed=1, failed=5, errors=1)
    lines = [line.strip() for line in result.outlines]
    assert "numbers=[0, 0, 0]," in lines
    assert next(line for line in lines if line.startswith("shrunk")).startswith("shrunk  0 decisions")
    said = " ".join(lines)
    assert re.search(r"plan=of_faults\(\s*\{'node/w1/0': \{[^{}]*\}\}", said)
    assert "must be above @given, got it below" in said
    assert "number=5," in said
    assert "zeke: called but not awaited" in said
    assert "number=0," in lines
    assert "zeke_sync: must be an argument of a test with @given, got it by autouse" in said
    (plan,) = pytester.path.glob(".zeke-sim/*test_values*.json")
    again = run(pytester, "-k", "test_values", "--zeke-plan", str(plan), without=USED)
    again.assert_outcomes(failed=1)
    assert "numbers=[0, 0, 0]," in [line.strip() for line in again.outlines]


class Kind(Enum):
    """A kind."""

    A = "a"
    B = "b"


class Tree(BaseModel):
    """A recursive model."""

    left: Tree | None = None
    children: list[Tree] = []


class Wide(BaseModel):
    """A model with a field of each kind."""

    small: int = Field(gt=0, le=10)
    fives: Annotated[int, Field(multiple_of=5)] = 5
    share: float = Field(ge=0, lt=1)
    text: str = Field(min_length=2, max_length=5)
    code: str = Field(pattern=r"^[A-Z]{3}$")
    kind: Kind
    either: Literal["x", 3]
    url: HttpUrl
    at: AwareDatetime
    day: date
    id: UUID
    span: timedelta
    pair: tuple[int, bool]
    tags: set[str] = set()
    maybe: int | None = None
    counts: dict[str, int] = {}
    alias_: int = Field(3, alias="alias")
    tree: Tree
    even: int = 2

    @field_validator("even")
    @classmethod
    def is_even(cls, value: int) -> int:
        """Refuse what no schema shows."""
        if value % 2:
            raise ValueError("odd")
        return value


shapes = Catalog()


@shapes.task("wide")
def wide(payload: Wide) -> None: ...


@shapes.task("open")
def anything(payload: dict[str, Any]) -> None: ...


@shapes.task("listed")
def listed(payload: list[Tree]) -> None: ...


@shapes.task("none")
def nothing() -> None: ...


@pytest.mark.nightly
@settings(max_examples=40)
@given(jobs=workloads(shapes, within=9), one=payloads(wide), none=payloads(nothing))
def test_payloads_are_valid(jobs: list[Any], one: Wide, none: None) -> None:
    assert isinstance(one, Wide)
    assert none is None
    for job in jobs:
        task = shapes.get(job.task)
        task.dump(job.payload)
        assert job.options.get("delay", 0) <= 9
    assert wide.validate_json((wide.dump(one) or "").encode()) == one


def test_strategies_refuse_what_they_cannot_draw() -> None:
    for call, message in [
        (lambda: payloads("wide"), "payloads: must be a task, got 'wide'; pass catalog.get"),  # type: ignore[arg-type]
        (lambda: workloads([]), "workloads: must have at least one task, got none"),
        (lambda: plans(kinds=["kill_line"]), "got 'kill_line', which is drawn by the seeds only"),
    ]:
        with pytest.raises(UsageError, match=message):
            call()
