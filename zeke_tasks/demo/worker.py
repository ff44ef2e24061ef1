"""A worker process of the demo: ``python -m zeke_tasks.demo.worker DSN GAP``.

It differs from ``zeke worker`` in two points: it may fetch from loopback, where the sample site is, and its
lease is so short that the jobs of a killed worker are rescued within seconds.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from zeke_queue.client.queue import Queue
from zeke_queue.system import logging as log
from zeke_queue.system.settings import Settings
from zeke_queue.worker import Worker
from zeke_tasks.catalog import build_catalog
from zeke_tasks.context import open_context
from zeke_tasks.fetch import WebOptions

if TYPE_CHECKING:
    from zeke_queue.task.catalog import Catalog

LEASE: Final = 3.0
BEAT: Final = 1.0
LOOPBACK: Final = ("127.0.0.1/32",)


def demo_catalog(gap: float) -> Catalog:
    """Return the catalog for the sample site on loopback, with ``gap`` seconds between two requests."""
    options = WebOptions(allow=LOOPBACK, gap=gap, per_host=4)
    return build_catalog(partial(open_context, options), scheduled=False)


async def work(dsn: str, gap: float) -> None:
    """Run a worker until SIGTERM, SIGINT, or the end of standard input, which shows that the parent ended."""
    settings = Settings.load(database_primary_url=dsn)
    async with Queue.connect(demo_catalog(gap), settings=settings) as queue:
        worker = Worker(queue, poll_interval=0.5, lease=LEASE, heartbeat_interval=BEAT, shutdown_timeout=2.0)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        loop.add_reader(sys.stdin, worker.stop)
        await worker.run()


if __name__ == "__main__":
    log.configure_logging("json")
    asyncio.run(work(sys.argv[1], float(sys.argv[2])))
