"""The server of the API, which runs alone or next to a worker until it is asked to stop."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import uvicorn

from zeke_queue.errors import SettingsError
from zeke_queue.system.logging import get_logger
from zeke_queue.system.waiting import end, first
from zeke_queue.web.acceptor import Acceptor, connection_limit
from zeke_queue.web.access.guard import MAKE_KEY
from zeke_queue.web.app import close_app, create_app
from zeke_queue.web.http_connection import Deadlines, HttpConnection
from zeke_queue.web.settings import WebSettings

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from fastapi import FastAPI

    from zeke_queue.client.queue import Queue
    from zeke_queue.web.access.guard import Authenticator
    from zeke_queue.web.dashboard import Page
    from zeke_queue.web.extension import Extension

SHUTDOWN_TIMEOUT: Final = 10
"""Seconds, as an integer, that running requests have after the server is asked to stop."""

UNSENT_MAX: Final = 131_072
"""Bytes from which on the system takes no more of a response until it has sent some."""

STREAMS_SHARE: Final = 0.75
"""Share of the connections that live streams may use; the others are for requests, such as health checks."""

_BACKLOG: Final = 2048


class ApiServer:
    """Serves the application of a queue: ``run`` until ``stop``, like a worker's duties.

    The constructor binds the address, so that a port in use is reported before anything else starts.

    Args:
        queue: an open queue, which the caller closes.
        settings: the deployment's settings; by default read from the environment.
        authenticator: the application's own authentication, in addition to keys.
        pages: additional pages of the dashboard.
        extensions: additional routes and procedures.
        make_key: the command to create a key, shown to users.

    Raises:
        SettingsError: the address is in use, or does not belong to this machine.
    """

    def __init__(
        self,
        queue: Queue,
        settings: WebSettings | None = None,
        *,
        authenticator: Authenticator | None = None,
        pages: Sequence[Page] = (),
        extensions: Sequence[Extension] = (),
        make_key: str = MAKE_KEY,
    ) -> None:
        settings = settings or WebSettings.load()
        limit = connection_limit(settings.api_connections_max)
        streams = max(1, min(settings.api_streams_max, int(limit * STREAMS_SHARE)))
        self.settings = settings.model_copy(update={"api_streams_max": streams})
        self.app: FastAPI = create_app(
            queue,
            self.settings,
            authenticator=authenticator,
            pages=pages,
            extensions=extensions,
            make_key=make_key,
        )
        self._socket = listen(self.settings.api_host, self.settings.api_port)
        self._acceptor = Acceptor(self._socket, limit, queue.clock)
        self._server = _Server(_config(self.app, self.settings), self._acceptor, self.settings)
        self._stopping = asyncio.Event()

    @property
    def url(self) -> str:
        """The server's URL."""
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def run(self) -> None:
        """Serve until asked to stop; then end streams, wait for requests, and close."""
        get_logger().info(
            "api_listening",
            url=self.url,
            dashboard=f"{self.url}/dashboard" if self.settings.api_dashboard else None,
            connections_max=self._acceptor.limit,
        )
        serving = asyncio.ensure_future(self._server.serve(sockets=[self._socket]))
        try:
            await first(self._stopping.wait(), asyncio.wait([serving]))
        finally:
            # Otherwise streams would keep their connections until its timeout is over.
            await close_app(self.app)
            self._server.should_exit = True
            await serving
            self._socket.close()
        if self._server.failure is not None:
            raise self._server.failure
        get_logger().info("api_stopped")

    def stop(self) -> None:
        """Ask ``run`` to end."""
        self._stopping.set()


def listen(host: str, port: int) -> socket.socket:
    """Bind an address and listen on it.

    Raises:
        SettingsError: the address is in use or not available.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        server = socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=False)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"API_PORT: must be a free port, got {port}, which is in use on {host}; stop that process,"
                " or choose another port with --port or API_PORT"
            ) from None
        if error.errno == errno.EACCES:
            raise SettingsError(
                f"API_PORT: must be a port that this user may open, got {port}; pass one above 1023"
            ) from None
        raise SettingsError(
            f"API_HOST: must be an address of this machine, got {host} (port {port}:"
            f" {error.strerror or error}); pass one such as 127.0.0.1"
        ) from None
    # asyncio sets this only if a socket names its protocol. Without it, the second part of a response, or an
    # event after another, waits up to 40 ms for the client's acknowledgement of the first.
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        # Otherwise the system takes megabytes at once, and a slow client seems to read nothing in between.
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_MAX)
    server.settimeout(0)
    return server


def _config(app: FastAPI, settings: WebSettings) -> uvicorn.Config:
    # Requests are logged by this package's own logger. uvicorn's warnings are of what clients send, one each.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        server_header=False,
        proxy_headers=bool(settings.api_trusted_proxies),
        forwarded_allow_ips=list(settings.api_trusted_proxies),
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
    )


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """Leave out the traceback of each request that did not end in time; uvicorn logs their number too."""
    return record.exc_info is None or not isinstance(record.exc_info[1], asyncio.CancelledError)


class _Server(uvicorn.Server):
    """A uvicorn server that limits its connections, and leaves signals to the process that runs it."""

    def __init__(self, config: uvicorn.Config, acceptor: Acceptor, settings: WebSettings) -> None:
        super().__init__(config)
        self._acceptor = acceptor
        self._deadlines = Deadlines(
            header=settings.api_header_timeout,
            body=settings.api_body_timeout,
            idle=config.timeout_keep_alive,
        )
        self._accepting: asyncio.Future[None] | None = None
        self.failure: BaseException | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, with this package's own limits instead of the event loop's server."""
        del sockets
        self.servers: list[asyncio.base_events.Server] = []
        self._accepting = asyncio.ensure_future(self._acceptor.run(self._connection))
        self._accepting.add_done_callback(self._on_accepting_ended)
        self.started = True

    def _connection(self) -> HttpConnection:
        return HttpConnection(
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            deadlines=self._deadlines,
            on_change=self._acceptor.on_change,
            on_late=self._acceptor.on_late,
        )

    def _on_accepting_ended(self, ended: asyncio.Future[None]) -> None:
        if not ended.cancelled() and (error := ended.exception()) is not None:
            get_logger().error("api_failed", error=f"{type(error).__name__}: {error}", exc_info=error)
            self.failure = error
            self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, and end those that there are."""
        if self._accepting is not None:
            await end(self._accepting)
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Install no signal handlers."""
        yield
