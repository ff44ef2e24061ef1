"""ARCHITECTURE.md matches the tree: its packages, their order, and every path."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from tests.cases import check_each

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
CONTRACTS = {
    contract["id"]: contract
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "importlinter"
    ]["contracts"]
}


def rows() -> list[list[str]]:
    """Return the rooms that each row of the map names."""
    section = PAGE.partition("## The map")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
    return [re.findall(r"`([^`]+)`", cell) for cell in cells]


def test_map_can_be_read_in_two_minutes() -> None:
    assert 15 <= len(rows()) <= 30


@pytest.mark.parametrize(
    ("package", "contract"),
    [("zeke_queue", "queue-floors"), ("zeke_tasks", "tasks-floors"), ("zeke_sim", "sim-floors")],
)
def test_rooms_and_their_order_are_those_of_the_import_contract(package: str, contract: str) -> None:
    shown = [
        {room.removeprefix(f"{package}/").removesuffix(".py") for room in row}
        for row in rows()
        if row[0].startswith(f"{package}/")
    ]
    held = [{room.strip() for room in re.split(r"[|:]", layer)} for layer in CONTRACTS[contract]["layers"]]
    assert shown == held
    assert CONTRACTS[contract]["exhaustive"]


def test_every_path_exists() -> None:
    paths = re.findall(r"`((?:zeke_queue|zeke_tasks|zeke_sim|tests|docs|clients|benchmarks)/[\w./-]*)`", PAGE)
    short = [
        f"{folder}/{path}"
        for folder, path in (
            *(("zeke_queue", path) for path in re.findall(r"`((?:core|storage|system)/[\w./]+)`", PAGE)),
            *(("zeke_queue/storage", path) for path in re.findall(r"`(memory/[\w./]+)`", PAGE)),
            *(("zeke_queue/storage/postgres", path) for path in re.findall(r"`(sql/[\w./]+)`", PAGE)),
        )
    ]
    for rooms, what in re.findall(r"^\| (`zeke_.*?) \| (.*) \|$", PAGE, re.MULTILINE):
        folders = re.findall(r"`([^`]+)`", rooms)
        for module in re.findall(r"`(\w+\.py)`", what):
            assert any((ROOT / folder / module).exists() for folder in folders), module
    assert len(paths) > 50
    assert len(short) > 40
    assert [path for path in [*paths, *short] if not (ROOT / path).exists()] == []


def test_docstrings_of_large_packages_name_each_of_their_modules() -> None:
    def check(package: str) -> None:
        folder = ROOT / package
        docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
        named = set(re.findall(r"``([a-z_0-9]+)``", docstring))
        modules = {
            path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
        }
        assert modules - {"__init__"} - named == set()

    check_each(
        [
            "zeke_queue/storage",
            "zeke_queue/storage/memory",
            "zeke_queue/storage/postgres",
            "zeke_queue/core",
            "zeke_queue/worker",
            "zeke_queue/web",
            "zeke_sim/experiment",
            "zeke_sim/world",
        ],
        check,
    )
