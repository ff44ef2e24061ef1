"""Run the benchmarks: ``python -m benchmarks [BENCH …] [--quick]``.

Exit code 1 if a bench fails to run or, with ``--strict``, if a target is missed. How fast a machine is
decides nothing else: users read the figures, and compare medians and ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import (
    bench_backlog,
    bench_drain,
    bench_live,
    bench_pickup,
    bench_pipeline,
    bench_reading,
    bench_send,
    bench_sim,
    database,
    plot,
    report,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

ON_POSTGRES = {
    "drain": bench_drain.run,
    "backlog": bench_backlog.run,
    "send": bench_send.run,
    "pick-up": bench_pickup.run,
    "pipeline": bench_pipeline.run,
    "live": bench_live.run,
}
ALONE = {"reading": bench_reading.run, "sim": bench_sim.run}
BENCHES = (*ON_POSTGRES, *ALONE)


def main() -> int:
    """Parse the command line, measure, show and keep."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure the queue as ratios to limits."
    )
    parser.add_argument(
        "benches", nargs="*", metavar="BENCH", help=f"which: {', '.join(BENCHES)}; all by default"
    )
    parser.add_argument("--postgres", default="embedded", help="embedded, testcontainers, or a DSN")
    parser.add_argument("--runs", type=int, default=5, help="runs of each; the median counts")
    parser.add_argument(
        "--quick", action="store_true", help="one small run of each: only shows that they run"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument(
        "--out",
        type=Path,
        default=report.RESULTS / "latest.json",
        help="where to write the JSON, and beside it the plot",
    )
    given = parser.parse_args()
    unknown = [name for name in given.benches if name not in BENCHES]
    if unknown:
        parser.error(f"no bench {unknown[0]!r}; there are {', '.join(BENCHES)}")
    if given.runs < 1:
        parser.error(f"--runs {given.runs}: give 1 or more")
    figures, server = _measure(given, given.benches or BENCHES)
    report.show(figures, server)
    report.keep(figures, server, given.out)
    plot.draw(figures, server, given.out.with_suffix(".svg"))
    print(f"written to {given.out}, and as a plot beside it")
    missed = [figure.name for figure in figures if figure.reached is False]
    return 1 if given.strict and missed else 0


def _measure(given: argparse.Namespace, names: Sequence[str]) -> tuple[list[report.Figure], str]:
    """Return the figures of some benches, and a description of the machine."""
    figures: list[report.Figure] = []
    runs = 1 if given.quick else given.runs
    server, dsn = "no database", ""
    with ExitStack() as stack:
        if any(name in ON_POSTGRES for name in names):
            kind = given.postgres if given.postgres in {"embedded", "testcontainers"} else "given"
            dsn = stack.enter_context(database.server(given.postgres))
            server = database.describe(kind, dsn)
        for name in names:
            print(f"{name} …", flush=True)
            if name in ALONE:
                figures.extend(ALONE[name](runs, quick=given.quick))
            else:
                figures.extend(asyncio.run(ON_POSTGRES[name](dsn, runs, quick=given.quick)))
    return figures, server + (", quick: the figures say nothing" if given.quick else "")


if __name__ == "__main__":
    sys.exit(main())
