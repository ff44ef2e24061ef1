"""Finds a Python, and gives it packages, for a peer that the benchmark's own Python can't run."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

NEWEST: Final = 14
_VERSION: Final = "import sys; print('%d.%d' % sys.version_info[:2])"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python with packages.

    Attributes:
        program: what to run.
        version: such as ``3.12``.
        packages: an additional folder of packages; None if it has them.
    """

    program: str
    version: str
    packages: Path | None


def find(oldest: int, packages: Sequence[str], into: Path, constraints: Path) -> Interpreter | str:
    """Return a Python of version 3.``oldest`` or newer that can import some packages, or why there is none.

    Args:
        oldest: minor version.
        packages: names, of distributions and modules alike; all of them in Python alone.
        into: where to install them, if the Python that runs can't be used.
        constraints: a file of versions.
    """
    if sys.version_info >= (3, oldest) and all(importlib.util.find_spec(name) for name in packages):
        return Interpreter(sys.executable, ".".join(map(str, sys.version_info[:2])), None)
    for program in _programs(oldest):
        version = _output([program, "-c", _VERSION])
        if version is None:
            continue
        problem = _install(version, packages, into, constraints)
        return problem or Interpreter(program, version, into)
    return f"no Python 3.{oldest} or newer was found"


def _programs(oldest: int) -> Iterator[str]:
    for minor in range(oldest, NEWEST + 1):
        if (program := shutil.which(f"python3.{minor}")) is not None:
            yield program
    uv = shutil.which("uv")
    if uv is not None and (program := _output([uv, "python", "find", f">=3.{oldest}"])) is not None:
        yield program


def _install(version: str, packages: Sequence[str], into: Path, constraints: Path) -> str | None:
    """Install packages for another Python than the running one; return the error, if any."""
    uv = shutil.which("uv")
    command = (
        [uv, "pip", "install"] if uv else [sys.executable, "-m", "pip", "install", "--only-binary=:all:"]
    )
    where = ["--target", str(into), "--python-version", version, "--constraint", str(constraints)]
    done = subprocess.run(
        [*command, "--quiet", *where, *packages], check=False, capture_output=True, text=True
    )
    if done.returncode == 0:
        return None
    said = (done.stderr.strip() or "it says nothing").splitlines()[-1]
    return f"{', '.join(packages)} can't be installed for Python {version}: {said}"


def _output(command: list[str]) -> str | None:
    """Return what a program prints; None if it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else None
