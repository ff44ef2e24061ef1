"""Answers that precede the end of a body, over sockets: they reach a client that is still sending."""

from __future__ import annotations

import asyncio
import logging
import socket
from http import HTTPStatus

import pytest

from tests.cases import check_each_async
from tests.conformance.driver import soon
from tests.web.conftest import open_house, shop_catalog
from zeke_queue.client.queue import Queue
from zeke_queue.web import WebSettings
from zeke_queue.web.server import ApiServer

SIZE = 2_000_000
"""More than what the system buffers between the two, with a small buffer at the client."""

BUFFER = 65_536

PART = 5_000

PATIENCE = 120

REFUSED, LARGE = (f"{status.value} {status.phrase}" for status in (HTTPStatus(401), HTTPStatus(413)))


def first_line(url: str, head: str, body: bytes) -> str:
    """Send a request, the rest of its body when the answer has come; then return the answer's first line."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as client:
        # Else loopback takes the whole body at once, and the client does not meet the end of the connection.
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        client.sendall(f"{head}host: localhost\r\ncontent-type: application/json\r\n\r\n".encode())
        client.sendall(body[:PART])
        client.recv(1, socket.MSG_PEEK)
        client.sendall(body[PART:])
        with client.makefile("rb") as answer:
            return answer.readline().decode().strip()


async def test_early_answer_reaches_a_client_that_is_still_sending(caplog: pytest.LogCaptureFixture) -> None:
    async def check(version: str, headers: str, expected: str) -> None:
        async with Queue.in_memory(shop_catalog()) as queue:
            settings = WebSettings.load(api_port=0, api_body_max=1024)
            server = ApiServer(
                queue, settings, authenticator=open_house(queue) if expected == LARGE else None
            )
            running = asyncio.ensure_future(server.run())
            body = b"a" * SIZE
            if "chunked" in headers:
                body = b"%x\r\n%s\r\n0\r\n\r\n" % (SIZE, body)
            head = f"POST /trigger HTTP/{version}\r\n{headers}"
            line = await soon(asyncio.to_thread(first_line, server.url, head, body))
            server.stop()
            await soon(running)
        assert line == f"HTTP/1.1 {expected}"

    length, chunked = f"content-length: {SIZE}\r\n", "transfer-encoding: chunked\r\n"
    close = "connection: close\r\n"
    cases = {
        "unknown": ("1.1", length, REFUSED),
        "unknown, close": ("1.1", length + close, REFUSED),
        "unknown, chunked, close": ("1.1", chunked + close, REFUSED),
        "unknown, HTTP/1.0": ("1.0", length, REFUSED),
        "large": ("1.1", length, LARGE),
        "large, chunked": ("1.1", chunked, LARGE),
    }
    await check_each_async(cases, check)
    # Some clients have reset their connection before the answer ends.
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_requests_that_a_stop_cuts_are_not_logged_one_by_one(caplog: pytest.LogCaptureFixture) -> None:
    async with Queue.in_memory(shop_catalog()) as queue:
        server = ApiServer(queue, WebSettings.load(api_port=0))
        server.stop()
        await soon(asyncio.ensure_future(server.run()))
    errors = logging.getLogger("uvicorn.error")
    errors.error("Exception in ASGI application", exc_info=asyncio.CancelledError())
    errors.error("Exception in ASGI application", exc_info=ZeroDivisionError())
    assert [one.exc_info[0] for one in caplog.records if one.exc_info] == [ZeroDivisionError]
