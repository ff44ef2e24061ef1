"""The feeds and pages of a simulated web: their items over time, and their failures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

from tests.newsroom import prose
from tests.workloads import own_id
from zeke_sim.loop.decisions import RandomStream
from zeke_tasks.testing.web import RSS, Asked, Reply, ScriptedWeb, busy, moved, silent

HOUR: Final = 3600.0
DAY: Final = 24 * HOUR

LONGEST_ILLNESS: Final = 2 * DAY

STUBBORN: Final = 6
"""Maximum requests that a page fails: more than the attempts of the job that reads it, and fewer than
those after which its item fails permanently."""

LATENCY: Final = 0.2
"""Seconds that a healthy server takes to answer."""

Trouble = Literal["busy", "silent", "broken", "lost"]
TROUBLES: Final[tuple[Trouble, ...]] = ("busy", "silent", "broken", "lost")


class Article(NamedTuple):
    """An article of a feed.

    Attributes:
        guid: its identity there.
        topic: its topic.
        url: of its page; None if its text is in the feed.
        at: seconds after the world began at which it appears.
        missing: whether its page is not there, and never was.
    """

    guid: str
    topic: str
    url: str | None
    at: float
    missing: bool = False

    @property
    def told(self) -> str | None:
        """What two articles have in common that are one story; None if it cannot be read."""
        if self.missing:
            return None
        return f"text {self.topic}" if self.url is None else f"page {self.topic}"


class Illness(NamedTuple):
    """A time in which a feed is unwell, in seconds, and the seconds for which it asks to be left alone."""

    since: float
    until: float
    how: Trouble
    wait: float


@dataclass(frozen=True, slots=True)
class Feed:
    """A feed.

    Attributes:
        id: of its source.
        url: its URL; ``moved_to`` its permanent new URL after ``moves`` seconds, if it moves.
        articles: all its articles, in the order of appearance.
        illnesses: when it is unwell; it is not at the end.
        gone: whether it always answers 404.
    """

    id: UUID
    url: str
    moved_to: str
    moves: float | None
    articles: tuple[Article, ...]
    illnesses: tuple[Illness, ...]
    gone: bool

    def answer(self, asked: Asked, time: float, epoch: datetime) -> Reply:
        """Answer a request at some time of the world's."""
        if self.gone:
            return Reply(status=404)
        if self.moves is not None and time >= self.moves and asked.url == self.url:
            return moved(self.moved_to)
        for illness in self.illnesses:
            if illness.since <= time < illness.until:
                return unwell(illness)
        shown = self.shown(time)
        items = [
            prose.item(one.guid, one.topic, one.url, format_datetime(epoch + timedelta(seconds=one.at)))
            for one in shown
        ]
        return Reply(body=prose.feed(self.url, items), content_type=RSS, etag=f'"{len(shown)}"', late=LATENCY)

    def shown(self, time: float) -> tuple[Article, ...]:
        return tuple(article for article in self.articles if article.at <= time)

    def place(self, time: float) -> str:
        return self.url if self.moves is None or time < self.moves or self.gone else self.moved_to


def unwell(illness: Illness) -> Reply:
    if illness.how == "busy":
        return busy(retry_after=illness.wait)
    if illness.how == "silent":
        return silent()
    if illness.how == "lost":
        return Reply(status=404)
    return Reply(body="<html>We are mending our feed", late=LATENCY)


def draw_feeds(draws: RandomStream, many: int, phase: float, per_day: float) -> list[Feed]:
    """Draw feeds whose articles appear over a fault phase, some of them in several feeds.

    Args:
        draws: what from.
        many: how many feeds.
        phase: seconds.
        per_day: articles of a feed in a day, on the average; each has one at least.
    """
    feeds: list[Feed] = []
    for number in range(many):
        site = f"https://site{number:02d}.example"
        times = draw_times(draws, phase, per_day)
        articles = [_article(draws, site, number, place, at) for place, at in enumerate(times)]
        feeds.append(
            Feed(
                own_id(draws),
                f"{site}/feed",
                f"{site}/rss",
                draws.uniform(0.0, phase) if draws.chance(0.15) else None,
                tuple(articles),
                draw_illnesses(draws, phase),
                gone=draws.chance(0.05),
            )
        )
    return feeds


def draw_times(draws: RandomStream, phase: float, per_day: float) -> list[float]:
    """Draw when something appears: the first at once, all before a phase is over."""
    times = [0.0]
    while (at := times[-1] + draws.uniform(0.0, 2.0) * DAY / per_day) < 0.95 * phase:
        times.append(at)
    return times


def _article(draws: RandomStream, site: str, number: int, place: int, at: float) -> Article:
    own = f"mod{number:02d}x{place:03d}"
    topic = draws.pick((own, own, own, f"all{draws.below(8):02d}"))
    url = f"{site}/{place}" if draws.chance(0.75) else None
    return Article(f"{site}#{place}", topic, url, at, missing=url is not None and draws.chance(0.06))


def draw_illnesses(draws: RandomStream, phase: float) -> tuple[Illness, ...]:
    """Draw when something is unwell; it is not at the end of a phase."""
    drawn: list[Illness] = []
    for _ in range(draws.pick((0, 0, 1, 1, 2))):
        since = draws.uniform(0.0, 0.9 * phase)
        lasts = draws.tail(20 * 60.0, LONGEST_ILLNESS)
        wait = draws.pick((0.0, 5.0, 120.0, 3 * HOUR))
        drawn.append(Illness(since, min(since + lasts, 0.95 * phase), draws.pick(TROUBLES), wait))
    return tuple(drawn)


def put_feeds(
    web: ScriptedWeb, feeds: Sequence[Feed], draws: RandomStream, time: Callable[[], float], epoch: datetime
) -> None:
    """Put feeds and their pages on a web; some pages are unwell for some requests before they answer."""
    for feed in feeds:

        def answer(asked: Asked, feed: Feed = feed) -> Reply:
            return feed.answer(asked, time(), epoch)

        web.put(feed.url, answer)
        web.put(feed.moved_to, answer)
        for article in feed.articles:
            if article.url is not None and not article.missing:
                put_page(web, article.url, prose.page(article.topic), draws)


def put_page(web: ScriptedWeb, url: str, body: str, draws: RandomStream) -> None:
    """Put a page on a web, which is unwell for some requests before it answers."""
    web.put(url, *_troubles(draws), Reply(body=body, late=LATENCY))


def _troubles(draws: RandomStream) -> list[Reply]:
    many = draws.pick((0, 0, 0, 0, 1, 1, 2, STUBBORN))
    return [draws.pick((busy(retry_after=draws.pick((1.0, 4.0, 60.0))), silent())) for _ in range(many)]
