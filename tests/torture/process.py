"""One process of a run: a worker, a keeper (a worker of duties alone), the API, or a client.

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
    """The role of a process: ``worker``, ``keeper``, ``api`` or ``client``.

    Attributes:
        lease, poll, shutdown_timeout, sweep, archive_after, delete_after: seconds, as workers take them;
            heartbeats and maintenance come each ``sweep``.
        pace: seconds between two things that a client does; over HTTP it does one of four.
        port: of the API.
        token, caller: the API key of clients, and the id of the caller that it belongs to.
    """

    MODULE: ClassVar[str] = "tests.torture.process"

    lease: float = 2.0
    poll: float = 0.5
    shutdown_timeout: float = 1.0
    sweep: float = 0.7
    archive_after: float = 6.0
    delete_after: float = 8.0
    pace: float = 0.08
    port: int = 0
    token: str = ""
    caller: str = ""


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
            if not stopping.is_set():
                await _act(part, queue, journal, stopping)
            return


async def _act(part: Part, queue: Queue, journal: Journal, stopping: asyncio.Event) -> None:
    if part.role == "client":
        await _use(part, queue, journal, stopping)
        return
    if part.role == "api":
        # Here, since these take longer to load than all that a worker needs.
        from zeke_queue.web import WebSettings  # noqa: PLC0415
        from zeke_queue.web.server import ApiServer  # noqa: PLC0415

        api = ApiServer(queue, WebSettings.load(api_port=part.port, api_trigger_limit=0))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, api.stop)
        await api.run()
        return
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
    await run_until_signalled(worker)


async def _use(part: Part, queue: Queue, journal: Journal, stopping: asyncio.Event) -> None:
    """Do the work of a client: a part on the database, and another one through the API."""
    from tests.torture.http_clients import HttpClient  # noqa: PLC0415 - as for the API
    from zeke_queue.api_client import JobsClient  # noqa: PLC0415

    entropy, folder = SeededEntropy(part.seed), str(Path(part.journal).parent)
    name = f"{part.node}.{part.life}"
    async with JobsClient(f"http://127.0.0.1:{part.port}", part.token) as api:
        draw = entropy.stream(f"{name}.http")
        clients = (
            Client(queue, journal, entropy.stream(name), part.pace, folder),
            HttpClient(queue, journal, draw, 4 * part.pace, folder, api=api, caller=part.caller),
        )
        running = [asyncio.ensure_future(client.run()) for client in clients]
        stop = asyncio.ensure_future(stopping.wait())
        # A client that ends on its own has failed.
        await asyncio.wait((stop, *running), return_when=asyncio.FIRST_COMPLETED)
        for client in clients:
            client.stop()
        await asyncio.gather(*running)


if __name__ == "__main__":
    end_with_parent()
    log.configure_logging("json", "warning")
    asyncio.run(play(Part(**json.loads(sys.argv[1]))))
