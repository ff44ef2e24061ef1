"""Live status under load: many tabs, each on a stream of its own, beside callers of the API, for a minute.

Server, load and database are processes of their own, on one machine. A status is timed from just before the
statement that changes it to its receipt by the tab that follows the job.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from benchmarks.database import fresh_database
from benchmarks.report import Figure, ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

TOLD = ("EXECUTING", "progress", "COMPLETED")
QUICK = {"tabs": 100, "settle": 1, "quiet": 2, "seconds": 4}
FULL = {"tabs": 2000, "settle": 12, "quiet": 15, "seconds": 60}
WITHIN = 200
"""Milliseconds within which a browser gets the change."""


@contextmanager
def _server(dsn: str) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-m", "benchmarks.live_server", dsn]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None  # noqa: PT018, S101 - they are pipes
        try:
            yield process.stdout.readline().strip(), process.pid
        finally:
            process.stdin.close()


async def _load(**given: Any) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.live_load", json.dumps(given)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load failed with {process.returncode}")
    return json.loads(out)


async def _once(dsn: str, *, quick: bool) -> dict[str, float]:
    """Run once; returns each figure by its name."""
    size = QUICK if quick else FULL
    async with fresh_database(dsn) as own:
        with _server(own) as (url, pid):
            found = await _load(dsn=own, url=url, pid=pid, changes=20.0, requests=200.0, **size)
    seen: dict[str, float] = {}
    for name, latencies in found["latencies"].items():
        told = sorted(1000 * latency for latency in latencies)
        seen[f"{name}, median"] = statistics.median(told)
        seen[f"{name}, p95"] = told[int(0.95 * (len(told) - 1))]
        seen[f"{name}, max"] = told[-1]
    alike = ("memory, no tab", "memory, start", "memory, half", "memory, end", "opening")
    spent = ("quiet transactions", "quiet core", "transactions", "core")
    seen |= {name: found[name] for name in (*alike, *spent)}
    counts = found["counts"]
    for name in ("COMPLETED", "requests", "failed requests", "lost", "refused"):
        seen[name] = counts.get(name, 0)
    seen["requests a second"] = counts["requests"] / size["seconds"]
    return seen


def _unit(name: str) -> str:
    if name.endswith((", median", ", p95", ", max")):
        return "ms"
    if name.startswith("memory"):
        return "MiB"
    if name.endswith("transactions"):
        return "/s"
    return {"opening": "s", "quiet core": "cores", "core": "cores"}.get(name, "")


async def run(dsn: str, runs: int, *, quick: bool) -> list[Figure]:
    """Run the load as often as asked."""
    seen = [await _once(dsn, quick=quick) for _ in range(runs)]
    figures: dict[str, Figure] = {}
    for name in seen[0]:
        target = WITHIN if name in {f"{told}, p95" for told in TOLD} else None
        target = 0 if name in {"failed requests", "lost", "refused"} else target
        values = tuple(one[name] for one in seen)
        figures[name] = Figure("live", name, _unit(name), values, target, "less")
    end, half = figures["memory, end"], figures["memory, half"]
    told, got = figures["COMPLETED, median"], figures["GET, median"]
    return [
        *figures.values(),
        ratio("live", "memory, end / half", end, half, target=1.05, better="less"),
        ratio("live", "COMPLETED / GET, median", told, got, better="less"),
    ]
