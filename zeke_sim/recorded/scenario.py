"""A recorded history as a scenario: the same arrivals and times of attempts, in a world with faults.

A plan names its scenario, and other processes must be able to load it by that name. Here the name is this
module, a colon, and the file with the options of its replay in the form of a URL's query:
``zeke_sim.recorded.scenario:tuesday.jsonl.gz?kill_workers=2``. The module's ``__getattr__`` creates it.
"""

from __future__ import annotations

import asyncio
import copy
import importlib
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote, unquote, urlencode

from zeke_queue.cli.catalog_loader import load_catalog
from zeke_queue.errors import StorageUnavailableError, UsageError
from zeke_queue.system.clock import SystemClock
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.context import JobContext  # noqa: TC001 - the catalog reads the annotation
from zeke_queue.task.signals import Fail
from zeke_sim.errors import SimulationError
from zeke_sim.experiment.scenario import Scenario
from zeke_sim.properties import ALL, unique_effects
from zeke_sim.recorded import format as files
from zeke_sim.recorded.profiles import Profiles, parts
from zeke_sim.world.faults import KINDS, NONE
from zeke_sim.world.setup import Setup

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
    from uuid import UUID

    from zeke_sim.loop.decisions import RandomStream
    from zeke_sim.recorded.format import Recording
    from zeke_sim.recorded.profiles import Arrival, Attempt
    from zeke_sim.world.faults import Knobs
    from zeke_sim.world.node import Node
    from zeke_sim.world.world import World

CLIENT: Final = "arrivals"

ACTIONS: Final = 64
"""Number of parts of the arrivals; shrinking tries to leave out one at a time."""

DRAIN_SECONDS: Final = 2 * 86_400.0
"""Seconds after the time window within which all jobs must have ended."""

KILL_WITHIN: Final = 60.0
"""Seconds for which a kill waits for a handler."""

_RETRY_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Replay:
    """The options of a replay.

    Attributes:
        file: the history.
        kill_workers: how often a worker is killed, at moments at which attempts of the history run.
        faults: further fault kinds that are drawn.
        catalog: ``module:attribute`` of the catalog whose handlers run; "" for handlers that take the
            recorded time and end as recorded.
        resources: ``module:attribute`` of a function that makes their ``job.resources`` for each run; "" for
            those of the catalog.
        workers, concurrency: number of workers, and of jobs that each runs at once; 0 for those recorded.
        part: the part of the history.
        limit: the maximum number of jobs.
    """

    file: str
    kill_workers: int = 0
    faults: tuple[str, ...] = ()
    catalog: str = ""
    workers: int = 0
    concurrency: int = 0
    part: int = 0
    limit: int = files.JOBS_MAX
    resources: str = ""

    @property
    def name(self) -> str:
        """The name of the scenario."""
        default = Replay(self.file)
        options = {
            key: ",".join(self.faults) if key == "faults" else value
            for key, value in asdict(self).items()
            if key != "file" and value != getattr(default, key)
        }
        query = f"?{urlencode(options, safe=',:')}" if options else ""
        return f"{__name__}:{quote(self.file)}{query}"

    @classmethod
    def named(cls, attribute: str) -> Replay:
        """Return the options in a scenario's name.

        Raises:
            SimulationError: the name has other options.
        """
        file, _, query = attribute.partition("?")
        options: dict[str, Any] = dict(parse_qsl(query, strict_parsing=bool(query)))
        try:
            for key in ("kill_workers", "workers", "concurrency", "part", "limit"):
                if key in options:
                    options[key] = int(options[key])
            if "faults" in options:
                options["faults"] = tuple(options["faults"].split(","))
            return cls(unquote(file), **options)
        except (ValueError, TypeError) as error:
            raise SimulationError(
                f"scenario: must be a history with options of its replay, got {attribute!r}: {error}"
            ) from None


def __getattr__(name: str) -> Scenario:
    if name.startswith("__"):
        raise AttributeError(name)
    return scenario(Replay.named(name))


def scenario(replay: Replay) -> Scenario:
    """Return the scenario of a replay.

    Raises:
        SimulationError: the file is invalid, has no job to replay, or lacks the payloads that a catalog
            needs; or a fault kind does not exist.
    """
    unknown = [kind for kind in replay.faults if kind not in KINDS]
    if unknown:
        raise SimulationError(f"--faults: must be some of {', '.join(KINDS)}, got {unknown[0]!r}")
    profiles, catalog = loaded(replay)
    resources = _function(replay.resources) if replay.resources else None
    if resources is not None and catalog is None:
        raise SimulationError("--resources: must be given with --catalog, whose handlers get them")
    return Scenario(
        replay.name,
        f"the arrivals of {replay.file}",
        lambda _: _setup(replay, profiles, None if catalog is None else _opened(catalog, resources)),
        kinds=replay.faults,
        properties=ALL if catalog is None else (*ALL, unique_effects()),
        freeze=catalog is not None,
        adjust=None if replay.faults else _calm,
    )


def loaded(replay: Replay) -> tuple[Profiles, Catalog[Any] | None]:
    """Return the history of a replay, and its catalog."""
    path = Path(replay.file)
    recording = recording_of(path, replay.limit)
    catalog = _loaded(replay.catalog) if replay.catalog else None
    if catalog is not None and recording.header.payloads == "none":
        raise SimulationError(
            f"--catalog: must have payloads, got {replay.file}, which was recorded without; record it with"
            " --payloads full or redacted"
        )
    if replay.part >= parts(recording):
        raise SimulationError(f"part: must be below {parts(recording)}, got {replay.part}")
    profiles = Profiles(recording, () if catalog is None else catalog.served, replay.part)
    if not profiles.jobs:
        raise SimulationError(f"{replay.file}: must have a job that was due in its time window, got none")
    return profiles, catalog


def _loaded(path: str) -> Catalog[Any]:
    """Import a catalog; an error names the option."""
    try:
        return load_catalog(path)
    except UsageError as error:
        raise SimulationError(str(error).replace("--app", "--catalog")) from None


def _function(path: str) -> Callable[[], Any]:
    """Import a function; an error names the option."""
    module, _, name = path.rpartition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SimulationError(f"--resources: must be MODULE:FUNCTION, got {path!r}: {error}") from None
    if not callable(found):
        raise SimulationError(f"--resources: must name a function, got {path!r}, a {type(found).__name__}")
    return found


def _opened(catalog: Catalog[Any], make: Callable[[], Any] | None) -> Catalog[Any]:
    """Return a catalog for one run, all of whose workers get the same resources if a function makes them."""
    if make is None:
        return catalog
    made = make()

    @asynccontextmanager
    async def resources() -> AsyncGenerator[Any]:
        yield made

    opened = copy.copy(catalog)
    opened.resources = resources
    return opened


def recording_of(path: Path, limit: int) -> Recording:
    """Return a history, which is read once for all runs.

    Raises:
        SimulationError: see ``format.read``.
    """
    try:
        changed = path.stat().st_mtime_ns
    except OSError as error:
        raise SimulationError(f"{path}: {error.strerror}; pass a file that `zeke sim record` wrote") from None
    return _read(path, limit, changed)


@lru_cache(maxsize=1)
def _read(path: Path, limit: int, _changed: int, /) -> Recording:
    return files.read(path, limit=limit)


def _calm(knobs: Knobs) -> Knobs:
    """Return knobs without faults, with the task order of the seed."""
    return NONE.but(order=knobs.order)


def _setup(replay: Replay, profiles: Profiles, given: Catalog[Any] | None) -> Setup:
    header = profiles.recording.header
    return Setup(
        _catalog(profiles, given),
        clients={CLIENT: _Arrivals(profiles.arrivals()).run},
        workers=replay.workers or profiles.workers,
        worker={"concurrency": replay.concurrency or profiles.concurrency, **profiles.lease},
        archive_after=header.archive_after,
        delete_after=header.delete_after,
        phase=profiles.seconds + 2 * KILL_WITHIN,
        quiet=DRAIN_SECONDS,
        tail=1.0,
        epoch=profiles.since,
        before=_Kills(profiles, replay.kill_workers).plan,
    )


class RecordedFailure(Exception):
    """The recorded failure of an attempt; its text is the type of the recorded error."""


def _catalog(profiles: Profiles, given: Catalog[Any] | None) -> Catalog[Any]:
    """Return a catalog with the given tasks and, for other queues, tasks that behave as recorded."""
    catalog: Catalog[Any] = Catalog()
    if given is not None:
        catalog = Catalog(
            resources=given.resources,
            defaults=given.defaults,
            payload_cap=given.payload_cap,
            output_cap=given.output_cap,
        )
        catalog.include(given)
    handler = _Handler(profiles, profiles.attempts())
    limits = profiles.limits()
    for name in profiles.names:
        if catalog.find(name) is None:
            catalog.task(name, concurrency_limit=limits.get(name))(handler.handler())
    return catalog


class _Handler:
    """Repeats the attempts of the history, in one run of a world.

    After an attempt that was interrupted, the next one repeats the same recorded attempt.
    """

    def __init__(self, profiles: Profiles, attempts: Mapping[UUID, Sequence[Attempt]]) -> None:
        self._profiles = profiles
        self._attempts = attempts
        self._ended: dict[UUID, int] = {}

    def handler(self) -> Any:
        """Return a new handler for a task."""

        async def as_recorded(job: JobContext[Any]) -> Any:
            return await self._run(job.id)

        return as_recorded

    async def _run(self, job: UUID) -> Any:
        attempts, ended = self._attempts[job], self._ended.get(job, 0)
        attempt = attempts[min(ended, len(attempts) - 1)]
        if attempt.how == "expired":
            self._ended[job] = ended + 1
            await asyncio.Event().wait()  # until its deadline
        await SystemClock().sleep(attempt.seconds)
        self._ended[job] = ended + 1
        if attempt.how == "failed for good":
            raise Fail(f"recorded: {attempt.error}")
        if attempt.how == "failed":
            raise RecordedFailure(attempt.error)
        return self._profiles.output(job)


class _Arrivals:
    """The client that sends and cancels as recorded; a process that replaces it continues there."""

    def __init__(self, arrivals: Sequence[Arrival]) -> None:
        self._arrivals = arrivals
        self._next = 0
        self._left_out: dict[int, bool] = {}

    async def run(self, node: Node) -> None:
        """Send and cancel all jobs at their times."""
        while self._next < len(self._arrivals):
            one = self._arrivals[self._next]
            await node.clock.sleep(max(0.0, one.at - node.world.time()))
            if not self._leaves_out(node, self._next):
                await self._arrive(node, one)
            self._next += 1

    def _leaves_out(self, node: Node, number: int) -> bool:
        part = number * ACTIONS // len(self._arrivals)
        if part not in self._left_out:
            self._left_out[part] = node.world.leaves_out(f"action/{node.name}/{part}")
        return self._left_out[part]

    async def _arrive(self, node: Node, one: Arrival) -> None:
        while True:
            try:
                if one.cancelled is not None:
                    await node.storage.cancel([one.cancelled])
                else:
                    await node.storage.insert(one.jobs)
            except StorageUnavailableError:
                await node.clock.sleep(_RETRY_SECONDS)
            else:
                return


class _Kills:
    """Kills workers at moments at which attempts of the history run."""

    def __init__(self, profiles: Profiles, number: int) -> None:
        self._runs = profiles.runs()
        self._seconds = profiles.seconds
        self._number = number

    def plan(self, world: World) -> None:
        """Schedule the kills, each as a decision."""
        for number in range(self._number):
            address = f"killed/{number}"
            decision = world.decisions.at(address, self._drawn)
            if decision is not None:
                world.later(decision["at"], self._kill, world, address, decision)

    def _drawn(self, draws: RandomStream) -> dict[str, Any]:
        at = draws.uniform(0.0, self._seconds)
        if self._runs:
            begun, ended, _ = draws.pick(self._runs)
            at = min(max(draws.uniform(begun, ended), 0.0), self._seconds)
        return {
            "fault": "kill",
            "at": round(at, 3),
            "which": round(draws.random(), 6),
            "next": draws.chance(0.5),
            "for": round(draws.tail(1.0, 30.0), 3),
        }

    def _kill(self, world: World, address: str, decision: Mapping[str, Any]) -> None:
        """Kill a worker that runs a handler, now or as it begins the next one, or else within a minute."""
        workers = [
            node
            for node in world.nodes.values()
            if node.role == "worker" and not node.dead and not node.awaits.get("handler")
        ]
        if not workers:
            if world.faulty:
                world.later(_RETRY_SECONDS, self._kill, world, address, decision)
            return
        running = {one.node.name for one in world.running.values()}
        busy = [node for node in workers if node.name in running]
        among = busy or workers
        node = among[int(decision["which"] * len(among))]
        if busy and not decision["next"]:
            node.inject(address, decision)
            return
        node.schedule(address, {**decision, "on": "handler"})
        world.later(KILL_WITHIN, self._kill_anyway, node, address, decision)

    @staticmethod
    def _kill_anyway(node: Node, address: str, decision: Mapping[str, Any]) -> None:
        waiting = node.awaits.get("handler", [])
        others = [one for one in waiting if one[0] != address]
        if len(others) < len(waiting):
            node.awaits["handler"] = others
            node.inject(address, decision)
