"""docs/ask-and-fetch.md: a reader who copies its files has a task whose tests pass."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.sim.plugging import run
from tests.tidy import ROOT

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]

PAGE = (ROOT / "docs" / "ask-and-fetch.md").read_text(encoding="utf-8")
FILES = {
    block.partition("\n")[0].removeprefix("# "): block
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
}


def _write(pytester: pytest.Pytester, files: dict[str, str]) -> None:
    for name, text in files.items():
        (pytester.path / name).write_text(text, encoding="utf-8")
    (settings,) = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)
    (pytester.path / "pytest.ini").write_text(settings, encoding="utf-8")


def test_the_page_s_task_passes_its_tests(pytester: pytest.Pytester) -> None:
    assert sorted(FILES) == ["conftest.py", "releases.py", "test_releases.py", "test_storm_of_releases.py"]
    _write(pytester, FILES)
    result = run(pytester, "--zeke-seeds=12")
    result.assert_outcomes(passed=sum(text.count("def test_") for text in FILES.values()))


def test_without_an_id_that_follows_from_the_job_the_simulation_finds_two_warnings(
    pytester: pytest.Pytester,
) -> None:
    (key,) = re.findall(r"Take `(.*?)` away", PAGE)
    assert FILES["releases.py"].count(f", {key}") == 1
    _write(pytester, {**FILES, "releases.py": FILES["releases.py"].replace(f", {key}", "")})
    result = run(pytester, "test_storm_of_releases.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*of a release is warned once*"])
