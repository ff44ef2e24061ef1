"""The simulated worlds of a test: their options, and the scenario that follows from them."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from zeke_queue.core.failure import shown as value_shown
from zeke_queue.errors import UsageError
from zeke_queue.task.catalog import Catalog
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.history.events import Violation
from zeke_sim.properties import ALL, Property
from zeke_sim.properties import user as user_properties
from zeke_sim.report.errors import ASSERTED
from zeke_sim.testing.client import Client
from zeke_sim.testing.environment import with_resources
from zeke_sim.testing.fixtures import checked_allowed, checked_start
from zeke_sim.world.faults import KINDS, NONE
from zeke_sim.world.setup import EPOCH, Setup

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.world.faults import Knobs
    from zeke_sim.world.node import Node

DAY: Final = 86400.0

FAULTS: Final = ("default", "storm", "none")
"""Named fault profiles; a list of fault kinds is the alternative."""

STORM: Final = {
    "statement": 0.06,
    "wake": 0.3,
    "handler": 0.2,
    "node": 3.0,
    "database": 1.0,
    "call": 0.1,
    "skip": 0.1,
}


WORKER: Final = (
    *("concurrency", "tasks", "task_concurrency", "poll_interval", "lease", "heartbeat_interval"),
    *("shutdown_timeout", "payload_budget"),
)
"""Worker options that a test may set."""


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
        code: names of modules in which a process can be killed before any statement, besides those of the
            handlers, and what these import of their own package.
        calm: whether the test passes even if no fault hits a task that runs.
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
    code: Sequence[str] = ()
    calm: bool = False

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
        _check_code(self.code)
        checked_allowed(self.allow)
        checked_start(self.start)

    @property
    def kinds(self) -> tuple[str, ...] | None:
        """The fault kinds; None for all."""
        return None if isinstance(self.faults, str) else tuple(self.faults)

    @property
    def is_calm(self) -> bool:
        """Whether tasks may run without a fault."""
        return self.calm or self.faults == "none"

    @property
    def kills_at_lines(self) -> bool:
        """Whether processes are killed at points of their code."""
        return self.faults != "none" if self.kinds is None else "kill_line" in self.kinds

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

        Raises:
            UsageError: a module of ``code`` cannot be imported.
        """
        _import(self.code)
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
                code=self.code,
            )

        return Scenario(
            name, "a test of an application", build, self.kinds, self.checked(hits), tuple(self.allow),
            self.freeze, self.knobs,
        )  # fmt: skip


def world_options(given: Mapping[str, Any], *others: str, refused: str | None = None) -> WorldOptions:
    """Return the options that are given by name.

    Args:
        *others: further arguments of the caller, for the message.
        refused: an option that the caller does not accept from its users, for the message.

    Raises:
        UsageError: there is no option of a name, or its value is invalid.
    """
    known = WorldOptions.__dataclass_fields__
    if unknown := set(given) - set(known):
        names = ", ".join(name for name in (*others, *known) if name != refused)
        raise UsageError(f"{min(unknown)}: unknown argument; must be one of {names}")
    return WorldOptions(**given)


def _check_code(modules: object) -> None:
    if isinstance(modules, str):
        raise UsageError(f"code: must be a list of modules, got {modules!r}; pass [{modules!r}]")


def _import(modules: Sequence[str]) -> None:
    """Import the modules of ``code``, which may be imported by a handler only.

    Raises:
        UsageError: there is none of a name.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise UsageError(f"code: must name modules, got {module!r}: {error}") from error


def check_catalog(given: object) -> None:
    """Check that a value is a catalog or None.

    Raises:
        UsageError: it is neither.
    """
    if given is not None and not isinstance(given, Catalog):
        raise UsageError(f"catalog: must be a Catalog, got {value_shown(given)}")


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
    finally:
        forgotten = client.forgotten()
    if forgotten:
        raise Violation(
            ASSERTED,
            f"it called but did not await {', '.join(forgotten)}, so nothing was done: write `await`",
            at=_time(client),
        )


def _time(client: Client) -> float:
    return client._world.time()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage]
