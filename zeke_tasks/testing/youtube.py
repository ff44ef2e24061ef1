"""A scripted YouTube for tests and simulations: feeds of channels, captions and searches made from a seed.

The text of a video follows from the seed and the video's id, so repeated requests in any order have the same
results.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Final
from xml.sax.saxutils import escape, quoteattr

from zeke_tasks.fetch.errors import Transient
from zeke_tasks.youtube import Captions, Cue, Video, watch_url

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from zeke_tasks.youtube import Duration, Order

_WORDS: Final = (
    "bees", "honey", "meadow", "flower", "garden", "summer", "hive", "queen", "pollen", "winter", "river",
    "stone", "cloud", "forest", "bird", "tree",
)  # fmt: skip
_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
_LENGTHS: Final[dict[Duration, tuple[int, int]]] = {
    "any": (0, 2**31),
    "short": (0, 240),
    "medium": (240, 1201),
    "long": (1201, 2**31),
}
_LONGEST: Final = 3600


class Failures:
    """The remaining failures of requests.

    Args:
        retry_after: the seconds to wait in each failure.
    """

    def __init__(self, retry_after: float | None = None) -> None:
        self._left: Counter[str] = Counter()
        self._retry_after = retry_after

    def put(self, what: str, times: int) -> None:
        """Make the next ``times`` requests fail."""
        self._left[what] = times

    def meet(self, what: str, url: str) -> None:
        """Raise if there are remaining failures.

        Raises:
            Transient: there is a remaining failure.
        """
        if self._left[what] > 0:
            self._left[what] -= 1
            raise Transient(url, "YouTube is busy", status=503, retry_after=self._retry_after)


class ScriptedCaptions:
    """Captions of every video: those that were put, else some that follow from the seed.

    Args:
        seed: determines the texts.
        silent: one of this many videos has no captions; 0 for none.
        retry_after: the seconds to wait in each failure.

    Attributes:
        asked: the requested ids in order, including failures.
    """

    def __init__(self, seed: int = 0, *, silent: int = 0, retry_after: float | None = None) -> None:
        self._seed = seed
        self._silent = silent
        self._put: dict[str, Captions | Exception | None] = {}
        self._failures = Failures(retry_after)
        self.asked: list[str] = []

    def put(self, video_id: str, captions: Captions | Exception | None) -> None:
        """Set a video's captions, None for none, or an exception to raise."""
        self._put[video_id] = captions

    def fail(self, video_id: str, times: int = 1) -> None:
        """Make the next ``times`` requests for a video's captions fail with ``Transient``."""
        self._failures.put(video_id, times)

    async def captions(self, video_id: str) -> Captions | None:
        """Return a video's captions, or None if it has none."""
        self.asked.append(video_id)
        self._failures.meet(video_id, watch_url(video_id))
        if video_id not in self._put:
            return self._spoken(video_id)
        put = self._put[video_id]
        if isinstance(put, Exception):
            raise put
        return put

    def _spoken(self, video_id: str) -> Captions | None:
        drawn = _drawn(self._seed, video_id)
        if self._silent and drawn[0] % self._silent == 0:
            return None
        cues = [
            Cue(
                4.0 * number,
                4.0,
                " ".join(_WORDS[byte % len(_WORDS)] for byte in drawn[number : number + 8]) + ".",
            )
            for number in range(12)
        ]
        return Captions("en", generated=drawn[1] % 2 == 0, cues=tuple(cues))


class ScriptedSearch:
    """Searches in the videos that were put for a query.

    Args:
        retry_after: the seconds to wait in each failure.

    Attributes:
        asked: the queries in order, including failures.
    """

    def __init__(self, *, retry_after: float | None = None) -> None:
        self._videos: dict[str, list[Video]] = {}
        self._failures = Failures(retry_after)
        self.asked: list[str] = []

    def put(self, query: str, *videos: Video) -> None:
        """Set the results of a query, most relevant first."""
        self._videos[query] = list(videos)

    def fail(self, query: str, times: int = 1) -> None:
        """Make the next ``times`` searches for a query fail with ``Transient``."""
        self._failures.put(query, times)

    async def search(self, query: str, *, order: Order, duration: Duration, limit: int) -> list[Video]:
        """Return the results of a query; none for an unknown one."""
        self.asked.append(query)
        self._failures.meet(query, f"https://www.youtube.com/results?q={query}")
        least, most = _LENGTHS[duration]
        found = [
            video
            for video in self._videos.get(query, [])
            if duration == "any" or least <= (video.duration_seconds or 0) < most
        ]
        if order == "date":
            found.sort(key=lambda video: video.published_at or datetime.min.replace(tzinfo=UTC), reverse=True)
        elif order == "viewCount":
            found.sort(key=lambda video: video.view_count or 0, reverse=True)
        return found[:limit]


def video(number: int, *, published_at: datetime, channel: str = "The Bees", seed: int = 0) -> Video:
    """Return the video of a number; different numbers have different videos."""
    drawn = _drawn(seed, f"{channel}/{number}")
    video_id = "".join(_LETTERS[byte % len(_LETTERS)] for byte in drawn[:11])
    words = [_WORDS[byte % len(_WORDS)] for byte in drawn[11:17]]
    return Video(
        id=video_id,
        title=f"{words[0].title()} and {words[1]}, part {number}",
        url=watch_url(video_id),
        description=f"About {words[2]} and {words[3]}.\nWith {words[4]}.",
        channel=channel,
        published_at=published_at,
        duration_seconds=int.from_bytes(drawn[17:19]) % _LONGEST,
        view_count=int.from_bytes(drawn[19:22]),
    )


def videos(
    count: int, *, newest: datetime, every: timedelta, channel: str = "The Bees", seed: int = 0
) -> list[Video]:
    """Return a channel's videos, newest first, at regular intervals."""
    return [
        video(count - number, published_at=newest - number * every, channel=channel, seed=seed)
        for number in range(count)
    ]


def channel_feed(title: str, listed: Iterable[Video]) -> bytes:
    """Return a channel's feed in YouTube's format, which has no durations."""
    entries = "".join(map(_entry, listed))
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns:yt="http://www.youtube.com/xml/schemas/2015"'
        ' xmlns:media="http://search.yahoo.com/mrss/" xmlns="http://www.w3.org/2005/Atom">'
        f"<title>{escape(title)}</title><author><name>{escape(title)}</name></author>{entries}</feed>"
    ).encode()


def _entry(listed: Video) -> str:
    published = f"<published>{listed.published_at.isoformat()}</published>" if listed.published_at else ""
    views = f'<media:statistics views="{listed.view_count}"/>' if listed.view_count is not None else ""
    return (
        f"<entry><id>yt:video:{listed.id}</id><yt:videoId>{listed.id}</yt:videoId>"
        f'<title>{escape(listed.title)}</title><link rel="alternate" href={quoteattr(listed.url)}/>'
        f"<author><name>{escape(listed.channel or '')}</name></author>{published}"
        f"<media:group><media:title>{escape(listed.title)}</media:title>"
        f"<media:description>{escape(listed.description)}</media:description>"
        f"<media:community>{views}</media:community></media:group></entry>"
    )


def _drawn(seed: int, what: str) -> bytes:
    """Return bytes that follow from a seed and a name."""
    return sha256(f"{seed}/{what}".encode()).digest()
