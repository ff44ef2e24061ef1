"""Internal servers that the operator lists: they are fetched, and nothing beside them gets a packet."""

from __future__ import annotations

import asyncio
import re
from ipaddress import ip_address

import pytest

from tests.cases import check_each, check_each_async, each
from tests.clocks import FrozenClock
from tests.tasks.web.doubles import Names, RecordingNetwork, RecordingStream, client
from zeke_queue.errors import SettingsError
from zeke_tasks.demo.site import Answer, LoopbackServer, Request
from zeke_tasks.fetch import AddressRefused, WebClient, WebOptions
from zeke_tasks.fetch.guard import METADATA_SERVICES, Guard
from zeke_tasks.fetch.settings import FetchSettings

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
MOVED = "HTTP/1.1 302 Found\r\nLocation: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

LIST = ("wiki.internal", "build.internal:8080", "10.1.0.0/16", "10.2.0.7", "10.2.0.8:8080", "[fd00::1]:8443")
NAMES = {
    "wiki.internal": ["10.9.9.9"],
    "build.internal": ["10.9.9.9"],
    "other.internal": ["10.9.9.9"],
    "in-the-network.example": ["10.1.2.3"],
    "half.example": ["10.1.2.3", "10.9.9.9"],
    "wiki.internal.example": ["10.9.9.9"],
}


async def _connections(url: str, names: dict[str, list[str]] = NAMES) -> list[tuple[str, int]]:
    """Return the connections that a fetch opens; AddressRefused must open none."""
    network = RecordingNetwork(stream=RecordingStream(ANSWER))
    async with client(network=network, names=Names(names), allow=LIST) as web:
        try:
            await web.fetch(url, kind="page")
        except AddressRefused:
            assert network.calls == []
    return network.calls


async def test_listed_servers_are_fetched_and_no_others_are_connected_to() -> None:
    async def check(url: str, *connections: tuple[str, int]) -> None:
        assert await _connections(url) == list(connections)

    await check_each_async(
        [
            ("http://wiki.internal/", ("10.9.9.9", 80)),
            ("http://WIKI.internal.:8080/", ("10.9.9.9", 8080)),
            ("http://build.internal:8080/", ("10.9.9.9", 8080)),
            ("http://10.1.255.1:9000/", ("10.1.255.1", 9000)),
            ("http://0x0a020007/", ("10.2.0.7", 80)),
            ("http://10.2.0.8:8080/", ("10.2.0.8", 8080)),
            ("http://[fd00::1]:8443/", ("fd00::1", 8443)),
            ("http://in-the-network.example/", ("10.1.2.3", 80)),
            "http://build.internal/",
            "http://other.internal/",
            "http://wiki.internal.example/",
            "http://half.example/",
            "http://10.9.9.9/",
            "http://10.2.0.8/",
            "http://[fd00::1]/",
            "http://[fd00::2]:8443/",
            "http://127.0.0.1/",
            "http://169.254.169.254/",
        ],
        check,
    )


@each("169.254.169.254", "0.0.0.1", "224.0.0.1", "fe80::1", "::ffff:10.9.9.9", "64:ff9b::a09:909")
async def test_listed_name_may_resolve_to_addresses_of_machines_only(address: str) -> None:
    assert await _connections("http://wiki.internal/", {"wiki.internal": ["10.9.9.9", address]}) == []


@each(*map(str, METADATA_SERVICES))
async def test_metadata_services_are_refused_whatever_is_listed(address: str) -> None:
    network = RecordingNetwork(stream=RecordingStream(ANSWER))
    names = Names({"wiki.internal": [address]})
    listed = ("wiki.internal", f"{address}/32" if "." in address else f"{address}/128", "0.0.0.0/0", "::/0")
    async with client(network=network, names=names, allow=listed) as web:
        for host in ("wiki.internal", address if "." in address else f"[{address}]"):
            with pytest.raises(AddressRefused):
                await web.fetch(f"http://{host}/", kind="page")
    assert network.calls == []


async def test_listed_addresses_are_not_allowed_inside_ipv6() -> None:
    guard = Guard(LIST)
    check_each(
        ["::ffff:10.1.0.1", "64:ff9b::a01:1", "2002:a01:1::", "::10.1.0.1"],
        lambda address: _is_refused(guard, address),
    )


def _is_refused(guard: Guard, address: str) -> None:
    assert guard.refusal(ip_address(address), port=80)


@each("http://other.internal/", "http://10.9.9.9/", "http://build.internal/", "http://169.254.169.254/x")
async def test_redirect_from_a_listed_server_is_checked_against_the_list(location: str) -> None:
    network = RecordingNetwork(stream=RecordingStream(MOVED.format(location).encode()))
    async with client(network=network, names=Names(NAMES), allow=LIST) as web:
        with pytest.raises(AddressRefused):
            await web.fetch("http://wiki.internal/", kind="page")
    assert network.calls == [("10.9.9.9", 80)]


async def test_second_answer_of_a_resolver_is_checked_against_the_list() -> None:
    network = RecordingNetwork(stream=RecordingStream(MOVED.format("/again").encode()))
    names = Names({"a.example": [["10.1.2.3"], ["10.9.9.9"]]})
    async with client(network=network, names=names, allow=LIST) as web:
        with pytest.raises(AddressRefused):
            await web.fetch("http://a.example/", kind="page")
    assert network.calls == [("10.1.2.3", 80)]


async def test_requests_to_listed_servers_are_not_spaced() -> None:
    async def answer(_: Request) -> Answer:
        return Answer(body=b"ok")

    async with LoopbackServer(answer) as server:
        # The clock is stopped, so a request that waits for it never ends.
        options = WebOptions(allow=(f"127.0.0.1:{server.port}",), gap=1.0, allowed_gap=0.0)
        async with WebClient(options, clock=FrozenClock()) as web:
            urls = [f"{server.base_url}/{number}" for number in range(5)]
            await asyncio.gather(*(web.fetch(url, kind="page") for url in urls))
        assert sum(server.hits.values()) == 5


@each(
    ("10.1.0.1/8", "write 10.0.0.0/8"),
    ("wiki.internal:25", "a port must be 80"),
    ("wiki.internal:0", "a port must be 80"),
    ("http://wiki.internal/", "write one such as wiki.internal:8080"),
    ("*.internal", "write one such as"),
    ("a b", "write one such as"),
    ("[::1", "write one such as"),
    (":80", "write one such as"),
)
def test_invalid_entry_is_refused_by_the_setting_that_has_it(entry: str, told: str) -> None:
    with pytest.raises(SettingsError, match=f"ZEKE_FETCH_ALLOW.*{re.escape(told)}"):
        FetchSettings.load(zeke_fetch_allow=f"10.2.0.0/16, {entry}")


def test_settings_are_the_options_of_fetching() -> None:
    options = FetchSettings.load(zeke_fetch_allow=", wiki.internal:8080 ,::1,", zeke_fetch_gap=0.5).options
    assert (options.allow, options.gap, options.allowed_gap) == (("wiki.internal:8080", "::1"), 0.5, 0.0)
    assert FetchSettings.load().options == WebOptions(allowed_gap=0.0)
