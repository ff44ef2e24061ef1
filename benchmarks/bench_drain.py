"""Drain 50,000 small jobs whose handlers return a result, beside the raw limit in the same run."""

from __future__ import annotations

from benchmarks.database import empty, fresh_database, load, open_storage
from benchmarks.drains import drain, raw
from benchmarks.report import Figure, ratio


async def run(dsn: str, runs: int, *, quick: bool) -> list[Figure]:
    """Alternate the two, each on a newly filled table."""
    jobs = 5_000 if quick else 50_000
    rates: dict[str, list[float]] = {"worker": [], "raw limit": []}
    async with fresh_database(dsn) as own, open_storage(own) as storage:
        for _ in range(runs):
            for name, measure in (("worker", drain), ("raw limit", raw)):
                empty(own)
                load(own, jobs)
                rates[name].append(await measure(storage, jobs))
    worker, limit = (Figure("drain", name, "jobs/s", tuple(values)) for name, values in rates.items())
    return [worker, limit, ratio("drain", "worker / raw limit", worker, limit, target=0.5)]
