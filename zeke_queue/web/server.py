"""The API as a process serves it: a loop that runs by itself or beside a worker, until it is told to stop."""

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
from zeke_queue.web.access.guard import MAKE_KEY
from zeke_queue.web.app import close_app, create_app
from zeke_queue.web.settings import WebSettings

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from fastapi import FastAPI

    from zeke_queue.client.queue import Queue
    from zeke_queue.web.dashboard import Page

GRACE: Final = 10
"""Whole seconds that requests have to end once the server was told to stop."""

_BACKLOG: Final = 2048


class ApiServer:
    """Serves the application of a queue: ``run`` until ``stop``, as a worker's supervisor and scheduler do.

    The address is taken when this is made, so that a port in use is told before anything else begins.

    Args:
        queue: open, and stays the caller's to close.
        settings: the deployment's; read from the environment by default.
        pages: further pages of the dashboard.
        make_key: what people are told to type to make a key.

    Raises:
        SettingsError: the address is in use, or none of this machine's.
    """

    def __init__(
        self,
        queue: Queue,
        settings: WebSettings | None = None,
        *,
        pages: Sequence[Page] = (),
        make_key: str = MAKE_KEY,
    ) -> None:
        self.settings = settings or WebSettings.load()
        self.app: FastAPI = create_app(queue, self.settings, pages=pages, make_key=make_key)
        self._socket = listen(self.settings.api_host, self.settings.api_port)
        self._server = _Server(_config(self.app, self.settings))
        self._stopping = asyncio.Event()

    @property
    def url(self) -> str:
        """Where it serves."""
        host, port = self._socket.getsockname()[:2]
        return f"http://{_in_url(host)}:{port}"

    async def run(self) -> None:
        """Serve until told to stop; then end streams, give requests a while, and close."""
        keys = await self.app.state.zeke.guard.keys_exist()
        get_logger().info(
            "api_listening",
            url=self.url,
            dashboard=f"{self.url}/dashboard" if self.settings.api_dashboard else None,
            callers="with a key" if keys else "this machine only, until there is a key",
        )
        serving = asyncio.ensure_future(self._server.serve(sockets=[self._socket]))
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            # Streams would else keep their connections until the grace is over.
            await close_app(self.app)
            self._server.should_exit = True
            await serving
            self._socket.close()
        get_logger().info("api_stopped")

    def stop(self) -> None:
        """End ``run`` soon."""
        self._stopping.set()


def listen(host: str, port: int) -> socket.socket:
    """Take an address.

    Raises:
        SettingsError: it is in use, or can't be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        server = socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=False)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise SettingsError(
                f"API_PORT: port {port} of {host} is in use; stop what uses it, or choose another one with"
                " --port or API_PORT"
            ) from None
        raise SettingsError(
            f"API_HOST: {host} port {port} can't be listened on ({error.strerror or error}); give an address"
            " of this machine, such as 127.0.0.1"
        ) from None
    # A loop sets this only where a socket names its protocol. Without it an answer in two pieces, or an event
    # behind another one, waits up to 40 ms until the client has acknowledged the first.
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return server


def _config(app: FastAPI, settings: WebSettings) -> uvicorn.Config:
    # Our own lines go through the log that is set up already.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=bool(settings.api_trusted_proxies),
        forwarded_allow_ips=list(settings.api_trusted_proxies),
        timeout_graceful_shutdown=GRACE,
    )


class _Server(uvicorn.Server):
    """One that leaves the signals to whoever owns the process."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host
