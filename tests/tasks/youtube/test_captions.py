"""Captions from YouTube: whose they are, what not getting them means, and which hosts are asked."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, NamedTuple

import pytest
import requests
from requests.adapters import BaseAdapter
from requests.models import Response

from tests.cases import check_each, check_each_async, each
from tests.clocks import FrozenClock
from zeke_tasks.fetch import Permanent, Transient, WebError
from zeke_tasks.fetch.errors import AddressRefused
from zeke_tasks.youtube import Blocked, Captions, Cue, NotOutYet, watch_url
from zeke_tasks.youtube import captions as module
from zeke_tasks.youtube.captions import BLOCKED, GAP, YouTubeCaptions
from zeke_tasks.youtube.session import TIMEOUT, HostRefused, YouTubeSession

ID = "dQw4w9WgXcQ"
URL = watch_url(ID)
WATCH = '<html><script>{"INNERTUBE_API_KEY": "abc"}</script></html>'
TRACK = "https://www.youtube.com/api/timedtext?v=1"
TEXT = (
    '<?xml version="1.0" encoding="utf-8" ?><transcript>'
    '<text start="0.5" dur="1.5">Bees &amp;amp; wasps</text>'
    '<text start="3">hum &lt;i&gt;along&lt;/i&gt;\nall day</text><text start="4" dur="1"> </text>'
    '<text start="nan" dur="1">never</text><text start="-1" dur="1">before</text></transcript>'
)


class Answer(NamedTuple):
    body: str = ""
    status: int = 200
    location: str | None = None


class Scripted(BaseAdapter):
    """Answers requests of a session by the path that they ask for, and writes them down."""

    def __init__(self, answers: Mapping[str, Answer | Exception]) -> None:
        super().__init__()
        self._answers = answers
        self.asked: list[requests.PreparedRequest] = []
        self.timeouts: list[Any] = []

    def send(self, request: requests.PreparedRequest, *_: Any, timeout: Any = None, **__: Any) -> Response:
        self.asked.append(request)
        self.timeouts.append(timeout)
        answer = self._answers.get(request.path_url.partition("?")[0], Answer(status=404))
        if isinstance(answer, Exception):
            raise answer
        response = Response()
        response.status_code, response.request, response.url = answer.status, request, request.url or ""
        response.raw = BytesIO(answer.body.encode())
        if answer.location:
            response.headers["location"] = answer.location
        return response

    def close(self) -> None:
        """Nothing is open."""


def track(language: str = "en", *, generated: bool = False, url: str = TRACK) -> dict[str, Any]:
    kind = {"kind": "asr"} if generated else {}
    return {"baseUrl": url, "name": {"runs": [{"text": language}]}, "languageCode": language, **kind}


def player(*tracks: dict[str, Any], **fields: Any) -> Answer:
    listed = {"playerCaptionsTracklistRenderer": {"captionTracks": tracks}}
    return Answer(json.dumps({"playabilityStatus": {"status": "OK"}, "captions": listed, **fields}))


def unplayable(status: str, reason: str | None) -> Answer:
    return player(playabilityStatus={"status": status, "reason": reason})


def youtube(
    watch: Answer | Exception | None = None,
    played: Answer | Exception | None = None,
    text: Answer | Exception | None = None,
) -> Scripted:
    """Return a YouTube with one video with captions, changed by the arguments."""
    return Scripted(
        {
            "/watch": watch or Answer(WATCH),
            "/youtubei/v1/player": played or player(track()),
            "/api/timedtext": text or Answer(TEXT),
        }
    )


def source(scripted: Scripted, *languages: str, clock: FrozenClock | None = None) -> YouTubeCaptions:
    def session() -> requests.Session:
        made = YouTubeSession()
        made.mount("https://", scripted)
        return made

    return YouTubeCaptions(languages or ("en",), clock=clock or FrozenClock(), session=session)


async def test_captions_are_read() -> None:
    scripted = youtube()
    assert await source(scripted).captions(ID) == Captions(
        "en", generated=False, cues=(Cue(0.5, 1.5, "Bees & wasps"), Cue(3.0, 0.0, "hum along\nall day"))
    )
    assert scripted.asked[0].url == URL
    assert scripted.timeouts == [TIMEOUT] * 3


@each(
    ("en", [track("de"), track("en", generated=True)], "en"),
    ("en", [track("en", generated=True), track("en-GB")], "en-GB"),
    ("de en", [track("en"), track("de", generated=True)], "de"),
    ("en", [track("fr", generated=True), track("de")], "de"),
    ("en", [track("fr", generated=True)], "fr"),
    ("EN", [track("enm"), track("en-US")], "en-US"),
)
async def test_best_captions_are_chosen(languages: str, tracks: list[dict[str, Any]], chosen: str) -> None:
    found = await source(youtube(played=player(*tracks)), *languages.split()).captions(ID)
    assert found
    assert found.language == chosen


async def test_video_without_captions_has_none() -> None:
    async def check(played: Answer) -> None:
        assert await source(youtube(played=played)).captions(ID) is None

    no_tracks = player(captions={"playerCaptionsTracklistRenderer": {}})
    await check_each_async(
        {"empty": (player(),), "none": (player(captions={}),), "no list": (no_tracks,)}, check
    )


async def test_failures_are_distinguished() -> None:
    async def check(scripted: Scripted, kind: type[WebError], reason: str, wait: float | None = None) -> None:
        with pytest.raises(kind, match=rf"(?i){reason}") as raised:
            await source(scripted).captions(ID)
        assert (type(raised.value), raised.value.url) == (kind, URL)
        assert getattr(raised.value, "retry_after", None) == wait

    def refused(status: str, said: str | None) -> Scripted:
        return youtube(played=unplayable(status, said))

    login, too_young = "LOGIN_REQUIRED", "This video may be inappropriate for some users."
    uploader = "The uploader has not made it available"
    robot = refused(login, "Sign in to confirm you\u2019re not a bot")
    consent = Answer('<form action="https://consent.youtube.com/s">')
    entities = Answer('<!DOCTYPE x [<!ENTITY a "b">]><transcript/>')
    upcoming = ("This live event will begin in 2 hours.", "Premieres in 3 days", "Begins soon")
    cases = {
        "gone": (refused("ERROR", "This video is unavailable"), Permanent, "not available"),
        "age": (refused(login, too_young), Permanent, "age"),
        "country": (refused("UNPLAYABLE", uploader), Permanent, "uploader"),
        "private": (refused(login, None), Permanent, "no reason given"),
        "too many requests": (youtube(watch=Answer(status=429)), Blocked, "blocks", BLOCKED),
        "too many requests for captions": (youtube(text=Answer(status=429)), Blocked, "blocks", BLOCKED),
        "captcha": (youtube(watch=Answer('<div class="g-recaptcha">')), Blocked, "blocks", BLOCKED),
        "robot": (robot, Blocked, "blocks", BLOCKED),
        "consent": (youtube(watch=consent), Blocked, "consent", BLOCKED),
        "no connection": (youtube(watch=requests.ConnectTimeout("too late")), Blocked, "ConnectTimeout"),
        "TLS": (youtube(watch=requests.exceptions.SSLError("whose certificate?")), Blocked, "certificate"),
        **{said: (refused("LIVE_STREAM_OFFLINE", said), NotOutYet, said, BLOCKED) for said in upcoming},
        "404": (youtube(watch=Answer(status=404)), Transient, "404"),
        "500": (youtube(watch=Answer(status=500)), Transient, "500"),
        "403": (youtube(text=Answer(status=403)), Transient, "403"),
        "no answer": (youtube(watch=requests.ReadTimeout("too late")), Transient, "too late"),
        "reset": (youtube(played=requests.ConnectionError("reset")), Transient, "reset"),
        "no key": (youtube(watch=Answer("<html></html>")), Transient, "can be got"),
        "token": (youtube(played=player(track(url=f"{TRACK}&exp=xpe"))), Transient, "token"),
        "no JSON": (youtube(played=Answer("no JSON")), Transient, "JSON"),
        "other JSON": (youtube(played=Answer("{}")), Transient, "not understood"),
        "no text": (youtube(text=Answer("")), Transient, "no captions"),
        "entities": (youtube(text=entities), Transient, "Entities"),
    }
    await check_each_async(cases, check)


async def test_memory_error_is_raised_unchanged() -> None:
    with pytest.raises(MemoryError):
        await source(youtube(watch=MemoryError())).captions(ID)


@each("", "short", "https://youtu.be/x", "../../../etc", "dQw4w9WgXcQ&x=1")
async def test_invalid_id_is_not_requested(video_id: str) -> None:
    scripted = youtube()
    with pytest.raises(Permanent, match="must be eleven letters"):
        await source(scripted).captions(video_id)
    assert scripted.asked == []


async def test_other_hosts_are_not_requested() -> None:
    async def check(url: str) -> None:
        scripted = youtube(played=player(track(url=url)))
        with pytest.raises(Transient, match="HostRefused"):
            await source(scripted).captions(ID)
        redirected = youtube(text=Answer(status=302, location=url))
        with pytest.raises(Transient, match="HostRefused"):
            await source(redirected).captions(ID)
        assert paths(scripted) == ["/watch", "/youtubei/v1/player"]
        assert all((request.url or "").startswith("https://www.youtube.com/") for request in redirected.asked)

    https = (
        "evil.example",
        "127.0.0.1",
        "youtube.com.evil.example",
        "notyoutube.com",
        "www.youtube.com:8443",
    )
    odd = ("user@evil.example/https://www.youtube.com", "[::1]")
    urls = [f"https://{host}/api/timedtext" for host in (*https, *odd)]
    await check_each_async([*urls, "http://www.youtube.com/api/timedtext"], check)


def paths(scripted: Scripted) -> list[str]:
    return [request.path_url.partition("?")[0] for request in scripted.asked]


def test_session_ignores_the_environment() -> None:
    with YouTubeSession() as session:
        assert not session.trust_env
        with pytest.raises(HostRefused):
            session.get(f"https://evil.example/?{URL}")


async def test_videos_are_requested_one_by_one_with_a_gap() -> None:
    scripted, clock = youtube(), FrozenClock()
    captions = source(scripted, clock=clock)
    asking = [asyncio.create_task(captions.captions(ID)) for _ in range(3)]
    for number, one in enumerate(asking, 1):
        await one
        assert len(scripted.asked) == 3 * number
        clock.advance(GAP)
    assert paths(scripted) == ["/watch", "/youtubei/v1/player", "/api/timedtext"] * 3


class Hanging(requests.Session):
    """A session that hangs until the test is over."""

    def __init__(self, over: threading.Event) -> None:
        super().__init__()
        self._over = over

    def send(self, *_: Any, **__: Any) -> Response:
        self._over.wait()
        raise requests.ConnectionError("over")


@pytest.fixture
def hanging() -> Any:
    over = threading.Event()
    yield lambda: Hanging(over)
    over.set()


async def test_answer_times_out(
    monkeypatch: pytest.MonkeyPatch, hanging: Callable[[], requests.Session]
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    with pytest.raises(Transient, match="within"):
        await YouTubeCaptions(clock=FrozenClock(), session=hanging).captions(ID)


async def test_cancelled_caller_does_not_wait(hanging: Callable[[], requests.Session]) -> None:
    asking = asyncio.create_task(YouTubeCaptions(clock=FrozenClock(), session=hanging).captions(ID))
    await asyncio.wait([asking], timeout=0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


NAME = "www.youtube.com"
WATCHED = f"https://{NAME}/watch?v=dQw4w9WgXcQ"
PUBLIC, OTHER, PUBLIC_TOO = "142.250.1.1", "142.250.1.2", "2a00:1450:4001::1"


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
            session.get(WATCHED)
        assert network.asked == []

    v4 = ["127.0.0.1", "0.1.2.3", "10.1.2.3", "169.254.169.254"]
    v6 = ["::1", "fe80::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::"]
    check_each([*v4, *v6, (PUBLIC, "127.0.0.1"), (PUBLIC_TOO, PUBLIC, "fd00::1")], check)


def test_every_address_of_a_name_is_tried(network: Network) -> None:
    network.addresses = [OTHER, PUBLIC]  # a machine without IPv6 tries no others
    with YouTubeSession() as session, pytest.raises(requests.ConnectionError, match="nobody is there"):
        session.get(WATCHED)
    assert network.asked == [(OTHER, 443), (PUBLIC, 443)]


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
            session.get(WATCHED)
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
