"""One process of a run: a worker, or the API.

It gets its role in one argument of JSON, and ends when its parent does.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tests.chaos.executions import ExecutionLog
from tests.chaos.tasks import make_catalog
from tests.torture.nodes import Program, end_with_parent
from zeke_queue.client.queue import Queue
from zeke_queue.errors import StorageUnavailableError
from zeke_queue.system import logging as log
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.settings import Settings
from zeke_queue.web import WebSettings
from zeke_queue.web.server import ApiServer
from zeke_queue.worker import Worker
from zeke_queue.worker.process_signals import run_until_signalled

_BETWEEN_TRIES = 0.3


@dataclass(frozen=True)
class Part(Program):
    """The role of a process: ``worker`` or ``api``.

    Attributes:
        settings: of the queue, by name; those left out have their defaults, not the environment's.
        port: of the API.
    """

    MODULE: ClassVar[str] = "tests.chaos.process"

    settings: dict[str, Any]
    port: int = 0


async def play(part: Part) -> None:
    settings = Settings.load(database_primary_url=part.dsn, **part.settings)
    clock = SystemClock()
    executed = ExecutionLog(Path(part.journal)) if part.role == "worker" else None
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    async with AsyncExitStack() as stack:
        while not stopping.is_set():
            # As process managers do: restart a program whose database is unavailable when it starts, and only
            # then, for one that runs must outlast an outage.
            with suppress(StorageUnavailableError):
                queue = await stack.enter_async_context(
                    Queue.connect(make_catalog(executed), settings=settings)
                )
                break
            await clock.sleep(_BETWEEN_TRIES)
        else:
            return
        if stopping.is_set():
            return
        if part.role == "worker":
            await run_until_signalled(Worker(queue))
        else:
            api = ApiServer(queue, WebSettings.load(api_port=part.port))
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, api.stop)
            await api.run()


if __name__ == "__main__":
    end_with_parent()
    log.configure_logging("json", "info")
    asyncio.run(play(Part(**json.loads(sys.argv[1]))))
