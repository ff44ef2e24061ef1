"""Runs mutants: each in a process of its own, patched before anything of the runtime is imported.

``python -m tests.mutants NAME`` tries one and prints its verdict as JSON; without a name it runs the whole
table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.mutants.patching import install
from tests.mutants.sabotage import SABOTAGES
from tests.mutants.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.mutants.patching import Mutant

BUDGET: Final = 60.0
"""Seconds of search for one mutant, of processor time: many times what each takes, so that a slow machine, or
other histories, find it too. What is found takes no longer for it."""

BLIND: Final = 20.0
"""Seconds of search with a slip in the simulator, which is to find nothing: longer, and luck may."""

RARE: Final = 3
"""How many times as long a mutant is looked for that few runs show."""

CPU_MAX: Final = 300.0
"""Seconds of processor time that the whole table should take at most."""

OF_TASKS: Final = ("catalog", "slice")
"""Scenarios that run Zeke's own tasks, whose slips no other one can show."""

TOO_LONG: Final = ("catalog",)
"""Scenarios whose runs take as long as dozens of the others, and show no slip of the runtime sooner."""

BESIDE: Final = 2
"""How many times as long as its processor time a search may take, beside others."""

PATIENCE: Final = 60.0
"""Seconds beyond that after which a process is ended: its search hangs."""

_LAST_WORDS: Final = 300
_ROOT: Final = Path(__file__).parents[2]


class UnknownMutant(LookupError):
    """There is no mutant of this name."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of the search for one mutant.

    Attributes:
        name: the mutant's.
        found: whether a property was broken.
        scenario, seed: of the run that broke it; None if none did.
        rule, text: the property, and what broke it.
        runs: how many runs it took, or were made in vain.
        cpu: seconds of processor time of the process, its imports included.
        error: what the process ended of, if it did not end by itself.
        sabotage: the name of the slip in the simulator that was made besides.
    """

    name: str
    found: bool
    cpu: float
    runs: int = 0
    scenario: str | None = None
    seed: int | None = None
    rule: str | None = None
    text: str | None = None
    error: str | None = None
    sabotage: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return all of it by name."""
        return asdict(self)

    def __str__(self) -> str:
        what = self.name if self.sabotage is None else f"{self.name} under {self.sabotage}"
        if self.found:
            how = f"{self.rule} in {self.scenario}, seed {self.seed}"
        else:
            how = f"NOT FOUND: {self.error}" if self.error else "NOT FOUND"
        return f"{what:<40} {self.runs:>6} runs {self.cpu:>6.1f} s  {how}"


def table(
    names: Sequence[str] | None = None,
    budget: float = BUDGET,
    jobs: int = 2,
    *,
    told: Callable[[Verdict], None] | None = None,
) -> list[Verdict]:
    """Search for each mutant.

    Args:
        names: which ones; all by default.
        budget: seconds of search for each.
        jobs: processes at a time.
        told: is told of each verdict as it comes.

    Returns:
        A verdict a mutant, in the table's order.

    Raises:
        UnknownMutant: there is none of such a name.
    """
    wanted = TABLE if names is None else [mutant(name) for name in names]
    return _all([(one.name, None) for one in wanted], budget, jobs, told)


def sabotaged(
    names: Sequence[str] | None = None,
    budget: float = BLIND,
    jobs: int = 2,
    *,
    told: Callable[[Verdict], None] | None = None,
) -> dict[str, list[Verdict]]:
    """Break the simulator, a slip at a time, and search for the mutants that should then go unfound.

    Arguments are those of ``table``, ``names`` being those of the slips.

    Returns:
        For each slip the verdicts of its mutants. Where all were found, what it broke is dead weight.
    """
    wanted = [one for one in SABOTAGES if names is None or one.breaks.name in names]
    pairs = [(name, one.breaks.name) for one in wanted for name in one.blinds]
    verdicts = _all(pairs, budget, jobs, told)
    return {
        one.breaks.name: [verdict for verdict in verdicts if verdict.sabotage == one.breaks.name]
        for one in wanted
    }


def summary(verdicts: Sequence[Verdict]) -> str:
    """Say in one line what came of the table."""
    unfound = [verdict.name for verdict in verdicts if not verdict.found]
    cpu = sum(verdict.cpu for verdict in verdicts)
    runs = sum(verdict.runs for verdict in verdicts)
    said = f"{len(verdicts) - len(unfound)} of {len(verdicts)} mutants found, {runs} runs, {cpu:.0f} CPU s"
    said += f" (more than {CPU_MAX:.0f})" if cpu > CPU_MAX else ""
    return f"{said}; not found: {', '.join(unfound)}" if unfound else said


def passed(verdicts: Sequence[Verdict]) -> bool:
    """Tell whether every mutant was found; how soon, depends on the machine."""
    return all(one.found for one in verdicts)


def mutant(name: str) -> Mutant:
    """Return a mutant of the runtime by name.

    Raises:
        UnknownMutant: there is none.
    """
    for one in TABLE:
        if one.name == name:
            return one
    raise UnknownMutant(f"No mutant is called {name!r}; there are {', '.join(one.name for one in TABLE)}")


def hunt(name: str, budget: float, sabotage: str | None = None) -> Verdict:
    """Search for one mutant in this process, which must not have imported the runtime yet.

    Args:
        name: the mutant's.
        budget: seconds of search.
        sabotage: the name of a slip in the simulator that is made besides.
    """
    wanted = mutant(name)
    install([wanted, *(one.breaks for one in SABOTAGES if one.breaks.name == sabotage)])
    from zeke_sim.experiment.driver import run_seeds  # noqa: PLC0415 - it imports what has just been patched

    scenarios = searched(wanted, everywhere=sabotage is not None)
    made = run_seeds(scenarios, itertools.count(1), budget=budget * (RARE if wanted.rare else 1))
    verdict = Verdict(name, found=False, cpu=_cpu(), runs=made.runs.total(), sabotage=sabotage)
    if made.failure is None or made.failure.violation is None:
        return verdict
    plan, violation = made.failure.plan, made.failure.violation
    return replace(
        verdict,
        found=True,
        scenario=plan.scenario,
        seed=plan.seed,
        rule=violation.rule,
        text=violation.text,
    )


def searched(wanted: Mutant, *, everywhere: bool = False) -> list[str]:
    """Return the names of the scenarios in which a mutant is looked for.

    Args:
        wanted: the mutant.
        everywhere: whether what it says of that is ignored: that it is not found counts then, and other
            scenarios may show it too.
    """
    from tests.scenarios import full, names  # noqa: PLC0415 - it imports the runtime, which is patched by then

    if wanted.where and not everywhere:
        chosen = wanted.where
    elif wanted.module.startswith("zeke_tasks."):
        chosen = OF_TASKS
    else:
        chosen = [scenario for scenario in names() if scenario not in TOO_LONG]
    return [full(scenario) for scenario in chosen]


def _all(
    pairs: Sequence[tuple[str, str | None]],
    budget: float,
    jobs: int,
    told: Callable[[Verdict], None] | None,
) -> list[Verdict]:
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        futures = [pool.submit(_elsewhere, name, budget, sabotage) for name, sabotage in pairs]
        try:
            for future in as_completed(futures):
                if told is not None:
                    told(future.result())
        except BaseException:
            # Those that have not begun are not waited for.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]


def _elsewhere(name: str, budget: float, sabotage: str | None) -> Verdict:
    """Search in a process of its own; one that ends badly, or hangs, has found nothing."""
    command = [sys.executable, "-m", "tests.mutants.run", name, "--budget", str(budget)]
    command += ["--sabotage", sabotage] if sabotage is not None else []
    longest = BESIDE * budget * RARE + PATIENCE
    try:
        done = subprocess.run(
            command, cwd=_ROOT, capture_output=True, text=True, timeout=longest, check=False
        )
    except subprocess.TimeoutExpired:
        hung = f"it hung, and was ended after {longest:g} s"
        return Verdict(name, found=False, cpu=budget, error=hung, sabotage=sabotage)
    try:
        return Verdict(**json.loads(done.stdout.splitlines()[-1]))
    except (IndexError, ValueError, TypeError):
        said = done.stderr.strip()[-_LAST_WORDS:] or f"exit code {done.returncode}"
        return Verdict(name, found=False, cpu=0.0, error=said, sabotage=sabotage)


def _cpu() -> float:
    """Return the seconds of processor time that this process has used, since it began."""
    times = os.times()
    return times.user + times.system


def _part(text: str) -> tuple[int, int]:
    """Return which part of how many an option's text means, such as 2/5."""
    first, _, step = text.partition("/")
    if not (first.isdecimal() and step.isdecimal() and 1 <= int(first) <= int(step)):
        raise argparse.ArgumentTypeError(f"must be K/N with K from 1 to N, got {text!r}")
    return int(first), int(step)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run", description=__doc__)
    parser.add_argument("name", nargs="?", help="the mutant to try; the whole table by default")
    parser.add_argument("--budget", type=float, help="seconds of search for one mutant")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, for the whole table")
    parser.add_argument("--sabotage", help="a slip in the simulator to make besides")
    parser.add_argument("--sabotages", action="store_true", help="make all of them, one at a time")
    parser.add_argument("--part", type=_part, metavar="K/N", help="of them only every Nth, from the Kth on")
    given = parser.parse_args(arguments)

    def say(line: object) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    if given.name is not None:
        verdict = hunt(given.name, given.budget or BUDGET, given.sabotage)
        say(json.dumps(verdict.as_json()))
        return 0 if verdict.found else 1
    if given.sabotages:
        first, step = given.part or (1, 1)
        slips = [one.breaks.name for one in SABOTAGES[first - 1 :: step]]
        unnoticed = [
            name
            for name, tried in sabotaged(slips, given.budget or BLIND, given.jobs, told=say).items()
            if all(verdict.found for verdict in tried)
        ]
        say(f"{len(slips)} of {len(SABOTAGES)} slips tried")
        say(f"dead weight: {'; '.join(unnoticed) or 'nothing'}")
        return 1 if unnoticed else 0
    verdicts = table(None, given.budget or BUDGET, given.jobs, told=say)
    say(summary(verdicts))
    return 0 if passed(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
