"""Tests with ``@given`` that use fixtures of pytest beside those of the simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.sim.plugging import WITHOUT, application, run

if TYPE_CHECKING:
    import pytest

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


def test_shared_fixtures_and_repeated_draws_are_refused(pytester: pytest.Pytester) -> None:
    application(pytester, REFUSED)
    result = run(pytester, without=USED)
    result.assert_outcomes(failed=5, passed=1)
    said = " ".join(" ".join(result.outlines).split())
    assert "simulation: must be an argument of a test with @given, got it by getfixturevalue" in said
    assert said.count("zeke, zeke_sync: must be an argument of a test with @given") >= 2
    assert "drawn: must be drawn before a run, which is repeated" in said
    assert "DeadlineExceeded" in said
