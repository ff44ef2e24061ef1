"""A worker's process, to be signalled and killed: ``python -m tests.runtime.workers.program DSN LEASE``.

Says ``running ID`` on standard output when a handler begins.
"""

from __future__ import annotations

import asyncio
import sys

from tests.runtime.workers import crunching
from zeke_queue.client.queue import Queue
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_queue.worker.process_signals import run_worker

catalog = Catalog()
catalog.include(crunching.catalog)


def say(job: JobContext) -> None:
    """Tell the test that a handler has begun."""
    sys.stdout.write(f"running {job.id}\n")
    sys.stdout.flush()


@catalog.task("brief", retry_delay=0)
async def brief(seconds: float, job: JobContext) -> str:
    """Run for a number of seconds."""
    say(job)
    await asyncio.wait([asyncio.ensure_future(asyncio.Event().wait())], timeout=seconds)
    return "done"


@catalog.task("endless", retry_delay=0)
async def endless(job: JobContext) -> None:
    """Never end on the first attempt."""
    say(job)
    if job.attempt == 1:
        await asyncio.Event().wait()


@catalog.task("ignores-cancel")
async def ignores_cancel(job: JobContext) -> None:
    """Never end at all."""
    say(job)
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


async def main(dsn: str, lease: float) -> None:
    """Work on a database until signalled."""
    async with Queue.connect(catalog, dsn) as queue:
        await run_worker(queue, lease=lease, heartbeat_interval=0.5, poll_interval=0.5, shutdown_timeout=30)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
