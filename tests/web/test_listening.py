"""The socket that the API listens on."""

from __future__ import annotations

import socket

import pytest

from zeke_queue.web.server import listen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_answer_in_two_pieces_does_not_wait_for_the_client(host: str) -> None:
    with listen(host, 0) as server, socket.create_connection(server.getsockname()[:2]):
        accepted, _ = server.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
