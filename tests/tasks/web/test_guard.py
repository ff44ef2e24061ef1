"""The guard refuses before it connects: to every address it should, in every spelling, by every detour."""

from __future__ import annotations

import ssl
from contextlib import nullcontext
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpcore2
import pytest
from hypothesis import given, settings

from tests.cases import check_each, check_each_async, each
from tests.clocks import FrozenClock
from tests.tasks.web.addresses import (
    DENIED_V4,
    DENIED_V6,
    PUBLIC,
    as_url,
    denied_v4,
    denied_v6,
    hosts_of_v4,
    hosts_of_v6,
)
from tests.tasks.web.doubles import Names, RecordingNetwork, RecordingStream, client
from zeke_tasks.demo.site import Answer, LoopbackServer, Request
from zeke_tasks.fetch import AddressRefused, Permanent, Transient, UrlRefused
from zeke_tasks.fetch.guard import Guard, GuardedBackend

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@settings(max_examples=200)
@given(denied_v4 | denied_v6)
def test_every_address_of_a_denied_network_is_refused(address: IPv4Address | IPv6Address) -> None:
    assert Guard().refusal(address)


def test_refused_addresses() -> None:
    def check(address: str, reason: str) -> None:
        assert reason in (Guard().refusal(ip_address(address)) or "none")

    kinds = [
        ("10.0.0.1", "private"),
        ("127.0.0.1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("100.64.0.1", "shared"),
        ("224.0.0.1", "multicast"),
        ("255.255.255.255", "reserved"),
        ("192.0.2.1", "documentation"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("fd00::1", "private"),
        ("fe80::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        ("64:ff9b::101:101", "NAT64"),
        ("::ffff:1.1.1.1", "mapped"),
        ("::1.1.1.1", "compatible"),
        ("2002:101:101::", "6to4"),
        ("2001:0:101:101::fefe:fefe", "Teredo"),
        ("1234::", "reserved"),
    ]
    carriers = (
        *("::ffff:10.1.2.3", "64:ff9b::a01:203", "2002:a01:203::", "::10.1.2.3", "2001:0:a01:203::"),
        *("2001:0:101:101::f5fe:fdfc", "2a00:1450::5efe:10.1.2.3", "2a00:1450::200:5efe:a01:203"),
    )
    carried = [(address, "10.1.2.3") for address in carriers]
    check_each([*kinds, *carried], check)


def test_public_addresses_and_neighbours_of_denied_networks_pass() -> None:
    def check(address: str) -> None:
        assert Guard().refusal(ip_address(address)) is None

    check_each(PUBLIC, check)


def test_allowed_network_does_not_allow_others() -> None:
    guard = Guard(["127.0.0.1/32"])
    assert guard.refusal(ip_address("127.0.0.1")) is None
    assert all(
        guard.refusal(ip_address(other)) for other in ("127.0.0.2", "::1", "::ffff:127.0.0.1", "10.0.0.1")
    )


def test_allowed_carrier_network_allows_public_addresses_only() -> None:
    guard = Guard(["64:ff9b::/96"])
    assert guard.refusal(ip_address("64:ff9b::101:101")) is None
    assert guard.refusal(ip_address("64:ff9b::7f00:1"))


def test_invalid_allowed_network_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        Guard(["10.0.0.1/8"])


async def refused(url: str, names: Names | None = None, *, allow: tuple[str, ...] = ()) -> AddressRefused:
    """Fetch a URL, and check that it is refused without a connection."""
    network = RecordingNetwork()
    async with client(network=network, names=names, allow=allow) as web:
        with pytest.raises(AddressRefused) as caught:
            await web.fetch(url, kind="page")
    assert network.calls == []
    return caught.value


@settings(max_examples=100)
@given(hosts_of_v4() | hosts_of_v6())
async def test_denied_address_is_refused_in_every_spelling(host: str) -> None:
    await refused(as_url(host))


async def test_name_that_resolves_to_a_denied_network_is_refused() -> None:
    async def check(net: str) -> None:
        address = net.partition("/")[0]
        names = Names({"innocent.example": [address]})
        error = await refused("https://innocent.example/page", names)
        assert (error.url, error.address) == ("https://innocent.example/page", address)
        assert names.asked == ["innocent.example"]

    await check_each_async(DENIED_V4 + DENIED_V6, check)


async def test_name_is_resolved_in_its_canonical_spelling() -> None:
    async def check(host: str, name: str = "innocent.example") -> None:
        names = Names({name: ["10.0.0.1"]})
        await refused(f"http://{host}/", names)
        assert names.asked == [name]

    spellings = ["innocent.example.", "INNOCENT.example", "\uff49nnocent.example", "innocent%2Eexample"]
    await check_each_async([*spellings, ("bücher.example", "xn--bcher-kva.example")], check)


async def test_name_is_refused_when_any_address_is() -> None:
    async def check(refused_one: str, *others: str) -> None:
        names = Names({"a.example": [*others, refused_one]})
        assert (await refused("http://a.example/", names)).address == refused_one

    cases = {
        "one among public ones": ("fd00::1", "1.1.1.1", "2606:4700::1111"),
        "with a zone": "fe80::1%eth0",
        "no address": "localhost",
    }
    await check_each_async(cases, check)
    assert (await refused("http://localhost/", Names({"localhost": ["127.0.0.1", "::1"]}))).why == "loopback"


async def test_refusal_is_permanent_and_names_the_reason() -> None:
    error = await refused("http://169.254.169.254/latest/meta-data")
    assert isinstance(error, Permanent)
    assert error.why == "link-local"
    assert "169.254.169.254" in str(error)


# The connection goes to the checked address


async def test_connection_goes_to_the_address_that_was_checked() -> None:
    network = RecordingNetwork(stream=RecordingStream(ANSWER))
    # The second answer is what an attacker's name server gives when it is asked again.
    names = Names({"rebinding.example": [["1.1.1.1"], ["127.0.0.1"]]})
    async with client(network=network, names=names, allow=()) as web:
        fetched = await web.fetch("http://rebinding.example/a", kind="page")
    assert (fetched.body, network.calls, names.asked) == (b"hi", [("1.1.1.1", 80)], ["rebinding.example"])


async def fetch_over(stream: RecordingStream | None, url: str, *addresses: str) -> RecordingNetwork:
    """Fetch a URL whose host resolves to these addresses or a public one; ``stream`` is every connection."""
    network, host = RecordingNetwork(stream=stream), (urlsplit(url).hostname or "").rstrip(".")
    failed = nullcontext() if stream else pytest.raises(Transient, match="nobody is there")
    async with client(network=network, names=Names({host: addresses or ["1.1.1.1"]})) as web:
        with failed:
            assert (await web.fetch(url, kind="page")).body == b"hi"
    return network


# Browsers accept these names although the standard of names forbids all but the first.
@each("a.example", "my_blog.xn--e1afmkfd.xn--p1ai", "xn--i-7iq.ws", "-a.xn--p1ai", "xn--a.example")
async def test_host_header_is_the_name(host: str) -> None:
    stream = RecordingStream(ANSWER)
    await fetch_over(stream, f"http://{host}:8080/x")
    assert stream.sent.count(b"\r\nHost: ") == 1
    assert f"\r\nHost: {host}:8080\r\n".encode() in stream.sent


async def test_tls_server_name_is_the_name() -> None:
    stream = RecordingStream(ANSWER)
    network = await fetch_over(stream, "https://a.example./x")
    assert (stream.server_names, network.calls) == (["a.example"], [("1.1.1.1", 443)])


async def test_invalid_certificate_is_permanent() -> None:
    class Unverified(RecordingStream):
        async def start_tls(self, *_: object, **__: object) -> RecordingStream:
            raise httpcore2.ConnectError(ssl.SSLCertVerificationError("expired"))

    with pytest.raises(Permanent, match="certificate"):
        await fetch_over(Unverified(), "https://a.example/")


async def test_tls_error_after_the_handshake_is_transient() -> None:
    class Alerting(RecordingStream):
        async def read(self, *_: object, **__: object) -> bytes:
            # As of TLS 1.3 a server refuses a client only after the client thinks that all is well.
            raise ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] certificate required")

    with pytest.raises(Transient, match="certificate required"):
        await fetch_over(Alerting(), "https://a.example/")


async def test_next_address_is_tried_when_the_first_does_not_answer() -> None:
    network = await fetch_over(None, "http://two.example/", "2606:4700::1111", "1.1.1.1")
    assert network.calls == [("2606:4700::1111", 80), ("1.1.1.1", 80)]


async def test_unresolved_name_is_transient() -> None:
    async with client(network=RecordingNetwork()) as web:
        with pytest.raises(Transient, match="does not resolve"):
            await web.fetch("http://unknown.example/", kind="page")


async def test_environment_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / "netrc").write_text("machine a.example login me password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    # Reading a file that does not exist would be an error.
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    stream = RecordingStream(ANSWER)
    network = await fetch_over(stream, "https://a.example/")
    assert network.calls == [("1.1.1.1", 443)]
    assert b"authorization" not in stream.sent.lower()
    assert (await fetch_over(None, "http://a.example/")).calls == [("1.1.1.1", 80)]


def redirecting(location: str) -> LoopbackServer:
    async def redirect(_: Request) -> Answer:
        return Answer(status=302, headers=(("Location", location),))

    return LoopbackServer(redirect)


@each("//169.254.169.254/latest", "http://127.0.0.2/", "http://inside.example/")
async def test_redirect_to_a_denied_address_is_refused_before_connecting(location: str) -> None:
    network = RecordingNetwork(loopback=True)
    names = Names({"inside.example": ["192.168.0.10"]})
    async with redirecting(location) as server, client(network=network, names=names) as web:
        with pytest.raises(AddressRefused):
            await web.fetch(f"{server.base_url}/", kind="page")
        assert network.calls == [("127.0.0.1", server.port)]


@each("ftp://example.org/", "file:///etc/passwd", "http://a:b@example.org/", "http://")
async def test_redirect_to_other_than_a_web_url_is_refused(location: str) -> None:
    async with redirecting(location) as server, client() as web:
        with pytest.raises(UrlRefused):
            await web.fetch(f"{server.base_url}/", kind="page")


class Attempts(GuardedBackend):
    """Records the requested connections before it checks them."""

    asked: ClassVar[list[tuple[str, int]]] = []

    async def connect_tcp(
        self, host: str, port: int, *args: Any, **options: Any
    ) -> httpcore2.AsyncNetworkStream:
        self.asked.append((host, port))
        return await super().connect_tcp(host, port, *args, **options)


REFUSED_AS_WRITTEN = (
    "http://10.0.0.1/",
    "http://169.254.169.254/latest",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://0x7f000002/",
    "http://inside.example:22/",
    "http://127.0.0.1:25/",
)
"""The check at the connection would refuse these too, but only there, and after a turn at their hosts."""


async def test_url_is_checked_before_its_name_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(url: str) -> None:
        monkeypatch.setattr(Attempts, "asked", [])
        names = Names({"inside.example": ["192.168.0.10"]})
        async with client(names=names) as web:
            with pytest.raises(UrlRefused):
                await web.fetch(url, kind="page")
        assert (Attempts.asked, names.asked) == ([], [])
        # The clock is stopped, so waiting for another turn at this host would never end.
        async with redirecting(url) as server, client(names=names, clock=FrozenClock(), gap=1.0) as web:
            with pytest.raises(UrlRefused):
                await web.fetch(f"{server.base_url}/", kind="page")
            assert (Attempts.asked, names.asked) == ([("127.0.0.1", server.port)], [])

    monkeypatch.setattr("zeke_tasks.fetch.client.GuardedBackend", Attempts)
    await check_each_async(REFUSED_AS_WRITTEN, check)


def test_other_than_web_urls_are_refused() -> None:
    def check(url: str) -> None:
        with pytest.raises(UrlRefused):
            Guard().check_url(url)

    no_host = ["", "example.org", "/path", "http://"]
    no_such_host = [f"http://{host}/" for host in ("exa mple.org", "a..b", ".", "a.1.", "1.2.3.256")]
    other_schemes = ["ftp://example.org/", "file:///etc/passwd", "gopher://example.org/"]
    check_each([*no_host, *no_such_host, *other_schemes, "javascript:alert(1)", "data:,x"], check)


def test_credentials_in_a_url_are_refused_and_not_repeated() -> None:
    def check(url: str) -> None:
        with pytest.raises(UrlRefused) as caught:
            Guard().check_url(url)
        assert "secret" not in str(caught.value)

    plain = ["http://user@example.org/", "http://user:secret@example.org/", "http://:secret@a.org/"]
    wrong_otherwise = ["ftp://user:secret@example.org/", "http://user:secret@example.org:99999/"]
    check_each([*plain, *wrong_otherwise], check)


def test_ports_of_other_protocols_are_refused() -> None:
    def refused(port: int) -> None:
        with pytest.raises(UrlRefused, match=str(port)):
            Guard().check_url(f"http://example.org:{port}/")

    def allowed(port: int) -> None:
        assert Guard().check_url(f"http://example.org:{port}/").hostname == "example.org"

    check_each([22, 25, 53, 81, 1023, 2049, 5060, 6000, 6667, 10080], refused)
    check_each([80, 443, 1024, 3000, 8000, 8080, 8443, 49152, 65535], allowed)


async def test_backend_refuses_forbidden_ports() -> None:
    network = RecordingNetwork()
    with pytest.raises(UrlRefused, match="22"):
        await GuardedBackend(Guard(), network=network).connect_tcp("1.1.1.1", 22)
    assert network.calls == []


async def test_backend_refuses_unix_sockets() -> None:
    with pytest.raises(UrlRefused):
        await GuardedBackend(Guard(), network=RecordingNetwork()).connect_unix_socket("/run/docker.sock")
