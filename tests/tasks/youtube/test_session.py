"""The session that requests captions: allowed and refused connections."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.cases import check_each, check_each_async
from tests.clocks import FrozenClock
from zeke_tasks.fetch import Transient
from zeke_tasks.fetch.errors import AddressRefused
from zeke_tasks.youtube import Blocked
from zeke_tasks.youtube.captions import YouTubeCaptions
from zeke_tasks.youtube.session import YouTubeSession

NAME = "www.youtube.com"
URL = f"https://{NAME}/watch?v=dQw4w9WgXcQ"
PUBLIC, PUBLIC_TOO = "142.250.1.1", "2a00:1450:4001::1"


class Network:
    """The simulated network: a resolver, and sockets that connect only to a local listener."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: list[str] = []
        self.asked: list[Any] = []
        self.listener: socket.socket | None = None
        self._look_up: Callable[..., Any] = socket.getaddrinfo
        self._connect: Callable[..., Any] = socket.socket.connect
        monkeypatch.setattr(socket, "getaddrinfo", self.look_up)
        monkeypatch.setattr(socket.socket, "connect", self.connecting())

    def look_up(self, host: str, port: int, *about: Any, **more: Any) -> Any:
        if host != NAME:
            return self._look_up(host, port, *about, **{**more, "flags": socket.AI_NUMERICHOST})
        if not self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        return [one for found in self.addresses for one in self.look_up(found, port, 0, socket.SOCK_STREAM)]

    def connecting(self) -> Callable[[socket.socket, Any], None]:
        def connect(made: socket.socket, where: Any) -> None:
            self.asked.append(where[:2])
            if self.listener is None:
                raise ConnectionRefusedError("nobody is there")
            self._connect(made, self.listener.getsockname())

        return connect


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    return Network(monkeypatch)


def test_name_that_resolves_to_a_denied_address_is_not_connected_to(network: Network) -> None:
    def check(*addresses: str) -> None:
        network.addresses = list(addresses)
        with YouTubeSession() as session, pytest.raises(AddressRefused):
            session.get(URL)
        assert network.asked == []

    v4 = ["127.0.0.1", "0.1.2.3", "10.1.2.3", "169.254.169.254"]
    v6 = ["::1", "fe80::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]
    check_each([*v4, *v6, (PUBLIC, "127.0.0.1"), (PUBLIC_TOO, PUBLIC, "fd00::1")], check)


def test_every_address_of_a_name_is_tried(network: Network) -> None:
    network.addresses = [PUBLIC_TOO, PUBLIC]
    with YouTubeSession() as session, pytest.raises(requests.ConnectionError, match="nobody is there"):
        session.get(URL)
    assert network.asked == [(PUBLIC_TOO, 443), (PUBLIC, 443)]


def test_tls_server_name_is_the_name(network: Network) -> None:
    """A TLS client first sends the server's name, which selects the certificate."""
    network.addresses = [PUBLIC]
    heard: list[bytes] = []

    def hear(listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            heard.append(connection.recv(4096))

    with socket.create_server(("127.0.0.1", 0)) as listener, YouTubeSession() as session:
        network.listener = listener
        hearing = threading.Thread(target=hear, args=(listener,))
        hearing.start()
        with pytest.raises(requests.ConnectionError):
            session.get(URL)
        hearing.join()
    assert network.asked == [(PUBLIC, 443)]
    assert NAME.encode() in heard[0]


async def test_unreachable_youtube_is_not_an_error_of_the_video(network: Network) -> None:
    async def check(addresses: list[str], reason: str) -> None:
        network.addresses = addresses
        with pytest.raises(Blocked, match=reason) as raised:
            await YouTubeCaptions(clock=FrozenClock()).captions("dQw4w9WgXcQ")
        assert isinstance(raised.value, Transient)
        assert ("127.0.0.1", 443) not in network.asked

    cases = [(["127.0.0.1"], "leads to 127.0.0.1"), ([PUBLIC], "nobody is there"), ([], "no such name")]
    await check_each_async(cases, check)
