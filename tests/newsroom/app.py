"""A simulated newsroom's application: the resources of its tasks, and the client that retries what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Final
from uuid import UUID

from tests.newsroom import prose
from tests.newsroom.archive import Archive
from tests.newsroom.channels import QUERY, Tube, put_tube
from tests.newsroom.clients import Users
from tests.newsroom.fake_ai import FakeAI
from tests.newsroom.feeds import Feed, put_feeds, put_page
from tests.newsroom.rules import RULES, Expected
from zeke_queue.errors import JobConflictError, JobNotFoundError
from zeke_queue.model import FINAL, JobQuery, JobStatus
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.senders import Transaction
from zeke_sim.history.events import Change, Ended, Violation
from zeke_sim.loop.decisions import RandomStream
from zeke_sim.testing.client import through_faults
from zeke_sim.world.handlers import current_node
from zeke_sim.world.node import Node
from zeke_sim.world.world import World
from zeke_tasks.ai.stub import StubClient
from zeke_tasks.catalog import build_catalog
from zeke_tasks.context import Context, inline
from zeke_tasks.payloads import IngestPull
from zeke_tasks.store.analysis import AnalysisState
from zeke_tasks.store.memory import MemoryRows
from zeke_tasks.store.model import NewSource, SourceType
from zeke_tasks.store.playbooks import RunStatus
from zeke_tasks.testing.web import ScriptedWeb

OFTEN: Final = 6 * 3600.0
"""Seconds between two checks for failures."""

POLL_INTERVAL: Final = 30.0
"""Seconds between two checks at the end, when no faults remain and only started work is left."""

ROUNDS: Final = 2
"""How often everything is read at the end.

A page that fails as often as a job retries succeeds at the second.
"""

POLLS: Final = 400
"""After how many of those all must be done."""

PULLS: Final = ("ingest-pull", "ingest-pull-youtube")

ENDED: Final = frozenset({RunStatus.FAILED, RunStatus.CANCELLED})

ANEW: Final = frozenset({"ingest-pull", "ingest-pull-youtube", "ingest-source", "ingest-from-youtube"})
"""Tasks that the next pull repeats, regardless of the last outcome."""


class NewsroomApp:
    """A newsroom's catalogs, rows and outside world.

    Args:
        feeds, tube: what it subscribes to.
        ai: the AI.
        users: the users.
        phase: seconds of the fault phase.
        hours: between two checks of a source.
        draws: of the web's troubles.
    """

    repository: Archive
    world: World

    def __init__(
        self,
        feeds: Sequence[Feed],
        tube: Tube,
        ai: FakeAI,
        users: Users,
        *,
        phase: float,
        hours: int,
        draws: RandomStream,
    ) -> None:
        self.feeds = feeds
        self.tube = tube
        self.ai = ai
        self.users = users
        self.phase = phase
        self.web = ScriptedWeb()
        self._hours = hours
        self._draws = draws

    def catalog(self, *, key: bool = True) -> Catalog:
        """Return the catalog for workers that have a key for the AI, or for such as have none."""

        @asynccontextmanager
        async def resources() -> AsyncGenerator[Context]:
            node = current_node(self.world.nodes)
            ai = self.ai.client(node) if key else StubClient()
            yield Context(self.repository, self.web, node.clock, inline, ai, youtube=self.tube.youtube)

        return build_catalog(resources)

    def settle_in(self, world: World) -> None:
        """Store the rows in a world's database, and use its time for the web."""
        self.world = world
        self.repository = Archive(world.database_clock)
        put_feeds(self.web, self.feeds, self._draws, world.time, world.epoch)
        put_tube(self.web, self.tube, self._draws, world.time)
        for url, topic in self.users.pages.items():
            put_page(self.web, url, prose.page(topic), self._draws)

    def rows(self, transaction: Transaction) -> MemoryRows:
        return self.repository.within(transaction)

    async def subscribe(self, node: Node) -> None:
        async with node.queue.transaction() as transaction:
            rows = self.rows(transaction)
            for key, source in self._sources():
                await rows.ensure_source(key, source)
            await self.users.move_in(rows, [key for key, _ in self._sources()])

    def _sources(self) -> list[tuple[UUID, NewSource]]:
        hours, search = self._hours, self.tube.search
        found = [
            (one.id, NewSource(SourceType.RSS, one.url, one.url, check_frequency_hours=hours))
            for one in self.feeds
        ]
        found += [
            (one.id, NewSource(SourceType.YOUTUBE_CHANNEL, one.url, one.url, check_frequency_hours=hours))
            for one in self.tube.channels
        ]
        if search is not None:
            words = {"query": QUERY}
            source = NewSource(
                SourceType.YOUTUBE_SEARCH, QUERY, None, check_frequency_hours=hours, metadata=words
            )
            found.append((search, source))
        return found

    async def look_after(self, node: Node) -> None:
        """Retry failures; when no faults remain, read everything once more, and check the result."""
        clock, time = node.world.database_clock, node.world.time
        while (left := self.phase - time()) > 0:
            await clock.sleep(min(OFTEN, left))
            await through_faults(lambda: self._retry(node))
        await self._until_it_rests(node)
        for task in PULLS * ROUNDS:
            await through_faults(lambda task=task: node.queue.send(task, IngestPull(reason="manual")))
            await self._until_it_rests(node)
        await through_faults(lambda: self._check(node))

    async def _until_it_rests(self, node: Node) -> None:
        for _ in range(POLLS):
            await node.world.database_clock.sleep(POLL_INTERVAL)
            if not await through_faults(lambda: self._retry(node)) and await self._rests(node):
                return
        raise Violation("work comes to rest", f"not after {POLLS} polls", at=node.world.time())

    async def _retry(self, node: Node) -> int:
        """Retry failed jobs, except repeated or hopeless ones; return their number."""
        failed = JobQuery(status=(JobStatus.FAILED,), limit=1000)
        again = [job.id for job in (await node.queue.find(failed)).jobs if job.name not in ANEW]
        async with node.queue.transaction() as transaction:
            rows = self.rows(transaction)
            again = [key for key in again if not await self._is_hopeless(rows, key)]
        return sum([await _retried(node, key) for key in again])

    async def _is_hopeless(self, rows: MemoryRows, job: UUID) -> bool:
        """Return whether a job is a run that has failed as it had to."""
        run = await rows.run(job)
        return run is not None and run.status in self.users.runs.get(job, ()) and run.status in ENDED

    async def _rests(self, node: Node) -> bool:
        counts = await through_faults(node.queue.stats)
        return not any(
            number for one in counts for state, number in one.row_counts.items() if state not in FINAL
        )

    async def _check(self, node: Node) -> None:
        time = node.world.time()
        expected = await self._expected(time)
        async with node.queue.transaction() as transaction:
            rows = self.rows(transaction)
            for rule in RULES:
                if (complaint := await rule.check(rows, expected)) is not None:
                    raise Violation(rule.name, complaint, at=time)

    async def _expected(self, time: float) -> Expected:
        told: dict[UUID, dict[str, str | None]] = {
            feed.id: {one.guid: one.told for one in (() if feed.gone else feed.shown(time))}
            for feed in self.feeds
        }
        tube = self.tube
        told |= {
            channel.id: {one.id: f"video {one.id}" for one in channel.shown(time)}
            for channel in tube.channels
        }
        places: dict[UUID, str | None] = {feed.id: feed.place(time) for feed in self.feeds}
        places |= {channel.id: channel.url for channel in tube.channels}
        if tube.search is not None:
            told[tube.search] = {one.id: f"video {one.id}" for one in tube.found}
            places[tube.search] = None
        expected = Expected(
            told=told | self.users.told,
            places=places,
            gone={feed.id for feed in self.feeds if feed.gone},
            waiting=await tube.silent(),
            insights=self.users.insights,
            shared=self.users.shared,
            runs=self.users.runs,
            kept=self.repository.kept,
            calls=self.ai.calls,
            per_minute=self.ai.per_minute,
        )
        return self._seen(expected)

    def _seen(self, expected: Expected) -> Expected:
        """Return the expectations, completed from the history by children and results of handlers."""
        children: Counter[tuple[UUID, str]] = Counter()
        attached: Counter[UUID] = Counter()
        model: set[UUID] = set()
        partial: set[UUID] = set()
        for event in self.world.recorder.events:
            if isinstance(event, Change):
                row = event.after if event.before is None and event.table == "job" else None
                if row is not None and row.parent is not None:
                    children[row.parent, row.name] += 1
            elif isinstance(event, Ended) and event.how == "returned":
                told: Any = event.value
                if event.task == "analyze-story" and told["analysisState"] == AnalysisState.COMPLETED:
                    model.add(told["storyId"])
                elif event.task == "generate-brief" and told["missing"]:
                    partial.add(told["storyId"])
                elif event.task == "attach-insight-to-story":
                    attached[told["highlightId"]] += told["attached"]
        return replace(expected, children=children, attached=attached, model=model, partial=partial)


async def _retried(node: Node, job: UUID) -> bool:
    """Retry a job; False if another one of its key is there, which does the same, or it is gone."""
    try:
        return await node.queue.retry(job)
    except (JobNotFoundError, JobConflictError):
        return False
