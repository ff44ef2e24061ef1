"""The socket that the API listens on."""

from __future__ import annotations

import socket

from tests.cases import check_each
from zeke_queue.web.server import listen


def test_accepted_connections_have_no_delay() -> None:
    """An answer in two pieces would wait for the client's acknowledgement of the first one."""

    def check(host: str) -> None:
        with listen(host, 0) as server, socket.create_connection(server.getsockname()[:2]):
            accepted, _ = server.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    check_each(["127.0.0.1", "::1"], check)
