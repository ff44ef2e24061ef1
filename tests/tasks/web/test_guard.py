"""The guard refuses before it connects: to every address it should, in every spelling, by every detour."""

from __future__ import annotations

import ssl
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any, ClassVar

import httpcore2
import pytest
from hypothesis import given

from tests.clocks import FrozenClock
from tests.tasks.web.addresses import (
    DENIED_V4,
    DENIED_V6,
    FORGOTTEN,
    PUBLIC,
    as_url,
    denied_v4,
    denied_v6,
    hosts_of_v4,
    hosts_of_v6,
)
from tests.tasks.web.doubles import Names, RecordingNetwork, RecordingStream, client
from zeke_tasks.demo_site import Answer, LoopbackServer, Request
from zeke_tasks.web import AddressRefused, Permanent, Transient, UrlRefused
from zeke_tasks.web.guard import Guard, GuardedBackend

if TYPE_CHECKING:
    from ipaddress import IPv4Address
    from pathlib import Path

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


# Which addresses


@given(denied_v4)
def test_every_ipv4_address_of_a_denied_net_is_refused(address: IPv4Address) -> None:
    assert Guard().refusal(address)


@given(denied_v6)
def test_every_ipv6_address_of_a_denied_net_is_refused(address: IPv6Address) -> None:
    assert Guard().refusal(address)


@pytest.mark.parametrize("address", FORGOTTEN)
def test_what_an_old_standard_library_takes_for_public_is_refused(address: str) -> None:
    assert Guard().refusal(ip_address(address))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
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
        ("2002:101:101::", "6to4"),
        ("2001:0:101:101::fefe:fefe", "Teredo"),
        ("1234::", "reserved"),
    ],
)
def test_the_reason_says_what_kind_of_address_it_is(address: str, reason: str) -> None:
    assert reason in (Guard().refusal(ip_address(address)) or "")


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_and_neighbours_of_denied_nets_pass(address: str) -> None:
    assert Guard().refusal(ip_address(address)) is None


@pytest.mark.parametrize(
    ("address", "carried"),
    [
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("64:ff9b::a01:203", "10.1.2.3"),
        ("2002:a01:203::", "10.1.2.3"),
        ("::10.1.2.3", "10.1.2.3"),
        ("2001:0:a01:203::", "10.1.2.3"),
        ("2001:0:101:101::f5fe:fdfc", "10.1.2.3"),
        ("2a00:1450::5efe:10.1.2.3", "10.1.2.3"),
        ("2a00:1450::200:5efe:a01:203", "10.1.2.3"),
    ],
)
def test_the_reason_names_the_address_that_is_carried_inside(address: str, carried: str) -> None:
    assert carried in (Guard().refusal(ip_address(address)) or "")


@pytest.mark.parametrize("address", ["::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::", "::1.1.1.1"])
def test_a_public_address_inside_ipv6_is_refused_too(address: str) -> None:
    assert Guard().refusal(ip_address(address))


def test_what_is_allowed_is_allowed_alone() -> None:
    guard = Guard(["127.0.0.1/32"])
    assert guard.refusal(ip_address("127.0.0.1")) is None
    assert all(
        guard.refusal(ip_address(other)) for other in ("127.0.0.2", "::1", "::ffff:127.0.0.1", "10.0.0.1")
    )


def test_a_network_that_carries_others_opens_for_public_ones_only() -> None:
    guard = Guard(["64:ff9b::/96"])
    assert guard.refusal(ip_address("64:ff9b::101:101")) is None
    assert guard.refusal(ip_address("64:ff9b::7f00:1"))


def test_nothing_is_allowed_unless_somebody_says_so() -> None:
    assert Guard().refusal(ip_address("127.0.0.1"))


def test_an_allowed_network_that_is_none_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.1/8"):
        Guard(["10.0.0.1/8"])


# Refused before connecting


async def refused(url: str, names: Names | None = None, *, allow: tuple[str, ...] = ()) -> AddressRefused:
    """Fetch a URL, see it refused, and see that no connection was tried."""
    network = RecordingNetwork()
    async with client(network=network, names=names, allow=allow) as web:
        with pytest.raises(AddressRefused) as caught:
            await web.fetch(url, kind="page")
    assert network.calls == []
    return caught.value


@given(hosts_of_v4())
async def test_a_denied_ipv4_address_is_refused_in_every_spelling(host: str) -> None:
    await refused(as_url(host))


@given(hosts_of_v6())
async def test_a_denied_ipv6_address_is_refused_in_every_spelling(host: str) -> None:
    await refused(as_url(host))


@pytest.mark.parametrize("net", DENIED_V4 + DENIED_V6)
async def test_a_name_that_leads_into_a_denied_net_is_refused(net: str) -> None:
    address = net.partition("/")[0]
    names = Names({"innocent.example": [address]})
    error = await refused("https://innocent.example/page", names)
    assert (error.url, error.address) == ("https://innocent.example/page", address)
    assert names.asked == ["innocent.example"]


@pytest.mark.parametrize(
    "name", ["innocent.example.", "INNOCENT.example", "\uff49nnocent.example", "innocent%2Eexample"]
)
async def test_a_name_is_refused_in_every_spelling(name: str) -> None:
    names = Names({"innocent.example": ["10.0.0.1"]})
    await refused(f"http://{name}/", names)
    assert names.asked == ["innocent.example"]


async def test_an_international_name_is_resolved_in_its_ascii_form() -> None:
    names = Names({"xn--bcher-kva.example": ["192.168.1.1"]})
    await refused("http://bücher.example/", names)


async def test_one_denied_address_among_public_ones_refuses_the_name() -> None:
    names = Names({"mixed.example": ["1.1.1.1", "2606:4700::1111", "fd00::1"]})
    assert (await refused("http://mixed.example/", names)).address == "fd00::1"


async def test_an_address_with_a_zone_is_refused() -> None:
    await refused("http://zoned.example/", Names({"zoned.example": ["fe80::1%eth0"]}))


async def test_an_answer_that_is_no_address_is_refused() -> None:
    await refused("http://odd.example/", Names({"odd.example": ["localhost"]}))


async def test_loopback_is_refused_under_its_own_name() -> None:
    await refused("http://localhost/", Names({"localhost": ["127.0.0.1", "::1"]}))


async def test_refusal_is_permanent_and_says_why() -> None:
    error = await refused("http://169.254.169.254/latest/meta-data")
    assert isinstance(error, Permanent)
    assert error.why == "link-local"
    assert "169.254.169.254" in str(error)


# The connection goes to the checked address


async def test_the_connection_goes_to_the_address_that_was_checked() -> None:
    stream = RecordingStream(ANSWER)
    network = RecordingNetwork(stream=stream)
    # The second answer is what an attacker's name server gives to whoever asks again.
    names = Names({"rebinding.example": [["1.1.1.1"], ["127.0.0.1"]]})
    async with client(network=network, names=names, allow=()) as web:
        fetched = await web.fetch("http://rebinding.example/a", kind="page")
    assert (fetched.body, network.calls, names.asked) == (b"hi", [("1.1.1.1", 80)], ["rebinding.example"])


async def test_the_host_header_stays_the_name() -> None:
    stream = RecordingStream(ANSWER)
    async with client(
        network=RecordingNetwork(stream=stream), names=Names({"a.example": ["1.1.1.1"]})
    ) as web:
        await web.fetch("http://a.example:8080/x", kind="page")
    assert b"\r\nHost: a.example:8080\r\n" in stream.sent


@pytest.mark.parametrize(
    "host", ["my_blog.xn--e1afmkfd.xn--p1ai", "xn--i-7iq.ws", "-a.xn--p1ai", "xn--a.example"]
)
async def test_a_host_is_asked_that_browsers_ask_although_the_standard_of_names_forbids_it(host: str) -> None:
    stream = RecordingStream(ANSWER)
    async with client(network=RecordingNetwork(stream=stream), names=Names({host: ["1.1.1.1"]})) as web:
        await web.fetch(f"http://{host}:8080/x", kind="page")
    assert stream.sent.count(b"\r\nHost: ") == 1
    assert f"\r\nHost: {host}:8080\r\n".encode() in stream.sent


async def test_tls_asks_for_the_name() -> None:
    stream = RecordingStream(ANSWER)
    network = RecordingNetwork(stream=stream)
    async with client(network=network, names=Names({"a.example": ["1.1.1.1"]})) as web:
        await web.fetch("https://a.example./x", kind="page")
    assert (stream.server_names, network.calls) == (["a.example"], [("1.1.1.1", 443)])


async def test_a_certificate_that_is_not_valid_is_permanent() -> None:
    class Unverified(RecordingStream):
        async def start_tls(self, *_: object, **__: object) -> RecordingStream:
            raise httpcore2.ConnectError(ssl.SSLCertVerificationError("expired"))

    network = RecordingNetwork(stream=Unverified())
    async with client(network=network, names=Names({"a.example": ["1.1.1.1"]})) as web:
        with pytest.raises(Permanent, match="certificate"):
            await web.fetch("https://a.example/", kind="page")


async def test_a_server_that_breaks_off_tls_after_the_handshake_is_transient() -> None:
    class Alerting(RecordingStream):
        async def read(self, *_: object, **__: object) -> bytes:
            # As of TLS 1.3 a server refuses a client only after the client thinks that all is well.
            raise ssl.SSLError(1, "[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] certificate required")

    network = RecordingNetwork(stream=Alerting())
    async with client(network=network, names=Names({"a.example": ["1.1.1.1"]})) as web:
        with pytest.raises(Transient, match="certificate required"):
            await web.fetch("https://a.example/", kind="page")


async def test_the_next_address_is_tried_when_the_first_does_not_answer() -> None:
    network = RecordingNetwork()
    names = Names({"two.example": ["2606:4700::1111", "1.1.1.1"]})
    async with client(network=network, names=names) as web:
        with pytest.raises(Transient, match="nobody is there"):
            await web.fetch("http://two.example/", kind="page")
    assert network.calls == [("2606:4700::1111", 80), ("1.1.1.1", 80)]


async def test_a_name_that_does_not_resolve_is_transient() -> None:
    async with client(network=RecordingNetwork()) as web:
        with pytest.raises(Transient, match="does not resolve"):
            await web.fetch("http://unknown.example/", kind="page")


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    network = RecordingNetwork()
    async with client(network=network, names=Names({"a.example": ["1.1.1.1"]})) as web:
        with pytest.raises(Transient):
            await web.fetch("http://a.example/", kind="page")
    assert network.calls == [("1.1.1.1", 80)]


async def test_the_environment_names_no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine a.example login me password secret")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    stream = RecordingStream(ANSWER)
    network = RecordingNetwork(stream=stream)
    async with client(network=network, names=Names({"a.example": ["1.1.1.1"]})) as web:
        await web.fetch("http://a.example/", kind="page")
    assert b"authorization" not in stream.sent.lower()


async def test_the_environment_names_nobody_whom_to_trust(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A file that is not there would be an error, if anybody looked for it.
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    stream = RecordingStream(ANSWER)
    network = RecordingNetwork(stream=stream)
    async with client(network=network, names=Names({"a.example": ["1.1.1.1"]})) as web:
        assert (await web.fetch("https://a.example/", kind="page")).body == b"hi"


# On each redirect again


@pytest.mark.parametrize(
    "location",
    [
        "http://10.0.0.1/",
        "//169.254.169.254/latest",
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "http://0x7f000002/",
        "http://inside.example/",
        "http://127.0.0.2/",
    ],
)
async def test_a_redirect_to_a_denied_address_is_refused_before_connecting(location: str) -> None:
    async def redirect(_: Request) -> Answer:
        return Answer(status=302, headers=(("Location", location),))

    network = RecordingNetwork(loopback=True)
    names = Names({"inside.example": ["192.168.0.10"]})
    async with LoopbackServer(redirect) as server, client(network=network, names=names) as web:
        with pytest.raises(AddressRefused):
            await web.fetch(f"{server.base_url}/", kind="page")
        assert network.calls == [("127.0.0.1", server.port)]


@pytest.mark.parametrize(
    "location", ["ftp://example.org/", "file:///etc/passwd", "http://a:b@example.org/", "http://"]
)
async def test_a_redirect_to_what_is_not_fetched_is_refused(location: str) -> None:
    async def redirect(_: Request) -> Answer:
        return Answer(status=301, headers=(("Location", location),))

    async with LoopbackServer(redirect) as server, client() as web:
        with pytest.raises(UrlRefused):
            await web.fetch(f"{server.base_url}/", kind="page")


class Attempts(GuardedBackend):
    """Writes down what it is asked to connect to, before it checks that itself."""

    asked: ClassVar[list[tuple[str, int]]] = []

    async def connect_tcp(
        self, host: str, port: int, *args: Any, **options: Any
    ) -> httpcore2.AsyncNetworkStream:
        self.asked.append((host, port))
        return await super().connect_tcp(host, port, *args, **options)


@pytest.fixture
def attempts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What clients try to connect to, whether or not it is refused then."""
    monkeypatch.setattr(Attempts, "asked", [])
    monkeypatch.setattr("zeke_tasks.web.client.GuardedBackend", Attempts)
    return Attempts.asked


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


@pytest.mark.parametrize("url", REFUSED_AS_WRITTEN)
async def test_what_a_url_says_by_itself_is_refused_before_a_name_is_resolved(
    url: str, attempts: list[tuple[str, int]]
) -> None:
    names = Names({"inside.example": ["192.168.0.10"]})
    async with client(names=names) as web:
        with pytest.raises(UrlRefused):
            await web.fetch(url, kind="page")
    assert (attempts, names.asked) == ([], [])


@pytest.mark.parametrize("url", REFUSED_AS_WRITTEN)
async def test_what_a_redirect_says_by_itself_is_refused_before_a_name_is_resolved(
    url: str, attempts: list[tuple[str, int]]
) -> None:
    async def redirect(_: Request) -> Answer:
        return Answer(status=302, headers=(("Location", url),))

    names = Names({"inside.example": ["192.168.0.10"]})
    # The clock stands still, so whoever waits for another turn at this host waits for ever.
    async with LoopbackServer(redirect) as server, client(names=names, clock=FrozenClock(), gap=1.0) as web:
        with pytest.raises(UrlRefused):
            await web.fetch(f"{server.base_url}/", kind="page")
        assert (attempts, names.asked) == ([("127.0.0.1", server.port)], [])


# URLs


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "/path",
        "http://",
        "http://exa mple.org/",
        "http://a..b/",
        "http://./",
        "http://a.1./",
        "http://1.2.3.256/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "gopher://example.org/",
        "javascript:alert(1)",
        "data:,x",
    ],
)
def test_what_is_no_web_url_is_refused(url: str) -> None:
    with pytest.raises(UrlRefused):
        Guard().check_url(url)


@pytest.mark.parametrize(
    "url", ["http://user@example.org/", "http://user:secret@example.org/", "http://:secret@a.org/"]
)
def test_credentials_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UrlRefused) as caught:
        Guard().check_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://user:secret@example.org/", "http://user:secret@example.org:99999/"])
def test_credentials_are_not_repeated_whatever_else_is_wrong(url: str) -> None:
    with pytest.raises(UrlRefused) as caught:
        Guard().check_url(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("port", [22, 25, 53, 81, 1023, 2049, 5060, 6000, 6667, 10080])
def test_ports_of_other_protocols_are_refused(port: int) -> None:
    with pytest.raises(UrlRefused, match=str(port)):
        Guard().check_url(f"http://example.org:{port}/")


@pytest.mark.parametrize("port", [80, 443, 1024, 3000, 8000, 8080, 8443, 49152, 65535])
def test_ports_on_which_the_web_is_found_pass(port: int) -> None:
    assert Guard().check_url(f"http://example.org:{port}/").hostname == "example.org"


async def test_the_backend_refuses_a_forbidden_port_by_itself() -> None:
    network = RecordingNetwork()
    with pytest.raises(UrlRefused, match="22"):
        await GuardedBackend(Guard(), network=network).connect_tcp("1.1.1.1", 22)
    assert network.calls == []


async def test_the_backend_opens_no_socket_of_this_machine() -> None:
    with pytest.raises(UrlRefused):
        await GuardedBackend(Guard(), network=RecordingNetwork()).connect_unix_socket("/run/docker.sock")
