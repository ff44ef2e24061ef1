"""Tests of worlds as users write them: in classes, with parameters, beside marks for async tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sim.plugging import application, run

if TYPE_CHECKING:
    from collections.abc import Sequence

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.nightly

TESTS = """
import pytest
import zeke_sim
from shop import catalog, receipt

pytestmark = [pytest.mark.{mark}, pytest.mark.zeke_catalog(catalog)]
short = dict(seeds=2, days=0.001)

@pytest.fixture
def anyio_backend():
    return "asyncio"

@pytest.fixture
def number():
    return 7

@zeke_sim.test(**short)
async def test_plain(zeke):
    assert await zeke.result(await zeke.trigger(receipt, {{"number": 1}}))

class TestInAClass:
    @zeke_sim.test(**short)
    async def test_method(self, world, number):
        assert number == 7
        assert await world.result(await world.trigger(receipt, {{"number": number}}))

    @pytest.mark.parametrize("n", [1, 2])
    @zeke_sim.test(**short)
    async def test_parameters(self, zeke, n):
        assert await zeke.result(await zeke.trigger(receipt, {{"number": n}}))

    @zeke_sim.test(**short)
    @pytest.mark.xfail(reason="it is one", strict=True)
    async def test_marks_below(self, zeke):
        assert False

async def test_beside(zeke):
    await zeke.send(receipt, {{"number": 1}})
    zeke.assert_enqueued(receipt)

async def test_within_a_handler(zeke):
    @catalog.task("inside")
    async def inside():
        await zeke.drain()

    with pytest.raises(ValueError, match="was called within a handler; there, send by the job"):
        await zeke.run_task(inside)
"""


@pytest.mark.parametrize(
    ("mark", "arguments"),
    [
        ("asyncio", ["-o", "asyncio_mode=strict"]),
        ("asyncio", ["-o", "asyncio_mode=auto"]),
        ("anyio", ["-p", "no:asyncio"]),
    ],
)
def test_whatever_marks_there_are(pytester: pytest.Pytester, mark: str, arguments: Sequence[str]) -> None:
    application(pytester, TESTS.format(mark=mark))
    run(pytester, *arguments).assert_outcomes(passed=6, xfailed=1)


def test_whatever_plugins_there_are(pytester: pytest.Pytester) -> None:
    application(pytester, TESTS.format(mark="asyncio"))
    run(pytester, "-o", "asyncio_mode=auto", without=()).assert_outcomes(passed=6, xfailed=1)
