"""Connections that are closed for others, or because their client is too slow: answered, and counted."""

from __future__ import annotations

import json
import socket
from io import StringIO

from tests.cases import check_each_async
from tests.clocks import FrozenClock
from tests.conformance.driver import soon
from tests.runtime.workers.handler import logged
from tests.web.wire import DEADLINES, Line, post, room_in
from zeke_queue.web.acceptor import LOG_INTERVAL, Acceptor

GET = b"GET /answer HTTP/1.1\r\nhost: a\r\n\r\n"


async def test_part_of_a_request_is_answered_before_it_makes_room_for_another() -> None:
    async def check(sent: bytes, status: bytes, disconnected: bool) -> None:  # noqa: FBT001
        line = Line()
        with socket.socket() as listening:
            acceptor = Acceptor(listening, 1, FrozenClock())
            line.on_change = acceptor.on_change
            acceptor.on_change(line.connection)
            if sent:
                line.send(sent)
            await line.settle()
            room = room_in(acceptor)
            await line.settle()
            written, aborted = line.wire.written, line.wire.aborted
            line.connection.connection_lost(None)
            await soon(room)
        await line.settle()
        assert aborted
        assert written.startswith(status)
        assert written.count(b"HTTP/1.1 ") == bool(status)
        assert (b"\r\nretry-after: 5\r\n" in written) == (status == refusal)
        assert (line.received[-1:] == [{"type": "http.disconnect"}]) == disconnected

    refusal = b"HTTP/1.1 503 "
    cases = {
        "nothing": (b"", b"", False),
        "a header": (b"GET / HT", refusal, False),
        "a body": (post("/read", 100) + b"a", refusal, True),
        "an answered body": (post("/answer", 100) + b"a", b"HTTP/1.1 200 ", False),
        "a whole request": (GET, b"HTTP/1.1 200 ", False),
    }
    await check_each_async(cases, check)


async def test_slow_clients_are_counted_in_a_line_a_minute() -> None:
    clock = FrozenClock()
    with socket.socket() as listening, logged(stream := StringIO()):
        acceptor = Acceptor(listening, 1, clock)

        def late(sent: bytes, seconds: float) -> None:
            line = Line()
            line.on_late = acceptor.on_late
            line.send(sent)
            line.loop.advance(seconds + 1)
            assert line.wire.written.startswith(b"HTTP/1.1 408 ")

        late(b"GET / HT", DEADLINES.header)
        for _ in range(10):
            late(post("/read", 100), DEADLINES.body)
        clock.advance(LOG_INTERVAL)
        line = Line()
        line.loop.advance(DEADLINES.header)  # a browser that connects in advance
        late(post("/read", 100), DEADLINES.body)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(one["message"], one["times"], one["latest"]) for one in lines] == [
        ("clients_too_slow", 1, "header"),
        ("clients_too_slow", 11, "body"),
    ]
