"""Zeke's own tasks, from feeds to stories, over a web that fails as the web does.

A few feeds list articles, more of them with each check, some in two feeds, some with their text in the
feed. Feeds and pages answer 503 with a time to wait, do not answer, are broken, are gone, move permanently,
or have not changed; then they recover. Pulls are sent by the schedule and by users, several at a
time. Whatever goes wrong with the web, the workers or the database: in the end each article is one item,
each text is one story, no item is forgotten, and each feed's health is recorded. Users retry jobs that have
failed permanently.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from uuid import UUID

from tests.workloads import doing, leased, own_id
from zeke_queue.model import FINAL, JobQuery, JobStatus
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.history.events import Violation
from zeke_sim.testing.client import through_faults
from zeke_sim.world.handlers import current_node
from zeke_sim.world.setup import Setup
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.catalog import build_catalog
from zeke_tasks.context import Context, inline
from zeke_tasks.fetch import Fetched, Permanent, Transient
from zeke_tasks.fetch.libraries import load_parsers
from zeke_tasks.payloads import IngestPull
from zeke_tasks.store.memory import MemoryRepository
from zeke_tasks.store.model import HealthStatus, ItemStatus, NewSource, SourceType

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from tests.workloads import Action
    from zeke_queue.task.senders import Transaction
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Node
    from zeke_sim.world.world import World
    from zeke_tasks.fetch import Kind
    from zeke_tasks.store.memory import MemoryRows

PHASE: Final = 30.0

EPOCH: Final = datetime(2026, 3, 2, 8, 59, 50, tzinfo=UTC)
"""Ten seconds before the schedule has a tick."""

PATIENCE: Final = 5.0
"""Seconds after which the web client gives a server up."""

RSS: Final = "application/rss+xml"

STUBBORN: Final = 6
"""Maximum requests that a page fails: more than the attempts of the job that reads it."""

POLL_INTERVAL: Final = 5.0
"""Seconds between two checks of the users that retry failed jobs."""

POLLS: Final = 200
"""After how many of them all must be done."""

Trouble = Literal["busy", "silent", "broken", "moved"]


class Article(NamedTuple):
    """An article of a feed; ``topic`` is its content, ``url`` None for one whose text is in the feed."""

    guid: str
    topic: str
    url: str | None


@dataclass(slots=True)
class Feed:
    """A feed.

    Attributes:
        id: of its source.
        url: its URL; ``moved_to`` its new URL.
        articles: all its articles; ``shown`` how many it lists now.
        gone: whether it always answers 404.
        moved: whether it has moved, so that its old URL redirects.
    """

    id: UUID
    url: str
    moved_to: str
    articles: tuple[Article, ...]
    gone: bool
    shown: int = 1
    moved: bool = False

    def body(self) -> bytes:
        """Return the current feed."""
        items = "".join(_item(article) for article in self.articles[: self.shown])
        channel = f"<channel><title>{self.url}</title>{items}</channel>"
        return f'<?xml version="1.0"?><rss version="2.0">{channel}</rss>'.encode()


def _item(article: Article) -> str:
    link = (
        f"<link>{article.url}</link>" if article.url else f"<description>{_text(article.topic)}</description>"
    )
    return f'<item><title>{article.topic}</title>{link}<guid isPermaLink="false">{article.guid}</guid></item>'


def _text(topic: str) -> str:
    return f"What is to be said about {topic} takes a sentence or two. It goes on for a while."


def _page(topic: str) -> bytes:
    """Return a page with an article; one topic is one text, in every feed."""
    paragraphs = "".join(f"<p>This is paragraph {number} of it. {_text(topic)}</p>" for number in range(3))
    article = f"<article><h1>{topic}</h1>{paragraphs}</article>"
    return f"<html><head><title>{topic}</title></head><body>{article}</body></html>".encode()


@dataclass(slots=True)
class Web:
    """A web of some feeds and pages; a ``zeke_tasks.fetch.Fetcher``.

    Attributes:
        feeds: by every URL at which they are.
        pages: topics by URL.
        troubles: what goes wrong at a page or a feed (by its first URL), a request after the other, before
            all is well; each with the seconds that it asks to wait.
    """

    feeds: dict[str, Feed]
    pages: dict[str, str]
    troubles: dict[str, list[tuple[Trouble, float]]]

    async def fetch(
        self, url: str, *, kind: Kind, etag: str | None = None, last_modified: str | None = None
    ) -> Fetched:
        """Answer as the web would."""
        del kind, last_modified
        feed = self.feeds.get(url)
        ahead = self.troubles.get(url if feed is None else feed.url)
        trouble, seconds = ahead.pop(0) if ahead else (None, 0.0)
        await asyncio.sleep(PATIENCE if trouble == "silent" else 0.1)
        if trouble == "silent":
            raise Transient(url, f"no complete answer within {PATIENCE:g} seconds")
        if trouble == "busy":
            raise Transient(url, "answered 503 Service Unavailable", status=503, retry_after=seconds)
        if feed is not None and not feed.gone:
            return _answer(url, feed, trouble, etag)
        if url not in self.pages:
            raise Permanent(url, "answered 404 Not Found", status=404)
        return _fetched(url, _page(self.pages[url]), "text/html; charset=utf-8")

    @property
    def well(self) -> bool:
        """Whether no feed has any trouble ahead."""
        return not any(self.troubles.get(feed.url) for feed in self.feeds.values() if not feed.gone)


def _answer(url: str, feed: Feed, trouble: Trouble | None, etag: str | None) -> Fetched:
    tag = f'"{feed.shown}"'
    feed.moved |= trouble == "moved"
    moved = feed.moved_to if feed.moved and url != feed.moved_to else None
    if etag == tag and trouble is None and moved is None:
        return _fetched(url, b"", RSS, etag=tag, not_modified=True)
    body = b"<html>We are mending our feed" if trouble == "broken" else feed.body()
    feed.shown = min(len(feed.articles), feed.shown + 1)
    return _fetched(url, body, RSS, etag=tag, moved_to=moved)


def _fetched(
    url: str,
    body: bytes,
    content_type: str,
    *,
    etag: str | None = None,
    moved_to: str | None = None,
    not_modified: bool = False,
) -> Fetched:
    return Fetched(
        url=url,
        final_url=moved_to or url,
        permanent_url=moved_to,
        status=304 if not_modified else 200,
        body=body,
        content_type=content_type,
        etag=etag,
        last_modified=None,
        not_modified=not_modified,
    )


class Site:
    """The resources of the tasks in a world, and the expected final state."""

    repository: MemoryRepository
    world: World

    def __init__(self, feeds: Sequence[Feed], web: Web) -> None:
        self.feeds = feeds
        self.web = web
        load_parsers()
        self.catalog = build_catalog(self.resources)

    def settle_in(self, world: World) -> None:
        """Keep the rows in a world's database."""
        self.world = world
        self.repository = MemoryRepository(world.database_clock)

    @asynccontextmanager
    async def resources(self) -> AsyncGenerator[Context]:
        """Give a worker what its handlers need."""
        yield Context(self.repository, self.web, current_node(self.world.nodes).clock, inline, StubClient())

    def rows(self, transaction: Transaction) -> MemoryRows:
        """Return the domain's rows in a transaction."""
        return self.repository.within(transaction)

    async def subscribe(self, node: Node) -> None:
        """Add the sources."""
        async with node.queue.transaction() as transaction:
            for feed in self.feeds:
                await self.rows(transaction).ensure_source(
                    feed.id, NewSource(SourceType.RSS, feed.url, feed.url)
                )

    async def look_after(self, node: Node) -> None:
        """Retry failures, read everything once more after the last fault, and check the result."""
        await self._until_it_rests(node)
        for feed in self.feeds:
            feed.shown = len(feed.articles)
        while True:
            last = self.web.well
            await through_faults(lambda: node.queue.send("ingest-pull", IngestPull(reason="manual")))
            await self._until_it_rests(node)
            if last:
                break
        await through_faults(lambda: self._check(node))

    async def _until_it_rests(self, node: Node) -> None:
        for _ in range(POLLS):
            if await through_faults(lambda: self._rests(node)) and node.world.time() >= PHASE:
                return
            await asyncio.sleep(POLL_INTERVAL)
        raise Violation("work comes to rest", f"not after {POLLS} polls", at=node.world.time())

    async def _rests(self, node: Node) -> bool:
        """Retry failed jobs that read pages; return True if there were none.

        A feed whose reading failed is read again at the next pull.
        """
        queue = node.queue
        failed = JobQuery(names=("fetch-content",), status=(JobStatus.FAILED,), limit=1000)
        again = [job for job in (await queue.find(failed)).jobs if await queue.retry(job.id)]
        counts = await queue.stats()
        busy = any(number for one in counts for state, number in one.row_counts.items() if state not in FINAL)
        return not busy and not again

    async def _check(self, node: Node) -> None:
        try:
            async with node.queue.transaction() as transaction:
                await self._see(self.rows(transaction))
        except _Amiss as amiss:
            raise Violation("each article becomes one story", str(amiss), at=node.world.time()) from None

    async def _see(self, rows: MemoryRows) -> None:
        """Check that each feed is stored at its URL with its health, and each text as a story of items."""
        told: dict[UUID, str] = {}
        for feed in self.feeds:
            source, health = await rows.source(feed.id), await rows.health(feed.id)
            expected = HealthStatus.ERROR if feed.gone else HealthStatus.OK
            if source is None or health is None or health.status is not expected:
                raise _Amiss(f"{feed.url}: its health is {health}, and should be {expected}")
            if source.url != (feed.moved_to if feed.moved else feed.url):
                raise _Amiss(f"{feed.url}: it {'has' if feed.moved else 'has not'} moved, and is {source}")
            items = {item.external_id: item for item in await rows.items_of(feed.id)}
            articles = {} if feed.gone else {article.guid: article for article in feed.articles}
            if items.keys() != articles.keys():
                raise _Amiss(f"{feed.url}: its items are {sorted(items)}, its articles {sorted(articles)}")
            for guid, article in articles.items():
                item = items[guid]
                there = article.url is None or article.url in self.web.pages
                if item.status is not (ItemStatus.PROCESSED if there else ItemStatus.FAILED):
                    raise _Amiss(f"{guid}: its page {'is' if there else 'is not'} there; {item}")
                if there:
                    told[item.id] = _text(article.topic) if article.url is None else article.topic
        stories = {item: story.id for item, story in (await rows.stories_of(told)).items()}
        if stories.keys() != told.keys():
            raise _Amiss(f"{len(told)} items were read, and {len(stories)} have a story")
        pairs = {(told[item], story) for item, story in stories.items()}
        if not len(pairs) == len(set(told.values())) == len(set(stories.values())):
            raise _Amiss(f"texts and stories don't go together: {sorted(pairs)}")


class _Amiss(Exception):
    """What is not as it should be in the end."""


def _feeds(draws: RandomStream) -> tuple[list[Feed], dict[str, str]]:
    """Draw feeds, and pages by URL; some topics are in several feeds, and some pages do not exist."""
    feeds: list[Feed] = []
    pages: dict[str, str] = {}
    for number in range(2 + draws.below(2)):
        site = f"https://{'abc'[number]}.example"
        articles: list[Article] = []
        for place in range(1 + draws.below(4)):
            topic = draws.pick(("clocks", "queues", f"{'abc'[number]} {place}", f"{'abc'[number]} {place}"))
            url = f"{site}/{place}" if draws.chance(0.75) else None
            if url is not None and draws.chance(0.9):
                pages[url] = topic
            articles.append(Article(f"{site}#{place}", topic, url))
        feeds.append(
            Feed(own_id(draws), f"{site}/feed", f"{site}/rss", tuple(articles), gone=draws.chance(0.1))
        )
    return feeds, pages


def _troubles(draws: RandomStream, *, of_feed: bool) -> list[tuple[Trouble, float]]:
    kinds: tuple[Trouble, ...] = ("busy", "silent", "broken", "moved") if of_feed else ("busy", "silent")
    many = draws.pick((0, 0, 1, 2) if of_feed else (0, 0, 0, 1, 1, 2, 2, STUBBORN))
    return [(draws.pick(kinds), round(draws.uniform(0.0, 4.0), 1)) for _ in range(many)]


def build(draws: RandomStream) -> Setup:
    """Two or three feeds, one or two workers, and pulls at random."""
    feeds, pages = _feeds(draws)
    by_url = {url: feed for feed in feeds for url in (feed.url, feed.moved_to)}
    troubles = {feed.url: _troubles(draws, of_feed=True) for feed in feeds}
    troubles |= {url: _troubles(draws, of_feed=False) for url in pages}
    site = Site(feeds, Web(by_url, pages, troubles))
    actions: list[tuple[float, Action]] = [(0.0, site.subscribe)]
    for _ in range(1 + draws.below(4)):
        payload = IngestPull(reason="manual" if draws.chance(0.8) else "schedule")
        actions.append((draws.uniform(0.5, 0.8 * PHASE), lambda node, payload=payload: _pull(node, payload)))
    return Setup(
        site.catalog,
        clients={"c1": doing(actions), "c2": site.look_after},
        workers=1 + draws.below(2),
        schedulers=draws.below(2),
        worker=leased(1 + draws.below(4)),
        phase=PHASE,
        archive_after=120.0,
        delete_after=20.0,
        epoch=EPOCH,
        before=site.settle_in,
    )


async def _pull(node: Node, payload: IngestPull) -> None:
    await node.queue.send("ingest-pull", payload)


SCENARIO = Scenario(__name__, "feeds become stories, each article one, over a web that fails", build)
