"""Zeke's whole catalog at work in a newsroom, over a web, an AI and a YouTube that fail as these do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.newsroom.app import NewsroomApp
from tests.newsroom.channels import draw_tube
from tests.newsroom.clients import SHORT_STEPS, STEPS, draw_actions, draw_users
from tests.newsroom.fake_ai import draw_ai
from tests.newsroom.feeds import DAY, draw_feeds
from tests.workloads import doing, leased
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.loop.decisions import Decisions
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from tests.workloads import Action
    from zeke_sim.experiment.plan import Plan
    from zeke_sim.loop.decisions import RandomStream
    from zeke_tasks.store.playbooks import Step

EPOCH: Final = datetime(2026, 3, 2, 8, 59, 50, tzinfo=UTC)
"""Ten seconds before a schedule has a tick."""


class Size(NamedTuple):
    """How large a newsroom is.

    Attributes:
        feeds, channels, searches: how many of each it subscribes to.
        days: for how long things go wrong there.
        per_day: articles that a feed has in a day.
        videos: those of a channel in a day.
        hours: between two checks of a source.
        actions: the users' actions.
        share: the part of the usual faults of statements, wake-ups and handlers that is injected here: over
            days as much goes wrong in all as elsewhere in minutes.
        kinds: names of the users' actions; those of ``draw_actions`` by default.
        steps: of the users' playbook.
    """

    feeds: int
    channels: int
    searches: int
    days: float
    per_day: float
    videos: float
    hours: int
    actions: int
    share: float
    kinds: tuple[str, ...] = ()
    steps: tuple[Step, ...] = STEPS


SMALL: Final = (
    Size(1, 0, 0, 0.01, 200.0, 1.0, 1, 6, 0.6),
    Size(2, 0, 0, 0.02, 100.0, 1.0, 1, 8, 0.6),
    Size(2, 0, 0, 0.02, 100.0, 1.0, 1, 8, 0.6),
    Size(1, 1, 1, 0.03, 60.0, 60.0, 1, 12, 0.4),
    Size(2, 1, 1, 0.05, 30.0, 30.0, 1, 8, 0.4),
    Size(2, 1, 0, 0.3, 8.0, 8.0, 6, 8, 0.1),
)
"""Newsrooms of a quarter of an hour up to one of seven, which is longer than between two checks."""

WHOLE_SIZE: Final = Size(44, 5, 1, 14.0, 1.0, 1.0, 6, 200, 0.02)
"""Fifty sources that are checked every six hours, over two weeks."""

FEW_SOURCES_SIZE: Final = Size(
    1, 0, 0, 0.004, 500.0, 1.0, 1, 48, 0.6, ("brief", "playbook", "playbook"), SHORT_STEPS
)
"""Six minutes in which users brief few stories and run a playbook of one quick step.

A run of more steps meets so many faults that it seldom ends before the last fault, and its end meets none.
"""


@dataclass(frozen=True, slots=True)
class Newsroom(Scenario):
    """A scenario of some sizes, in which less goes wrong in a minute the longer it takes."""

    sizes: tuple[Size, ...] = SMALL

    def plan(self, seed: int) -> Plan:
        """Return the plan of a seed, with as many faults as its size bears."""
        plan = Scenario.plan(self, seed)
        # The size is the first that is drawn when the world's parts are made, too.
        share, knobs = Decisions(seed).stream("scenario").pick(self.sizes).share, plan.knobs
        fewer = {name: getattr(knobs, name) * share for name in ("statement", "wake", "handler", "slow")}
        return replace(plan, knobs=knobs.but(**fewer))


def build(draws: RandomStream) -> Setup:
    """Build a small newsroom."""
    return _build(draws, draws.pick(SMALL))


def build_whole(draws: RandomStream) -> Setup:
    """Build a newsroom of fifty sources, for two weeks."""
    return _build(draws, draws.pick((WHOLE_SIZE,)))


def build_few_sources(draws: RandomStream) -> Setup:
    """Build a newsroom of one feed, and of users that run playbooks."""
    return _build(draws, draws.pick((FEW_SOURCES_SIZE,)))


def _build(draws: RandomStream, size: Size) -> Setup:
    phase = size.days * DAY
    feeds = draw_feeds(draws, size.feeds, phase, size.per_day)
    articles = [article for feed in feeds if not feed.gone for article in feed.articles]
    tube = draw_tube(draws, size.channels, size.searches, phase=phase, per_day=size.videos, epoch=EPOCH)
    users = draw_users(draws, size.steps)
    ai = draw_ai(draws, sorted({article.topic for article in articles}), phase)
    app = NewsroomApp(feeds, tube, ai, users, phase=phase, hours=size.hours, draws=draws)
    actions = draw_actions(
        draws, users, lambda: app.repository, articles, tube, many=size.actions, kinds=size.kinds
    )
    times: list[tuple[float, Action]] = [(draws.uniform(1.0, 0.95 * phase), action) for action in actions]
    keyless = draws.chance(0.3)
    return Setup(
        app.catalog(),
        clients={"c1": doing([(0.0, app.subscribe), *times]), "c2": app.look_after},
        workers=2 if keyless else 3,
        others={"keyless": app.catalog(key=False)} if keyless else {},
        schedulers=2,
        worker=leased(draws.pick((2, 4, 8)), 15.0, 5.0),
        phase=phase,
        quiet=2 * DAY,
        tail=60.0,
        archive_after=DAY,
        delete_after=DAY,
        epoch=EPOCH,
        before=app.settle_in,
    )


SCENARIO: Final = Newsroom(__name__, "all tasks of the catalog, in a newsroom over days", build)

WHOLE: Final = Newsroom(
    "tests.scenarios.catalog:WHOLE",
    "the same with fifty sources, over two weeks",
    build_whole,
    sizes=(WHOLE_SIZE,),
)

FEW_SOURCES: Final = Newsroom(
    "tests.scenarios.catalog:FEW_SOURCES",
    "the same with one feed, whose stories users brief and run a playbook on all the time",
    build_few_sources,
    sizes=(FEW_SOURCES_SIZE,),
)
