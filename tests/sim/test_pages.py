"""docs/first-task.md and docs/ask-and-fetch.md: the tests of a reader that copies their files pass."""

from __future__ import annotations

import re

import pytest

from tests.sim.plugging import run
from tests.tidy import ROOT

pytest_plugins = ["pytester"]


class Page:
    """A page of the documentation, with the files that its reader writes."""

    def __init__(self, name: str) -> None:
        self.text = (ROOT / "docs" / name).read_text(encoding="utf-8")
        blocks = self.blocks("python")
        self.files = {block.partition("\n")[0].removeprefix("# "): block for block in blocks}

    def blocks(self, language: str) -> list[str]:
        return re.findall(rf"```{language}\n(.*?)```", self.text, re.DOTALL)

    def write(self, pytester: pytest.Pytester, **changed: str) -> None:
        """Write the files, some of them changed (``a_py`` is a.py)."""
        (settings,) = self.blocks("ini")
        files = {**self.files, **{name.replace("_py", ".py"): text for name, text in changed.items()}}
        for name, text in {**files, "pytest.ini": settings}.items():
            (pytester.path / name).write_text(text, encoding="utf-8")


TASK, ASK = Page("first-task.md"), Page("ask-and-fetch.md")
(DIFF,), (SHOWN,) = TASK.blocks("diff"), TASK.blocks("text")


def check_tests_pass(page: Page, pytester: pytest.Pytester, seeds: int, *files: str) -> None:
    assert sorted(page.files) == list(files)
    page.write(pytester)
    result = run(pytester, f"--zeke-seeds={seeds}")
    result.assert_outcomes(passed=sum(text.count("def test_") for text in page.files.values()))


@pytest.mark.parametrize("seeds", [1, pytest.param(12, marks=pytest.mark.nightly)])
def test_project_of_first_task_passes_its_tests(pytester: pytest.Pytester, seeds: int) -> None:
    files = ("conftest.py", "magazine.py", "test_magazine.py", "test_storm.py")
    check_tests_pass(TASK, pytester, seeds, *files)


@pytest.mark.nightly
def test_task_of_ask_and_fetch_passes_its_tests(pytester: pytest.Pytester) -> None:
    files = ("conftest.py", "releases.py", "test_releases.py", "test_storm_of_releases.py")
    check_tests_pass(ASK, pytester, 12, *files)


@pytest.mark.nightly
def test_ask_and_fetch_without_a_stable_id_warns_twice(pytester: pytest.Pytester) -> None:
    (key,) = re.findall(r"Without `(id=.*?)`", ASK.text)
    assert ASK.files["releases.py"].count(f", {key}") == 1
    ASK.write(pytester, releases_py=ASK.files["releases.py"].replace(f", {key}", ""))
    result = run(pytester, "test_storm_of_releases.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*a release has one warning*"])


def _side(marks: str) -> str:
    """Return the lines of the difference that have one of the marks, without it."""
    return "".join(line[1:] for line in DIFF.splitlines(keepends=True) if line[0] in marks)


def _like(shown: str) -> list[str]:
    """Return patterns of lines, in which ids and numbers may be any."""
    plain = (re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+(?:\.\d+)?", "*", line) for line in shown.splitlines())
    return [line.replace("[", "[[]") for line in plain]


@pytest.mark.nightly
def test_first_task_without_the_key_announces_twice(pytester: pytest.Pytester) -> None:
    assert TASK.files["test_storm.py"].count(_side(" -")) == 1
    TASK.write(pytester, test_storm_py=TASK.files["test_storm.py"].replace(_side(" -"), _side(" +")))
    result = run(pytester, "test_storm.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([*_like(SHOWN), "*replay*"])
    # Of one job, and not of two that the program sent.
    (job,) = re.findall(r"^  job +announce \w+ \((.+)\)$", result.stdout.str(), re.MULTILINE)
    assert re.search(rf"by attempt [2-9] on w\d, and by attempt 1 of job\s+{job} on w\d", result.stdout.str())


@pytest.mark.nightly
def test_first_task_with_few_retries_does_not_publish(pytester: pytest.Pytester) -> None:
    patient = '@catalog.task("publish", retry_limit=10)'
    assert patient in TASK.files["magazine.py"]
    hasty = TASK.files["magazine.py"].replace(patient, '@catalog.task("publish")')
    TASK.write(pytester, magazine_py=hasty)
    result = run(pytester, "test_storm.py")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*what the test asserts*", "*'FAILED'* == 'COMPLETED'*"])
