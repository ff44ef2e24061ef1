"""The clients of a simulated newsroom: they upload, name pages and videos, find insights, run playbooks.

All their actions are drawn before the run, except the story of an action, which is one of those stored by
then. A repeated send equals the first one, so a client without an answer does nothing twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple
from uuid import UUID

from tests.newsroom import prose
from tests.newsroom.channels import Tube
from tests.newsroom.feeds import Article
from tests.workloads import Action, own_id
from zeke_queue.client.queue import Queue
from zeke_sim.loop.decisions import RandomStream
from zeke_sim.world.node import Node
from zeke_tasks.payloads import (
    AnalyzeStory,
    AttachInsightToStory,
    DedupeInsights,
    GenerateBrief,
    IngestFromUpload,
    IngestOneoff,
    IngestPull,
    Insight,
    LinkSourceToStory,
    PlaybookRun,
    SummarizeStory,
    UpdateStoryStatus,
    UploadedItem,
)
from zeke_tasks.playbooks.cancel import cancel_run
from zeke_tasks.store.highlights import Origin, ReadingState
from zeke_tasks.store.memory import MemoryRepository, MemoryRows
from zeke_tasks.store.model import NewSource, SourceType, Story
from zeke_tasks.store.playbooks import Playbook, RunStatus, Step, TriggerSource
from zeke_tasks.youtube.items import page_source_id

Payload = Callable[[UUID], Any]

SAYINGS: Final = ("It is faster.", "Nobody waits any more.", "Old programs break.", "The notes are long.")

PAGES: Final = (
    "https://www.youtube.com/watch?v={}",
    "https://youtu.be/{}?t=42",
    "https://m.youtube.com/shorts/{}",
)
"""The pages of a video."""

RUN: Final = "playbook-run"
REGRET: Final = 0.5
"""Seconds after which a user cancels a run that they have started."""

STEPS: Final = (
    Step("tell", "summarize-story", {"storyId": {"$from": "run.metadata.storyId"}, "mode": "force"}),
    Step("think", "analyze-story", {"storyId": {"$from": "steps.tell.output.storyId"}, "trigger": "manual"}),
    Step(
        "read", "update-story-status", {"storyId": {"$from": "steps.think.output.storyId"}, "state": "read"}
    ),
)
SHORT_STEPS: Final = (
    Step("read", "update-story-status", {"storyId": {"$from": "run.metadata.storyId"}, "state": "read"}),
)


class Said(NamedTuple):
    """An insight that a user sent, by its content (see ``alike``)."""

    story: UUID
    team: UUID | None
    what: str


def alike(said: str) -> str:
    """Return a key that equal insights share, independent of the tasks' own definition."""
    return said.strip().lower()


@dataclass(slots=True)
class Users:
    """The users, and the jobs that they sent.

    Attributes:
        teams: two.
        uploads: the id of the source of uploads.
        playbooks: one that works, and one whose second step never does.
        steps: those of the first; the other one begins as it does.
        told: the keys of stories, by source and identity of the items; items of one story share a key.
        insights: those that were sent.
        runs: of playbooks that were begun: how each may end.
        pages: pages that are in no feed, by URL the topic.
        shared: sources of the videos that were named; of each the channel may have brought it before.
    """

    teams: tuple[UUID, UUID]
    uploads: UUID
    playbooks: tuple[UUID, UUID]
    steps: tuple[Step, ...] = STEPS
    told: dict[UUID, dict[str, str | None]] = field(default_factory=dict[Any, Any])
    insights: list[Said] = field(default_factory=list[Said])
    runs: dict[UUID, frozenset[RunStatus]] = field(default_factory=dict[Any, Any])
    pages: dict[str, str] = field(default_factory=dict[str, str])
    shared: set[UUID] = field(default_factory=set[Any])

    async def move_in(self, rows: MemoryRows, sources: Sequence[UUID]) -> None:
        await rows.ensure_source(self.uploads, NewSource(SourceType.MANUAL, "uploads", None))
        for source in (self.uploads, *sources):
            await rows.connect(self.teams[0], source)
        first = self.steps[0]
        lost = Step("lost", "summarize-story", {"storyId": {"$from": f"steps.{first.name}.output.no"}})
        for playbook, steps in zip(self.playbooks, (self.steps, (first, lost)), strict=True):
            await rows.put_playbook(Playbook(playbook, self.teams[0], "a playbook", steps))


def draw_users(draws: RandomStream, steps: tuple[Step, ...] = STEPS) -> Users:
    """Draw the users, whose playbook has some steps."""
    return Users((own_id(draws), own_id(draws)), own_id(draws), (own_id(draws), own_id(draws)), steps)


def draw_actions(
    draws: RandomStream,
    users: Users,
    repository: Callable[[], MemoryRepository],
    articles: Sequence[Article],
    tube: Tube,
    *,
    many: int,
    kinds: Sequence[str] = (),
) -> list[Action]:
    """Draw the users' actions, one after the other.

    Args:
        draws: what from.
        users: the users.
        repository: where stories are.
        articles: some of the articles that they read.
        tube: the videos that they watch.
        many: how many actions.
        kinds: the names of the kinds to draw from; by default all, the frequent ones twice.
    """
    drawn = _Actions(draws, users, repository, articles, tube)
    chosen = tuple(getattr(drawn, kind) for kind in kinds) or drawn.kinds
    return [draws.pick(chosen)() for _ in range(many)]


class _Actions:
    """Draws actions."""

    def __init__(
        self,
        draws: RandomStream,
        users: Users,
        repository: Callable[[], MemoryRepository],
        articles: Sequence[Article],
        tube: Tube,
    ) -> None:
        self._draws = draws
        self._users = users
        self._repository = repository
        self._tube = tube
        self._articles = [article for article in articles if not article.missing]
        self.kinds: tuple[Callable[[], Action], ...] = (
            self.pull, self.pull, self.upload, self.upload, self.oneoff, self.oneoff, self.video, self.dedupe,
            self.dedupe, self.attach, self.read, self.summarize, self.link, self.analyze, self.brief,
            self.brief, self.playbook, self.playbook,
        )  # fmt: skip

    def pull(self) -> Action:
        """A user wants everything to be read now."""
        task = self._draws.pick(("ingest-pull", "ingest-pull-youtube", "ingest-pull-youtube"))
        return self._sends(task, IngestPull(reason="manual"))

    def upload(self) -> Action:
        """A user uploads a text, or a page's URL, perhaps again."""
        number = self._draws.below(6)
        topic = f"doc{number:02d}"
        told, item = f"text {topic}", UploadedItem(external_id=topic, title=topic, text=prose.text(topic))
        if number == 0 and self._articles:
            article = self._articles[0]
            told = f"text {article.topic}"
            item = UploadedItem(external_id="first", text=prose.text(article.topic))
        elif number == 1:
            url = self._page(topic)
            told, item = f"page {topic}", UploadedItem(external_id=topic, url=url)
        payload = IngestFromUpload(source_id=self._users.uploads, items=[item])
        brought = (self._users.uploads, item.external_id, told)
        return self._sends("ingest-from-upload", payload, brought)

    def oneoff(self) -> Action:
        """A user names a page: one of a feed's, or another one, in this spelling or that."""
        paged = [article for article in self._articles if article.url is not None]
        if paged and self._draws.chance(0.4):
            article = self._draws.pick(paged)
            url, topic = article.url or "", article.topic
        else:
            topic = f"one{self._draws.below(4):02d}"
            url = self._page(topic)
        spelt = self._draws.pick((url, url.replace("https://", "HTTPS://"), f"{url}#part"))
        payload = IngestOneoff(url=spelt, priority=self._draws.pick(("normal", "high")))
        return self._sends("ingest-oneoff", payload, (page_source_id(url), url, f"page {topic}"))

    def video(self) -> Action:
        """A user names a video that exists by then, by one of its pages; none if there is none."""
        draws, users = self._draws, self._users
        job, share, page = own_id(draws), draws.random(), draws.pick(PAGES)
        made: list[IngestOneoff] = []

        async def action(node: Node) -> None:
            if not made:
                videos = await self._tube.readable(node.world.time())
                if not videos:
                    return
                video = videos[int(share * len(videos))]
                source = page_source_id(video.url)
                users.told[source] = {video.id: f"video {video.id}"}
                users.shared.add(source)
                made.append(IngestOneoff(url=page.format(video.id)))
            await node.queue.send("ingest-oneoff", made[0], id=job)

        return action

    def dedupe(self) -> Action:
        """A user sends insights, some of them the same."""
        draws, users = self._draws, self._users
        team, job, author = draws.pick((None, *users.teams)), own_id(draws), own_id(draws)
        insights = [self._insight() for _ in range(1 + draws.below(3))]

        def payload(story: UUID) -> DedupeInsights:
            users.insights.extend(Said(story, team, alike(one.summary)) for one in insights)
            return DedupeInsights(story_id=story, team_id=team, created_by=author, insights=insights)

        return self._about(job, "dedupe-insights", payload)

    def attach(self) -> Action:
        """A user attaches an insight without checking."""
        draws, users = self._draws, self._users
        team, job, author, insight = (
            draws.pick((None, *users.teams)),
            own_id(draws),
            own_id(draws),
            self._insight(),
        )

        def payload(story: UUID) -> AttachInsightToStory:
            users.insights.append(Said(story, team, alike(insight.summary)))
            return AttachInsightToStory(story_id=story, team_id=team, created_by=author, insight=insight)

        return self._about(job, "attach-insight-to-story", payload)

    def read(self) -> Action:
        """A team, or every team, has read or archived a story."""
        draws = self._draws
        team, state = draws.pick((None, *self._users.teams)), draws.pick(tuple(ReadingState))
        return self._about(
            own_id(draws),
            "update-story-status",
            lambda story: UpdateStoryStatus(story_id=story, team_id=team, state=state),
        )

    def summarize(self) -> Action:
        mode = self._draws.pick(("auto", "force"))
        return self._about(
            own_id(self._draws), "summarize-story", lambda story: SummarizeStory(story_id=story, mode=mode)
        )

    def link(self) -> Action:
        source = self._users.uploads
        return self._about(
            own_id(self._draws),
            "link-source-to-story",
            lambda story: LinkSourceToStory(story_id=story, source_id=source),
        )

    def analyze(self) -> Action:
        return self._about(
            own_id(self._draws), "analyze-story", lambda story: AnalyzeStory(story_id=story, trigger="manual")
        )

    def brief(self) -> Action:
        return self._about(
            own_id(self._draws),
            "generate-brief",
            lambda story: GenerateBrief(story_id=story, reason="regenerate"),
            analysed=True,
        )

    def playbook(self) -> Action:
        """A team runs a playbook, and sometimes cancels the run."""
        draws, users = self._draws, self._users
        job, bad, regrets = own_id(draws), draws.chance(0.3), draws.chance(0.3)
        ends = {RunStatus.FAILED} if bad else {RunStatus.SUCCEEDED}

        def payload(story: UUID) -> PlaybookRun:
            users.runs[job] = frozenset(ends | ({RunStatus.CANCELLED} if regrets else set()))
            return PlaybookRun(
                playbook_id=users.playbooks[bad],
                team_id=users.teams[0],
                trigger_source=TriggerSource.DASHBOARD,
                metadata={"storyId": str(story)},
            )

        begin = self._about(job, RUN, payload)

        async def action(node: Node) -> None:
            await begin(node)
            if regrets and job in users.runs:
                await node.world.database_clock.sleep(REGRET)
                await cancel_run(node.queue, self._repository(), job)

        return action

    def _insight(self) -> Insight:
        said = self._draws.pick(SAYINGS)
        said = self._draws.pick((said, said, f" {said.upper()} "))
        return Insight(summary=said, tags=["speed"], origin=self._draws.pick(tuple(Origin)))

    def _page(self, topic: str) -> str:
        url = f"https://alone.example/{topic}"
        self._users.pages[url] = topic
        return url

    def _sends(self, task: str, payload: Any, brought: tuple[UUID, str, str] | None = None) -> Action:
        """Return the action of sending a job, with the expected items: source, identity, and text."""
        job = own_id(self._draws)

        async def action(node: Node) -> None:
            if brought is not None:
                source, identity, told = brought
                self._users.told.setdefault(source, {})[identity] = told
            await node.queue.send(task, payload, id=job)

        return action

    def _about(self, job: UUID, task: str, payload: Payload, *, analysed: bool = False) -> Action:
        """Return the action of sending a job about a story that is there by then; none if there is none."""
        share = self._draws.random()
        made: list[Any] = []

        async def action(node: Node) -> None:
            if not made:
                stories = await self._stories(node.queue, analysed=analysed)
                if not stories:
                    return
                made.append(payload(stories[int(share * len(stories))].id))
            await node.queue.send(task, made[0], id=job)

        return action

    async def _stories(self, queue: Queue, *, analysed: bool) -> list[Story]:
        async with queue.transaction() as transaction:
            rows = self._repository().within(transaction)
            stories = await rows.newest_stories(1000)
            return [one for one in stories if not analysed or await rows.overlay(one.id) is not None]
