"""Connections: the deadlines of clients, on a clock that a test moves, and the limit of their number."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import resource
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from tests.cases import check_each, check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import soon
from tests.runtime.workers.handler import logged
from tests.runtime.workers.place import until
from tests.web.conftest import open_house, shop_catalog
from tests.web.wire import DEADLINES, Line, post, room_in
from zeke_queue.client.queue import Queue
from zeke_queue.web import WebSettings, server
from zeke_queue.web.acceptor import ACCEPT_PAUSE, LOG_INTERVAL, Acceptor, connection_limit
from zeke_queue.web.http_connection import (
    BODY_RATE,
    LINGER_MAX,
    LINGER_TIMEOUT,
    PART_MAX,
    READ_TIMEOUT,
    STALL_SECONDS,
    HttpConnection,
    Phase,
)
from zeke_queue.web.server import UNSENT_MAX, ApiServer, listen

GET = b"GET /answer HTTP/1.1\r\nhost: a\r\n\r\n"


async def test_client_that_sends_no_whole_header_is_disconnected() -> None:
    def check(before: bytes, each: bytes, refusals: int) -> None:
        line = Line()
        if before:
            line.send(before)
        for _ in range(19):
            line.loop.advance(0.5)
            if each:
                line.send(each)
        assert not line.wire.closed
        line.loop.advance(0.5)
        assert line.wire.closed
        assert line.wire.written.count(b"HTTP/1.1 408 ") == refusals
        if refusals:
            error = json.loads(line.wire.written.partition(b"\r\n\r\n")[2])["error"]
            assert error == "header: must arrive within 10 s; send it at once"
        line.loop.advance(READ_TIMEOUT)
        assert line.wire.aborted

    cases = {
        "nothing": (b"", b"", 0),
        "a part": (b"GET / HT", b"", 1),
        "letters": (b"GET /", b"a", 1),
    }
    check_each(cases, check)


async def test_second_request_has_the_same_time_for_its_header() -> None:
    line = Line()
    line.send(GET)
    await line.settle()
    assert line.connection.phase is Phase.IDLE
    line.loop.advance(4)
    line.send(b"GET /answer")
    line.loop.advance(9)
    assert not line.wire.closed
    line.loop.advance(1)
    assert b"HTTP/1.1 408 " in line.wire.written


async def test_empty_lines_do_not_keep_an_idle_connection_open() -> None:
    line = Line()
    line.send(GET)
    await line.settle()
    for _ in range(12):
        line.loop.advance(1)
        if not line.wire.closed:
            line.send(b"\r\n")
    assert line.wire.closed


async def test_client_that_sends_no_whole_body_is_disconnected() -> None:
    line = Line()
    line.send(post("/read", 100))
    for _ in range(29):
        line.loop.advance(1)
        line.send(b"a")
        await line.settle()
    assert not line.wire.closed
    line.loop.advance(1.1)
    await line.settle()
    assert (line.wire.is_half_closed, line.connection.phase) == (True, Phase.LINGER)
    line.loop.advance(LINGER_TIMEOUT)
    assert line.wire.closed
    assert line.wire.written.startswith(b"HTTP/1.1 408 ")
    why = b"body: must arrive within 30 s, plus 1 s for each 4096 bytes; send it at once"
    assert why in line.wire.written
    assert line.received[-1] == {"type": "http.disconnect"}
    assert b"200" not in line.wire.written


async def test_large_body_has_time_by_its_rate() -> None:
    line = Line()
    line.send(post("/read", 100 * BODY_RATE))
    for _ in range(100):
        line.loop.advance(1.1)
        line.send(b"a" * BODY_RATE)
        await line.settle()
    assert line.wire.written.startswith(b"HTTP/1.1 200 ")


async def test_body_that_the_application_does_not_read_is_not_late() -> None:
    line = Line()
    line.send(post("/wait", 200_000))
    line.send(b"a" * 100_000)
    assert line.connection.flow.read_paused
    line.loop.advance(1000)
    assert not line.wire.closed
    line.ready.set()
    await line.settle()
    assert line.wire.written.startswith(b"HTTP/1.1 200 ")


async def test_client_that_awaits_100_continue_is_not_late() -> None:
    line = Line()
    line.send(b"POST /wait-and-read HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n")
    await line.settle()
    line.loop.advance(1000)
    assert line.wire.written == b""
    line.ready.set()
    await line.settle()
    assert line.wire.written.startswith(b"HTTP/1.1 100 ")
    line.send(b"a")
    await line.settle()
    assert b"HTTP/1.1 200 " in line.wire.written


async def test_response_may_take_any_time() -> None:
    line = Line()
    line.send(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
    await line.settle()
    line.loop.advance(100_000)
    assert (line.connection.phase, line.wire.closed) == (Phase.RESPONSE, False)


async def test_rest_of_an_answered_body_is_dropped_while_it_arrives_for_a_limited_time() -> None:
    async def check(connection: str, every: float, closed: float) -> None:
        line = Line()
        line.send(
            f"POST /answer HTTP/1.1\r\nhost: a\r\nconnection: {connection}\r\n"
            f"content-length: {10**9}\r\n\r\n".encode()
        )
        await line.settle()
        assert line.wire.written.startswith(b"HTTP/1.1 200 ")
        assert line.wire.is_half_closed == (connection == "close")
        while line.loop.time() + every < closed:
            line.loop.advance(every)
            line.send(b"a" * 100_000)
            assert (line.connection.phase, line.wire.closed) == (Phase.LINGER, False)
        assert not line.connection.flow.read_paused
        line.loop.advance(closed - line.loop.time() - 0.1)
        before = line.wire.closed
        line.loop.advance(0.2)
        assert (before, line.wire.closed, line.connection.phase) == (False, True, Phase.CLOSING)

    await check_each_async(
        [
            (connection, *times)
            for connection in ("keep-alive", "close")
            for times in ((1000, LINGER_TIMEOUT), (LINGER_TIMEOUT - 1, LINGER_MAX))
        ],
        check,
    )


async def test_stop_waits_for_no_client_that_has_not_sent_its_request() -> None:
    async def check(sent: bytes, written: bytes, after: float = 0) -> None:
        line = Line()
        line.send(sent)
        await line.settle()
        line.loop.advance(after)
        line.connection.shutdown()
        await line.settle()
        assert line.wire.closed
        assert line.wire.written.startswith(written)

    refusal = b"HTTP/1.1 503 "
    cases = {
        "a header": (b"GET / HT", b""),
        "a body": (post("/read", 100) + b"a", refusal),
        "an answered body": (post("/answer", 100) + b"a", b"HTTP/1.1 200 "),
        "a late body": (post("/read", 100) + b"a", b"HTTP/1.1 408 ", DEADLINES.body + 1),
    }
    await check_each_async(cases, check)
    line = Line()
    line.send(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
    line.connection.shutdown()
    assert not line.wire.closed
    line.ready.set()
    await line.settle()
    assert line.wire.closed
    assert line.wire.written.startswith(b"HTTP/1.1 200 ")


async def test_stop_waits_for_no_client_that_does_not_read() -> None:
    line = Line()
    line.send(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
    await line.settle()
    line.wire.unread = 100_000
    line.connection.pause_writing()
    line.loop.advance(STALL_SECONDS)
    line.connection.shutdown()
    aborted = line.wire.aborted
    line.connection.connection_lost(None)
    line.ready.set()
    await line.settle()
    assert aborted


async def test_client_that_does_not_read_is_disconnected() -> None:
    line = Line()
    line.send(b"GET /wait HTTP/1.1\r\nhost: a\r\n\r\n")
    await line.settle()
    line.wire.unread = 100_000
    line.connection.pause_writing()
    for _ in range(10):
        line.loop.advance(READ_TIMEOUT - 1)
        line.wire.unread -= 1  # it reads
        line.loop.advance(1)
    line.loop.advance(READ_TIMEOUT / 2)
    line.connection.resume_writing()
    line.connection.pause_writing()
    line.loop.advance(READ_TIMEOUT - 1)
    before = line.wire.aborted
    line.loop.advance(1)
    line.connection.connection_lost(None)
    line.ready.set()
    await line.settle()
    assert (before, line.wire.aborted) == (False, True)


async def test_connection_whose_client_does_not_read_makes_room_for_another() -> None:
    async def check(path: bytes, phase: Phase) -> None:
        line = Line()
        line.wire.unread = 100_000
        with socket.socket() as listening:
            acceptor = Acceptor(listening, 1, FrozenClock())
            line.on_change = acceptor.on_change
            line.send(b"GET " + path + b" HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            await line.settle()
            assert line.connection.phase is phase
            line.connection.pause_writing()
            room = room_in(acceptor)
            for _ in range(10):
                line.wire.unread -= 1
                line.loop.advance(STALL_SECONDS)
                await line.settle()
            aborted_early = line.wire.aborted
            line.loop.advance(STALL_SECONDS)
            await line.settle()
            aborted = line.wire.aborted
            line.connection.connection_lost(None)
            line.ready.set()
            await soon(room)
        assert (aborted_early, aborted) == (False, True)

    await check_each_async([(b"/wait", Phase.RESPONSE), (b"/answer", Phase.CLOSING)], check)


async def test_closing_connection_sends_what_is_buffered_to_a_client_that_reads() -> None:
    line = Line()
    line.wire.unread = 100_000
    line.connection.pause_writing()
    line.send(b"GET /answer HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
    await line.settle()
    line.connection.resume_writing()
    await line.settle()
    assert line.connection.phase is Phase.CLOSING
    for _ in range(10):
        line.loop.advance(READ_TIMEOUT - 1)
        line.wire.unread -= 1
        line.loop.advance(1)
    line.connection.resume_writing()  # little is left
    line.loop.advance(READ_TIMEOUT - 1)
    before = line.wire.aborted
    line.loop.advance(1)
    assert (before, line.wire.aborted) == (False, True)


async def test_invalid_http_is_answered_once_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    def chunked(method: str, path: str) -> bytes:
        return f"{method} {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".encode()

    async def check(parts: list[bytes], status: int) -> None:
        line = Line()
        for part in parts:
            line.send(part)
            if len(parts) > 1:
                await line.settle()
        await line.settle()
        assert line.wire.written.startswith(f"HTTP/1.1 {status} ".encode())
        assert line.wire.written.count(b"HTTP/1.1 ") == 1
        assert (line.wire.closed, line.connection.phase) == (True, Phase.CLOSING)

    cases = {
        "no request": ([b"zzz\r\n\r\n"], 400),
        "a body": ([chunked("POST", "/read"), b"zzz\r\n"], 400),
        "with its header": ([chunked("POST", "/answer") + b"zzz\r\n"], 400),
        "of a HEAD": ([chunked("HEAD", "/read"), b"zzz\r\n"], 400),
        "after the answer": ([chunked("POST", "/answer"), b"zzz\r\n"], 200),
    }
    await check_each_async(cases, check)
    assert [one for one in caplog.records if one.levelno >= logging.ERROR] == []


async def test_lost_connection_leaves_no_timer() -> None:
    line = Line()
    line.connection.pause_writing()
    line.connection.connection_lost(None)
    line.wire.closed = line.wire.aborted = False
    line.loop.advance(1000)
    assert not line.wire.aborted


async def connect(url: str, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(data)
    return reader, writer


HEALTH = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"


async def answered(client: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
    assert b"HTTP/1.1 200" in await soon(client[0].readuntil(b"\r\n\r\n"))


@asynccontextmanager
async def crowded(limit: int) -> AsyncGenerator[tuple[str, bytes]]:
    """Run a server with few connections; yield its URL and a request that keeps one busy."""
    async with Queue.in_memory(shop_catalog()) as queue:
        settings = WebSettings.load(api_port=0, api_connections_max=limit, api_streams_of_one=0)
        api = ApiServer(queue, settings, authenticator=open_house(queue))
        running = asyncio.ensure_future(api.run())
        run = await queue.send("mail", {"to": "a"})
        yield api.url, f"GET /jobs/stream/{run.id} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
        api.stop()
        await soon(running)


async def test_connection_that_waited_longest_makes_room_for_another() -> None:
    async def check(half: bytes) -> None:
        async with crowded(3) as (url, stream):
            busy = await connect(url, stream)
            await answered(busy)
            halves = [await connect(url, half) for _ in range(10)]
            whole = await connect(url, HEALTH)
            await answered(whole)
            for reader, _ in halves[:8]:
                with suppress(ConnectionResetError):
                    assert (await soon(reader.read()))[:13] in (b"", b"HTTP/1.1 503 ")
            await soon(busy[0].readuntil(b'"status":"QUEUED"'))  # it lives on
            for _, writer in (busy, whole, *halves):
                writer.close()

    form = b"POST /dashboard/sign-in HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n"
    form += b"content-type: application/x-www-form-urlencoded\r\n\r\nk"
    await check_each_async({"header": (b"GET / HT",), "body": (form,)}, check)


async def test_new_connection_waits_while_all_others_are_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STREAMS_SHARE", 1.0)
    async with crowded(3) as (url, stream):
        busy = [await connect(url, stream) for _ in range(2)]
        for one in busy:
            await answered(one)
        last = await connect(url, HEALTH)  # within the limit
        await answered(last)
        last[1].write(stream)
        await answered(last)
        with logged() as lines:
            waits = await connect(url, HEALTH)
            answer = asyncio.ensure_future(answered(waits))
            # Else this goes on until it is answered, which is at once.
            await until(lambda: answer.done() or "connections_at_limit" in lines.messages)
        assert not answer.done()
        busy[0][1].close()
        await answer
        for _, writer in (*busy, last, waits):
            writer.close()


async def test_little_is_parsed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    receive = HttpConnection.data_received

    def received(connection: HttpConnection, data: bytes) -> None:
        sizes.append(len(data))
        receive(connection, data)

    monkeypatch.setattr(HttpConnection, "data_received", received)
    async with crowded(3) as (url, _):
        head = b"POST /trigger HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n"
        head += b"content-type: application/json\r\n\r\n"
        client = await connect(url, head + b"1\r\na\r\n" * 50_000 + b"0\r\n\r\n")
        assert b"HTTP/1.1 400" in await soon(client[0].readuntil(b"\r\n\r\n"))
        client[1].close()
    assert sum(sizes) > 10 * PART_MAX
    assert max(sizes) <= PART_MAX


async def test_streams_leave_connections_to_other_requests() -> None:
    async with crowded(4) as (url, stream):
        busy = [await connect(url, stream) for _ in range(3)]
        for one in busy:
            await answered(one)
        refused = await connect(url, stream)
        assert b"HTTP/1.1 503" in await soon(refused[0].readuntil(b"\r\n\r\n"))
        refused[1].close()
        whole = await connect(url, HEALTH)
        await answered(whole)
        for _, writer in (*busy, whole):
            writer.close()


async def test_process_without_files_pauses_and_logs_it_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    tries = 0

    async def fail(_: object) -> Any:
        nonlocal tries
        tries += 1
        if tries > 200:
            await asyncio.Event().wait()
        raise OSError(errno.ECONNABORTED if tries % 3 == 0 else errno.EMFILE, "Too many open files")

    monkeypatch.setattr(asyncio.get_running_loop(), "sock_accept", fail)
    clock = FrozenClock()
    with socket.socket() as listening:
        accepting = asyncio.ensure_future(Acceptor(listening, 10, clock).run(lambda: None))  # type: ignore[arg-type,return-value]
        seconds = 0.0
        while tries <= 200:
            before = tries
            for _ in range(5):
                await clock.sleep(0)
            assert tries - before <= 2
            seconds += ACCEPT_PAUSE
            clock.advance(ACCEPT_PAUSE)
        accepting.cancel()
    lines = capfd.readouterr().err.count("connections_not_accepted")
    assert lines == -(-(seconds - 1) // LOG_INTERVAL)


def test_system_takes_little_at_once_of_what_a_client_reads_slowly() -> None:
    with listen("127.0.0.1", 0) as listening:
        assert listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT_MAX


def test_connections_take_at_most_half_of_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def check(files: int, most: int, limit: int) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
        assert connection_limit(most) == limit

    check_each([(1024, 10_000, 512), (1_000_000, 10_000, 10_000), (1, 10, 1), (-1, 7, 7)], check)
