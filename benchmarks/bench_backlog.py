"""A backlog must not slow claims down: few jobs waiting, a million waiting, and a million deferred."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.database import empty, fresh_database, load, open_storage
from benchmarks.drains import steady
from benchmarks.report import Figure, ratio

if TYPE_CHECKING:
    from zeke_queue.storage.postgres import PostgresStorage

ROUNDS = 5
"""Measurements that make one run: each lasts half a second, in which a noisy machine may do anything."""


async def run(dsn: str, runs: int, *, quick: bool) -> list[Figure]:
    """Measure a running worker on each backlog in turn; completed jobs of the large one are replaced."""
    jobs = 2_000 if quick else 10_000
    many = 20_000 if quick else 1_000_000
    rates: tuple[list[float], ...] = ([], [], [])
    async with fresh_database(dsn) as own, fresh_database(dsn) as other, fresh_database(dsn) as third:
        load(other, many)
        load(third, many, delay=86_400.0)
        async with open_storage(own) as one, open_storage(other) as two, open_storage(third) as three:
            for measured in range(-1, runs):  # the first round opens connections and prepares statements
                seconds = [0.0, 0.0, 0.0]
                load(other, ROUNDS * jobs)
                for _ in range(ROUNDS if measured >= 0 else 1):
                    empty(own)
                    load(own, jobs)
                    load(third, jobs)
                    seconds[0] += await _seconds(one, jobs)
                    seconds[1] += await _seconds(two, jobs)
                    seconds[2] += await _seconds(three, jobs)
                if measured >= 0:
                    for of_one, taken in zip(rates, seconds, strict=True):
                        of_one.append(ROUNDS * jobs / taken)
    few, lots, later = (
        Figure("backlog", f"{number:,} {what}", "jobs/s", tuple(of_one))
        for number, what, of_one in zip(
            (jobs, many, many), ("waiting", "waiting", "deferred"), rates, strict=True
        )
    )
    return [
        few,
        lots,
        later,
        ratio("backlog", "many / few waiting", lots, few, target=0.9),
        ratio("backlog", "beside deferred / alone", later, few, target=0.9),
    ]


async def _seconds(storage: PostgresStorage, jobs: int) -> float:
    return jobs / await steady(storage, jobs)
