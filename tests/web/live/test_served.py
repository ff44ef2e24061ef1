"""Streams of a real server, over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

from tests.conformance.driver import Driver, soon
from tests.web.conftest import open_house, shop_catalog
from zeke_queue.client.queue import Queue
from zeke_queue.model import JobEvent
from zeke_queue.storage.memory import MemoryStorage
from zeke_queue.system.clock import SystemClock
from zeke_queue.system.settings import Settings
from zeke_queue.web import WebSettings
from zeke_queue.web.server import ApiServer

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Served:
    def __init__(self, server: ApiServer, jobs: Driver) -> None:
        self.server = server
        self.jobs = jobs
        self.live = server.app.state.zeke.live

    async def open(self, job_id: UUID, *, buffer: int | None = None) -> Connection:
        host, port = self.server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=buffer or 2**16)
        writer.write(f"GET /jobs/stream/{job_id} HTTP/1.1\r\nhost: {host}:{port}\r\n\r\n".encode())
        head = await soon(reader.readuntil(b"\r\n\r\n"))
        assert head.startswith(b"HTTP/1.1 200")
        return reader, writer


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[Served, asyncio.Task[None]]]:
    clock = SystemClock()
    storage = MemoryStorage(clock)
    queue = Queue(shop_catalog(), storage, clock=clock, settings=Settings.load())
    server = ApiServer(queue, WebSettings.load(api_port=0), authenticator=open_house(queue))
    running = asyncio.ensure_future(server.run())
    try:
        yield Served(server, Driver(storage, clock)), running  # type: ignore[arg-type]
    finally:
        server.stop()
        await soon(running)
        await queue.close()


async def comes_true(condition: Callable[[], bool]) -> None:
    async def wait() -> None:
        while not condition():
            await SystemClock().sleep(0.01)

    await soon(wait())


async def none_open(served: Served) -> None:
    await comes_true(lambda: not served.live.open_streams)


async def test_closed_connection_ends_its_stream() -> None:
    async with serving() as (served, _):
        reader, writer = await served.open(await served.jobs.send())
        await soon(reader.readuntil(b'"status":"QUEUED"'))
        assert served.live.open_streams == 1
        writer.close()
        await none_open(served)
        assert not served.jobs.storage.notifier.has_waiters  # type: ignore[attr-defined]


async def test_reset_connection_of_a_stuck_reader_ends_its_stream() -> None:
    async with serving() as (served, _):
        claimed = await served.jobs.running()
        line = f'{{"level":"info","message":"{"x" * 4000}"}}'
        for _ in range(5):
            await served.jobs.storage.append_events([JobEvent(claimed.id, 1, "log", line)] * 1000)
        _, writer = await served.open(claimed.id, buffer=1024)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await comes_true(lambda: any(one._blocked_since is not None for one in served.live._open))
        writer.transport.abort()
        await none_open(served)


async def test_stopping_server_ends_its_streams_and_exits() -> None:
    async with serving() as (served, running):
        opened = [await served.open(await served.jobs.send()) for _ in range(20)]
        served.server.stop()
        for reader, writer in opened:
            rest = await soon(reader.read())
            assert rest.endswith(b"0\r\n\r\n"), rest  # an end, and no breaking off
            assert b"event: close" not in rest
            writer.close()
        await soon(running)
