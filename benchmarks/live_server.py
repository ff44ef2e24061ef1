"""The server that ``bench_live`` loads, in a process of its own: ``python -m benchmarks.live_server DSN``."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from pydantic import BaseModel

from zeke_queue import Catalog, Queue
from zeke_queue.storage.access import Scope
from zeke_queue.system.settings import Settings
from zeke_queue.web import Caller, WebSettings
from zeke_queue.web.server import ApiServer

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

catalog = Catalog()


class Hello(BaseModel):
    """What the triggered jobs carry."""

    name: str


@catalog.task("hello")
async def hello(payload: Hello) -> None:
    """Stand for what clients trigger; no worker runs here."""


@catalog.task("followed")
async def followed() -> None:
    """Stand for what clients follow; the load plays the worker."""


async def anyone(connection: HTTPConnection) -> Caller:
    """Authenticate the load without reading the database."""
    del connection
    return Caller("load", "load", frozenset(Scope))


async def main(dsn: str) -> None:
    """Serve until the input ends; the first printed line is the address."""
    async with Queue.connect(catalog, dsn, settings=Settings.load()) as queue:
        web = WebSettings.load(api_port=0, api_trigger_limit=0, api_dashboard=False)
        server = ApiServer(queue, web, authenticator=anyone)
        print(server.url, flush=True)
        serving = asyncio.ensure_future(server.run())
        await asyncio.to_thread(sys.stdin.read)
        server.stop()
        await serving


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
