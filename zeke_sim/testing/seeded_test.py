"""``zeke_sim.test``: runs an application's workload under random faults, once per seed."""

from __future__ import annotations

import inspect
import tempfile
import traceback
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from zeke_queue.core.failure import shown as value_shown
from zeke_queue.errors import UsageError
from zeke_sim.errors import SimulationError
from zeke_sim.experiment.crashes import Crashes, crash_everywhere, requiring, run_whole
from zeke_sim.experiment.driver import run_seeds
from zeke_sim.experiment.fault_coverage import FaultCoverage
from zeke_sim.experiment.plan import Plan
from zeke_sim.experiment.replay import replay
from zeke_sim.experiment.run import run
from zeke_sim.experiment.shrink import Shrunk, shrink
from zeke_sim.properties.losses import LOST
from zeke_sim.report import text
from zeke_sim.report.errors import ASSERTED
from zeke_sim.report.files import FOLDER, write, write_source
from zeke_sim.testing.examples import (
    Example,
    Placeholder,
    broken,
    given_of,
    in_example,
    is_search,
    with_example,
)
from zeke_sim.testing.fixtures import Shown, catalog_of, fail_if_never, wrong
from zeke_sim.testing.worlds import check_catalog, checked_count, world_options
from zeke_sim.world.frozen_time import refuse_frozen
from zeke_sim.world.lines import left_out

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import pytest

    from zeke_queue.task.catalog import Catalog
    from zeke_sim.experiment.run import Outcome
    from zeke_sim.experiment.scenario import Scenario
    from zeke_sim.history.events import Violation
    from zeke_sim.properties.losses import Done
    from zeke_sim.testing.client import Client
    from zeke_sim.testing.examples import Given
    from zeke_sim.testing.worlds import WorldOptions

    Workload = Callable[..., Awaitable[object]]

SIMULATED: Final = "zeke_simulated"
"""The attribute by which ``pytest_plugin``, which repeats this name, recognizes simulated tests."""

ONCE: Final = "no effect happens twice"
"""The property of ``crash_test`` that effects are unique."""

SENTENCES: Final = {
    ASSERTED: "A workload's assertions hold under all faults.",
    "a client's program ends": "A workload ends without an error after all faults end.",
    "time passes": "A handler that continues takes time.",
    "some task can continue": "Not all tasks wait for each other.",
    LOST: "A job that is killed and completes does what it does without a kill.",
    ONCE: "No key of zeke_sim.effect occurs twice, wherever the process is killed.",
    "nothing reaches outside": "Code in a world has no access to the outside, so that plans can be replayed.",
}
"""Descriptions of properties that have no docstring."""

OWN: Final = "A property of the test's own."

LONGEST: Final = 40
"""Maximum length of a parameter set's id in a plan's name; a longer id is replaced by its CRC-32."""

POINTS_MAX: Final = 100
"""Maximum number of lines at which a process is killed, one in each run, before the seeds are run."""

KNOWN: Final = 5
"""Maximum number of effects that the message of a wrong ``may_lose`` names."""

SECTION: Final = "faults"
"""The section of a report that lists the faults of a test's tasks; ``pytest_plugin`` repeats its name."""

OTHER_CLOCK: Final = "remove it, and give the world start={start!r}, which the test and its handlers see"

TRACED: Final = 4
"""Maximum number of traceback frames that a failure shows."""


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
            freeze, start, worker, code.

    Raises:
        UsageError: an argument is invalid.
    """
    check_catalog(catalog)
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
    def search(runs: SeededRuns, hits: Counter[str], config: pytest.Config) -> None:
        number = config.getoption("--zeke-seeds") or seeds
        if not runs.run(range(number)):
            fail_if_never(hits, number)

    return made_test(workload, worlds, catalog, search, seeds)


def made_test(
    workload: Workload,
    worlds: WorldOptions,
    catalog: Catalog | None,
    search: Callable[[SeededRuns, Counter[str], pytest.Config], object],
    seeds: int | None = None,
) -> Callable[..., None]:
    """Make a test function of a workload.

    Args:
        search: runs the workload's scenario; gets the counts of ``WorldOptions.checked``, too.
        seeds: for a workload with ``@given``, the number of seeds of which each example draws one; None if
            such a workload is refused.

    Raises:
        UsageError: the workload is not async, or takes no argument.
    """
    examples = given_of(workload)
    if examples is not None and seeds is None:
        raise UsageError("zeke_sim.crash_test: must not be over @given; use zeke_sim.test, which kills, too")
    if not inspect.iscoroutinefunction(workload if examples is None else examples.workload):
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

    def simulated(*instance: Any, request: pytest.FixtureRequest | None = None, **given: Any) -> None:
        request = _checked_place(request, examples)
        if any(one.name == "request" for one in parameters):
            given["request"] = request

        async def work(client: Client) -> None:
            await (workload(*instance, client, **given) if examples is None else examples.work(client))

        hits: Counter[str] = Counter()
        node = request.node
        chosen = catalog_of(request) if catalog is None else catalog
        names = [getattr(node.cls, "__qualname__", None), node.originalname]
        scenario = worlds.scenario(
            f"{node.module.__name__}:{'.'.join(filter(None, names))}{_parameters(node)}",
            chosen,
            work,
            hits,
        )
        runs, config = SeededRuns(worlds, scenario, request, chosen), request.config
        if examples is None or seeds is None:
            search(runs, hits, config)
            return
        given[parameters[0].name] = Placeholder(parameters[0].name)
        examples.search(runs, config.getoption("--zeke-seeds") or seeds, config, *instance, **given)
        if not config.getoption("--zeke-plan"):
            runs.report()
            fail_if_never(hits, runs.number)

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


def _checked_place(request: pytest.FixtureRequest | None, examples: Given | None) -> pytest.FixtureRequest:
    """Return a test's request; fail if the test was made where it cannot run."""
    if examples is None and in_example():
        wrong("zeke_sim.test: must be above @given, got it below; swap the two lines")
    if request is None:
        raise UsageError(
            "zeke_sim.crash_test: a test of a task must be assigned in a module, got an attribute of a "
            "class; decorate a method with @zeke_sim.crash_test there"
        )
    return request


class SeededRuns:
    """Runs of a test's scenario, and the report of a failed run."""

    def __init__(
        self, worlds: WorldOptions, scenario: Scenario, request: pytest.FixtureRequest, catalog: Catalog
    ) -> None:
        if worlds.freeze:
            try:
                refuse_frozen(OTHER_CLOCK)
            except UsageError as error:
                wrong(f"zeke_sim: {error}")
        self.catalog = catalog
        self._worlds = worlds
        self.scenario = scenario
        self._test: str = request.node.nodeid
        self._writes_page = bool(request.config.getoption("--zeke-faults"))
        self._node = request.node
        self._in_example = isinstance(request.node, Example)
        self.number = 0
        self._root = Path(request.config.rootpath)
        self.fault_coverage = FaultCoverage()
        self._plan: str | None = request.config.getoption("--zeke-plan")

    def run(self, seeds: Sequence[int], *, shrinks: bool = True) -> bool:
        """Run seeds until one fails, and shrink that failure; with ``--zeke-plan``, replay the plan instead.

        Returns:
            Whether a plan was replayed.

        Raises:
            Failed: a property was violated; the failure is written to files.
        """
        if self._plan is not None:
            self._replay(self._plan)
            return True
        whole = shrinks and not self._in_example
        if whole and self._worlds.kills_at_lines:
            self.crash(once=True, points_max=POINTS_MAX)
        experiment = run_seeds([self.scenario], seeds)
        self.fault_coverage.merge(experiment.fault_coverage)
        if experiment.interrupted:
            raise KeyboardInterrupt
        if (failure := experiment.failure) is not None:
            self._fail(failure, self.scenario if shrinks else None)
        if whole:
            self.report()
        return False

    def run_one(self, which: Plan | int) -> None:
        """Run a seed, or a plan of any scenario; with ``--zeke-plan``, replay the plan instead.

        Raises:
            Failed: a property was violated; the failure is written to files.
        """
        if self._plan is not None:
            self._replay(self._plan)
            return
        name = self.scenario.name
        if isinstance(which, Plan):
            _check_workers(which, self._worlds.workers)
        plan = self.scenario.plan(which) if isinstance(which, int) else replace(which, scenario=name)
        outcome = run(self.scenario, plan)
        self.number += 1
        self.fault_coverage.take(outcome)
        if outcome.violation is not None:
            self._fail(outcome, self.scenario)

    def report(self, *notes: str) -> None:
        """Add the faults that hit each task, and notes, to the test's report.

        Raises:
            Failed: no fault hit a task that ran.
        """
        lines = [*self.fault_coverage.table(), *self._without_points(), *notes]
        if self._writes_page:
            page = write_source(self._test, self._root / FOLDER, self.fault_coverage)
            lines.append(f"page: {page.relative_to(self._root)}")
        self._node.add_report_section("call", SECTION, "\n".join(lines))
        if (never := self.fault_coverage.never()) and not self._worlds.is_calm:
            wrong(
                f"no fault hit {', '.join(map(repr, never))}, so its recovery is untested; allow more kinds "
                "of faults, run more seeds, or pass calm=True"
            )

    def _without_points(self) -> list[str]:
        """Name the modules of the project that handlers use, and in which no process is killed."""
        if not self._worlds.kills_at_lines:
            return []
        ran = [self.catalog.get(name).handler.__module__ for name in self.fault_coverage.ran]
        left = left_out((*self._worlds.code, *ran), self._root)
        return [
            f"  no kills in {other}, which {name} imports; name it in code=[{other!r}]"
            for other, name in sorted(left.items())
        ]

    def crash(self, *, may_lose: Sequence[str] | None = None, **options: Any) -> Crashes | None:
        """Kill a process at each point that handlers pass, until a run fails.

        Args:
            may_lose, **options: see ``crash_everywhere``.

        Returns:
            The results; None if the plan of ``--zeke-plan`` was replayed instead.

        Raises:
            Failed: a property was violated; the failure is written to files.
        """
        if self._plan is not None:
            self._replay(self._plan, may_lose)
            return None
        results = Crashes(self.scenario)
        for results, outcome in crash_everywhere(self.scenario, may_lose=may_lose, **options):
            self.fault_coverage.take(outcome)
            if results.failure is not None and not results.uneven:
                self._fail(results.failure, results.scenario)
            if not results.tried:
                _check_known(may_lose or (), results.done)
        return results

    def _replay(self, file: str, may_lose: Sequence[str] | None = None) -> None:
        """Replay the plan of ``--zeke-plan``."""
        try:
            plan = Plan.read(Path(file))
        except SimulationError as error:
            wrong(f"--zeke-plan: {error}")
        if plan.scenario != self.scenario.name:
            wrong(
                f"--zeke-plan: {file} is a plan of {plan.scenario}, and this test is {self.scenario.name}; "
                "run that one"
            )
        outcome = replay(plan, self.scenario)
        if outcome.violation is None and may_lose is not None:
            _, done = run_whole(self.scenario)
            outcome = replay(plan, requiring(self.scenario, done, may_lose))
        self.fault_coverage.take(outcome)
        if outcome.violation is not None:
            self._fail(outcome, replays=1)

    def _fail(self, failed: Outcome, scenario: Scenario | None = None, replays: int = 0) -> None:
        """Fail the test by a run.

        Args:
            scenario: the scenario to shrink the run in; None for a run that is shown as it is.
        """
        if is_search() and failed.violation is not None:
            raise broken(failed.violation)
        failed = with_example(failed)
        shrunk = Shrunk.given(failed, replays) if scenario is None else shrink(scenario, failed)
        violation = shrunk.outcome.violation
        if violation is not None:
            own = {one.name for one in self._worlds.properties}
            known = OWN if violation.rule in own else shrunk.outcome.sentence
            sentence = SENTENCES.get(violation.rule, known)
            shrunk = replace(shrunk, outcome=replace(shrunk.outcome, sentence=sentence))
        try:
            failure = write(
                shrunk, self._root / FOLDER, test=self._test, root=self._root, coverage=self.fault_coverage
            )
        except OSError:  # the project folder is read-only, as in some CI systems
            failure = write(shrunk, Path(tempfile.mkdtemp(prefix="zeke-sim-")), test=self._test)
        lines = [text.screen(failure)]
        if shrunk.unsteady is not None:
            lines.append(f"It does not replay identically: {shrunk.unsteady}")
        raise Shown("\n".join([*lines, *_trace(violation)]))


def _check_workers(plan: Plan, workers: int) -> None:
    """Fail the test if a plan has faults of a worker that the world does not have, which have no effect."""
    for address in plan.decisions or {}:
        process = address.removeprefix("node/").partition("/")[0]
        if process.startswith("w") and process[1:].isdecimal() and int(process[1:]) > workers:
            wrong(
                f"plan: must have faults of the world's {workers} workers only, got one of {process}; pass "
                f"the same number to both, as in plans(workers={workers})"
            )


def _check_known(may_lose: Sequence[str], done: Done) -> None:
    """Fail the test if an entry of ``may_lose`` begins nothing that jobs do."""
    known = dict.fromkeys(text for kinds in done.values() for texts in kinds.values() for text in texts)
    for one in may_lose:
        if not any(text.startswith(one) for text in known):
            some = ", ".join(map(repr, [*known][:KNOWN])) or "nothing"
            wrong(f"may_lose: nothing begins with {one!r}; jobs do {some}")


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
