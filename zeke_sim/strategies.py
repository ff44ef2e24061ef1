"""Strategies of Hypothesis for tests with ``@given``: payloads of a task, plans of faults, and workloads.

Hypothesis is needed for this module only, and is not installed with the extra ``sim``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.provisional import urls

from zeke_queue.core.failure import shown
from zeke_queue.errors import UsageError
from zeke_queue.task.catalog import Catalog
from zeke_queue.task.task import Send, Task
from zeke_sim.experiment.plan import of_faults
from zeke_sim.world.faults import DATABASE, KINDS, NODE, STATEMENT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from zeke_sim.experiment.plan import Plan

P = TypeVar("P")

Strategy = st.SearchStrategy

DEEPEST: Final = 3
"""Levels of nested objects after which optional fields of a recursive payload are left out."""

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
    schema = task.json_schema()
    if schema is None:
        return cast("Strategy[Any]", st.none())

    def valid(value: Any) -> P:
        try:
            payload = task.validate(value)
            task.dump(payload)
        except UsageError:
            assume(condition=False)
            raise
        return payload

    return _Schema(schema).strategy(schema).map(valid)


def workloads(
    tasks: Catalog[Any] | Sequence[Task[Any, Any]], *, max_size: int = 5, within: float = 60.0
) -> Strategy[list[Send]]:
    """Return a strategy of lists of jobs, for ``send_many``, with payloads, delays, priorities and keys.

    Args:
        tasks: the tasks of the jobs, or a catalog.
        max_size: maximum number of jobs.
        within: the longest delay of a job, in seconds.

    Raises:
        UsageError: there is no task.
    """
    several = [tasks.get(name) for name in tasks.served] if isinstance(tasks, Catalog) else list(tasks)
    if not several:
        raise UsageError("workloads: must have at least one task, got none")
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
        UsageError: a kind is unknown, or affects neither a process, a statement nor the database.
    """
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


_CHARACTERS: Final = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
"""Postgres stores neither NUL nor lone surrogates in JSON."""

_KEYS: Final = st.text(_CHARACTERS, max_size=5)

_ANY: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(_CHARACTERS, max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=5,
)

_FORMATS: Final[Mapping[str, Strategy[str]]] = {
    "date-time": st.datetimes(timezones=st.timezones()).map(lambda one: one.isoformat()),
    "date": st.dates().map(str),
    "time": st.times().map(str),
    "duration": st.integers(0, 10**6).map("PT{}S".format),
    "uuid": st.uuids().map(str),
    "uuid4": st.uuids(version=4).map(str),
    "uri": urls(),
    "email": st.emails(),
    "ipv4": st.ip_addresses(v=4).map(str),
    "ipv6": st.ip_addresses(v=6).map(str),
}


class _Schema:
    """The strategies of a JSON schema, as pydantic writes it."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._named: Mapping[str, Any] = schema.get("$defs", {})

    def strategy(self, schema: Mapping[str, Any], level: int = 0) -> Strategy[Any]:
        """Return a strategy of values that a schema allows."""
        alternatives: Sequence[Any] | None = schema.get("anyOf", schema.get("oneOf", schema.get("allOf")))
        if "$ref" in schema:
            name = schema["$ref"].rpartition("/")[2]
            found = st.deferred(lambda: self.strategy(self._named[name], level + 1))
        elif "const" in schema or "enum" in schema:
            found = st.sampled_from(schema.get("enum", [schema.get("const")]))
        elif alternatives is not None:  # pydantic's allOf has one part
            found = st.one_of([self.strategy(one, level) for one in alternatives])
        else:
            found = self._typed(schema, level)
        return found

    def _typed(self, schema: Mapping[str, Any], level: int) -> Strategy[Any]:
        kind = schema.get("type")
        if kind == "object":
            return self._objects(schema, level)
        if kind == "array":
            return self._arrays(schema, level)
        if kind == "string":
            return _texts(schema)
        if kind in {"integer", "number"}:
            return _numbers(schema)
        return {"boolean": st.booleans(), "null": st.none()}.get(str(kind), _ANY)

    def _objects(self, schema: Mapping[str, Any], level: int) -> Strategy[Any]:
        fields: Mapping[str, Any] = schema.get("properties", {})
        required = {name: self.strategy(fields[name], level) for name in schema.get("required", ())}
        left = {} if level > DEEPEST else {name: one for name, one in fields.items() if name not in required}
        named = st.fixed_dictionaries(
            required, optional={name: self.strategy(one, level) for name, one in left.items()}
        )
        others: Any = schema.get("additionalProperties", not fields)
        if not others or fields:
            return named
        values = _ANY if others is True else self.strategy(others, level)
        least, most = schema.get("minProperties", 0), schema.get("maxProperties", 3)
        return st.dictionaries(_KEYS, values, min_size=least, max_size=max(least, most))

    def _arrays(self, schema: Mapping[str, Any], level: int) -> Strategy[Any]:
        if "prefixItems" in schema:
            return st.tuples(*(self.strategy(one, level) for one in schema["prefixItems"])).map(list)
        least = schema.get("minItems", 0)
        most = 0 if level > DEEPEST and not least else schema.get("maxItems", least + 5)
        unique: dict[str, Any] = {"unique_by": repr} if schema.get("uniqueItems") else {}
        return st.lists(
            self.strategy(schema.get("items", {}), level), min_size=least, max_size=most, **unique
        )


def _texts(schema: Mapping[str, Any]) -> Strategy[str]:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if "pattern" in schema:
        found: Strategy[str] = st.from_regex(str(schema["pattern"]))
        return found.filter(lambda text: least <= len(text) and (most is None or len(text) <= most))
    if (known := _FORMATS.get(schema.get("format", ""))) is not None:
        return known
    return st.text(_CHARACTERS, min_size=least, max_size=most)


def _numbers(schema: Mapping[str, Any]) -> Strategy[Any]:
    least, most = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if schema["type"] == "number":
        return st.floats(
            above if least is None else least,
            below if most is None else most,
            exclude_min=least is None and above is not None,
            exclude_max=most is None and below is not None,
            allow_nan=False,
            allow_infinity=False,
        )
    step = schema.get("multipleOf", 1)
    lowest = least if above is None else above + 1
    highest = most if below is None else below - 1
    lowest, highest = -(2**53) if lowest is None else lowest, 2**53 if highest is None else highest
    return st.integers(-(-lowest // step), highest // step).map(lambda number: number * step)
