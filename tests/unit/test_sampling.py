"""A sample of a folder's tests is always the same one, and what CI names is there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.tidy import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["pytester"]

UNUSED = ("zeke_sim", "zeke_tasks", "asyncio", "schemathesis")
PLUGINS = ("-p", "tests.sampling", *(word for name in UNUSED for word in ("-p", f"no:{name}")))

TESTS = """
import pytest

@pytest.mark.parametrize("number", range({}))
def test_one(number):
    pass
"""


def chosen(pytester: pytest.Pytester, *arguments: str) -> list[str]:
    collected = pytester.runpytest_inprocess(*PLUGINS, "--collect-only", "-q", *arguments)
    return [line for line in collected.outlines if "::" in line]


@pytest.fixture
def folder(pytester: pytest.Pytester) -> Path:
    """Make eight tests in a file of a folder, two in another one, and one elsewhere."""
    made = pytester.mkdir("many")
    (made / "test_a.py").write_text(TESTS.format(8), encoding="utf-8")
    (made / "test_b.py").write_text(TESTS.format(2), encoding="utf-8")
    pytester.makepyfile(test_alone=TESTS.format(1))
    return made


@pytest.mark.usefixtures("folder")
def test_sample_is_of_one_folder_without_its_kept_files_and_stays_the_same(pytester: pytest.Pytester) -> None:
    first = chosen(pytester, "--sample", "many=3")
    assert first == chosen(pytester, "--sample", "many=3")
    assert [one.partition("/")[0] for one in first].count("many") == 3
    assert "test_alone.py::test_one[0]" in first
    assert set(first) < set(chosen(pytester, "--sample", "many=5"))
    assert len(chosen(pytester, "--sample", "many=100")) == 11
    one = chosen(pytester, "--sample", "many=1", "--keep", "many/test_b.py")
    assert len([name for name in one if name.startswith("many/test_b.py")]) == 2
    assert len(one) == 4


@pytest.mark.parametrize("file", ["noxfile.py", ".ci/run"])
def test_tests_that_are_named_exist(file: str) -> None:
    named = re.findall(r"(?<![\w/])tests/[\w/.]+\w", (ROOT / file).read_text(encoding="utf-8"))
    assert named
    assert [one for one in named if not (ROOT / one).exists()] == []


def test_every_omitted_test_is_in_a_share() -> None:
    text = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    landing, shares = text.split("def _landing(", 1)[1].split("\n# The shares", 1)
    left_out = re.findall(r'Part\(\s*"(tests/[\w/.]+)"', landing)
    assert len(left_out) > 3
    run = re.findall(r'"(tests/[\w/.]+)"', shares)
    assert [one for one in left_out if one not in run] == []
