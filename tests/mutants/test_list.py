"""The list of planted bugs: each applies, and names what finds it; and the runner tells when it does not."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.cases import check_each
from tests.mutants import __main__ as runner
from tests.mutants.__main__ import ROOT, Bug, attempt, load, try_all
from tests.newsroom.rules import RULES
from zeke_sim.experiment import scenario
from zeke_sim.properties import ALL
from zeke_sim.world.faults import KINDS

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

BUGS = load()
TESTS = """
import pytest
from part import VALUE

def test_value():
    assert VALUE == 1

def test_nothing():
    pass

def test_that_fails():
    assert VALUE == 0

def test_left_out():
    pytest.skip("no-such-program is not here")
"""


def test_every_bug_has_its_own_name_and_effect_and_compiles() -> None:
    assert [name for name, number in Counter(bug.name for bug in BUGS).items() if number > 1] == []
    effects: dict[tuple[str, str], str] = {}

    def check(bug: Bug) -> None:
        text = (ROOT / bug.file).read_text(encoding="utf-8")
        broken = bug.applied(text)
        assert broken != text
        if bug.file.endswith(".py"):
            compile(broken, bug.file, "exec")
        effect = bug.file, broken
        assert effects.setdefault(effect, bug.name) == bug.name, "another bug has this effect"

    check_each({bug.name: bug for bug in BUGS}, check)


def test_every_finder_exists() -> None:
    def check(bug: Bug) -> None:
        if ".py" in bug.finder:
            file, *names = shlex.split(bug.finder)[0].partition("[")[0].split("::")
            assert not bug.property
            assert not bug.faults
            assert all(f"def {name}(" in (ROOT / file).read_text(encoding="utf-8") for name in names)
            assert (ROOT / file).is_file()
        else:
            checked = scenario.load(bug.finder).properties
            assert bug.property in {"", *(one.name for one in (*checked, *RULES))}
            assert set(bug.faults) <= set(KINDS)

    check_each({bug.name: bug for bug in BUGS}, check)


def test_every_property_and_kind_of_faults_is_needed_by_a_bug_or_kept_for_a_reason() -> None:
    needed = {bug.property for bug in BUGS}
    assert [one.name for one in ALL if one.name not in needed] == []
    text = (ROOT / "tests/mutants/bugs/sim.toml").read_text(encoding="utf-8")
    reasons = " ".join(line for line in text.partition("[[bug]]")[0].splitlines() if line.startswith("# "))
    shown = {kind for bug in BUGS for kind in bug.faults}
    assert [kind for kind in KINDS if kind not in shown and kind not in reasons] == []


@pytest.mark.nightly
def test_only_a_test_that_passes_without_the_bug_can_find_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "part.py").write_text("VALUE = 1\n")
    (tmp_path / "tests/test_part.py").write_text(TESTS)
    profile = 'from hypothesis import settings\nsettings.register_profile("unshrunk")\n'
    (tmp_path / "tests/conftest.py").write_text(profile)
    monkeypatch.setattr(runner, "ROOT", tmp_path)
    words = ("value", "nothing", "fails", "left_out")
    bugs = [Bug(word, "part.py", "1", "2", f"tests/test_part.py -k {word}") for word in words]
    assert try_all([*bugs, Bug("other", "part.py", "3", "2", "tests/test_part.py")], "unused", jobs=2) == [
        ("found", "tests/test_part.py::test_value"),
        ("SURVIVED", ""),
        ("NOT TRIED", "tests/test_part.py::test_that_fails fails without it, too"),
        ("NOT TRIED", "no-such-program is not here"),
        ("NOT TRIED", "the text that it replaces stands 0 times in part.py"),
    ]
    assert (tmp_path / "part.py").read_text() == "VALUE = 1\n"


def test_scenario_finds_a_bug_by_its_property_only() -> None:
    bug = next(bug for bug in BUGS if bug.name == "attempt-counted-twice")
    word, text = attempt(bug, "unused")
    assert (word, text.partition(" in ")[0]) == ("found", "attempts are numbered by claims")
