"""A backlog must not slow claims down: few jobs waiting, a million waiting, and a million deferred."""

from __future__ import annotations

from benchmarks.database import empty, fresh_database, load, open_storage
from benchmarks.drains import drain
from benchmarks.report import Figure, ratio


async def run(dsn: str, runs: int, *, quick: bool) -> list[Figure]:
    """Measure the first jobs of each backlog; the large one is filled once and eaten from."""
    jobs = 2_000 if quick else 10_000
    many = 20_000 if quick else 1_000_000
    small: list[float] = []
    large: list[float] = []
    deferred: list[float] = []
    async with fresh_database(dsn) as own, fresh_database(dsn) as other, fresh_database(dsn) as third:
        load(other, many)
        load(third, many, delay=86_400.0)
        async with open_storage(own) as one, open_storage(other) as two, open_storage(third) as three:
            for _ in range(runs):
                empty(own)
                load(own, jobs)
                small.append(await drain(one, jobs))
                large.append(await drain(two, jobs))
                load(third, jobs)
                deferred.append(await drain(three, jobs))
    few = Figure("backlog", f"{jobs:,} waiting", "jobs/s", tuple(small))
    lots = Figure("backlog", f"{many:,} waiting", "jobs/s", tuple(large))
    later = Figure("backlog", f"{many:,} deferred", "jobs/s", tuple(deferred))
    return [
        few,
        lots,
        later,
        ratio("backlog", "many / few waiting", lots, few, target=0.9),
        ratio("backlog", "beside deferred / alone", later, few, target=0.9),
    ]
