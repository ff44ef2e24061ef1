"""Two concurrent versions of a program, while one replaces the other.

The new version has a task that the old one lacks, a field with a default in a payload, another name for a
task, which keeps its old one as an alias, another limit, another cron expression for a schedule, and a
schedule less. Workers, schedulers and programs that send are of either version; one after the other is asked
to stop and comes back as the new one, some are rolled back and forth, some are never renewed. Each version
must run the jobs of the other, leave unknown tasks to the other, and fail no job for being of another
version.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic import BaseModel

from tests.workloads import Known, Script, act, doing, leased, own_id, script, sending, tending
from zeke_queue.core import jsonb
from zeke_queue.core.options import SendOptions
from zeke_queue.model import RowState
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.history.events import Change, Ended
from zeke_sim.history.state import Broken, RunState
from zeke_sim.properties import ALL, holds
from zeke_sim.properties.settlements import error_of
from zeke_sim.world.handlers import observed
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from tests.workloads import Action
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.world import World

PHASE: Final = 30.0

PLAIN: Final = "plain"
"""The colour of a picture that was sent by the old version, which knows no colours."""


class Resize(BaseModel):
    """A picture as the old version sends it."""

    picture: int
    seconds: float = 0.0


class ResizeInColour(Resize):
    """A picture as the new version sends it."""

    colour: str = PLAIN


async def resize(given: Resize) -> dict[str, Any]:
    """Do the old version's work."""
    await asyncio.sleep(given.seconds)
    return {"picture": given.picture}


async def resize_in_colour(given: ResizeInColour) -> dict[str, Any]:
    """Do the new version's work."""
    await asyncio.sleep(given.seconds)
    return {"picture": given.picture, "colour": given.colour}


async def tidy() -> None:
    """Do what schedules are for."""


async def greet(given: Script, job: JobContext) -> Any:
    """Do the work of the task that changes its name."""
    return await act(given, job)


class Limits(NamedTuple):
    """Limits of the two versions; None is any number."""

    old: int | None
    new: int | None
    greeting: int | None


def old_version(limits: Limits) -> Catalog:
    """Return the catalog that is on its way out."""
    catalog = Catalog()
    catalog.task("resize", concurrency_limit=limits.old, retry_delay=1)(resize)
    catalog.task("greet", retry_limit=2, retry_delay=1)(greet)
    catalog.task("tidy")(tidy)
    catalog.schedule("tidy", "* * * * * */20", description="of the old version")
    catalog.schedule("report", "* * * * * */30", task="tidy")
    return catalog


def new_version(limits: Limits) -> Catalog:
    """Return the catalog that replaces it."""
    catalog = Catalog()
    catalog.task("resize", concurrency_limit=limits.new, retry_delay=1)(resize_in_colour)
    catalog.task(
        "welcome", aliases=["greet"], concurrency_limit=limits.greeting, retry_limit=2, retry_delay=1
    )(greet)
    catalog.task("thumb", retry_limit=1, retry_delay=1)(act)
    catalog.task("tidy")(tidy)
    catalog.schedule("tidy", "* * * * * */15", description="of the new version")
    return catalog


class Roll(NamedTuple):
    """A process is stopped at a time, and restarts as another version."""

    at: float
    node: str
    new: bool


class Rollout:
    """Which process is of which version, and when that changes."""

    def __init__(self, old: Catalog, new: Catalog, begin_old: list[str], rolls: list[Roll]) -> None:
        self._old = old
        self._new = new
        self._begin_old = begin_old
        self._rolls = rolls

    def begin(self, world: World) -> None:
        """Give processes of the old version its catalog, and plan the rolls."""
        catalogs = {False: observed(self._old, world.nodes), True: observed(self._new, world.nodes)}
        for name in self._begin_old:
            world.nodes[name].catalog = catalogs[False]
        for roll in self._rolls:
            world.later(roll.at, self._roll, world, roll.node, catalogs[roll.new])

    def _roll(self, world: World, name: str, catalog: Catalog) -> None:
        node = world.nodes[name]
        node.catalog = catalog
        node.terminate()


@holds("no job fails for its version", Change)
def no_job_fails_for_its_version(event: Change, state: RunState) -> None:
    """Each version understands the jobs of the other, and never gets unknown ones."""
    del state
    row = event.after
    if row is None or row.output is None or row.state not in {RowState.RETRY, RowState.FAILED}:
        return
    error = error_of(row.output)
    if error.get("type") in {"PayloadValidationError", "UnknownTaskError", "ValidationError"}:
        raise Broken(f"{row.name} failed with {error}", job=row.id)


@holds("what was not sent has its default", Ended)
def what_was_not_sent_has_its_default(event: Ended, state: RunState) -> None:
    """The new version treats a picture without a colour as plain, and keeps a given colour."""
    row = state.lives[event.job].row
    if event.task != "resize" or event.how != "returned" or row is None or row.data is None:
        return
    sent = jsonb.loads(row.data)
    if "colour" in event.value and event.value["colour"] != sent.get("colour", PLAIN):
        raise Broken(f"sent was {sent}, and done {event.value}", job=event.job)
    if event.value["picture"] != sent["picture"]:
        raise Broken(f"sent was {sent}, and done {event.value}", job=event.job)


def _sends(draws: RandomStream, known: Known, start: int, *, new: bool) -> list[tuple[float, Action]]:
    """Draw what a program of a version sends."""
    actions: list[tuple[float, Action]] = []
    for number in range(start, start + 2 + draws.below(4)):
        kind = draws.pick(("resize", "resize", "greet", "thumb"))
        seconds = round(draws.uniform(0.0, 4.0), 2)
        payload: Any
        if kind == "resize" and new:
            payload = ResizeInColour(picture=number, seconds=seconds, colour=draws.pick(("red", PLAIN)))
        elif kind == "resize":
            payload = Resize(picture=number, seconds=seconds)
        else:
            payload = script(draws, longest=3.0)
        # The old one knows no thumbs; the new one calls greetings by either name.
        task = kind if kind == "resize" or (kind == "thumb" and new) else "greet"
        if task == "greet" and new and draws.chance(0.5):
            task = "welcome"
        options = SendOptions(id=own_id(draws), priority=draws.below(2))
        actions.append((draws.uniform(0.0, 0.8) * PHASE, sending(known, number, task, payload, options)))
        if draws.chance(0.2):
            actions.append((draws.uniform(0.2, 1.0) * PHASE, tending(known, number, "cancel")))
    return actions


def _rolls(draws: RandomStream, names: list[str]) -> list[Roll]:
    """Draw when each process is renewed: one after the other, some back and forth, some never."""
    rolls: list[Roll] = []
    at = draws.uniform(2.0, 15.0)
    for name in names:
        if draws.chance(0.1):
            continue
        rolls.append(Roll(at, name, new=True))
        if draws.chance(0.2):
            back = at + draws.uniform(1.0, 15.0)
            rolls += [Roll(back, name, new=False), Roll(back + draws.uniform(1.0, 15.0), name, new=True)]
        at += draws.uniform(0.0, 10.0)
    return rolls


def build(draws: RandomStream) -> Setup:
    """One worker and one sender of each version at least, and two schedulers, the first of which is old."""
    limits = Limits(draws.pick((None, 1, 3)), draws.pick((None, 1, 2)), draws.pick((None, 2, 3)))
    old, new = old_version(limits), new_version(limits)
    others = [f"o{number}" for number in range(1, 2 + draws.below(2))]
    known = Known()
    rollout = Rollout(old, new, ["c1", "s1", *others], _rolls(draws, [*others, "s1"]))
    return Setup(
        new,
        clients={
            "c1": doing(_sends(draws, known, 0, new=False)),
            "c2": doing(_sends(draws, known, 100, new=True)),
        },
        workers=1,
        schedulers=2,
        others=dict.fromkeys(others, old),
        worker=leased(1 + draws.below(3), 6.0, 2.0),
        phase=PHASE,
        archive_after=10.0,
        delete_after=10.0,
        before=rollout.begin,
    )


SCENARIO = Scenario(
    __name__,
    "two versions of a program work side by side while one takes the other's place",
    build,
    properties=(*ALL, no_job_fails_for_its_version, what_was_not_sent_has_its_default),
)
