"""Records a history on Postgres, and replays it with faults: ``python -m tests.model.history``.

Two workers run scripted jobs for some seconds: jobs that fail, expire, snooze, are cancelled, wait for a
child, are limited or have keys, and those of a schedule. ``zeke sim record`` reads their rows, and ``zeke sim
replay-history`` checks them and runs the same arrivals with workers killed and all other faults.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel
from typer.testing import CliRunner

from tests.database import EMBEDDED, Databases, server
from zeke_queue import Catalog, JobContext, Queue, Snooze, Worker
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.system import logging as log
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.entropy import SeededEntropy
from zeke_sim.cli import sim

if TYPE_CHECKING:
    from collections.abc import Sequence

EVERY: Final = 0.02
"""Seconds between two sends."""

CANCELLED: Final = 0.05
"""Share of jobs that are cancelled."""


class Script(BaseModel):
    """What an attempt does: how long it takes, and up to which attempt the job fails."""

    seconds: float
    fails: int


def catalog_of() -> Catalog:
    """Return tasks that end in every way."""
    catalog = Catalog()
    soon: dict[str, Any] = {"retry_limit": 3, "retry_delay": 1, "retry_delay_max": 2}

    @catalog.task("work", **soon)
    async def work(script: Script, job: JobContext) -> int:
        await SystemClock().sleep(script.seconds)
        if job.attempt <= script.fails:
            raise ConnectionError
        return job.attempt

    @catalog.task("limited", concurrency_limit=2, **soon)
    async def limited(script: Script, job: JobContext) -> int:
        return await work.handler(script, job)

    @catalog.task("late", expire_in=1, retry_limit=1)
    async def late(script: Script) -> None:
        await SystemClock().sleep(2.0 if script.fails else script.seconds)

    @catalog.task("again", retry_limit=1)
    async def again(script: Script, job: JobContext) -> None:
        if script.fails and job.attempt == 1:
            raise Snooze(1)

    @catalog.task("family", **soon)
    async def family(script: Script, job: JobContext) -> int:
        return await job.call(work, script)

    catalog.schedule("often", "* * * * * */2", task="again", payload={"seconds": 0, "fails": 0})
    return catalog


async def live(dsn: str, seconds: float, seed: int) -> None:
    """Send jobs to two workers for some seconds, and stop them while some jobs are left."""
    draws, catalog = SeededEntropy(seed).stream("history"), catalog_of()
    async with PostgresStorage.open(dsn, max_size=20) as storage:
        queue = Queue(catalog, storage)
        workers = [
            Worker(
                queue, concurrency=4, poll_interval=0.5, shutdown_timeout=1, maintenance=True, schedules=True
            )
            for _ in range(2)
        ]
        running = [asyncio.create_task(worker.run()) for worker in workers]
        clock = SystemClock()
        until = clock.monotonic() + seconds
        while clock.monotonic() < until:
            task = draws.choice(list(catalog.tasks))
            script = Script(seconds=draws.random() / 5, fails=draws.choice([0, 0, 0, 1, 2, 9]))
            key = draws.choice([None, None, "a", "b"])
            run = await queue.send(task, script, singleton_key=key, delay=draws.choice([0, 0, 1]))
            if draws.random() < CANCELLED:
                await queue.cancel(run.id)
            await clock.sleep(EVERY)
        for worker in workers:
            worker.stop()
        await asyncio.gather(*running)


def main(arguments: Sequence[str]) -> int:
    """Run it as the arguments say; end with 1 if a property is violated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8, help="how long jobs are sent")
    parser.add_argument("--seed", type=int, default=1, help="of what is sent, and of the first replay")
    parser.add_argument("--replays", type=int, default=10, help="number of replays with faults")
    asked = parser.parse_args(arguments)
    with (
        server(EMBEDDED, f"history{os.getpid()}") as given,
        Databases(given, f"history{os.getpid()}").database() as dsn,
        tempfile.TemporaryDirectory() as folder,
    ):
        with log.silenced():
            asyncio.run(live(dsn, asked.seconds, asked.seed))
        file = str(Path(folder) / "history.jsonl.gz")
        recorded = CliRunner().invoke(sim, ["record", file], env={"DATABASE_PRIMARY_URL": dsn})
        seeds = ["--from", str(asked.seed), "--seeds", str(asked.replays)]
        replay = ["replay-history", file, "--kill-workers", "2", "--faults", "all", *seeds]
        done = [recorded, CliRunner().invoke(sim, replay)] if recorded.exit_code == 0 else [recorded]
    sys.stdout.writelines(one.output for one in done)
    return max(one.exit_code for one in done)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
