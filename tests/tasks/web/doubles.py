"""Stand-ins for the network: no packet leaves this machine."""
# ruff: noqa: ARG002 - the arguments are those of the interfaces

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

import httpcore2

from tests.clocks import FrozenClock
from zeke_tasks.fetch import WebClient, WebOptions

LOOPBACK = ("127.0.0.1/32",)


class RecordingNetwork(httpcore2.AsyncNetworkBackend):
    """Records the requested connections.

    It connects to 127.0.0.1 only, and only if ``loopback`` is set. Elsewhere the connection fails, or
    hands out ``stream`` if there is one; either way nothing is sent.
    """

    def __init__(self, *, loopback: bool = False, stream: RecordingStream | None = None) -> None:
        self.calls: list[tuple[str, int]] = []
        # The type checker sees the library's replacement for a missing anyio.
        self._loopback = cast("httpcore2.AsyncNetworkBackend", httpcore2.AnyIOBackend()) if loopback else None
        self._stream = stream

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        self.calls.append((host, port))
        if self._loopback is not None and host == "127.0.0.1":
            return await self._loopback.connect_tcp(host, port, timeout=timeout)
        if self._stream is not None:
            return self._stream
        raise httpcore2.ConnectError("nobody is there")


class RecordingStream(httpcore2.AsyncMockStream):
    """A connection that answers with given bytes, and records the sent bytes and the host."""

    def __init__(self, *answer: bytes) -> None:
        super().__init__(list(answer))
        self.sent = b""
        self.server_names: list[str | None] = []

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.sent += buffer

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.AsyncNetworkStream:
        self.server_names.append(server_hostname)
        return self


class Names:
    """A resolver that knows some names, and writes down which it was asked for.

    Each name has one list of addresses, or several: the answers to one question after the other.
    """

    def __init__(self, known: Mapping[str, Sequence[str] | Sequence[Sequence[str]]]) -> None:
        self.asked: list[str] = []
        self._known = known

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        answers = self._known.get(host)
        if not answers:
            raise OSError("no such name")
        if isinstance(answers[0], str):
            return [str(answer) for answer in answers]
        return list(answers[min(self.asked.count(host), len(answers)) - 1])


def client(
    *,
    network: httpcore2.AsyncNetworkBackend | None = None,
    names: Callable[[str, int], Awaitable[Sequence[str]]] | None = None,
    clock: FrozenClock | None = None,
    allow: tuple[str, ...] = LOOPBACK,
    gap: float = 0.0,
    per_host: int = 2,
    timeout: float = 15.0,
    max_bytes: int = 15 * 2**20,
) -> WebClient:
    """Return a client that reaches loopback; without a network of its own, loopback alone."""
    return WebClient(
        WebOptions(allow=allow, gap=gap, per_host=per_host, timeout=timeout, max_bytes=max_bytes),
        clock=clock,
        resolver=names or Names({}),
        network=network or RecordingNetwork(loopback=True),
    )


@asynccontextmanager
async def raw_server(*parts: bytes, endless: bytes = b"", hang: bool = False) -> AsyncIterator[str]:
    """Serve given bytes for any request: for answers that no real server gives."""
    over = asyncio.Event()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        tasks.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            for part in parts:
                writer.write(part)
                await writer.drain()
            while endless and not over.is_set():
                writer.write(endless)
                await writer.drain()
            if hang:
                await over.wait()
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    finally:
        over.set()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()
