"""Captions by youtube-transcript-api, which sends the same requests as YouTube's player and needs no key.

The library uses requests and not our web client. It gets a session that connects by TLS to YouTube's own
hosts only, even after redirects, behind the same guard.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Final
from xml.etree.ElementTree import ParseError

import anyio
import anyio.to_thread
import requests
from defusedxml.common import DefusedXmlException
from urllib3.exceptions import MaxRetryError, NewConnectionError
from youtube_transcript_api import (
    AgeRestricted,
    CouldNotRetrieveTranscript,
    FailedToCreateConsentCookie,
    FetchedTranscript,
    InvalidVideoId,
    NoTranscriptFound,
    RequestBlocked,
    Transcript,
    TranscriptsDisabled,
    VideoUnavailable,
    VideoUnplayable,
    YouTubeRequestFailed,
    YouTubeTranscriptApi,
)

from zeke_queue.system.clock import Clock, SystemClock
from zeke_tasks.fetch.errors import AddressRefused, Permanent, Transient, WebError
from zeke_tasks.fetch.libraries import is_of_this_machine
from zeke_tasks.fetch.politeness import Turns
from zeke_tasks.fetch.text import one_line, printable
from zeke_tasks.youtube.model import Blocked, Captions, Cue, NotOutYet, is_video_id, watch_url
from zeke_tasks.youtube.session import HOST, YouTubeSession

LANGUAGES: Final = ("en",)
"""Preferred languages; a video without them is read in another one."""

PATIENCE: Final = 60.0
"""Seconds for a video's captions, which take three to five requests."""

GAP: Final = 1.0
"""Seconds between two videos. YouTube blocks clients that send requests faster."""

BLOCKED: Final = 3600.0
"""Seconds without requests after YouTube blocks us."""


class YouTubeCaptions:
    """A `CaptionSource` that gets captions from YouTube.

    It requests one video at a time, in a thread, since the library blocks.

    Args:
        languages: preferred languages, best first; ``en`` includes ``en-GB``. In the same language, captions
            by people take precedence over automatic ones.
        clock: gives the time and sleeps between two videos.
        session: creates the library's session.
    """

    def __init__(
        self,
        languages: Sequence[str] = LANGUAGES,
        *,
        clock: Clock | None = None,
        session: Callable[[], requests.Session] = YouTubeSession,
    ) -> None:
        self._languages = [language.lower() for language in languages]
        self._turns = Turns(clock or SystemClock(), per_host=1, gap=GAP)
        self._session = session

    async def captions(self, video_id: str) -> Captions | None:
        """Return a video's captions, or None if it has none.

        Raises:
            NotOutYet: the video is a premiere or a live event that has not ended.
            Blocked: YouTube can't be reached or blocks us, for any video.
            Transient: YouTube does not answer this request, or the library can't parse the answer, which a
                new version may.
            Permanent: the video does not exist or is restricted.
        """
        url = watch_url(video_id)
        if not is_video_id(video_id):
            raise Permanent(url, f"video id: must be eleven letters, digits, - and _, got {video_id!r}")
        async with self._turns.turn(HOST):
            with anyio.move_on_after(PATIENCE):
                # A cancelled job does not wait for the thread, which ends by its time-outs.
                return await anyio.to_thread.run_sync(self._ask, video_id, abandon_on_cancel=True)
        raise Transient(url, f"no captions within {PATIENCE:g} seconds")

    def _ask(self, video_id: str) -> Captions | None:
        with self._session() as session:
            try:
                listed = YouTubeTranscriptApi(http_client=session).list(video_id)
                chosen = self._choose(listed)
                return _captions(chosen.fetch()) if chosen else None
            except (TranscriptsDisabled, NoTranscriptFound):
                return None
            except Exception as error:
                if (ours := _our_error(video_id, error)) is None:
                    raise
                raise ours from error

    def _choose(self, listed: Iterable[Transcript]) -> Transcript | None:
        return min(listed, key=lambda one: (self._rank(one.language_code), one.is_generated), default=None)

    def _rank(self, language: str) -> int:
        spoken = language.lower()
        for rank, wanted in enumerate(self._languages):
            if spoken == wanted or spoken.startswith(f"{wanted}-"):
                return rank
        return len(self._languages)


def _captions(found: FetchedTranscript) -> Captions:
    cues = [
        Cue(snippet.start, snippet.duration, text)
        for snippet in found
        if (text := printable(snippet.text).strip())
        and _is_time(snippet.start)
        and _is_time(snippet.duration)
    ]
    cues.sort(key=lambda cue: cue.start)
    return Captions(found.language_code, found.is_generated, tuple(cues))


def _is_time(seconds: float) -> bool:
    return math.isfinite(seconds) and seconds >= 0


def _our_error(video_id: str, error: Exception) -> WebError | None:
    """Convert an error of the library; None if this machine is the cause."""
    url = watch_url(video_id)
    match error:
        case CouldNotRetrieveTranscript():
            return _refusal(url, error)
        case AddressRefused() | requests.RequestException():
            return _unanswered(url, error)
        case ParseError() | DefusedXmlException():
            return Transient(url, f"the answer of YouTube has no captions: {type(error).__name__}: {error}")
        case _ if is_of_this_machine(error):
            return None
        case _:
            # When YouTube changes its answers, the library fails with arbitrary exceptions.
            return Transient(url, f"YouTube's answer is not understood: {type(error).__name__}: {error}")


def _unanswered(url: str, error: AddressRefused | requests.RequestException) -> WebError:
    """Return the error for a request without an answer; without a connection the video is not to blame."""
    # The library's error has the original error as its argument.
    met = error.args[0] if error.args else None
    unconnected = isinstance(met, MaxRetryError) and isinstance(met.reason, NewConnectionError)
    if unconnected or isinstance(error, (requests.ConnectTimeout, requests.exceptions.SSLError)):
        return Blocked(url, f"YouTube can't be reached: {type(error).__name__}: {error}")
    if isinstance(error, AddressRefused):
        return Blocked(url, f"YouTube can't be reached: {error}; see what this machine asks for addresses")
    return Transient(url, f"the connection to YouTube failed: {type(error).__name__}: {error}")


def _refusal(url: str, error: CouldNotRetrieveTranscript) -> WebError:
    """Convert a refusal by YouTube."""
    match error:
        case InvalidVideoId() | VideoUnavailable():
            return Permanent(url, "the video is not available")
        case AgeRestricted():
            return Permanent(url, "the video is shown only with a proof of age")
        case VideoUnplayable():
            return _unplayable(url, error)
        case RequestBlocked():
            why = "blocks requests from this machine's address"
        case FailedToCreateConsentCookie():
            why = "shows this machine a form of consent in place of its videos"
        case YouTubeRequestFailed():
            return Transient(url, one_line(f"YouTube refused the request: {error.reason}"))
        case _:
            return Transient(url, f"no captions can be got now: {one_line(error.cause)}")
    return Blocked(url, f"YouTube {why}", retry_after=BLOCKED)


def _unplayable(url: str, error: VideoUnplayable) -> WebError:
    """Convert the error of an unplayable video; a scheduled one is playable later."""
    reason = one_line(" ".join([error.reason or "no reason given", *error.sub_reasons]))
    said = f"the video can't be played: {reason}"
    if any(word in reason.lower() for word in ("live event", "premiere", "begin")):
        return NotOutYet(url, said, retry_after=BLOCKED)
    return Permanent(url, said)
