"""How much the simulator gets through in a second of processor time, and its loop beside its peers'.

Each measure runs in a process of its own, since a simulation closes its process to the world outside; all
take turns, so that a slow minute of the machine is in each. The peers need nothing but an interpreter.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.interpreters import Interpreter, find
from benchmarks.report import Figure, in_turn, ratio
from benchmarks.ticking import TASKS
from tests.scenarios import names

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).parents[1]
FIVE: Final = "*/5 * * * *"
ZEKES: Final = (FIVE, "0 */6 * * *")
PEERS: Final = ("simloom", "trio")
SIMLOOM: Final = 12
"""It needs Python 3.12."""


def run(runs: int, *, quick: bool) -> list[Figure]:
    """Measure everything the given number of times."""
    with tempfile.TemporaryDirectory() as folder:
        python, loops = _loops(Path(folder))
        measures: dict[str, Callable[[], float]] = {
            **{name: _runs(name, quick=quick) for name in names()},
            **_days(quick=quick),
            **{name: _ticks(python, name, 20 if quick else 1000) for name in loops},
        }
        values: dict[str, list[float]] = {name: [] for name in measures}
        for measured in range(runs):
            for name in in_turn(list(measures), measured):
                values[name].append(measures[name]())
                print(".", end="", flush=True)
    print()
    return _figures({name: tuple(seconds) for name, seconds in values.items()}, loops, python, quick=quick)


def _figures(
    values: dict[str, tuple[float, ...]], loops: tuple[str, ...], python: Interpreter, *, quick: bool
) -> list[Figure]:
    figures = [
        Figure("sim", f"{name}, all properties", "runs/CPU s", values[name], 50 if name == "storm" else None)
        for name in sorted(names(), key=lambda name: name != "storm")
    ]
    figures += [
        Figure("sim", f"cron every 5 min, {how}", "days/CPU s", values[how], 100)
        for how in ("searched", "tested")
    ]
    days, target = ("a day", None) if quick else ("a year", 10)
    figures.append(Figure("sim", f"{days} of two schedules", "CPU s", values["year"], target, "less"))
    ticks = {
        name: Figure("sim", f"{name}'s loop, Python {python.version}", "waits/CPU s", values[name])
        for name in loops
    }
    ours = ticks.pop("zeke_sim")
    return [
        *figures,
        ours,
        *ticks.values(),
        *[ratio("sim", f"loop / {name}'s", ours, peer, target=1) for name, peer in ticks.items()],
    ]


def _runs(name: str, *, quick: bool) -> Callable[[], float]:
    seeds = 2 if quick else 200 if name == "storm" else 40
    return lambda: seeds / _simulated("runs", name, str(seeds))


def _days(*, quick: bool) -> dict[str, Callable[[], float]]:
    searched, tested, year = (0.1, 0.1, 1) if quick else (10, 30, 365)
    return {
        "searched": lambda: searched / _simulated("searched", str(searched), FIVE),
        "tested": lambda: tested / _simulated("tested", str(tested), FIVE),
        "year": lambda: _simulated("tested", str(year), *ZEKES),
    }


def _ticks(python: Interpreter, name: str, waits: int) -> Callable[[], float]:
    return lambda: TASKS * waits / _seconds(python, "benchmarks.ticking", name, str(waits))


def _loops(folder: Path) -> tuple[Interpreter, tuple[str, ...]]:
    """Return the Python on which the loops are compared, and which of them it has."""
    constraints = ROOT / "constraints.txt"
    found = find(SIMLOOM, (*PEERS, "greenlet"), folder, constraints)  # the simulator's loop imports it
    if isinstance(found, Interpreter):
        return found, ("zeke_sim", *PEERS)
    print(f"sim: simloom is left out: {found}")
    version = ".".join(map(str, sys.version_info[:2]))
    return Interpreter(sys.executable, version, None), ("zeke_sim", "trio")


def _simulated(*arguments: str) -> float:
    return _seconds(Interpreter(sys.executable, "", None), "benchmarks.simulated", *arguments)


def _seconds(python: Interpreter, module: str, *arguments: str) -> float:
    """Return the processor seconds that a measure took, in a process of its own."""
    paths = [str(ROOT), *([str(python.packages)] if python.packages else [])]
    done = subprocess.run(
        [python.program, "-m", module, *arguments],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONHASHSEED": "0"},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"{module} {' '.join(arguments)}: exit code {done.returncode}; see above")
    return float(json.loads(done.stdout))
