"""The link between a process and the server: what each of its faults does, and that it heals."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.torture.proxy import SOCKET, Link
from zeke_queue.system.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Place:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.link = Link(folder / "server", folder / "link")
        self.heard = b""
        self.ended = asyncio.Event()
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        while data := await reader.read(100):
            self.heard += data
            writer.write(data.upper())
        self.ended.set()
        writer.close()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_unix_connection(str(self.folder / "link" / SOCKET))
        self.writers.append(writer)
        return reader, writer


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    with tempfile.TemporaryDirectory(prefix="zeke-link-") as folder:
        made = Place(Path(folder))
        server = await asyncio.start_unix_server(made.serve, str(made.folder / "server"))
        await made.link.start()
        yield made
        await made.link.stop()
        server.close()
        for writer in made.writers:
            writer.transport.abort()
        await turn()


async def ask(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], text: bytes) -> bytes:
    connection[1].write(text)
    return await connection[0].read(100)


async def is_broken(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bool:
    try:
        return await ask(connection, b"x") == b""
    except ConnectionError:
        return True


async def test_healthy_link_forwards_data_and_its_end(place: Place) -> None:
    connection = await place.connect()
    assert await ask(connection, b"a") == b"A"
    connection[1].write_eof()
    assert await connection[0].read() == b""
    assert place.ended.is_set()


@pytest.mark.parametrize(("way", "heard"), [("up", b""), ("down", b"a")])
async def test_data_held_by_a_partition_arrives_after_healing(place: Place, way: Any, heard: bytes) -> None:
    connection = await place.connect()
    place.link.cut(way)
    answer = asyncio.ensure_future(ask(connection, b"a"))
    other = asyncio.ensure_future(ask(await place.connect(), b"b"))
    while place.link.connections < 2 or (way == "down" and len(place.heard) < 2):
        await turn()
    assert not answer.done()
    assert heard in place.heard
    assert bool(place.heard) is (way == "down")
    place.link.heal()
    assert (await answer, await other) == (b"A", b"B")


async def test_lost_answer_is_of_an_executed_statement(place: Place) -> None:
    connection, other = await place.connect(), await place.connect()
    assert await ask(other, b"o") == b"O"
    place.link.lose_answer()
    assert await is_broken(connection)
    assert place.heard == b"ox"
    assert await ask(other, b"p") == b"P"


async def test_answer_without_rows_is_forwarded_if_one_with_rows_is_to_be_lost(place: Place) -> None:
    connection = await place.connect()
    place.link.lose_answer(with_rows=True)
    assert await ask(connection, b"C\0\0\0\rSELECT 0\0") == b"C\0\0\0\rSELECT 0\0"
    connection[1].write(b"C\0\0\0\rSELECT 1\0")
    with suppress(ConnectionError):
        assert await connection[0].read(100) == b""
    assert place.heard.endswith(b"SELECT 1\0")


async def test_dropped_connections_break_and_new_ones_work(place: Place) -> None:
    connection = await place.connect()
    assert await ask(connection, b"a") == b"A"
    place.link.drop()
    assert await is_broken(connection)
    assert await ask(await place.connect(), b"b") == b"B"


async def test_refusing_link_breaks_new_connections_until_healed(place: Place) -> None:
    place.link.refuse()
    assert await is_broken(await place.connect())
    place.link.heal()
    assert await ask(await place.connect(), b"b") == b"B"


async def test_half_closed_connection_is_noticed_after_healing(place: Place) -> None:
    connection = await place.connect()
    assert await ask(connection, b"a") == b"A"
    place.link.half_close("up")
    await place.ended.wait()
    ended = asyncio.ensure_future(connection[0].read())
    await turn()
    assert not ended.done()
    place.link.heal()
    assert await ended == b""


async def test_half_closed_client_leaves_the_server_waiting(place: Place) -> None:
    connection = await place.connect()
    assert await ask(connection, b"a") == b"A"
    place.link.half_close("down")
    assert await connection[0].read() == b""
    connection[1].close()
    await turn()
    assert not place.ended.is_set()
    place.link.heal()
    await place.ended.wait()


async def test_each_chunk_is_delayed_as_drawn(place: Place) -> None:
    drawn: list[float] = []

    def draw() -> float:
        drawn.append(0.0)
        return 0.0

    place.link.delay(draw)
    connection = await place.connect()
    assert await ask(connection, b"a") == b"A"
    assert len(drawn) == 2


async def turn() -> None:
    for _ in range(10):
        await SystemClock().sleep(0)
