"""Captions from YouTube: whose they are, and what each way of not getting them means. Nothing is sent."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import requests
from requests.adapters import BaseAdapter
from requests.models import Response

from tests.clocks import FrozenClock
from zeke_tasks.web import Permanent, Transient
from zeke_tasks.youtube import Blocked, Captions, Cue, NotOutYet, watch_url
from zeke_tasks.youtube import captions as module
from zeke_tasks.youtube.captions import BLOCKED, GAP, YouTubeCaptions
from zeke_tasks.youtube.session import TIMEOUT, HostRefused, YouTubeSession

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

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
    """What a page answers."""

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
        response._content = answer.body.encode()
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
    """Return a YouTube that has one video with captions, but for what is given."""
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


@pytest.mark.parametrize(
    ("languages", "tracks", "chosen"),
    [
        (("en",), [track("de"), track("en", generated=True)], "en"),
        (("en",), [track("en", generated=True), track("en-GB")], "en-GB"),
        (("de", "en"), [track("en"), track("de", generated=True)], "de"),
        (("en",), [track("fr", generated=True), track("de")], "de"),
        (("en",), [track("fr", generated=True)], "fr"),
        (("EN",), [track("enm"), track("en-US")], "en-US"),
    ],
)
async def test_the_best_of_several_captions_are_chosen(
    languages: tuple[str, ...], tracks: list[dict[str, Any]], chosen: str
) -> None:
    found = await source(youtube(played=player(*tracks)), *languages).captions(ID)
    assert found
    assert found.language == chosen


@pytest.mark.parametrize(
    "played", [player(), player(captions={}), player(captions={"playerCaptionsTracklistRenderer": {}})]
)
async def test_a_video_without_captions_has_none(played: Answer) -> None:
    assert await source(youtube(played=played)).captions(ID) is None


@pytest.mark.parametrize(
    ("scripted", "reason"),
    [
        (youtube(played=unplayable("ERROR", "This video is unavailable")), "not available"),
        (
            youtube(played=unplayable("LOGIN_REQUIRED", "This video may be inappropriate for some users.")),
            "age",
        ),
        (youtube(played=unplayable("UNPLAYABLE", "The uploader has not made it available")), "uploader"),
        (youtube(played=unplayable("LOGIN_REQUIRED", None)), "no reason given"),
    ],
    ids=["gone", "age", "country", "private"],
)
async def test_a_video_that_is_not_shown_is_given_up(scripted: Scripted, reason: str) -> None:
    with pytest.raises(Permanent, match=reason) as raised:
        await source(scripted).captions(ID)
    assert raised.value.url == URL


@pytest.mark.parametrize(
    ("scripted", "reason", "wait"),
    [
        (youtube(watch=Answer(status=429)), "blocks", BLOCKED),
        (youtube(watch=Answer('<div class="g-recaptcha">')), "blocks", BLOCKED),
        (
            youtube(played=unplayable("LOGIN_REQUIRED", "Sign in to confirm you\u2019re not a bot")),
            "blocks",
            BLOCKED,
        ),
        (
            youtube(played=unplayable("LIVE_STREAM_OFFLINE", "This live event will begin in 2 hours.")),
            "live",
            BLOCKED,
        ),
        (youtube(watch=Answer(status=404)), "404", None),
        (youtube(watch=Answer(status=500)), "500", None),
        (youtube(text=Answer(status=403)), "403", None),
        (youtube(watch=requests.ConnectTimeout("too late")), "ConnectTimeout", None),
        (youtube(played=requests.ConnectionError("reset")), "reset", None),
        (youtube(watch=Answer("<html></html>")), "can be got", None),
        (youtube(watch=Answer('<form action="https://consent.youtube.com/s">')), "consent", BLOCKED),
        (youtube(played=player(track(url=f"{TRACK}&exp=xpe"))), "token", None),
        (youtube(played=Answer("no JSON")), "JSON", None),
        (youtube(played=Answer("{}")), "not understood", None),
        (youtube(text=Answer("")), "no captions", None),
        (youtube(text=Answer('<!DOCTYPE x [<!ENTITY a "b">]><transcript/>')), "Entities", None),
    ],
)
async def test_what_may_be_otherwise_later_is_tried_again(
    scripted: Scripted, reason: str, wait: float | None
) -> None:
    with pytest.raises(Transient, match=rf"(?i){reason}") as raised:
        await source(scripted).captions(ID)
    assert (raised.value.url, raised.value.retry_after) == (URL, wait)


@pytest.mark.parametrize(
    "reason", ["This live event will begin in 2 hours.", "Premieres in 3 days", "Begins soon"]
)
async def test_a_video_that_is_still_to_come_is_known_from_one_that_fails(reason: str) -> None:
    with pytest.raises(NotOutYet):
        await source(youtube(played=unplayable("LIVE_STREAM_OFFLINE", reason))).captions(ID)
    with pytest.raises(Transient) as raised:
        await source(youtube(watch=Answer(status=500))).captions(ID)
    assert not isinstance(raised.value, NotOutYet)


@pytest.mark.parametrize(
    ("scripted", "blocked"),
    [
        (youtube(watch=Answer(status=429)), True),
        (youtube(text=Answer(status=429)), True),
        (youtube(watch=Answer('<div class="g-recaptcha">')), True),
        (youtube(played=unplayable("LOGIN_REQUIRED", "Sign in to confirm you\u2019re not a bot")), True),
        (youtube(watch=Answer('<form action="https://consent.youtube.com/s">')), True),
        (youtube(watch=requests.ConnectTimeout("too late")), True),
        (youtube(watch=requests.exceptions.SSLError("whose certificate?")), True),
        (youtube(watch=requests.ReadTimeout("too late")), False),
        (youtube(text=requests.ConnectionError("reset")), False),
        (youtube(watch=Answer(status=500)), False),
        (youtube(played=Answer("{}")), False),
        (youtube(played=unplayable("LIVE_STREAM_OFFLINE", "Begins soon")), False),
    ],
)
async def test_what_would_meet_any_video_is_known_from_what_this_one_meets(
    scripted: Scripted, *, blocked: bool
) -> None:
    with pytest.raises(Transient) as raised:
        await source(scripted).captions(ID)
    assert isinstance(raised.value, Blocked) is blocked


async def test_what_this_machine_lacks_is_said_as_it_is() -> None:
    with pytest.raises(MemoryError):
        await source(youtube(watch=MemoryError())).captions(ID)


@pytest.mark.parametrize("video_id", ["", "short", "https://youtu.be/x", "../../../etc", "dQw4w9WgXcQ&x=1"])
async def test_what_is_no_id_is_not_asked_for(video_id: str) -> None:
    scripted = youtube()
    with pytest.raises(Permanent, match="no video's id"):
        await source(scripted).captions(video_id)
    assert scripted.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/api/timedtext",
        "https://127.0.0.1/api/timedtext",
        "https://youtube.com.evil.example/api/timedtext",
        "https://notyoutube.com/api/timedtext",
        "https://user@evil.example/https://www.youtube.com/api/timedtext",
        "http://www.youtube.com/api/timedtext",
        "https://www.youtube.com:8443/api/timedtext",
        "https://[::1]/api/timedtext",
    ],
)
async def test_no_other_host_is_asked(url: str) -> None:
    scripted = youtube(played=player(track(url=url)))
    with pytest.raises(Transient, match="HostRefused"):
        await source(scripted).captions(ID)
    redirected = youtube(text=Answer(status=302, location=url))
    with pytest.raises(Transient, match="HostRefused"):
        await source(redirected).captions(ID)
    assert {request.path_url.partition("?")[0] for request in scripted.asked} == {
        "/watch",
        "/youtubei/v1/player",
    }
    assert all((request.url or "").startswith("https://www.youtube.com/") for request in redirected.asked)


def test_the_environment_sends_the_session_nowhere_else() -> None:
    with YouTubeSession() as session:
        assert not session.trust_env
        with pytest.raises(HostRefused):
            session.get(f"https://evil.example/?{URL}")


async def test_videos_are_asked_for_one_after_the_other_and_not_too_fast() -> None:
    scripted, clock = youtube(), FrozenClock()
    captions = source(scripted, clock=clock)
    asking = [asyncio.create_task(captions.captions(ID)) for _ in range(3)]
    for number, one in enumerate(asking, 1):
        await one
        assert len(scripted.asked) == 3 * number
        clock.advance(GAP)
    assert [request.path_url.partition("?")[0] for request in scripted.asked] == [
        "/watch",
        "/youtubei/v1/player",
        "/api/timedtext",
    ] * 3


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


async def test_an_answer_that_never_comes_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, hanging: Callable[[], requests.Session]
) -> None:
    monkeypatch.setattr(module, "PATIENCE", 0.1)
    with pytest.raises(Transient, match="within"):
        await YouTubeCaptions(clock=FrozenClock(), session=hanging).captions(ID)


async def test_whoever_is_cancelled_does_not_wait(hanging: Callable[[], requests.Session]) -> None:
    asking = asyncio.create_task(YouTubeCaptions(clock=FrozenClock(), session=hanging).captions(ID))
    await asyncio.wait([asking], timeout=0.05)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
