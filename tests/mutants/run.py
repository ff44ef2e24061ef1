"""Runs mutants: each in a process of its own, patched before anything of the runtime is imported.

``python -m tests.mutants NAME`` tries one and prints its verdict as JSON; without a name it runs the whole
table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from tests.mutants import weights
from tests.mutants.blind import hunt_blind
from tests.mutants.changes import Changes, add_options, select
from tests.mutants.patching import install
from tests.mutants.planted import PLANTED
from tests.mutants.processes import ForkedError, forked, say
from tests.mutants.simulator import SIMULATOR_MUTANTS
from tests.mutants.table import TABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.mutants.patching import Mutant

RUNS: Final = 600
"""How many runs may be made in search of one mutant: many times what each takes, so that other histories show
it too."""

RARE: Final = 3
"""How many times as many runs are made for a mutant that few runs show."""

CPU_MAX: Final = 300.0
"""Seconds of processor time that the whole table should take at most."""

OF_TASKS: Final = ("catalog", "slice")
"""Scenarios that run Zeke's own tasks, whose mutants no other one can show."""

TOO_LONG: Final = ("catalog",)
"""Scenarios whose runs take as long as dozens of the others, and show no mutant of the runtime sooner."""

HANG: Final = 1800.0
"""Real seconds after which a process is ended. Its mutant counts as not tried, instead of not found."""


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
        runs: how many runs it took, or were made without a finding.
        cpu: seconds of processor time of the process, its imports included.
        error: why the process ended, if it did not exit on its own: the mutant was not tried then.
        under: the name of the mutant of the simulator under which it has to go unfound.
        other: what finds it under the mutant, in which run; None if nothing does.
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
    under: str | None = None
    other: str | None = None

    @property
    def tried(self) -> bool:
        """Whether enough runs were made for a verdict."""
        return self.error is None

    @property
    def shown(self) -> bool:
        """Whether the mutant is found, and is not under the mutant in the simulator."""
        return self.tried and self.found and self.other is None

    def as_json(self) -> dict[str, Any]:
        """Return all of it by name."""
        return asdict(self)

    def __str__(self) -> str:
        what = self.name if self.under is None else f"{self.under}: {self.name}"
        if not self.tried:
            how = f"NOT TRIED: {self.error}"
        elif self.other is not None:
            how = f"FOUND UNDER THE MUTANT by {self.other}"
        else:
            how = f"{self.rule} in {self.scenario}, seed {self.seed}" if self.found else "NOT FOUND"
        return f"{what:<40} {self.runs:>6} runs {self.cpu:>6.1f} s  {how}"


def table(
    names: Sequence[str] | None = None,
    runs: int = RUNS,
    jobs: int = 2,
    *,
    told: Callable[[Verdict], None] | None = None,
) -> list[Verdict]:
    """Search for each mutant, or those of these names, and return their verdicts in the table's order."""
    wanted = TABLE if names is None else [mutant(name) for name in names]
    return _all([[one.name, "--runs", str(runs)] for one in wanted], jobs, told)


def simulator_table(
    names: Sequence[str] | None = None, jobs: int = 2, *, told: Callable[[Verdict], None] | None = None
) -> list[Verdict]:
    """Break the simulator, one mutant at a time, and check that a bug is missed that is found without it.

    Code whose mutant has no effect is dead weight.
    """
    wanted = [one for one in SIMULATOR_MUTANTS if names is None or one.name in names]
    return _all([[one.blinds, "--under", one.name] for one in wanted], jobs, told)


def summary(verdicts: Sequence[Verdict]) -> str:
    """Format the results of the table in one line."""
    unfound = [verdict.name for verdict in verdicts if verdict.tried and not verdict.found]
    untried = [verdict.name for verdict in verdicts if not verdict.tried]
    cpu = sum(verdict.cpu for verdict in verdicts)
    found, runs = sum(verdict.found for verdict in verdicts), sum(verdict.runs for verdict in verdicts)
    said = f"{found} of {len(verdicts)} mutants found, {runs} runs, {cpu:.0f} CPU s"
    said += f" (more than {CPU_MAX:.0f})" if cpu > CPU_MAX else ""
    said += f"; not found: {', '.join(unfound)}" if unfound else ""
    return said + (f"; not tried: {', '.join(untried)}" if untried else "")


def simulator_summary(verdicts: Sequence[Verdict]) -> str:
    """Return how many of the simulator's mutants were tried, and those that no bug needs."""
    unshown = [str(one.under) for one in verdicts if one.tried and not one.shown]
    untried = [str(one.under) for one in verdicts if not one.tried]
    said = f"{len(verdicts) - len(untried)} of {len(SIMULATOR_MUTANTS)} mutants of the simulator tried"
    said += f", not tried: {'; '.join(untried)}" if untried else ""
    return f"{said}\ndead weight: {'; '.join(unshown) or 'nothing'}"


def passed(verdicts: Sequence[Verdict]) -> bool:
    """Return whether every mutant was found; how soon, depends on the machine."""
    return all(one.found for one in verdicts)


def mutant(name: str) -> Mutant:
    """Return a mutant of the runtime by name, or a bug that is planted for a mutant of the simulator."""
    for one in (*TABLE, *PLANTED):
        if one.name == name:
            return one
    raise UnknownMutant(f"No mutant is called {name!r}; there are {', '.join(one.name for one in TABLE)}")


def hunt(name: str, most: int = RUNS) -> Verdict:
    """Search for one mutant in this process, which must not have imported the runtime yet."""
    wanted = mutant(name)
    install([wanted])
    from zeke_sim.experiment.driver import run_seeds  # noqa: PLC0415 - it imports what has just been patched

    made = run_seeds(searched(wanted), itertools.count(1), runs=most * (RARE if wanted.rare else 1))
    verdict = Verdict(name, found=False, cpu=_cpu(), runs=made.runs.total())
    if made.failure is None or made.failure.violation is None:
        return verdict
    plan, violation = made.failure.plan, made.failure.violation
    return replace(
        verdict, found=True, scenario=plan.scenario, seed=plan.seed, rule=violation.rule, text=violation.text
    )


def hunt_under(name: str) -> Verdict:
    """Search for what a mutant of the simulator has to hide, in this process, as ``hunt`` does."""
    for one in SIMULATOR_MUTANTS:
        if one.name == name:
            break
    else:
        raise UnknownMutant(
            f"No mutant of the simulator is called {name!r}; there are "
            f"{', '.join(one.name for one in SIMULATOR_MUTANTS)}"
        )
    wanted = mutant(one.blinds)
    runs, seen, other = hunt_blind(wanted, one, searched(wanted, everywhere=True), searched(wanted))
    verdict = Verdict(wanted.name, found=False, cpu=0.0, runs=runs, under=name)
    if seen is not None:
        verdict = replace(verdict, found=True, **seen._asdict())
    return replace(verdict, cpu=_cpu(), other=None if other is None else str(other))


def searched(wanted: Mutant, *, everywhere: bool = False) -> list[str]:
    """Return the names of the scenarios in which a mutant is looked for: its own, unless ``everywhere``."""
    from tests.scenarios import full, names  # noqa: PLC0415 - it imports the runtime, which is patched by then

    if wanted.where and not everywhere:
        chosen = wanted.where
    elif wanted.module.startswith("zeke_tasks."):
        chosen = OF_TASKS
    else:
        # What runs Zeke's own tasks takes longest to import.
        chosen = sorted(set(names()) - set(TOO_LONG), key=lambda name: (name in OF_TASKS, name))
    return [full(scenario) for scenario in chosen]


def _all(commands: Sequence[list[str]], jobs: int, told: Callable[[Verdict], None] | None) -> list[Verdict]:
    with ThreadPoolExecutor(max(jobs, 1)) as pool:
        futures = [pool.submit(_elsewhere, command) for command in commands]
        try:
            for future in as_completed(futures):
                if told is not None:
                    told(future.result())
        except BaseException:
            # Those that have not begun are not waited for.
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]


def _elsewhere(command: list[str]) -> Verdict:
    """Try a mutant in its own process; if that crashes or hangs, the mutant counts as not tried."""
    try:
        return forked(_hunt, *command, seconds=HANG)
    except ForkedError as error:
        under = command[2] if command[1] == "--under" else None
        return Verdict(command[0], found=False, cpu=0.0, error=str(error), under=under)


def _hunt(name: str, option: str, value: str) -> Verdict:
    return hunt_under(value) if option == "--under" else hunt(name, int(value))


def _cpu() -> float:
    """Return the seconds of processor time that this process has used, since it began."""
    times = os.times()
    return times.user + times.system


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.run", description=__doc__)
    parser.add_argument("name", nargs="?", help="the mutant to try; the whole table by default")
    parser.add_argument("--runs", type=int, default=RUNS, help="how many to make for one mutant at most")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time, for the whole table")
    parser.add_argument("--under", help="the mutant of the simulator under which NAME has to go unfound")
    parser.add_argument("--simulator", action="store_true", help="make all of them, one at a time")
    parser.add_argument("--record", action="store_true", help="write down where each of the table is found")
    add_options(parser)
    given = parser.parse_args(arguments)

    if given.record and given.part:
        parser.error("--record: must be used for the whole table, got --part too")
    if given.name is not None:
        verdict = hunt_under(given.under) if given.under else hunt(given.name, given.runs)
        say(json.dumps(verdict.as_json()))
        return 0 if verdict.shown else 1
    if given.simulator:
        some = select(SIMULATOR_MUTANTS, given, lambda changes, one: changes.touch_mutant(one.breaks))
        verdicts = simulator_table([one.name for one in some], given.jobs, told=say)
        say(simulator_summary(verdicts))
        return 0 if all(one.shown for one in verdicts) else 1
    tried = [one.name for one in select(TABLE, given, Changes.touch_mutant)]
    verdicts = table(tried, given.runs, given.jobs, told=say)
    say(summary(verdicts))
    if given.record:
        weights.record({one.name: (one.scenario, one.seed) for one in verdicts})
    return 0 if passed(verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
