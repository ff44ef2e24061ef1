"""Tests of Hypothesis over the fixtures ``zeke``, ``zeke_sync`` and ``simulation``.

pytest sets up function-scoped fixtures once for a test, and Hypothesis runs the test many times. So for these
tests, each example is an item of pytest whose chain of nodes begins with the test's own: pytest sets up its
function-scoped fixtures, runs the example, and tears them down. The test's own item gets placeholders
instead, and has no such fixture that Hypothesis's health check could find. Fixtures with another scope, and
those of ``autouse``, belong to the test as before.
"""

from __future__ import annotations

import copy
import functools
import inspect
import sys
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from zeke_sim.errors import SimulationError
from zeke_sim.experiment.plan import Plan
from zeke_sim.testing import private_apis
from zeke_sim.testing.fixtures import fail_if_never, wrong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping

    from zeke_sim.experiment.run import Outcome
    from zeke_sim.history.events import Violation
    from zeke_sim.testing.client import Client
    from zeke_sim.testing.seeded_test import SeededRuns

FIXTURES: Final = frozenset({"zeke", "zeke_sync", "simulation"})
"""The fixtures that make a test of Hypothesis one of these tests."""

HELD: Final = pytest.StashKey[tuple[str, ...]]()
"""The names of the fixtures that each example of a test sets up."""


class Counts:
    """The counts of what must happen in at least one run of a test.

    Args:
        is_shared: whether all examples of a test share them, so that they are checked at its end.

    Attributes:
        hits: for each such event, the number of runs in which it happened.
    """

    def __init__(self, *, is_shared: bool) -> None:
        self.hits: Counter[str] = Counter()
        self._is_shared = is_shared
        self._runs = 0

    def add(self, runs: int) -> None:
        """Add to the number of runs."""
        self._runs += runs
        if not self._is_shared:
            self.check()

    def check(self) -> None:
        """Fail the test if an event did not happen."""
        if self._runs:
            fail_if_never(self.hits, self._runs)


COUNTS: Final = pytest.StashKey[Counts]()
"""The counts of all examples of a test."""


def counts_of(node: pytest.Item) -> Counts:
    """Return the counts of a simulation: those of the whole test if it is an example's."""
    if isinstance(node, Example):
        return node.test.stash.setdefault(COUNTS, Counts(is_shared=True))
    return Counts(is_shared=False)


class Placeholder:
    """A placeholder for a fixture of an example, in the arguments with which Hypothesis is called."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


class Example(pytest.Function):
    """One example of a test: it has fixtures of its own; markers, the stash and properties are the test's."""

    def __init__(self, *, test: pytest.Function, **known: Any) -> None:
        super().__init__(**known)  # pyright: ignore[reportUnknownMemberType]
        self.test = test
        self.own_markers = test.own_markers
        self.keywords = test.keywords
        self.stash = test.stash
        self.user_properties = test.user_properties

    def __getattr__(self, name: str) -> Any:
        """Return an attribute that a plugin has set on the test, as in ``request.node.rep_setup``."""
        if name.startswith("__") or "test" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.test, name)

    @property
    def instance(self) -> Any:
        """The test's object, if it is a method."""
        return self.test.instance

    def listchain(self) -> list[Any]:
        """Return the nodes whose fixtures an example can use: the test, and those above it."""
        return [*self.test.listchain(), self]

    def add_report_section(self, when: str, key: str, content: str) -> None:
        """Add a section to the test's report."""
        self.test.add_report_section(when, key, content)


def hold(item: pytest.Function) -> None:
    """Put placeholders in the place of the fixtures that each example of a test sets up.

    Raises:
        Failed: an ``autouse`` fixture uses one of ``FIXTURES``, so examples would share it.
    """
    info = private_apis.fixture_info(item)
    definitions: Mapping[str, Any] = info.name2fixturedefs
    names = set(info.argnames)
    own = _closure(names, definitions)
    shared = _closure(set(info.initialnames) - names, definitions)
    if used := sorted(shared & FIXTURES):
        wrong(
            f"{used[0]}: must be an argument of a test with @given, got it by autouse or usefixtures, so all "
            "examples would share it"
        )
    held = tuple(
        name
        for name in item.fixturenames
        if name == "request"
        or (name in own - shared and name in definitions and _is_made_anew(definitions[name][-1]))
    )
    item.stash[HELD] = held
    item.funcargs.update({name: Placeholder(name) for name in held})


def check_is_own(node: pytest.Item, names: str) -> None:
    """Check that a fixture is set up for one example.

    Raises:
        Failed: it is set up for the whole test.
    """
    if not isinstance(node, Example):
        wrong(
            f"{names}: must be an argument of a test with @given, got it by getfixturevalue, so all examples "
            "would share it; add an argument to the test"
        )


def _is_made_anew(definition: Any) -> bool:
    """Return whether a fixture belongs to a function, and is not a value of ``parametrize``."""
    return definition.scope == "function" and not private_apis.is_parameter(definition)


def _closure(names: Iterable[str], definitions: Mapping[str, Any]) -> set[str]:
    """Return names of fixtures with all that they use."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [one for definition in definitions.get(name, ()) for one in definition.argnames]
    return found


@contextmanager
def without_held(item: pytest.Function) -> Generator[None]:
    """Hide the placeholders' names from Hypothesis within the block, and call it without a time limit.

    Its time limit is one of real time, of which a world's runs take some.
    """
    test: Any = item.obj
    handle, inner = test.hypothesis, test.hypothesis.inner_test
    signature = inspect.signature(test)
    held = item.stash[HELD]

    @functools.wraps(test)
    def shell(*args: Any, **given: Any) -> None:
        __tracebackhide__ = True
        with adjusted(test, item.config, item.nodeid, getattr(shell, private_apis.SETTINGS, None)):
            test(*args, **given)
        counts_of_all = item.stash.get(COUNTS, None)
        if counts_of_all is not None and not item.config.getoption("--zeke-plan"):
            counts_of_all.check()

    left = [one for one in signature.parameters.values() if one.name not in held]
    setattr(shell, "__signature__", signature.replace(parameters=left))  # noqa: B010
    item.obj = shell
    try:
        yield
    finally:
        item.obj, handle.inner_test = test, inner


@contextmanager
def adjusted(test: Any, config: pytest.Config, scenario: str, settings: Any = None) -> Generator[None]:
    """Call a test of Hypothesis in the block as tests of worlds need it.

    Hypothesis's default time limit does not apply: it is one of real time, of which a world's runs take some.
    One failure is reported, since each is shrunk and written to files. It is not explained, since Hypothesis
    would trace the simulator. With ``--zeke-plan``, that plan's example is the only one, and may succeed.

    Args:
        scenario: the name by which a plan of this test is known.
    """
    import hypothesis  # noqa: PLC0415 - loaded, since there is a test of it
    from hypothesis.errors import DidNotReproduce  # noqa: PLC0415

    function = getattr(test, "__func__", test)
    before = private_apis.attributes(function)
    default: Any = hypothesis.settings.default
    chosen: Any = settings or before[private_apis.SETTINGS] or default
    phases = [phase for phase in chosen.phases if phase is not hypothesis.Phase.explain]
    changes: dict[str, Any] = {"report_multiple_bugs": False, "phases": phases}
    if not private_apis.has_own_deadline(chosen, default):
        changes["deadline"] = None
    file = config.getoption("--zeke-plan")
    plan = None if file is None else _plan(file)
    blob = plan.example if plan is not None and plan.scenario == scenario else ""
    if blob:
        of_version, _, failure = blob.partition(":")
        hypothesis.reproduce_failure(of_version, failure.encode())(function)
    elif plan is not None and plan.scenario == scenario:
        changes["phases"] = (hypothesis.Phase.explicit,)
    setattr(function, private_apis.SETTINGS, hypothesis.settings(chosen, **changes))
    try:
        yield
    except DidNotReproduce:
        if not blob:
            raise
    finally:
        for name, value in before.items():
            setattr(function, name, value)


def _plan(file: str) -> Plan:
    try:
        return Plan.read(Path(file))
    except SimulationError as error:
        wrong(f"--zeke-plan: {error}")


def in_example() -> bool:
    """Return whether Hypothesis runs an example."""
    hypothesis: Any = sys.modules.get("hypothesis")
    return hypothesis is not None and hypothesis.currently_in_test_context()


def is_search() -> bool:
    """Return whether Hypothesis runs an example that it does not show."""
    return in_example() and not private_apis.build_context().is_final


def with_example(outcome: Outcome) -> Outcome:
    """Return an outcome whose plan names the present example, if there is one that Hypothesis has drawn."""
    choices = private_apis.build_context().data.choices if in_example() else ()
    if not choices:
        return outcome
    blob = f"{version('hypothesis')}:{private_apis.encoded(choices)}"
    return replace(outcome, plan=replace(outcome.plan, example=blob))


_KINDS: Final[dict[str, type[AssertionError]]] = {}


def broken(violation: Violation) -> AssertionError:
    """Return a violation as an error that Hypothesis distinguishes by the property."""
    kind = _KINDS.setdefault(violation.rule, type("Broken", (AssertionError,), {}))
    error = kind(str(violation))
    error.__cause__ = violation.__cause__
    return error


class Given:
    """A workload with ``@given``: Hypothesis calls ``run`` with each example.

    Attributes:
        workload: the workload itself, which is async.
    """

    def __init__(self, test: Any) -> None:
        self._test = test
        self.workload: Callable[..., Awaitable[object]] = test.hypothesis.inner_test
        self._fixed = frozenset(inspect.signature(test).parameters)
        self._arguments: tuple[Any, ...] = ()
        self._known: dict[str, Any] = {}

    async def work(self, client: Client) -> None:
        """Run the workload with the example's arguments, which a run may change."""
        drawn = {name: _copied(one) for name, one in self._known.items() if name not in self._fixed}
        fixed = {name: client if isinstance(one, Placeholder) else one for name, one in self._known.items()}
        await self.workload(*self._arguments, **{**fixed, **drawn})

    def search(
        self,
        runs: SeededRuns,
        seeds: int,
        config: pytest.Config,
        *args: Any,
        **known: Any,
    ) -> None:
        """Run examples until one fails.

        Args:
            runs: runs an example, with a plan that it drew or else with a seed.
            seeds: the number of seeds of which each example draws one.
            *args, **known: the arguments that Hypothesis does not draw.
        """
        from hypothesis import strategies  # noqa: PLC0415 - loaded, since there is a test of it

        numbers = strategies.integers(0, seeds - 1)

        @functools.wraps(self.workload)
        def example(*args: Any, **known: Any) -> None:
            self._arguments, self._known = args, known
            _refuse_draws(known)
            plans = [one for one in known.values() if isinstance(one, Plan)]
            data = private_apis.build_context().data
            # An explicit example has no further choices, so it has the first seed.
            runs.run_one(plans[0] if plans else 0 if data.max_choices == 0 else data.draw(numbers))

        handle = self._test.hypothesis
        handle.inner_test = example
        try:
            with adjusted(self._test, config, runs.scenario.name):
                self._test(*args, **known)
        finally:
            handle.inner_test = self.workload


def _refuse_draws(known: Mapping[str, Any]) -> None:
    """Refuse ``st.data()``: a run is repeated to shrink its faults, and would draw other values."""
    from hypothesis.strategies import DataObject  # noqa: PLC0415 - as above

    for name, value in known.items():
        if isinstance(value, DataObject):
            wrong(
                f"{name}: must be drawn before a run, which is repeated to shrink its faults, got st.data(); "
                "draw the values by strategies of @given, such as st.composite"
            )


def given_of(test: Any) -> Given | None:
    """Return a workload's ``@given``, if it has one."""
    return Given(test) if getattr(test, "is_hypothesis_test", False) and hasattr(test, "hypothesis") else None


def _copied(value: Any) -> Any:
    try:
        return copy.deepcopy(value)
    except Exception:  # noqa: BLE001 - whatever cannot be copied is shared by the runs
        return value


def set_up_each(item: pytest.Function) -> None:
    """Make each example of a test set up its fixtures; a plugin has made async tests synchronous by now."""
    handle: Any = item.obj.hypothesis
    test: Callable[..., Any] = handle.inner_test
    if inspect.iscoroutinefunction(test):
        return  # no plugin runs async tests, which Hypothesis reports

    @functools.wraps(test)
    def example(*args: Any, **given: Any) -> Any:
        __tracebackhide__ = True
        with _fixtures(item) as fixtures:
            own = {
                name: fixtures[name] if isinstance(one, Placeholder) else one for name, one in given.items()
            }
            return test(*args, **own)

    handle.inner_test = example


@contextmanager
def _fixtures(item: pytest.Function) -> Generator[dict[str, Any]]:
    """Set up the fixtures of an example, and tear them down."""
    made: Callable[..., Any] = Example.from_parent  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    example = made(
        item.parent,
        test=item,
        name=item.name,
        callspec=getattr(item, "callspec", None),
        callobj=item.obj,
        fixtureinfo=private_apis.fixture_info(item),
        originalname=item.originalname,
    )
    held = item.stash[HELD]
    example.funcargs.update({name: one for name, one in item.funcargs.items() if name not in held})
    if "request" in held:
        example.funcargs["request"] = private_apis.request_of(example)
    state = private_apis.setup_state(item.session)
    with private_apis.restored_stash(item):
        try:
            state.setup(example)
            private_apis.clear_caplog(item)
            yield example.funcargs
        except BaseException as error:
            try:
                state.teardown_exact(item)
            except BaseException as another:  # noqa: BLE001 - the first error is the one to report
                error.add_note(f"tearing down its fixtures raised {type(another).__name__}: {another}")
            raise
        state.teardown_exact(item)
