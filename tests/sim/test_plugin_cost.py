"""The plugin costs nothing where it is not used: it is loaded in every run of pytest, of every project."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.sim.plugging import application, run

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]

HEAVY = ("freezegun", "hypothesis", "pydantic", "psycopg", "structlog", "zeke_queue", "anyio", "asyncio")


def loaded(code: str) -> set[str]:
    """Return which modules a line of code loads, beyond those that pytest has loaded."""
    script = (
        f"import sys, pytest\nbefore = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - before))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(ran.stdout.split())


def test_plugin_imports_only_itself() -> None:
    assert loaded("import zeke_sim.testing.pytest_plugin") == {
        "zeke_sim",
        "zeke_sim.testing",
        "zeke_sim.testing.pytest_plugin",
    }


def test_public_names_are_loaded_on_first_use() -> None:
    assert loaded("import zeke_sim; dir(zeke_sim)") == {"zeke_sim"}
    assert "zeke_sim.testing.scripted" in loaded("from zeke_sim import Scripted")


def test_tests_that_do_not_use_it_load_nothing_and_have_their_clocks(pytester: pytest.Pytester) -> None:
    application(
        pytester,
        f"""
        import sys
        import time

        def test_it():
            assert not {{name.partition(".")[0] for name in sys.modules}} & set({HEAVY[:-2]!r})
            assert type(time.time).__name__ == "builtin_function_or_method"
        """,
        conftest="",
    )
    run(
        pytester, "-p", "no:asyncio", "-p", "no:anyio", "-p", "no:hypothesispytest", "-p", "no:schemathesis"
    ).assert_outcomes(passed=1)


@pytest.mark.nightly
def test_markers_are_declared_and_the_option_is_explained(pytester: pytest.Pytester) -> None:
    application(pytester, "")
    assert "@pytest.mark.zeke_backend" in run(pytester, "--markers").stdout.str()
    assert "--zeke-postgres=WHICH" in run(pytester, "--help").stdout.str()
