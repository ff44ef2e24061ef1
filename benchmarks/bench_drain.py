"""Drain 50,000 small jobs whose handlers return a result, beside the raw limit in the same run.

How many ways at once serve the limit best depends on the machine, so several are measured, and the best is
the limit.
"""

from __future__ import annotations

from functools import partial

from benchmarks.database import empty, fresh_database, load, open_storage
from benchmarks.drains import drain, raw
from benchmarks.report import Figure, in_turn, ratio

WAYS = (1, 2, 3)


async def run(dsn: str, runs: int, *, quick: bool) -> list[Figure]:
    """Take turns, each on a newly filled table, and each run beginning with another."""
    jobs = 5_000 if quick else 50_000
    measures = {"worker": drain, **{f"raw, ways: {ways}": partial(raw, ways=ways) for ways in WAYS}}
    rates: dict[str, list[float]] = {name: [] for name in measures}
    async with fresh_database(dsn) as own, open_storage(own) as storage:
        for measured in range(runs):
            for name in in_turn(list(measures), measured):
                empty(own)
                load(own, jobs)
                rates[name].append(await measures[name](storage, jobs))
    worker, *ways = (Figure("drain", name, "jobs/s", tuple(values)) for name, values in rates.items())
    limit = max(ways, key=lambda figure: figure.median)
    return [worker, *ways, ratio("drain", "worker / best raw", worker, limit, target=0.5)]
