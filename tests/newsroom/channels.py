"""The YouTube of a simulated newsroom: channels whose feeds are unwell at times, a search, and captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from tests.newsroom import prose
from tests.newsroom.feeds import DAY, LATENCY, Illness, draw_illnesses, draw_times, unwell
from tests.workloads import own_id
from zeke_sim.loop.decisions import RandomStream
from zeke_tasks.testing.web import Asked, Reply, ScriptedWeb, silent
from zeke_tasks.testing.youtube import ScriptedCaptions, ScriptedSearch, channel_feed, video
from zeke_tasks.youtube import Video, YouTube, channel_feed_url

LISTED: Final = 15
"""Videos that a channel's feed lists."""

QUERY: Final = "bees"
FOUND: Final = 4
SILENT: Final = 5
"""One of this many videos has no captions."""


@dataclass(frozen=True, slots=True)
class Channel:
    """A channel.

    Attributes:
        id: of its source.
        url: of its page.
        videos: all its videos, and after how many seconds each appears, in order.
        illnesses: when its feed is unwell.
    """

    id: UUID
    url: str
    videos: tuple[tuple[float, Video], ...]
    illnesses: tuple[Illness, ...]

    def answer(self, time: float) -> Reply:
        """Answer a request for its feed at some time of the world's."""
        for illness in self.illnesses:
            if illness.since <= time < illness.until:
                return unwell(illness)
        shown = self.shown(time)
        body = channel_feed(self.url, reversed(shown[-LISTED:]))
        return Reply(body=body, content_type="text/xml; charset=UTF-8", late=LATENCY)

    def shown(self, time: float) -> list[Video]:
        return [one for at, one in self.videos if at <= time]


@dataclass(frozen=True, slots=True)
class Tube:
    """All of YouTube.

    Attributes:
        channels: those with a subscriber.
        search: the id of the source that searches; None if there is none.
        found: what the search finds.
        youtube: the client of the tasks.
        captions: the captions of the videos.
    """

    channels: Sequence[Channel]
    search: UUID | None
    found: Sequence[Video]
    youtube: YouTube
    captions: ScriptedCaptions

    def every(self) -> list[Video]:
        return [*(one for channel in self.channels for _, one in channel.videos), *self.found]

    async def silent(self) -> set[str]:
        heard = ScriptedCaptions(silent=SILENT)
        return {one.id for one in self.every() if await heard.captions(one.id) is None}

    async def readable(self, time: float) -> list[Video]:
        """Return the videos whose captions are not awaited any more by some time."""
        new = [one for channel in self.channels for one in channel.shown(time)]
        silent = await self.silent()
        return [*(one for one in new if one.id not in silent), *self.found]


def draw_tube(
    draws: RandomStream, channels: int, searches: int, *, phase: float, per_day: float, epoch: datetime
) -> Tube:
    """Draw channels whose videos appear over a fault phase, and a search."""
    captions, search = ScriptedCaptions(silent=SILENT, retry_after=5.0), ScriptedSearch(retry_after=5.0)
    made: list[Channel] = []
    for number in range(channels):
        videos = [
            (at, video(place, published_at=_moment(epoch, at), channel=f"channel {number}"))
            for place, at in enumerate(draw_times(draws, phase, per_day))
        ]
        url = f"https://www.youtube.com/channel/UC{number:022d}"
        made.append(Channel(own_id(draws), url, tuple(videos), draw_illnesses(draws, phase)))
    before = _moment(epoch, -3 * DAY)
    found = [video(number, published_at=before, channel="others") for number in range(FOUND)]
    search.put(QUERY, *found)
    if draws.chance(0.5):
        search.fail(QUERY, 1 + draws.below(4))
    for one in (*(one for channel in made for _, one in channel.videos), *found):
        if draws.chance(0.2):
            captions.fail(one.id, 1 + draws.below(3))
    source = own_id(draws) if searches else None
    return Tube(made, source, found if searches else (), YouTube(captions, search), captions)


def put_tube(web: ScriptedWeb, tube: Tube, draws: RandomStream, time: Callable[[], float]) -> None:
    """Put the channels' feeds and the videos' pages on a web."""
    for one in tube.every():
        troubles = [silent()] if draws.chance(0.2) else []
        web.put(one.url, *troubles, Reply(body=prose.watch_page(one), late=LATENCY))
    for channel in tube.channels:

        def answer(_: Asked, channel: Channel = channel) -> Reply:
            return channel.answer(time())

        web.put(channel_feed_url(channel.url) or channel.url, answer)


def _moment(epoch: datetime, at: float) -> datetime:
    """Return a moment in whole seconds, as feeds write them."""
    return (epoch + timedelta(seconds=at)).replace(microsecond=0)
