"""Tests with ``@given`` that use fixtures of pytest beside those of the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.sim.plugging import WITHOUT, application, run

if TYPE_CHECKING:
    import pytest

pytestmark = pytest.mark.nightly

pytest_plugins = ["pytester"]

USED = [name for name in WITHOUT if name != "hypothesispytest"]

OF_PYTEST = """
import logging
import warnings

import pytest
import shop
from hypothesis import given, settings, strategies as st
from shop import Order, receipt

few = settings(max_examples=3)
numbers = st.integers(0, 9)
log = logging.getLogger("shop")


@pytest.fixture
def phase(request, caplog):
    yield request.node.phase


@few
@given(n=numbers)
def test_files(zeke_sync, tmp_path, tmpdir, n):
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "written").touch()


@few
@given(n=numbers)
def test_logs(zeke_sync, caplog, phase, n):
    assert phase == "setup"
    assert caplog.records == [] and caplog.text == ""
    assert not log.isEnabledFor(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "shop")
    log.debug("example %s", n)
    assert caplog.messages == [one.getMessage() for one in caplog.get_records("call")] == [f"example {n}"]


@few
@given(n=numbers)
def test_properties(zeke_sync, record_property, record_xml_attribute, n):
    record_property("drawn", n)
    record_xml_attribute("status", "kept")


class TestOfAClass:
    @few
    @given(n=numbers)
    def test_requests(self, zeke_sync, request, n):
        assert request.node.name == request.function.__name__ == "test_requests"
        assert request.instance is self
        assert request.getfixturevalue("simulation") is request.getfixturevalue("simulation")
        written = request.getfixturevalue("tmp_path") / "written"
        assert not written.exists()
        written.touch()
        request.node.stash[shop.SEEN] = request.node.stash.get(shop.SEEN, 0) + 1
        if n < 10:
            request.applymarker(pytest.mark.xfail(strict=True, reason="applied by an example"))
        assert n == 10


@few
@given(n=numbers)
def test_streams(zeke_sync, capsys, monkeypatch, recwarn, n):
    print(n)
    assert capsys.readouterr().out == f"{n}\\n"
    assert not hasattr(shop, "patched") and len(recwarn) == 0
    monkeypatch.setattr(shop, "patched", n, raising=False)
    warnings.warn("one")
"""

CONFTEST = """
import pytest
import shop

shop.SEEN = pytest.StashKey()

@pytest.fixture
def zeke_catalog():
    return shop.catalog

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    item.phase = call.when
    if item.name == "test_requests" and call.when == "call":
        assert item.stash[shop.SEEN] > 1
    return (yield)

def pytest_runtest_setup(item):
    item.phase = "setup"
"""


def test_fixtures_of_pytest_work_in_each_example(pytester: pytest.Pytester) -> None:
    application(pytester, OF_PYTEST, conftest=CONFTEST)
    result = run(pytester, "--junitxml=all.xml", "-o", "junit_family=xunit1", "-W", "ignore", without=USED)
    result.assert_outcomes(passed=4, xfailed=1)
    report = (pytester.path / "all.xml").read_text()
    assert report.count('<property name="drawn"') >= 2
    assert 'status="kept"' in report


REFUSED = """
import pytest
import zeke_sim
from hypothesis import given, settings, strategies as st

settings.register_profile("ours", deadline=0.001, max_examples=2)
settings.load_profile("ours")
few = settings(max_examples=2)
numbers = st.integers(0, 9)


@pytest.mark.parametrize("name", ["simulation", "zeke", "zeke_sync"])
@given(n=numbers)
def test_by_name(request, name, n):
    request.getfixturevalue(name)


@zeke_sim.test(workers=1, days=0.001, calm=True)
@few
@given(drawn=st.data())
async def test_draws(zeke, drawn):
    assert drawn.draw(numbers) < 5


@settings(max_examples=2, deadline=0.001)
@given(n=numbers)
def test_late(zeke_sync, n):
    assert zeke_sync.jobs() == []


@few
@given(n=numbers)
def test_without_limit(zeke_sync, n):
    assert zeke_sync.jobs() == []
"""

OF_RUNS = """
import zeke_sim
from hypothesis import given, settings, strategies as st
from shop import Order, receipt
from zeke_sim.strategies import plans

few = settings(max_examples=5, derandomize=True, database=None)
numbers = st.integers(0, 9)


def ran(simulation, plan, number, *conditions, workers=1):
    world = simulation(workers=workers, plan=plan, properties=conditions)
    world.send(receipt, Order(number=number))
    world.run()
    world.check()


@few
@given(plan=plans(workers=1), number=numbers)
def test_in_some_example(simulation, plan, number):
    ran(simulation, plan, number, zeke_sim.sometimes("it is sent late", lambda state: number > 0))


@few
@given(plan=plans(workers=1), number=numbers)
def test_in_no_example(simulation, plan, number):
    ran(simulation, plan, number, zeke_sim.sometimes("it is eaten", lambda state: False))


@few
@given(plan=plans(workers=3, kinds=["kill"]), number=numbers)
def test_of_other_workers(simulation, plan, number):
    ran(simulation, plan, number)


@zeke_sim.test(workers=1, days=0.001, calm=True)
@few
@given(plan=plans(workers=3, kinds=["refused"]))
async def test_of_other_workers_in_a_workload(zeke, plan):
    await zeke.send(receipt, Order(number=1))
"""


def test_sometimes_is_of_all_examples_and_plans_are_of_known_workers(pytester: pytest.Pytester) -> None:
    application(pytester, OF_RUNS)
    result = run(pytester, without=USED)
    result.assert_outcomes(failed=3, passed=1)
    said = " ".join(" ".join(result.outlines).split())
    assert "did not happen in any of 5 runs: it is eaten" in said
    assert said.count("plan: must have faults of the world's 1 workers only, got one of w") >= 2


def test_shared_fixtures_and_repeated_draws_are_refused(pytester: pytest.Pytester) -> None:
    application(pytester, REFUSED)
    result = run(pytester, without=USED)
    result.assert_outcomes(failed=5, passed=1)
    said = " ".join(" ".join(result.outlines).split())
    assert "simulation: must be an argument of a test with @given, got it by getfixturevalue" in said
    assert said.count("zeke, zeke_sync: must be an argument of a test with @given") >= 2
    assert "drawn: must be drawn before a run, which is repeated" in said
    assert "DeadlineExceeded" in said
