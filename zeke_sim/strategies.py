"""Strategies of Hypothesis for tests with ``@given``: payloads of a task, plans of faults, and workloads.

Hypothesis is needed for this module only, and is not installed with the extra ``sim``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from hypothesis import reject
from hypothesis import strategies as st
from pydantic import TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema

from zeke_queue.core.failure import shown
from zeke_queue.errors import UsageError
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.task import Send, Task
from zeke_sim.experiment.plan import of_faults
from zeke_sim.payload_schemas import Described, Schema
from zeke_sim.world.faults import DATABASE, KINDS, NODE, STATEMENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zeke_sim.experiment.plan import Plan

P = TypeVar("P")

Strategy = st.SearchStrategy

INVALID_MAX: Final = 25
"""Number of drawn payloads after which a task of which none is valid is reported."""

STATEMENTS: Final = ("claim", "settle", "heartbeat")
"""Methods of the storage whose statements a plan disturbs, on workers."""


def payloads(task: Task[P, Any]) -> Strategy[P]:
    """Return a strategy of valid payloads of a task, from its annotation: models, or values.

    The JSON schema of the payload is followed. Validators of your own, which a schema does not show, are
    applied as a filter; for a payload that few values satisfy, write a strategy yourself.

    Raises:
        UsageError: the value is not a task.
    """
    if not isinstance(cast("Any", task), Task):
        raise UsageError(f"payloads: must be a task, got {shown(task)}; pass catalog.get(name)")
    if not task.takes_payload:
        return cast("Strategy[Any]", st.none())
    try:
        schema = TypeAdapter[Any](task.payload_type).json_schema(schema_generator=Described)
    except PydanticInvalidForJsonSchema as error:
        raise UsageError(
            f"payloads: task {task.name!r} must have a payload that JSON can express, got {error.message}; "
            "write a strategy yourself"
        ) from None
    checked = _Checked(task)
    return Schema(schema).strategy(schema).map(json.dumps).map(checked.payload)


class _Checked(Generic[P]):
    """Validates what a strategy draws, as a worker does, and passes over what is invalid."""

    def __init__(self, task: Task[P, Any]) -> None:
        self._task = task
        self._valid = self._invalid = 0
        self._refused = False

    def payload(self, text: str) -> P:
        """Return a payload.

        Raises:
            UsageError: the first ``INVALID_MAX`` that were drawn are all invalid.
        """
        try:
            payload = self._task.validate_json(text.encode())
            self._task.dump(payload)
        except (UsageError, OSError) as error:  # a check of a path may raise the latter
            why = str(error)
        else:
            self._valid += 1
            return payload
        self._invalid += 1
        # Once refused, always refused: Hypothesis repeats an example that fails.
        self._refused = self._refused or (not self._valid and self._invalid >= INVALID_MAX)
        if self._refused:
            # Outside the handler: Hypothesis takes errors with different contexts for different failures.
            raise UsageError(
                f"payloads: no payload that was drawn is valid: {why}; for types with checks of their "
                "own, write a strategy yourself, such as st.builds(Model, field=…)"
            )
        return reject()


def workloads(
    tasks: Catalog[Any] | Sequence[Task[Any, Any]], *, max_size: int = 5, within: float = 60.0
) -> Strategy[list[Send]]:
    """Return a strategy of lists of jobs, for ``send_many``, with payloads, delays, priorities and keys.

    Args:
        tasks: the tasks of the jobs, or a catalog.
        max_size: maximum number of jobs.
        within: the longest delay of a job, in seconds.

    Raises:
        UsageError: an argument is invalid, or there is no task.
    """
    if isinstance(cast("Any", tasks), Task | str) or not isinstance(cast("Any", tasks), Catalog | Iterable):
        raise UsageError(f"tasks: must be a catalog or a list of tasks, got {shown(tasks)}; pass [task]")
    several = [tasks.get(name) for name in tasks.served] if isinstance(tasks, Catalog) else list(tasks)
    if not several:
        raise UsageError("workloads: must have at least one task, got none")
    _check_count("max_size", max_size, 0)
    _check_seconds("within", within)
    options = st.fixed_dictionaries(
        {},
        optional={
            "delay": st.integers(0, int(within)),
            "priority": st.integers(-2, 2),
            "retry_limit": st.integers(0, 3),
            "singleton_key": st.sampled_from(("a", "b")),
        },
    )
    jobs = [st.builds(_send, st.just(task.name), payloads(task), options) for task in several]
    return st.lists(st.one_of(jobs), max_size=max_size)


def _send(task: str, payload: Any, options: Mapping[str, Any]) -> Send:
    return Send(task, payload, **options)


def plans(
    *, workers: int = 3, kinds: Sequence[str] | None = None, seconds: float = 60.0, max_size: int = 4
) -> Strategy[Plan]:
    """Return a strategy of plans: faults of workers, of their statements and of the database.

    A workload of ``zeke_sim.test`` that is given a plan is run with its faults only; so is a world of
    ``simulation(plan=…)``.

    Args:
        workers: number of workers in the world.
        kinds: kinds of faults; by default all of a process, a statement or the database.
        seconds: the time in which faults begin.
        max_size: maximum number of faults.

    Raises:
        UsageError: an argument is invalid: a kind is unknown, for example, or affects neither a process, a
            statement nor the database.
    """
    _check_count("workers", workers, 1)
    _check_seconds("seconds", seconds)
    _check_count("max_size", max_size, 0)
    if isinstance(kinds, str):
        raise UsageError(f"kinds: must be a list of kinds, got {kinds!r}; pass [{kinds!r}]")
    known = {**NODE, **STATEMENT, **DATABASE}
    chosen = [*known] if kinds is None else list(kinds)
    for kind in chosen:
        if kind not in known:
            why = "is drawn by the seeds only" if kind in KINDS else "is unknown"
            raise UsageError(f"kinds: must be some of {', '.join(known)}, got {kind!r}, which {why}")
    names = [f"w{number}" for number in range(1, workers + 1)]
    times = st.integers(0, int(seconds))
    faults: list[Strategy[tuple[str, dict[str, Any]]]] = []
    for kind in chosen:
        fault: dict[str, Strategy[Any]] = {"fault": st.just(kind), **_EXTENTS.get(kind, {"for": _SPANS})}
        if kind in STATEMENT:
            places = st.tuples(st.sampled_from(names), st.sampled_from(STATEMENTS), st.integers(1, 5))
            faults.append(st.tuples(places.map(_address), st.fixed_dictionaries(fault)))
        else:
            place = st.just("db") if kind in DATABASE else st.sampled_from(names).map("node/{}".format)
            faults.append(st.tuples(place, st.fixed_dictionaries({**fault, "at": times})))
    drawn = st.lists(st.one_of(faults), max_size=max_size) if faults else st.just([])
    return drawn.map(_numbered).map(of_faults)


def _check_count(name: str, number: object, least: int) -> None:
    if type(number) is not int or number < least:
        raise UsageError(f"{name}: must be {least} or more, got {shown(number)}")


def _check_seconds(name: str, seconds: object) -> None:
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds < inf:
        raise UsageError(f"{name}: must be 0 or more seconds, got {shown(seconds)}")


def _address(place: tuple[str, str, int]) -> str:
    return "/".join(map(str, place))


_SPANS: Final = st.integers(1, 60)

_EXTENTS: Final[Mapping[str, Mapping[str, Strategy[Any]]]] = {
    **{kind: {} for kind in ("refused", "lost", "kill_before", "kill_after")},
    "clock": {"by": st.integers(-120, 120)},
    "db_clock": {"by": st.integers(-2, 8)},
    "drift": {"rate": st.sampled_from((0.98, 0.99, 1.01, 1.02))},
    "foreign_lock": {
        "for": _SPANS,
        "which": st.sampled_from((0.0, 0.3, 0.6, 0.9)),
        "shared": st.sampled_from((0.0, 1.0)),
    },
    "late": {"wait": _SPANS},
    "abandoned": {"for": st.integers(1, 5), "wait": st.integers(6, 30)},
    "hung": {"for": _SPANS, "applied": st.booleans()},
}
"""The durations and amounts of faults; others have a duration only."""


def _numbered(faults: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Mapping[str, Any]]:
    """Return faults by address: those of a process or of the database are numbered."""
    numbered: dict[str, Mapping[str, Any]] = {}
    for place, fault in faults:
        address = place if "at" not in fault else f"{place}/{len(numbered)}"
        numbered[address] = fault
    return numbered
