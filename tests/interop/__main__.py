"""Serves the API on a private Postgres, a worker beside it, and runs the clients' tests in Node against it.

Arguments are passed to ``node --test``: ``python -m tests.interop --test-name-pattern=curl``. With
``--serve`` it only serves, and prints the environment in which the tests run.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from tests.database import EMBEDDED, new_run, server
from tests.interop.catalog import SERVED, interop_catalog
from tests.interop.keys import add_key
from zeke_queue.cli.migrations import migrate_all
from zeke_queue.client.queue import Queue
from zeke_queue.storage.access import Scope
from zeke_queue.system import logging as log
from zeke_queue.system.settings import Settings
from zeke_queue.web import WebSettings
from zeke_queue.web.server import ApiServer
from zeke_queue.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE = Path(__file__).parent
TEAM = UUID("7f000000-0000-4000-8000-000000000007")
LIMIT = 1000


async def main(dsn: str, arguments: Sequence[str]) -> int:
    """Run the tests; returns their exit code."""
    settings = Settings.load(database_primary_url=dsn)
    migrate_all(dsn, settings.jobs_schema)
    web = WebSettings.load(api_port=0, api_trigger_limit=LIMIT, api_stream_keep_alive=1.0)
    async with Queue.connect(interop_catalog(), settings=settings) as queue:
        environment = {
            "ZEKE_TOKEN": await add_key(queue, "clients", Scope.TRIGGER),
            "ZEKE_READER": await add_key(queue, "reader", Scope.READ),
            "ZEKE_ADMIN": await add_key(queue, "admin", Scope.ADMIN),
            "ZEKE_TEAM": await add_key(queue, "team", Scope.TRIGGER, team=TEAM),
            "ZEKE_TEAM_ID": str(TEAM),
        }
        api = ApiServer(queue, web)
        environment["ZEKE_URL"] = api.url
        worker = Worker(queue, tasks=SERVED, concurrency=20, poll_interval=0.5)
        running = [asyncio.create_task(api.run()), asyncio.create_task(worker.run())]
        try:
            return await run_tests(environment, arguments)
        finally:
            worker.stop()
            api.stop()
            await asyncio.gather(*running)


async def run_tests(environment: dict[str, str], arguments: Sequence[str]) -> int:
    """Run the tests in Node, or serve forever; return the exit code."""
    if "--serve" in arguments:
        sys.stdout.write(json.dumps(environment, indent=1) + "\n")
        sys.stdout.flush()
        await asyncio.Event().wait()
    files = sorted(str(path) for path in HERE.glob("*.test.mjs"))
    command = ["node", "--test", "--test-timeout=60000", *arguments, *files]
    whole = {**os.environ, **environment}  # noqa: TID251 - Node is found by the machine's PATH
    node = await asyncio.create_subprocess_exec(*command, env=whole, cwd=HERE)
    try:
        return await node.wait()
    finally:
        if node.returncode is None:
            node.kill()


if __name__ == "__main__":
    log.configure_logging("json")
    with server(EMBEDDED, new_run()) as database:
        sys.exit(asyncio.run(main(database, sys.argv[1:])))
