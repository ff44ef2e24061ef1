"""``zeke_sim.test``: runs an application's workload under random faults, once per seed."""

from __future__ import annotations

import inspect
import tempfile
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast
from zlib import crc32

import pytest

from zeke_queue.core.failure import shown as value_shown
from zeke_queue.errors import UsageError
from zeke_queue.task.catalog import Catalog
from zeke_sim.errors import SimulationError
from zeke_sim.experiment.driver import run_seeds
from zeke_sim.experiment.plan import Plan
from zeke_sim.experiment.replay import replay
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.experiment.shrink import Shrunk, shrink
from zeke_sim.history.events import Violation
from zeke_sim.properties import ALL, Property
from zeke_sim.properties import user as user_properties
from zeke_sim.report import text
from zeke_sim.report.files import FOLDER, write
from zeke_sim.testing.client import Client
from zeke_sim.testing.environment import with_resources
from zeke_sim.testing.fixtures import Shown, catalog_of, checked_allowed, checked_start, wrong
from zeke_sim.world.faults import KINDS, NONE
from zeke_sim.world.setup import EPOCH, Setup

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from datetime import datetime

    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.faults import Knobs
    from zeke_sim.world.node import Node

    Workload = Callable[..., Awaitable[object]]

DAY: Final = 86400.0

FAULTS: Final = ("default", "storm", "none")
"""Named fault profiles; a list of fault kinds is the alternative."""

SIMULATED: Final = "zeke_simulated"
"""The attribute by which ``pytest_plugin``, which repeats this name, recognizes simulated tests."""

ASSERTED: Final = "what the test asserts"
STORM: Final = {
    "statement": 0.06,
    "wake": 0.3,
    "handler": 0.2,
    "node": 3.0,
    "database": 1.0,
    "call": 0.1,
    "skip": 0.1,
}

SENTENCES: Final = {
    ASSERTED: "A workload's assertions hold under all faults.",
    "a client's program ends": "A workload ends without an error after all faults end.",
    "time passes": "A handler that continues takes time.",
    "some task can continue": "Not all tasks wait for each other.",
    "nothing reaches outside": "Code in a world has no access to the outside, so its plan replays alike.",
}
"""Descriptions of properties that have no docstring."""

OWN: Final = "A property of the test's own."

WORKER: Final = (
    *("concurrency", "tasks", "task_concurrency", "poll_interval", "lease", "heartbeat_interval"),
    *("shutdown_timeout", "payload_budget"),
)
"""Worker options that a test may set."""

LONGEST: Final = 40
"""Maximum length of a parameter set's id in a plan's name; a longer id is replaced by its CRC-32."""

TRACED: Final = 4
"""Maximum number of traceback frames that a failure shows."""


@dataclass(frozen=True, slots=True)
class Sometimes:
    """A condition that must be true in at least one of the runs."""

    name: str
    predicate: user_properties.Predicate


def sometimes(name: str, predicate: user_properties.Predicate) -> Sometimes:
    """Require a condition in at least one of the runs, to prove that the test reaches it.

    Args:
        name: the condition's name in reports.
        predicate: called with the run's state after each event until it returns true.
    """
    return Sometimes(name, predicate)


@dataclass(frozen=True, slots=True)
class WorldOptions:
    """The configuration of a test's simulated worlds.

    Attributes:
        workers: number of workers.
        schedulers: number of schedulers; by default 2 if the catalog has schedules, else 0.
        days: virtual days with faults; afterwards all faults are healed, and every job must end within the
            same number of days plus one.
        faults: a profile of ``FAULTS``, or a list of fault kinds.
        properties: properties to check in addition to the built-in ones.
        resources: factory of the handlers' ``job.resources``, called for each run; None for the catalog's.
        allow: outside resources that handlers may use: see ``zeke_sim.world.sandbox.closed``.
        freeze: whether code that reads the machine's clocks sees virtual time.
        start: the virtual start time, as an aware datetime or text.
        worker: options of ``zeke_queue.Worker``; by default concurrency is drawn per run.
    """

    workers: int = 3
    schedulers: int | None = None
    days: float = 2.0
    faults: str | Sequence[str] = "default"
    properties: Sequence[Property | Sometimes] = ()
    resources: Callable[[], Any] | None = None
    allow: Sequence[str] = ()
    freeze: bool = True
    start: datetime | str = EPOCH
    worker: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
            UsageError: a field is invalid; the message names it.
        """
        for name, value in (("workers", self.workers), ("schedulers", self.schedulers or 0)):
            least = int(name == "workers")
            if type(value) is not int or value < least:
                raise UsageError(f"{name}: must be {least} or more, got {value_shown(value)}")
        if type(self.days) not in {int, float} or not self.days > 0:
            raise UsageError(f"days: must be a positive number, got {value_shown(self.days)}")
        if isinstance(self.faults, str):
            if self.faults not in FAULTS:
                raise UsageError(
                    f"faults: must be one of {', '.join(FAULTS)}, or as in ['kill'], got {self.faults!r}"
                )
        elif unknown := [kind for kind in self.faults if kind not in KINDS]:
            raise UsageError(f"faults: must be some of {', '.join(KINDS)}, got {value_shown(unknown[0])}")
        if self.resources is not None and not callable(self.resources):
            raise UsageError(
                f"resources: must be a function that opens them for a run, got {value_shown(self.resources)}"
            )
        _check_properties(self.properties)
        for name in self.worker:
            if name not in WORKER:
                raise UsageError(f"worker: must be some of {', '.join(WORKER)}, got {name}")
        checked_allowed(self.allow)
        checked_start(self.start)

    @property
    def kinds(self) -> tuple[str, ...] | None:
        """The fault kinds; None for all."""
        return None if isinstance(self.faults, str) else tuple(self.faults)

    def knobs(self, drawn: Knobs) -> Knobs:
        """Return the fault rates."""
        if self.faults == "none":
            return NONE
        return drawn.but(kinds=tuple(KINDS), **STORM) if self.faults == "storm" else drawn

    def checked(self, hits: Counter[str]) -> tuple[Property, ...]:
        """Return the properties that a run is checked against.

        Args:
            hits: counts the runs in which each ``sometimes`` condition was true, and in which an effect was
                recorded for each property that holds without one too.
        """
        checked = [*ALL, user_properties.unique_calls]
        for one in self.properties:
            if isinstance(one, Sometimes):
                checked.append(user_properties.sometimes(one.name, one.predicate, hits))
                continue
            checked.append(one)
            if one.tested is not None:
                wanted = f"a call of zeke_sim.effect that {one.name!r} counts"
                checked.append(user_properties.sometimes(wanted, one.tested, hits, on=one.events))
        return tuple(checked)

    def scenario(
        self, name: str, catalog: Catalog, workload: Callable[[Client], Awaitable[object]], hits: Counter[str]
    ) -> Scenario:
        """Return the scenario to run for each seed.

        Args:
            hits: see ``checked``.
        """
        schedulers = self.schedulers
        if schedulers is None:
            schedulers = 2 if catalog.schedules else 0

        def build(draws: RandomStream) -> Setup:
            resources = None if self.resources is None else self.resources()

            async def client(node: Node) -> None:
                await _worked(Client(node, resources), workload)

            return Setup(
                catalog if self.resources is None else with_resources(catalog, resources),
                clients={"client": client},
                workers=self.workers,
                schedulers=schedulers,
                worker={"concurrency": draws.pick((1, 2, 10)), **self.worker},
                archive_after=DAY,
                delete_after=7 * DAY,
                phase=self.days * DAY,
                quiet=(self.days + 1) * DAY,
                tail=60.0,
                epoch=checked_start(self.start),
            )

        return Scenario(
            name, "a test of an application's own", build, self.kinds, self.checked(hits), tuple(self.allow),
            self.freeze, self.knobs,
        )  # fmt: skip


def world_options(given: Mapping[str, Any], *others: str) -> WorldOptions:
    """Return the options that are given by name.

    Args:
        *others: further arguments of the caller, for the message.

    Raises:
        UsageError: there is no option of a name, or its value is invalid.
    """
    known = WorldOptions.__dataclass_fields__
    if unknown := set(given) - set(known):
        raise UsageError(f"{min(unknown)}: unknown argument; must be one of {', '.join((*others, *known))}")
    return WorldOptions(**given)


def checked_count(name: str, number: object) -> None:
    """Check that a number of seeds or jobs is positive.

    Raises:
        UsageError: it is not.
    """
    if type(number) is not int or number < 1:
        raise UsageError(f"{name}: must be 1 or more, got {value_shown(number)}")


def _check_properties(given: Any) -> None:
    """Check that the value is a sequence of properties."""
    if isinstance(given, Property | Sometimes) or not isinstance(given, Sequence):
        raise UsageError(f"properties: must be a list, got {value_shown(given)}; pass [{value_shown(given)}]")
    for one in cast("Sequence[Any]", given):
        if not isinstance(one, Property | Sometimes):
            raise UsageError(
                f"properties: must be made by zeke_sim.always, eventually, sometimes or unique_effects, got "
                f"{value_shown(one)}; the guarantees of the queue are checked in every test"
            )


async def _worked(client: Client, workload: Callable[[Client], Awaitable[object]]) -> None:
    """Run a workload, and report a failed assertion as a property violation."""
    try:
        await workload(client)
    except AssertionError as error:
        raise Violation(ASSERTED, str(error).strip() or "an assertion failed", at=_time(client)) from error
    if forgotten := client.forgotten():
        raise Violation(
            ASSERTED,
            f"it called but did not await {', '.join(forgotten)}, so nothing was done: write `await`",
            at=_time(client),
        )


def _time(client: Client) -> float:
    return client._world.time()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]


def test(
    function: Workload | None = None,  # noqa: PT028 - a factory of tests, not a test
    *,
    seeds: int = 200,  # noqa: PT028
    catalog: Catalog | None = None,  # noqa: PT028
    **worlds: Any,
) -> Any:
    """Make a test of a workload: an async function that uses the queue as a client program does.

    ::

        @zeke_sim.test(seeds=200, days=2, faults="default", workers=3)
        async def test_every_order_is_charged(zeke):
            run = await zeke.trigger(charge, Order(number=1))
            assert (await zeke.wait(run)).status == "COMPLETED"

    Each seed determines the faults and the order in which processes run. All properties of the queue, the
    test's own properties and its assertions must hold. A failure is shrunk, shown, and written to
    ``.zeke-sim``. Create state that must be fresh in each run in ``resources`` or in the workload.

    Args:
        function: the workload; its first parameter receives a ``Client``, the others are fixtures.
        seeds: number of runs; ``--zeke-seeds`` overrides it.
        catalog: the application's catalog; by default that of the fixture ``zeke_catalog``.
        **worlds: see ``WorldOptions``: workers, schedulers, days, faults, properties, resources, allow,
            freeze, start, worker.

    Raises:
        UsageError: an argument is invalid.
    """
    if catalog is not None and not isinstance(catalog, Catalog):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"catalog: must be a Catalog, got {value_shown(catalog)}")
    checked_count("seeds", seeds)
    made = world_options(worlds, "seeds", "catalog")

    def decorate(workload: Workload) -> Callable[..., None]:
        return _made_test(workload, made, seeds, catalog)

    return decorate if function is None else decorate(function)


def _parameters(node: pytest.Item) -> str:
    """Return the id of a test's parameter set, since each set has plans of its own."""
    chosen = getattr(node, "callspec", None)
    if chosen is None:
        return ""
    return f"[{chosen.id if len(chosen.id) <= LONGEST else f'{crc32(chosen.id.encode()):08x}'}]"


test.__test__ = False  # pyright: ignore[reportFunctionMemberAccess] - pytest collects functions of this name


def _made_test(
    workload: Workload, worlds: WorldOptions, seeds: int, catalog: Catalog | None
) -> Callable[..., None]:
    if not inspect.iscoroutinefunction(workload):
        raise UsageError(
            f"zeke_sim.test: {value_shown(workload)} is not async; write `async def`, and await what it calls"
        )
    signature = inspect.signature(workload)
    parameters = list(signature.parameters.values())
    bound = [parameters.pop(0)] if parameters and parameters[0].name == "self" else []
    if not parameters:
        raise UsageError(
            f"zeke_sim.test: {value_shown(workload)} takes nothing; its first argument is the world's client"
        )

    def simulated(*instance: Any, request: pytest.FixtureRequest, **given: Any) -> None:
        async def work(client: Client) -> None:
            await workload(*instance, client, **given)

        hits: Counter[str] = Counter()
        node = request.node
        scenario = worlds.scenario(
            f"{workload.__module__}:{workload.__qualname__}{_parameters(node)}",
            catalog_of(request) if catalog is None else catalog,
            work,
            hits,
        )
        number = request.config.getoption("--zeke-seeds") or seeds
        if not SeededRuns(worlds, scenario, request).run(range(number)):
            fail_if_never(hits, number)

    asked = inspect.Parameter("request", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    simulated.__name__ = workload.__name__
    simulated.__qualname__ = workload.__qualname__
    simulated.__module__ = workload.__module__
    simulated.__doc__ = workload.__doc__
    others = [one for one in parameters[1:] if one.name != "request"]
    simulated.__signature__ = signature.replace(parameters=[*bound, asked, *others])
    setattr(simulated, SIMULATED, True)
    setattr(simulated, "pytestmark", list(getattr(workload, "pytestmark", [])))  # noqa: B010
    return simulated


def fail_if_never(hits: Counter[str], runs: int) -> None:
    """Fail the test if something that must happen in one of its runs at least did not.

    Args:
        hits: the number of runs in which each happened.
        runs: the number of runs.

    Raises:
        Failed: one did not.
    """
    never = [name for name, happened in hits.items() if not happened]
    if never:
        pytest.fail(
            f"did not happen in any of {runs} runs: {', '.join(never)}; run more seeds, or extend the "
            "workload",
            pytrace=False,
        )


class SeededRuns:
    """Runs of a test's scenario, and the report of a failed run."""

    def __init__(self, worlds: WorldOptions, scenario: Scenario, request: pytest.FixtureRequest) -> None:
        self._worlds = worlds
        self._scenario = scenario
        self._test: str = request.node.nodeid
        self._root = Path(request.config.rootpath)
        self._plan: str | None = request.config.getoption("--zeke-plan")

    def run(self, seeds: Iterable[int], *, shrinks: bool = True) -> bool:
        """Run seeds until one fails, and shrink that failure; with ``--zeke-plan``, replay the plan instead.

        Returns:
            Whether a plan was replayed.

        Raises:
            Failed: a property was violated; the failure is written to files.
        """
        if self._plan is not None:
            self._replay(self._plan)
            return True
        experiment = run_seeds([self._scenario], seeds)
        if experiment.interrupted:
            raise KeyboardInterrupt
        if (failure := experiment.failure) is not None:
            self._fail(shrink(self._scenario, failure) if shrinks else Shrunk.given(failure))
        return False

    def _replay(self, file: str) -> None:
        """Replay the plan of ``--zeke-plan``."""
        try:
            plan = Plan.read(Path(file))
        except SimulationError as error:
            wrong(f"--zeke-plan: {error}")
        if plan.scenario != self._scenario.name:
            wrong(
                f"--zeke-plan: {file} is a plan of {plan.scenario}, and this test is {self._scenario.name}; "
                "run that one"
            )
        outcome = replay(plan, self._scenario)
        if outcome.violation is not None:
            self._fail(Shrunk.given(outcome, replays=1))

    def _fail(self, shrunk: Shrunk) -> None:
        violation = shrunk.outcome.violation
        if violation is not None:
            own = {one.name for one in self._worlds.properties}
            known = SENTENCES.get(violation.rule, shrunk.outcome.sentence)
            sentence = OWN if violation.rule in own else known
            shrunk = replace(shrunk, outcome=replace(shrunk.outcome, sentence=sentence))
        try:
            failure = write(shrunk, self._root / FOLDER, test=self._test, root=self._root)
        except OSError:  # the project folder is read-only, as in some CI systems
            failure = write(shrunk, Path(tempfile.mkdtemp(prefix="zeke-sim-")), test=self._test)
        lines = [text.screen(failure)]
        if shrunk.unsteady is not None:
            lines.append(f"It does not replay identically: {shrunk.unsteady}")
        raise Shown("\n".join([*lines, *_trace(violation)]))


def _trace(violation: Violation | None) -> list[str]:
    """Return the application's frames in an error's traceback, as lines."""
    error = None if violation is None else violation.__cause__
    if error is None:
        return []
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "zeke_sim" not in frame.filename and "zeke_queue" not in frame.filename
    ]
    lines = [f"  {frame.filename}:{frame.lineno}: {frame.line}" for frame in frames[-TRACED:]]
    return [*lines, f"  {type(error).__name__}: {error}"] if lines else []
