"""One process of a run: a worker, a keeper (a worker of duties alone), or a client.

It gets its role in one argument of JSON, and ends when its parent does: it reads its standard input,
which the parent holds open.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from tests.torture.clients import Client
from tests.torture.nodes import Program, end_with_parent
from tests.torture.recording import Journal, recording
from tests.torture.tasks import about_worker, make_catalog
from zeke_queue.client.queue import Queue
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.storage.postgres import PostgresStorage
from zeke_queue.system import logging as log
from zeke_queue.system.entropy import SeededEntropy
from zeke_queue.system.settings import Settings
from zeke_queue.worker import Worker
from zeke_queue.worker.process_signals import run_until_signalled

_BETWEEN_TRIES = 0.3


@dataclass(frozen=True)
class Part(Program):
    """The role of a process: ``worker``, ``keeper`` or ``client``.

    Attributes:
        lease, poll, shutdown_timeout, sweep, archive_after, delete_after: seconds, as workers take them;
            heartbeats and maintenance come each ``sweep``.
        pace: seconds between two things that a client does.
    """

    MODULE: ClassVar[str] = "tests.torture.process"

    lease: float = 2.0
    poll: float = 0.5
    shutdown_timeout: float = 1.0
    sweep: float = 0.7
    archive_after: float = 6.0
    delete_after: float = 8.0
    pace: float = 0.08


async def play(part: Part) -> None:
    journal = Journal(Path(part.journal), part.node, part.epoch, part.place, part.life)
    settings = Settings(
        database_primary_url=None, jobs_archive_after=part.archive_after, jobs_delete_after=part.delete_after
    )
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    while not stopping.is_set():
        async with AsyncExitStack() as stack:
            try:
                storage = await stack.enter_async_context(PostgresStorage.open(part.dsn, max_size=5))
            except StorageUnavailableError:
                # As process managers do: restart a program whose database is unavailable.
                await journal.clock.sleep(_BETWEEN_TRIES)
                continue
            queue = Queue(make_catalog(journal), recording(storage, journal), settings=settings)
            stack.push_async_callback(queue.close)
            await _act(part, queue, journal, stopping)
            return


async def _act(part: Part, queue: Queue, journal: Journal, stopping: asyncio.Event) -> None:
    if part.role != "client":
        about = about_worker(Path(part.journal).parent, os.getpid())
        about.write_text(json.dumps(asdict(part)), encoding="utf-8")
        worker = Worker(
            queue,
            concurrency=6 if part.role == "worker" else 0,
            poll_interval=part.poll,
            lease=part.lease,
            heartbeat_interval=part.sweep,
            shutdown_timeout=part.shutdown_timeout,
        )
        if stopping.is_set():
            return
        await run_until_signalled(worker)
        return
    draw = SeededEntropy(part.seed).stream(f"{part.node}.{part.life}")
    client = Client(queue, journal, draw, part.pace, str(Path(part.journal).parent))
    running = asyncio.ensure_future(client.run())
    stop = asyncio.ensure_future(stopping.wait())
    # A client that ends on its own has failed.
    await asyncio.wait((stop, running), return_when=asyncio.FIRST_COMPLETED)
    client.stop()
    await running


if __name__ == "__main__":
    end_with_parent()
    log.configure_logging("json", "warning")
    asyncio.run(play(Part(**json.loads(sys.argv[1]))))
