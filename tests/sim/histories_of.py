"""Prints digests of runs, to compare processes: ``python -m tests.sim.histories_of SCENARIO,… SEED …``."""

from __future__ import annotations

import sys

from tests.scenarios import load
from zeke_sim.experiment.run import run


def main() -> None:
    names, *seeds = sys.argv[1:]
    for name in names.split(","):
        scenario = load(name)
        for seed in seeds:
            outcome = run(scenario, scenario.plan(int(seed)), ())
            sys.stdout.write(f"{name} {seed} {len(outcome.events)} {outcome.digest}\n")


if __name__ == "__main__":
    main()
