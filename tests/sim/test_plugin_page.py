"""docs/simulate.md describes the plugin."""

from __future__ import annotations

import inspect
import re
import sys

import pytest

import zeke_sim
from tests.sim.plugging import run
from tests.tidy import ROOT
from zeke_sim.testing.client import Client
from zeke_sim.testing.environment import Options
from zeke_sim.testing.facade import BlockingZeke, Zeke
from zeke_sim.testing.seeded_test import test
from zeke_sim.testing.simulations import TOGETHER
from zeke_sim.testing.worlds import FAULTS, WorldOptions
from zeke_sim.world.faults import KINDS

pytest_plugins = ["pytester"]

PAGE = (ROOT / "docs" / "simulate.md").read_text(encoding="utf-8")


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_every_argument_of_a_test_is_in_its_table() -> None:
    table = PAGE[PAGE.index("| | default | |") : PAGE.index("The workload is a process too")]
    documented = {
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    assert documented == {"seeds", "catalog", *WorldOptions.__dataclass_fields__}
    assert f"| `seeds` | `{inspect.signature(test).parameters['seeds'].default}` |" in table
    assert f"| `days` | `{WorldOptions().days:g}` |" in table
    assert f'| `faults` | `"{WorldOptions().faults}"` |' in table
    assert all(f'"{word}"' in table for word in FAULTS)


def test_each_kind_of_fault_is_on_its_page_with_its_meaning() -> None:
    page = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| \S.* \|$", page, re.MULTILINE)
    assert rows == list(KINDS.items())


def test_both_ways_to_write_a_test_have_the_same_methods() -> None:
    assert public(Zeke) - {"forgotten"} == public(BlockingZeke)


def test_every_call_of_the_page_exists() -> None:
    calls = set(re.findall(r"\bzeke\.(\w+)", PAGE))
    assert calls <= public(Zeke) | public(Client) | {"queue", "random", "resources"}
    assert set(re.findall(r"\bzeke_sim\.(\w+)", PAGE)) <= {
        *zeke_sim.__all__,
        "experiment",
        "strategies",
        "testing",
        "world",
    }
    assert set(re.findall(r"zeke_options\((\w+)=", PAGE)) <= set(Options.__dataclass_fields__)
    assert all(f'"{name}"' in PAGE for name in TOGETHER)


def write_files(pytester: pytest.Pytester) -> dict[str, str]:
    """Write the files of the page, and its tests, and return them by name."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    files = {block.partition("\n")[0].removeprefix("# "): block for block in blocks if block.startswith("# ")}
    files["test_page.py"] = "\n".join(block for block in blocks if not block.startswith("# "))
    for name, text in files.items():
        file = pytester.path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return files


@pytest.mark.nightly
def test_project_of_the_page_passes_its_tests(pytester: pytest.Pytester, dsn: str) -> None:
    files = write_files(pytester)
    assert sorted(files) == ["conftest.py", "shop/retries.py", "shop/tasks.py", "test_page.py"]
    result = run(pytester, "-o", "asyncio_mode=auto", f"--zeke-postgres={dsn}", "--zeke-seeds=12")
    result.assert_outcomes(
        passed=len(re.findall(r"def test_|^test_\w+ =", files["test_page.py"], re.MULTILINE))
    )


def test_scenario_of_the_page_has_no_failure(pytester: pytest.Pytester) -> None:
    write_files(pytester)
    (command,) = re.findall(r"^\$ zeke sim (run .*)$", PAGE, re.MULTILINE)
    searched = pytester.run(sys.executable, "-c", "from zeke_sim.cli import sim; sim()", *command.split())
    assert searched.ret == 0
    searched.stdout.fnmatch_lines(["60 runs (shop.retries 60)", "*no failure"])


def test_public_names_are_there() -> None:
    assert [name for name in zeke_sim.__all__ if getattr(zeke_sim, name, None) is None] == []
