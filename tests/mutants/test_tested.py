"""Mutants that named tests find: what counts as found, and which are tried in a part."""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

from tests.cases import check_each
from tests.mutants import patching
from tests.mutants.changes import Changes, add_options, changes_in, select
from tests.mutants.table import TABLE
from tests.mutants.tested import TESTED, are_found, main
from zeke_sim.world import lines

FAILING = "tests/mutants/failing.py"
FLAKY = "tests.flaky"
DOC = "How long one test may take the second time."


def test_mutant_is_found_only_if_a_test_fails_because_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    def check(one: patching.Tested, told: str) -> None:
        assert not are_found([one], "")
        assert told in capsys.readouterr().out

    cases = {
        "its test fails without it, too": (
            patching.tested("a", FLAKY, DOC, f"{DOC} ", "", FAILING),
            f"NOT FOUND: a: {FAILING}::test_that_fails fails without it",
        ),
        "nothing imports it": (
            patching.tested("b", "tests.clocks", "START", "START ", "", FAILING),
            "SURVIVES: b",
        ),
        "its module is imported before": (
            patching.tested("c", "tests.mutants.patching", "a", "b", "", FAILING),
            "SURVIVES: c",
        ),
        "it does not apply": (patching.tested("d", FLAKY, "no such text", "", "", FAILING), "SURVIVES: d"),
    }
    check_each(cases, check)


def test_every_mutant_applies_to_its_module_and_has_its_tests() -> None:
    def check(mutant: patching.Mutant, *tests: str) -> None:
        module = Path(*mutant.module.split("."))
        source = next(file for file in (module.with_suffix(".py"), module / "__init__.py") if file.is_file())
        mutant.apply(source.read_text(encoding="utf-8"))
        assert all(Path(test.partition("::")[0]).is_file() for test in tests[:1])

    cases = {one.mutant.name: (one.mutant, *one.tests) for one in TESTED}
    check_each(cases | {mutant.name: (mutant,) for mutant in TABLE}, check)


def test_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["pause-counts-first", "no-such-mutant"])
    assert "name: must be that of a mutant, got no-such-mutant" in capsys.readouterr().err


DIFF = """\
diff --git tests/unit/test_a.py tests/unit/test_a.py
--- tests/unit/test_a.py
+++ tests/unit/test_a.py
@@ -1,3 +1,3 @@
 def test_one_thing() -> None:
-    assert a == 1
+    assert a == 2
diff --git zeke_queue/a.py zeke_queue/a.py
--- zeke_queue/a.py
+++ zeke_queue/a.py
@@ -1,3 +1,3 @@
 def a() -> int:
     b = 3
-    return 1
+    return 2
diff --git tests/mutants/edges.py tests/mutants/edges.py
--- tests/mutants/edges.py
+++ tests/mutants/edges.py
@@ -1,3 +1,3 @@
     _tested(
-        "old-name",
+        "new-name",
     _tested(
         "another-name",
"""


def test_mutant_is_tried_if_it_or_its_function_or_its_test_changed() -> None:
    changes = changes_in(DIFF)

    def check(one: patching.Tested, is_touched: bool) -> None:  # noqa: FBT001 - a column
        assert changes.touch(one) == is_touched
        assert not Changes({}, {}).touch(one)

    a, b, test, other = "zeke_queue.a", "zeke_queue.b", "tests/unit/test_a.py", "tests/unit/test_b.py"
    cases = {
        "its function": (patching.tested("m", a, "    b = 3\n", "", "", other), True),
        "another function": (patching.tested("m", a, "    c = 3\n", "", "", other), False),
        "what was there": (patching.tested("m", a, "return 1", "", "", other), False),
        "another module": (
            patching.tested("m", b, "b = 3", "", "", other),
            False,
        ),
        "itself": (patching.tested("new-name", b, "x", "", "", other), True),
        "its neighbour": (
            patching.tested("another-name", b, "x", "", "", other),
            False,
        ),
        "a file of tests": (patching.tested("m", b, "x", "", "", test), True),
        "its test": (patching.tested("m", b, "x", "", "", f"{test}::test_one_thing"), True),
        "another test": (patching.tested("m", b, "x", "", "", f"{test}::test_other"), False),
        "tests by a word": (patching.tested("m", b, "x", "", "", test, "-k", "thing"), True),
        "tests by another word": (
            patching.tested("m", b, "x", "", "", test, "-k", "that"),
            False,
        ),
    }
    check_each(cases, check)


def test_statement_is_touched_if_a_change_has_the_text_that_its_mutant_replaces() -> None:
    changes = changes_in(DIFF.replace("zeke_queue/a.py", "zeke_queue/sql/a.sql"))
    assert changes.touch_text("m", "zeke_queue/sql/a.sql", "    b = 3\n")
    assert not changes.touch_text("m", "zeke_queue/sql/a.sql", "    c = 3\n")


def test_part_of_the_mutants_is_chosen_and_those_that_changed() -> None:
    parser = ArgumentParser()
    add_options(parser)

    def check(options: list[str], expected: list[int]) -> None:
        assert select(range(1, 8), parser.parse_args(options), lambda _, one: one == 3) == expected

    assert list(select(range(1, 8), parser.parse_args([]), lambda *_: False)) == [*range(1, 8)]
    check_each([(["--part", "1/3"], [1, 3, 4, 7]), (["--part", "3/3"], [3, 6])], check)


class Replacing(SourceFileLoader):
    """A loader that changes what is in a file, as that of a mutant does."""

    def get_data(self, path: str) -> bytes:
        """Return the changed text."""
        return super().get_data(path).replace(b"1", b"2")


def test_points_are_inserted_into_the_text_that_a_loader_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, file = "replaced_by_loader", tmp_path / "replaced_by_loader.py"
    file.write_text("def number():\n    return 1\n", encoding="utf-8")
    spec = spec_from_file_location(name, file, loader=Replacing(name, str(file)))
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    lines.insert([name])
    assert (module.number(), lines.LINES[-1].text) == (2, "return 2")
