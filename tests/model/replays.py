"""Replays the storage calls of many simulated runs on Postgres: ``python -m tests.model.replays``.

Ends with 1 and prints the first difference of each scenario, or if its limits allowed no run.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import multiprocessing
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from tests.database import EMBEDDED, Databases, server
from tests.model.replay import Difference, Replay, check
from tests.scenarios import load, names
from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Sequence


class Search(NamedTuple):
    """What to replay: ``runs`` at most, in ``seconds`` at most, in ``jobs`` processes."""

    scenarios: tuple[str, ...]
    first: int
    runs: int
    seconds: float
    jobs: int


class Found(NamedTuple):
    """Runs and calls that were replayed, by scenario, and the differences that were found."""

    runs: Counter[str]
    calls: int
    differences: list[str]


def search(dsn: str, wanted: Search, process: int) -> Found:
    """Replay the runs of one process, each ``jobs`` apart, on a database of its own."""
    runs, calls, differences = Counter[str](), 0, dict[str, str]()
    clock = SystemClock()
    until = clock.monotonic() + wanted.seconds
    every = ((name, seed) for seed in itertools.count(wanted.first) for name in wanted.scenarios)
    with Databases(dsn, f"replay{os.getpid()}").database() as own, asyncio.Runner() as runner:
        opening = Replay.open(own)
        replay = runner.run(opening.__aenter__())
        try:
            for name, seed in itertools.islice(every, process, wanted.runs, wanted.jobs):
                if clock.monotonic() > until:
                    break
                if name in differences:
                    continue
                runs[name] += 1
                try:
                    calls += check(runner, replay, load(name), seed)
                except Difference as difference:
                    differences[name] = f"{name}, seed {seed}: {difference}"
        finally:
            runner.run(opening.__aexit__(None, None, None))
    return Found(runs, calls, list(differences.values()))


def main(arguments: Sequence[str]) -> int:
    """Replay the runs that the arguments select."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", help="names of scenarios; all by default")
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first seed")
    parser.add_argument("--runs", type=int, default=1000, help="runs over all scenarios")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="limit of seconds")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    asked = parser.parse_args(arguments)
    wanted = Search(tuple(asked.scenarios or names()), asked.first, asked.runs, asked.seconds, asked.jobs)
    clock = SystemClock()
    began = clock.monotonic()
    context = multiprocessing.get_context("spawn")
    with server(EMBEDDED, f"replay{os.getpid()}") as dsn, ProcessPoolExecutor(asked.jobs, context) as pool:
        found = list(pool.map(partial(search, dsn, wanted), range(asked.jobs)))
    runs = sum((one.runs for one in found), Counter[str]())
    differences = [text for one in found for text in one.differences]
    sys.stdout.writelines(f"{text}\n" for text in differences)
    each = ", ".join(f"{name} {number}" for name, number in sorted(runs.items()))
    calls, seconds = sum(one.calls for one in found), clock.monotonic() - began
    sys.stdout.write(f"{runs.total()} runs ({each}), {calls} calls in {seconds:.0f} s: ")
    sys.stdout.write(f"{len(differences)} differences\n")
    return 0 if runs and not differences else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
