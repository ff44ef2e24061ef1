"""docs/first-task.md: a reader who copies its files has a project that passes its tests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.sim.plugging import run
from tests.tidy import ROOT

if TYPE_CHECKING:
    import pytest

pytest_plugins = ["pytester"]

PAGE = (ROOT / "docs" / "first-task.md").read_text(encoding="utf-8")
FILES = {
    block.partition("\n")[0].removeprefix("# "): block
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
}
UNKEYED = """        if title not in self.announced:
            zeke_sim.effect(title)
            self.announced.add(title)
"""


def _write(pytester: pytest.Pytester, files: dict[str, str]) -> None:
    for name, text in files.items():
        (pytester.path / name).write_text(text, encoding="utf-8")
    (settings,) = re.findall(r"```ini\n(.*?)```", PAGE, re.DOTALL)
    (pytester.path / "pytest.ini").write_text(settings, encoding="utf-8")


def test_the_page_s_project_passes_its_tests(pytester: pytest.Pytester) -> None:
    assert sorted(FILES) == ["conftest.py", "magazine.py", "test_magazine.py", "test_storm.py"]
    _write(pytester, FILES)
    result = run(pytester, "--zeke-seeds=12")
    result.assert_outcomes(passed=sum(text.count("def test_") for text in FILES.values()))


def test_without_the_key_the_simulation_finds_the_second_announcement(pytester: pytest.Pytester) -> None:
    assert UNKEYED in FILES["test_storm.py"]
    careless = FILES["test_storm.py"].replace(UNKEYED, "        zeke_sim.effect(title)\n")
    _write(pytester, {**FILES, "test_storm.py": careless})
    result = run(pytester, "test_storm.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no article is announced twice*", "*broken*'[[]de] Bees *", "*replay*"])
