"""Workers that read many pages of few hosts, within the limits of requests per host of ``zeke_tasks``.

Every process reads several pages of one host at once, in one job and in several. Hosts are slow at times, so
that requests end at the deadline of their job, or refuse a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

import zeke_sim
from tests.workloads import Known, doing, leased, sending
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.history.events import Effect, Ended, Lived
from zeke_sim.history.state import Broken
from zeke_sim.properties import ALL, holds
from zeke_sim.world.handlers import current_node
from zeke_sim.world.setup import Setup
from zeke_tasks.fetch.politeness import Turns

if TYPE_CHECKING:
    from zeke_sim.history.state import RunState
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.world import World

PHASE: Final = 60.0

PER_HOST: Final = 1
"""Requests that a process may make to one host at once: fewer than in production, as there are few pages."""

GAP: Final = 0.1
"""Seconds between the starts of two of them."""

TURN_MAX: Final = 20.0
"""Seconds after which a waiting request must begin if its process has no other at the host."""

HOSTS: Final = ("news", "blog")


class Page(BaseModel):
    """A page: its host, the seconds that it takes in each attempt of a job, and whether it fails then."""

    host: str
    seconds: list[float]
    fails: bool = False


class Pages(BaseModel):
    """The pages that a job reads at once."""

    pages: list[Page]


async def read(payload: Pages, job: JobContext) -> None:
    """Read pages, those of one host in turn."""
    turns: Turns = job.resources
    async with asyncio.TaskGroup() as group:
        for number, page in enumerate(payload.pages):
            group.create_task(_request(turns, page, number, job.attempt))


async def _request(turns: Turns, page: Page, number: int, attempt: int) -> None:
    zeke_sim.effect(f"wait {page.host} {number}")
    try:
        async with turns.turn(page.host):
            zeke_sim.effect(f"begin {page.host} {number}")
            await asyncio.sleep(page.seconds[attempt - 1] if attempt <= len(page.seconds) else 0.2)
            if page.fails and attempt == 1:
                raise ConnectionError
    finally:
        zeke_sim.effect(f"end {page.host} {number}")


class _Host:
    """The requests of one process to a host.

    Attributes:
        waiting, begun: those that wait for their turn, and those under way.
        since: when one last began or ended, or came to wait while there was no other.
    """

    def __init__(self) -> None:
        self.waiting = set[object]()
        self.begun = set[object]()
        self.since = 0.0


def _hosts(state: RunState, node: str) -> dict[str, _Host]:
    return state.of(f"requests of {node}", lambda: {host: _Host() for host in HOSTS})


@holds("requests to a host take turns", Effect, Ended, Lived)
def requests_take_turns(event: Effect | Ended | Lived, state: RunState) -> None:
    """A process makes ``PER_HOST`` requests to a host at once, and goes on while others wait."""
    hosts = _hosts(state, event.node)
    if isinstance(event, Lived):
        if event.what in {"started", "killed"}:
            hosts.update({host: _Host() for host in HOSTS})
        return
    well = state.nodes[event.node].well_since(state.at, state.rules.late)
    for name, host in hosts.items():
        if (
            well is not None
            and host.waiting
            and not host.begun
            and event.at > max(host.since, well) + TURN_MAX
        ):
            raise Broken(f"{event.node} has made no request to {name} since {host.since:.3f} s; some wait")
    if isinstance(event, Effect):
        _take(event, hosts)


def _take(event: Effect, hosts: dict[str, _Host]) -> None:
    what, name, number = event.key.split()
    host, request = hosts[name], (event.job, event.attempt, number)
    if what != "wait" or not host.waiting | host.begun:
        host.since = event.at
    host.waiting.discard(request)
    host.begun.discard(request)
    if what == "wait":
        host.waiting.add(request)
    elif what == "begin":
        host.begun.add(request)
        if len(host.begun) > PER_HOST:
            raise Broken(
                f"{event.node} makes {len(host.begun)} requests to {name} at once, and may make {PER_HOST}",
                job=event.job,
            )


def build(draws: RandomStream) -> Setup:
    """Draw jobs that read a few pages each, most of them of one host."""
    world: World

    def settle_in(made: World) -> None:
        nonlocal world
        world = made

    @asynccontextmanager
    async def resources() -> AsyncGenerator[Turns]:
        yield Turns(current_node(world.nodes).clock, per_host=PER_HOST, gap=GAP)

    catalog = Catalog(resources=resources)
    catalog.task("read", retry_limit=3, retry_delay=1, expire_in=40.0)(read)
    known = Known()
    actions = [
        (draws.uniform(0.0, 0.6 * PHASE), sending(known, number, "read", _pages(draws)))
        for number in range(6 + draws.below(8))
    ]
    return Setup(
        catalog,
        clients={"c1": doing(actions)},
        workers=3,
        worker=leased(2 + draws.below(3)),
        phase=PHASE,
        before=settle_in,
    )


def _pages(draws: RandomStream) -> Pages:
    return Pages(
        pages=[
            Page(
                host=draws.pick((HOSTS[0], *HOSTS)),
                seconds=[draws.pick((0.2, 1.0, 3.0, 60.0)) for _ in range(draws.below(3))],
                fails=draws.chance(0.1),
            )
            for _ in range(1 + draws.below(4))
        ]
    )


SCENARIO = Scenario(
    __name__,
    "many pages of few hosts, which each of several workers reads within its limits of requests",
    build,
    properties=(*ALL, requests_take_turns),
)
