"""Schedules around the two nights of a year on which clocks are put forward or back.

The world begins near such a moment, in a zone that changes by an hour or by half of one, or in UTC on any
day. Its schedules fire every few seconds or minutes, or at fixed hours, of which some are skipped by the
clocks that night and some are shown twice; they leave missed ticks out, serve the last one, or serve all.
Two schedulers serve them, which may both be away for many ticks, also for the whole of the night before the
world begins. Meanwhile users edit schedules, pause, resume, delete and recreate them, and
processes that restart declare them as in the code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.workloads import Script, Step, act, doing, leased, script
from zeke_queue.client.parts import parts_of
from zeke_queue.core.cron import Cron
from zeke_queue.storage.memory.tables import Plan
from zeke_queue.task.catalog import Catalog
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.workloads import Action
    from zeke_queue.model import Schedule
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.node import Node
    from zeke_sim.world.world import World

HALF_AN_HOUR: Final = timedelta(minutes=30)


class Night(NamedTuple):
    """A moment at which a zone's clocks change.

    Attributes:
        zone: IANA name.
        change: the moment, in UTC.
        around: how long before and after it the clocks show the middle of the repeated hour.
        touched: expressions of fixed hours that the clocks skip, or show twice, that night.
    """

    zone: str
    change: datetime
    around: timedelta
    touched: tuple[str, ...]


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NIGHTS: Final = (
    Night(
        "Europe/Berlin", _utc("2026-03-29T01:00"), HALF_AN_HOUR, ("30 2 * * *", "*/20 2 * * *", "0 3 * * *")
    ),
    Night(
        "Europe/Berlin", _utc("2026-10-25T01:00"), HALF_AN_HOUR, ("30 2 * * *", "*/20 2 * * *", "0 3 * * *")
    ),
    Night(
        "America/New_York",
        _utc("2026-03-08T07:00"),
        HALF_AN_HOUR,
        ("30 2 * * *", "15,45 2 * * *", "0 3 * * *"),
    ),
    Night(
        "America/New_York",
        _utc("2026-11-01T06:00"),
        HALF_AN_HOUR,
        ("30 1 * * *", "15,45 1 * * *", "0 2 * * *"),
    ),
    Night("Australia/Lord_Howe", _utc("2026-10-03T15:30"), HALF_AN_HOUR / 2, ("15 2 * * *", "*/10 2 * * *")),
    Night("Australia/Lord_Howe", _utc("2026-04-04T15:00"), HALF_AN_HOUR / 2, ("45 1 * * *", "*/10 1 * * *")),
    Night("UTC", _utc("2026-03-02T00:00"), HALF_AN_HOUR, ("30 0 * * *", "0 */6 * * *")),
)
"""Gaps and overlaps, of an hour and of half an hour; and a night like any other."""

SELDOM: Final = (
    "0 9 L * *",
    "0 9 15,31 * *",
    "0 9 * * 1#2",
    "30 6 * * L5",
    "0 8 * 1-3,12 mon-fri",
    "0 12 13 * fri",
    "15 6 1-7/2 * *",
)
"""Expressions that fire so rarely that only their recorded ticks can be wrong."""

POLICIES: Final = ("skip", "once", "all", "all")


@dataclass(frozen=True, slots=True)
class Shape:
    """How long the world lasts, and where in the night it lies.

    Attributes:
        epoch: when it begins.
        phase: seconds of the fault phase.
        missed: since when no scheduler had run when it begins; None if there were no schedules before.
        often: expressions that fire several times within the phase.
    """

    epoch: datetime
    phase: float
    missed: datetime | None
    often: tuple[str, ...]


def _shape(draws: RandomStream, night: Night) -> Shape:
    """Choose whether the world covers only the change, starts after it, or lasts through all of it."""
    moment = night.change + draws.pick((-night.around, timedelta(0), night.around))
    seconds = (f"* * * * * */{draws.pick((5, 7, 10, 20))}", "* * * * *", "* * * * * 13,14,40")
    minutes = (f"*/{draws.pick((10, 15, 20))} * * * *", f"{draws.pick((0, 30))} * * * * */20")
    which = draws.random()
    if which < 0.5:
        return Shape(moment - timedelta(seconds=draws.uniform(5.0, 45.0)), 60.0, None, seconds)
    if which < 0.88:
        before = night.change - draws.uniform(0.5, 1.5) * 2 * night.around
        after = night.change + draws.uniform(0.0, 1.5) * 2 * night.around
        return Shape(after, 40.0, before, minutes)
    return Shape(night.change - 2.2 * night.around, 4.5 * night.around.total_seconds(), None, minutes)


class Plans:
    """The schedules of a world, as declared in code and as edited by users."""

    def __init__(self, draws: RandomStream, night: Night, shape: Shape) -> None:
        self._draws = draws
        self._expressions = (*shape.often, *shape.often, *night.touched)
        self._zone = night.zone

    def definition(self) -> dict[str, Any]:
        """Draw a schedule's definition; most are in the zone of the night."""
        draws = self._draws
        return {
            "cron": draws.pick(SELDOM) if draws.chance(0.1) else draws.pick(self._expressions),
            "timezone": self._zone if draws.chance(0.85) else draws.pick(NIGHTS).zone,
            "catch_up": draws.pick(POLICIES),
            "task": "tick",
            "payload": script(draws, longest=3.0, steps=1) if draws.chance(0.2) else None,
        }


def _change(draws: RandomStream, plans: Plans, names: Sequence[str]) -> Action:
    """Draw what a user does to a schedule."""
    name, given = draws.pick(names), plans.definition()
    what = draws.pick(("edit", "edit", "pause", "pause", "resume", "resume", "drop", "create"))

    async def do(node: Node) -> None:
        queue = node.queue
        if what == "drop":
            await queue.schedules.delete(name)
        elif what in {"pause", "resume"}:
            await _pause(node, name, paused=what == "pause")
        elif what == "edit":
            await queue.schedules.put(name, **given)
        else:
            # One whose ticks a rule refuses while the job of an earlier one waits or runs.
            slow: dict[str, Any] = {**given, "payload": Script(steps=[Step(seconds=12.0)])}
            await queue.schedules.put(f"{name}-too", **slow, singleton_key=name)

    return do


async def _pause(node: Node, name: str, *, paused: bool) -> None:
    """Pause or resume a schedule, as ``zeke schedule pause`` and ``resume`` do."""
    storage = parts_of(node.queue).storage
    for schedule in await storage.schedules():
        if schedule.name == name:
            await storage.put_schedule(replace(schedule, paused=paused))


def _for_a_while(draws: RandomStream, name: str, until: float) -> list[tuple[float, Action]]:
    """Draw that a user pauses a schedule for a while, or moves it to another time zone, and back."""
    began = draws.uniform(0.0, 0.5 * until)
    ended = began + draws.uniform(1.0, 0.5 * until)
    if draws.chance(0.6):
        return [
            (began, lambda node: _pause(node, name, paused=True)),
            (ended, lambda node: _pause(node, name, paused=False)),
        ]
    zones = draws.pick(NIGHTS).zone, draws.pick(NIGHTS).zone
    return [
        (began, lambda node: _move(node, name, zones[0])),
        (ended, lambda node: _move(node, name, zones[1])),
    ]


async def _move(node: Node, name: str, zone: str) -> None:
    """Change the time zone of a schedule."""
    storage = parts_of(node.queue).storage
    for schedule in await storage.schedules():
        if schedule.name == name:
            await storage.put_schedule(replace(schedule, zone=zone))


def _away(seconds: float) -> Action:
    """Return the action of ending all schedulers for a time."""

    async def do(node: Node) -> None:
        for other in node.nodes.values():
            if other.role == "scheduler":
                other.kill(back=seconds)

    return do


def _served_before(catalog: Catalog, since: datetime, world: World) -> None:
    """Put the catalog's schedules into the database as they stood when the last scheduler ended."""
    for schedule in catalog.stored_schedules():
        world.store.tables.plans[schedule.name] = Plan(_as_of(schedule, since), declared=schedule)


def _as_of(schedule: Schedule, since: datetime) -> Schedule:
    following = _parsed(schedule.cron, schedule.zone).next_after(since)
    return replace(schedule, last_tick=since, next_tick=following)


@lru_cache(maxsize=256)
def _parsed(expression: str, zone: str) -> Cron:
    return Cron.parse(expression, zone)


def build(draws: RandomStream) -> Setup:
    """A few schedules near a change of the clocks, one or two schedulers, and a user that edits."""
    night = draws.pick(NIGHTS)
    shape = _shape(draws, night)
    plans = Plans(draws, night, shape)
    catalog = Catalog()
    catalog.task("tick", retry_limit=1, retry_delay=1)(act)
    names = [f"plan-{number}" for number in range(2 + draws.below(2))]
    for name in names:
        catalog.schedule(name, **plans.definition())
    phase = shape.phase
    # Some users continue after the last fault: then their edits must take effect soon.
    until = phase + draws.pick((0.0, 60.0))
    actions = [(draws.uniform(0.0, until), _change(draws, plans, names)) for _ in range(draws.below(7))]
    if draws.chance(0.6):
        actions += _for_a_while(draws, draws.pick(names), until)
    if draws.chance(0.5):
        actions.append((draws.uniform(0.0, 0.6) * phase, _away(draws.uniform(0.2, 0.8) * phase)))
    missed = shape.missed
    return Setup(
        catalog,
        clients={"c1": doing(actions)} if actions else {},
        workers=1,
        schedulers=1 + draws.below(2),
        worker=leased(5),
        phase=phase,
        archive_after=20.0,
        delete_after=20.0,
        epoch=shape.epoch,
        before=None if missed is None else lambda world: _served_before(catalog, missed, world),
    )


SCENARIO = Scenario(
    __name__, "schedules fire once a tick, through changes of the clocks, downtime, and edits", build
)
