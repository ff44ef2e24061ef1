"""The fixture ``simulation``: simulated worlds that a test sets up, runs and checks."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from zeke_queue.core.failure import shown
from zeke_queue.core.names import did_you_mean
from zeke_queue.errors import UsageError
from zeke_queue.model import FINAL
from zeke_sim.experiment.plan import Plan
from zeke_sim.history.state import Broken, End
from zeke_sim.properties import ALL
from zeke_sim.properties.definition import holds
from zeke_sim.testing.examples import counts_of
from zeke_sim.testing.fixtures import catalog_of, checked_catalog, wrong
from zeke_sim.testing.seeded_test import SeededRuns
from zeke_sim.testing.worlds import DAY, checked_count, world_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pytest

    from zeke_queue.task.catalog import Catalog
    from zeke_queue.task.task import Task
    from zeke_sim.experiment.scenario import Scenario
    from zeke_sim.history.state import RunState
    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.properties import Property
    from zeke_sim.testing.client import Client
    from zeke_sim.testing.worlds import WorldOptions
    from zeke_sim.world.setup import Setup

SEEDS: Final = 10
"""Default number of runs of a world."""

PHASE: Final = 120.0
"""Virtual seconds with faults."""

TOGETHER: Final[Mapping[str, tuple[str, ...]]] = {
    "no job is lost": (
        "an acknowledged send is stored",
        "nothing is lost on the way to the archive",
        "abandoned jobs are released",
        "due jobs are picked up",
    ),
    "retries stay within their limit": (
        "retries within the limit",
        "no retry is skipped",
        "only failures use retries",
    ),
}
"""Names for groups of related properties."""

_UNITS: Final = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": DAY, "week": 7 * DAY}


class Simulations:
    """The fixture ``simulation``: call it to set up a world."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self._made: list[Simulation] = []

    def __call__(
        self,
        catalog: Catalog | None = None,
        *,
        seeds: int = SEEDS,
        start: int = 0,
        plan: Plan | None = None,
        **worlds: Any,
    ) -> Simulation:
        """Set up a world.

        Args:
            catalog: the application's catalog; by default that of the fixture ``zeke_catalog``.
            seeds: number of runs, each with different faults; ``--zeke-seeds`` overrides it.
            start: the first seed.
            plan: a plan of ``zeke_sim.strategies.plans``, which is run instead of the seeds.
            **worlds: see ``worlds.WorldOptions``: workers, schedulers, faults, resources …

        Raises:
            UsageError: an argument is invalid.
        """
        checked_count("seeds", seeds)
        if plan is not None and not isinstance(cast("Any", plan), Plan):
            raise UsageError(f"plan: must be a plan of zeke_sim.strategies.plans, got {shown(plan)}")
        request = self._request
        checked = catalog_of(request) if catalog is None else checked_catalog(catalog)
        number = request.config.getoption("--zeke-seeds") or seeds
        made = Simulation(
            world_options({"days": PHASE / DAY, **worlds}, "seeds", "start", "plan"),
            checked,
            range(start, start + number),
            request,
            plan,
        )
        self._made.append(made)
        return made

    def finish(self) -> None:
        """Check the worlds that the test did not check itself."""
        for one in self._made:
            one.finish()


class Simulation:
    """A world that a test sets up with ``send``, runs with ``run``, and checks with ``check``."""

    def __init__(
        self,
        worlds: WorldOptions,
        catalog: Catalog,
        seeds: Sequence[int],
        request: pytest.FixtureRequest,
        plan: Plan | None = None,
    ) -> None:
        self._plan = plan
        self._worlds = worlds
        self._catalog = catalog
        self._seeds = seeds
        self._request = request
        self._sends: list[tuple[str | Task[Any, Any], Any, int, dict[str, Any]]] = []
        self._called = self._ran = self._checked = False
        self._counts = counts_of(request.node)
        self._quiet = DAY

    def send(
        self, task: str | Task[Any, Any], payload: Any = None, *, times: int = 1, **options: Any
    ) -> None:
        """Add a client that sends jobs one after the other when the world runs.

        Args:
            task: a task of the catalog, or its name.
            payload: a payload for the task's model.
            times: number of jobs.
            **options: see ``zeke_queue.Queue.send``.

        Raises:
            UsageError: the task is unknown, or the payload does not match its model.
        """
        found = self._catalog.get(task)
        found.dump(payload)
        checked_count("times", times)
        self._sends.append((found.name, payload, times, options))

    def run(self, *, until: str = "drained", within: str | timedelta | float = "2 days") -> None:
        """Run the world for each seed: first under faults, then healed, until everything has ended.

        Args:
            until: ``drained``, the only supported condition.
            within: the time limit after all faults are healed: ``2 days``, seconds, or a timedelta.

        Raises:
            UsageError: an argument is invalid, the world ran already, or the test is async.
            Failed: a run is stuck, or jobs did not end in time.
        """
        self._called = True
        if until != "drained":
            raise UsageError(f"until: must be 'drained', got {shown(until)}")
        if self._ran:
            raise UsageError("run: this world has already run; create another one with simulation(…)")
        if asyncio._get_running_loop() is not None:
            raise UsageError("run: must be called in a test that is not async; write `def` for `async def`")
        self._quiet = span(within)
        self._ran = self._checked = True  # a failure is reported once
        self._run_all((everything_ends_in_time(self._quiet),), shrinks=False)
        self._checked = False

    def check(self, *names: str) -> None:
        """Check that properties held in every run; all of them by default.

        Args:
            *names: names of properties or of groups: see ``TOGETHER``.

        Raises:
            UsageError: a name is unknown, or the world has not run.
            Failed: a property was violated; the failure is shrunk, shown, and written to ``.zeke-sim``.
        """
        chosen = [one for name in names for one in named(name)] if names else list(ALL)
        if not self._ran:
            raise UsageError("check: nothing has run yet; call run() first")
        self._checked = True
        if not self._run_all((*chosen, *self._worlds.checked(self._counts.hits)[len(ALL) :])):
            self._counts.add(1 if self._plan is not None else len(self._seeds))

    def finish(self) -> None:
        """Check all properties if the test ran the world and checked none.

        Raises:
            Failed: a property was violated, or the test sent jobs into a world that it never ran.
        """
        if self._sends and not self._called:
            wrong("simulation: jobs were sent, but the world was not run; call run(), then check()")
        if self._ran and not self._checked:
            self.check()

    def _run_all(self, properties: Sequence[Property], *, shrinks: bool = True) -> bool:
        runs = SeededRuns(self._worlds, self._scenario(properties), self._request, self._catalog)
        if self._plan is None:
            return runs.run(self._seeds, shrinks=shrinks)
        runs.run_one(self._plan)
        return False

    def _scenario(self, properties: Sequence[Property]) -> Scenario:
        scenario = self._worlds.scenario(
            self._request.node.nodeid, self._catalog, self._work, self._counts.hits
        )
        build = scenario.build

        def built(draws: RandomStream) -> Setup:
            setup = build(draws)
            setup.quiet = self._quiet
            return setup

        return replace(scenario, build=built, properties=tuple(properties))

    async def _work(self, client: Client) -> None:
        for name, payload, times, options in self._sends:
            for _ in range(times):
                await client.send(name, payload, **options)


def everything_ends_in_time(quiet: float) -> Property:
    """Make a property that requires all jobs to have ended ``quiet`` seconds after all faults are healed."""

    @holds("everything ends in time", End)
    def check(_event: End, state: RunState) -> None:
        """Within this time after the last fault, every job has ended."""
        left = [row for row in state.live.values() if row.state not in FINAL]
        if left:
            first = left[0]
            raise Broken(
                f"{len(left)} jobs have not ended {timedelta(seconds=quiet)} after all faults ended: job"
                f" {first.id} of task {first.name!r} is {first.state}, after {first.attempt} attempts",
                job=first.id,
            )

    return check


def named(name: str) -> tuple[Property, ...]:
    """Return the properties with a name or of a group.

    Raises:
        UsageError: the name is unknown; the message lists similar names, or all.
    """
    known = {one.name: one for one in ALL}
    if name in TOGETHER:
        return tuple(known[one] for one in TOGETHER[name])
    if name in known:
        return (known[name],)
    every = [*TOGETHER, *known]
    # Names are sentences, of which a user may remember only some words.
    hint = did_you_mean(name, every, f"pass one of: {', '.join(every)}", cutoff=0.5)
    raise UsageError(f"check: no property has the name {name!r}; {hint}")


def span(value: str | timedelta | float) -> float:
    """Return a duration in seconds.

    Raises:
        UsageError: the value is not a duration.
    """
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        parts = re.fullmatch(r"(\d+(?:\.\d+)?) (second|minute|hour|day|week)s?", value.strip())
        if parts is not None:
            return float(parts[1]) * _UNITS[parts[2]]
    elif value > 0:
        return float(value)
    raise UsageError(
        f"within: must be a duration such as '2 days', seconds, or a timedelta, got {shown(value)}"
    )
