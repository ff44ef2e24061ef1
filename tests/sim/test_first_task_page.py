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
(DIFF,) = re.findall(r"```diff\n(.*?)```", PAGE, re.DOTALL)
(SHOWN,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)


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


def _side(marks: str) -> str:
    """Return the lines of the difference that have one of the marks, without it."""
    return "".join(line[1:] for line in DIFF.splitlines(keepends=True) if line[0] in marks)


def _like(shown: str) -> list[str]:
    """Return patterns of lines, in which ids and numbers are anybody's."""
    plain = (re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+(?:\.\d+)?", "*", line) for line in shown.splitlines())
    return [line.replace("[", "[[]") for line in plain]


def test_without_the_key_the_simulation_finds_the_second_announcement(pytester: pytest.Pytester) -> None:
    assert FILES["test_storm.py"].count(_side(" -")) == 1
    careless = FILES["test_storm.py"].replace(_side(" -"), _side(" +"))
    _write(pytester, {**FILES, "test_storm.py": careless})
    result = run(pytester, "test_storm.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([*_like(SHOWN), "*replay*"])
    # Of one job, and not of two that the program sent.
    (job,) = re.findall(r"^  job +announce \w+ \((.+)\)$", result.stdout.str(), re.MULTILINE)
    assert re.search(rf"by attempt [2-9] on w\d, and by attempt 1 of job\s+{job} on w\d", result.stdout.str())


def test_with_few_retries_the_simulation_finds_an_article_that_is_not_published(
    pytester: pytest.Pytester,
) -> None:
    patient = '@catalog.task("publish", retry_limit=10)'
    assert patient in FILES["magazine.py"]
    _write(
        pytester, {**FILES, "magazine.py": FILES["magazine.py"].replace(patient, '@catalog.task("publish")')}
    )
    result = run(pytester, "test_storm.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*what the test asserts*", "*'FAILED'* == 'COMPLETED'*"])
