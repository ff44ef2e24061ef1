"""The matrix of a toy tree: killed, surviving and interrupted mutants, resuming, and a lost killer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.mutants.matrix import BUDGET, KILLS, Entry, layer_of, main
from tests.mutants.table import TABLE
from tests.mutants.touches import ordered

FILES = {
    "pytest.ini": "[pytest]\naddopts = --import-mode=importlib -p no:schemathesis\n",
    # The plugins that this project's metadata names.
    "zeke_sim/__init__.py": "",
    "zeke_sim/testing/__init__.py": "",
    "zeke_sim/testing/pytest_plugin.py": "",
    "zeke_tasks/__init__.py": "",
    "zeke_tasks/testing/__init__.py": "",
    "zeke_tasks/testing/pytest_plugin.py": "",
    # Where older trees have their mutants.
    "zeke_sim/mutants/__init__.py": "",
    "zeke_sim/mutants/table.py": """
from typing import NamedTuple
class Mutant(NamedTuple):
    name: str
    module: str
    old: str
    new: str
TABLE = [
    Mutant("minus", "sums", "a + b", "a - b"),
    Mutant("double", "sums", "2 * a", "a + a"),
    Mutant("endless", "sums", "n -= 1", "n -= 0"),
    Mutant("elsewhere", "sums", "text", "nowhere"),
]
""",
    "sums.py": """
def add(a, b):
    return a + b
def twice(a):
    return 2 * a
def down(n):
    while n:
        n -= 1
def unused():
    return "text"[1:]
""",
    "tests/unit/test_sums.py": """
import sums
def test_zero(): assert sums.add(1, 0) == 1
def test_add(): assert sums.add(1, 2) == 3
def test_twice(): assert sums.twice(2) == 4
""",
    "tests/web/test_page.py": """
import subprocess, sys, sums
def test_sum_is_the_same_in_a_subprocess():
    sums.add(1, 1)
    assert subprocess.check_output([sys.executable, "-c", "import sums; print(sums.add(1, 1))"]) == b"2\\n"
def test_down(): sums.down(3)
""",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy tree beside the map of its tests and its matrix."""
    folder = tmp_path_factory.mktemp("toy")
    for name, text in FILES.items():
        (folder / "toy" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "toy" / name).write_text(text)
    assert run(folder, "coverage") == 0
    assert run(folder, "record") == 0
    return folder


def run(folder: Path, command: str, *arguments: str) -> int:
    places = {"tree": "toy", "coverage": "map", "kills": "kills.json"}
    options = [part for name, place in places.items() for part in (f"--{name}", str(folder / place))]
    return main([command, *options, "--budget", "9", "--hang", "2", *arguments])


def recorded(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "kills.json").read_text())


def test_first_killer_of_each_layer_is_recorded(made: Path) -> None:
    killers = {
        "unit": "tests/unit/test_sums.py::test_add",
        "web": "tests/web/test_page.py::test_sum_is_the_same_in_a_subprocess",
    }
    assert recorded(made)["mutants"]["minus"] == {"killers": killers, "survives": [], "not_tried": []}


def test_survivor_is_named_with_the_layers_that_tried(made: Path) -> None:
    assert recorded(made)["mutants"]["double"] == {"killers": {}, "survives": ["unit"], "not_tried": []}
    assert "double" in recorded(made)["survivors"]


def test_test_that_hangs_kills(made: Path) -> None:
    assert recorded(made)["mutants"]["endless"]["killers"] == {"web": "tests/web/test_page.py::test_down"}


def test_layer_that_does_not_finish_is_not_tried(made: Path) -> None:
    assert run(made, "record", "minus", "--kills", str(made / "hasty.json"), "--budget", "0.1") == 0
    entry = json.loads((made / "hasty.json").read_text())["mutants"]["minus"]
    assert entry == {"killers": {}, "survives": [], "not_tried": ["unit", "web"]}


def test_second_part_continues_where_the_first_ended(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = recorded(made)
    (made / "kills.json").write_text(
        json.dumps(whole | {"mutants": {name: e for name, e in whole["mutants"].items() if name != "minus"}})
    )
    assert run(made, "record") == 0
    assert recorded(made) == whole
    told = capsys.readouterr().out
    assert "minus: killed by unit, web" in told
    assert "double" not in told


def test_check_reports_a_killer_that_is_lost(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(made, "check", "minus", "double") == 0
    page, sums = made / "toy/tests/web/test_page.py", made / "toy/tests/unit/test_sums.py"
    page.write_text(FILES["tests/web/test_page.py"].replace("== b", "!= b"))
    sums.write_text(FILES["tests/unit/test_sums.py"].replace("test_add", "test_sum"))
    try:
        capsys.readouterr()
        assert run(made, "check", "minus") == 1
        told = capsys.readouterr().out
    finally:
        page.write_text(FILES["tests/web/test_page.py"])
        sums.write_text(FILES["tests/unit/test_sums.py"])
    assert "unit kills 1 no longer: minus" in told
    assert "web kills 1 no longer: minus" in told
    assert "newly surviving: minus" in told


def test_mutant_that_does_not_apply_is_reported(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (made / "toy/sums.py").write_text(FILES["sums.py"].replace("a + b", "b + a"))
    try:
        assert run(made, "check", "minus") == 1
    finally:
        (made / "toy/sums.py").write_text(FILES["sums.py"])
    assert "minus: its text stands 0 times in sums.py" in capsys.readouterr().out


def test_sample_is_drawn_by_its_seed(made: Path) -> None:
    for _ in range(2):
        (made / "sample.json").unlink(missing_ok=True)
        assert (
            run(made, "record", "--kills", str(made / "sample.json"), "--sample", "1/4", "--seed", "2") == 0
        )
        assert len(json.loads((made / "sample.json").read_text())["mutants"]) == 1


def test_order_is_quick_first_and_one_case_a_function() -> None:
    spent = {"t/a.py::slow": [9.0, 9.0], "t/a.py::f[1]": [0.0, 0.0], "t/a.py::f[2]": [0.0, 0.0]}
    assert ordered([*spent, "t/b.py::g"], spent) == [
        "t/a.py::f[1]",
        "t/b.py::g",
        "t/a.py::f[2]",
        "t/a.py::slow",
    ]


def test_layer_is_the_folder_and_budget_is_forty_seconds() -> None:
    assert [layer_of("tests/unit/core/test_a.py::b"), layer_of("tests/test_docs.py::c")] == ["unit", "tests"]
    assert (BUDGET, Entry().summary()) == (40.0, "no test touches it")


def test_matrix_has_a_row_for_each_mutant_of_the_table() -> None:
    assert sorted(json.loads(KILLS.read_text())["mutants"]) == sorted(mutant.name for mutant in TABLE)
