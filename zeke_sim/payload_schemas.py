"""Strategies of Hypothesis for the JSON that a payload's type allows.

A JSON schema lacks what pydantic checks of dates, decimals and URLs, so ``Described`` adds it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_network
from math import ceil, floor
from typing import TYPE_CHECKING, Any, Final, cast

from hypothesis import strategies as st
from hypothesis.provisional import urls
from pydantic.json_schema import GenerateJsonSchema

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from uuid import UUID

Strategy = st.SearchStrategy

DEEPEST: Final = 3
"""Levels of nested objects after which optional fields of a recursive payload are left out."""

CHECKS: Final = "zeke-checks"
"""The member of a schema that contains pydantic's own description of a value."""


class Described(GenerateJsonSchema):
    """Adds pydantic's own description to the schemas of values whose bounds JSON Schema does not express."""


def _described(kind: str) -> Callable[[Any, Any], dict[str, Any]]:
    base = getattr(GenerateJsonSchema, f"{kind}_schema")

    def described(self: Any, schema: Any) -> dict[str, Any]:
        return {**base(self, schema), CHECKS: schema}

    return described


for _kind in ("complex", "date", "datetime", "decimal", "multi_host_url", "time", "timedelta", "url"):
    setattr(Described, f"{_kind}_schema", _described(_kind))


class Schema:
    """The strategies of a JSON schema, as ``Described`` writes it."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._named: Mapping[str, Any] = schema.get("$defs", {})

    def strategy(self, schema: Mapping[str, Any], level: int = 0) -> Strategy[Any]:
        """Return a strategy of values that a schema allows."""
        alternatives: Sequence[Any] | None = schema.get("anyOf", schema.get("oneOf", schema.get("allOf")))
        if CHECKS in schema:
            found = _CHECKED[schema[CHECKS]["type"]](schema[CHECKS])
        elif "$ref" in schema:
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
        names: Mapping[str, Any] | None = schema.get("propertyNames")
        keys = _KEYS if names is None else self.strategy(names, level).map(_key)
        return st.dictionaries(keys, values, min_size=least, max_size=max(least, most))

    def _arrays(self, schema: Mapping[str, Any], level: int) -> Strategy[Any]:
        if "prefixItems" in schema:
            return st.tuples(*(self.strategy(one, level) for one in schema["prefixItems"])).map(list)
        least = schema.get("minItems", 0)
        most = 0 if level > DEEPEST and not least else schema.get("maxItems", least + 5)
        unique: dict[str, Any] = {"unique_by": repr} if schema.get("uniqueItems") else {}
        return st.lists(
            self.strategy(schema.get("items", {}), level), min_size=least, max_size=most, **unique
        )


_CHARACTERS: Final = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
"""Postgres stores neither NUL nor lone surrogates in JSON."""

_KEYS: Final = st.text(_CHARACTERS, max_size=5)

_ANY: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(_CHARACTERS, max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
    max_leaves=5,
)


def _key(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _versioned(version: int) -> Strategy[str]:
    """Return a strategy of UUIDs of a version, of which the standard library does not know all."""

    def versioned(one: UUID) -> str:
        digits = list(str(one))
        digits[14], digits[19] = str(version), "a"
        return "".join(digits)

    return st.uuids().map(versioned)


_SIZES: Final = st.integers(8, 32)

_INTERFACES: Final[Mapping[int, Strategy[str]]] = {
    v: st.tuples(st.ip_addresses(v=v), _SIZES).map(lambda one: f"{one[0]}/{one[1]}") for v in (4, 6)
}

_NETWORKS: Final[Mapping[int, Strategy[str]]] = {
    v: one.map(lambda text: str(ip_network(text, strict=False))) for v, one in _INTERFACES.items()
}

_BASE64: Final = st.binary(max_size=12).map(lambda one: b64encode(one, b"-_").decode())

_FORMATS: Final[Mapping[str, Strategy[str]]] = {
    "uuid": st.uuids().map(str),
    **{f"uuid{version}": _versioned(version) for version in range(1, 9)},
    "email": st.emails(),
    **{f"ipv{v}": st.ip_addresses(v=v).map(str) for v in (4, 6)},
    **{f"ipv{v}network": _NETWORKS[v] for v in (4, 6)},
    **{f"ipv{v}interface": _INTERFACES[v] for v in (4, 6)},
    "ipvanyaddress": st.ip_addresses().map(str),
    "ipvanynetwork": _NETWORKS[4] | _NETWORKS[6],
    "ipvanyinterface": _INTERFACES[4] | _INTERFACES[6],
    "base64url": _BASE64,
    "zoneinfo": st.timezone_keys(),
}


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
    if schema["type"] == "number" and "multipleOf" not in schema:
        return st.floats(
            above if least is None else least,
            below if most is None else most,
            exclude_min=least is None and above is not None,
            exclude_max=most is None and below is not None,
            allow_nan=False,
            allow_infinity=False,
        )
    step = schema.get("multipleOf", 1)
    return _multiples(step, least, most, above, below)


def _multiples(step: Any, least: Any, most: Any, above: Any, below: Any) -> Strategy[Any]:
    """Return a strategy of multiples of a number between bounds, of which the last two are excluded."""
    # As fractions, since the integer division of decimals rounds towards zero.
    unit = Fraction(step)
    lowest = [ceil(Fraction(one) / unit) for one in (least,) if one is not None]
    lowest += [floor(Fraction(above) / unit) + 1] if above is not None else []
    highest = [floor(Fraction(one) / unit) for one in (most,) if one is not None]
    highest += [ceil(Fraction(below) / unit) - 1] if below is not None else []
    low = max(lowest) if lowest else min(-(2**53), *highest, 0)
    high = min(highest) if highest else max(2**53, low + 2**53)
    return st.integers(low, high).map(lambda number: number * step)


# What ``Described`` adds: each function gets pydantic's description of a value.


def _bounds(checks: Mapping[str, Any], least: Any, most: Any, step: Any) -> tuple[Any, Any]:
    """Return the lowest and the highest value, for values that are ``step`` apart."""
    lowest = [checks[name] + more for name, more in (("ge", 0 * step), ("gt", step)) if name in checks]
    highest = [checks[name] - less for name, less in (("le", 0 * step), ("lt", step)) if name in checks]
    now = checks.get("now_op")
    ends = (least, _YEAR_2000) if now == "past" else (_YEAR_3000, most) if now == "future" else (least, most)
    # A datetime is a date, too.
    fitted = [one if isinstance(least, datetime) == isinstance(one, datetime) else one.date() for one in ends]
    low, high = max(lowest, default=None), min(highest, default=None)
    # A bound may be beyond the other end, such as that of a past date after 2000.
    if low is None:
        low = fitted[0] if high is None else min(fitted[0], high)
    return low, max(fitted[1], low) if high is None else high


# Hypothesis wants bounds of one class. In virtual time all names of the classes stand for subclasses of them.
_real: dict[str, Any] = {one.__name__: one for one in datetime.__mro__ if one.__module__ == "datetime"}
_DATES: Final = _real["date"].min, _real["date"].max
_DATETIMES: Final = _real["datetime"].min, _real["datetime"].max
_YEAR_2000: Final = _real["datetime"](2000, 1, 1)
_YEAR_3000: Final = _real["datetime"](3000, 1, 1)
"""Times that are past and future for tests in virtual and in real time."""

_DAY: Final = timedelta(days=1)


def _dates(checks: Mapping[str, Any]) -> Strategy[str]:
    return st.dates(*_bounds(checks, *_DATES, _DAY)).map(str)


def _datetimes(checks: Mapping[str, Any]) -> Strategy[str]:
    zone = checks.get("tz_constraint")
    naive, bounds = (
        checks,
        [one for name in ("ge", "gt", "le", "lt") if (one := checks.get(name)) is not None],
    )
    if bounds:
        zones: Strategy[Any] = st.none() if bounds[0].tzinfo is None else st.just(UTC)
        naive = {
            **checks,
            **{name: _naive(checks[name]) for name in ("ge", "gt", "le", "lt") if name in checks},
        }
    elif isinstance(zone, int):
        zones = st.just(timezone(timedelta(seconds=zone)))
    else:
        zones = {"naive": st.none(), "aware": st.timezones()}.get(str(zone), st.none() | st.timezones())
    least, most = _bounds(naive, *_DATETIMES, timedelta(microseconds=1))
    return st.datetimes(least, most, timezones=zones).map(lambda one: one.isoformat())


def _naive(value: datetime) -> datetime:
    return value if value.tzinfo is None else value.astimezone(UTC).replace(tzinfo=None)


def _times(checks: Mapping[str, Any]) -> Strategy[str]:
    least, most = checks.get("ge", checks.get("gt", time.min)), checks.get("le", checks.get("lt", time.max))
    zone = least.tzinfo or most.tzinfo or (UTC if checks.get("tz_constraint") == "aware" else None)
    drawn = st.times(least.replace(tzinfo=None), most.replace(tzinfo=None), timezones=st.just(zone))
    return drawn.filter(lambda one: one not in (checks.get("gt"), checks.get("lt"))).map(str)


def _spans(checks: Mapping[str, Any]) -> Strategy[str]:
    step = timedelta(milliseconds=1)
    least, most = _bounds(checks, timedelta(0), timedelta(seconds=10**6), step)
    low, high = -(-least // step), max(most // step, -(-least // step))

    def written(milliseconds: int) -> str:
        return f"{'-' * (milliseconds < 0)}PT{abs(milliseconds) / 1000:.3f}S"

    return st.integers(low, high).map(written)


def _decimals(checks: Mapping[str, Any]) -> Strategy[str]:
    least, most, above, below = (checks.get(name) for name in ("ge", "le", "gt", "lt"))
    lowest: list[Any] = [one for one in (least, above) if one is not None]
    highest: list[Any] = [one for one in (most, below) if one is not None]
    places, digits = checks.get("decimal_places"), checks.get("max_digits")
    if digits is not None:
        places = min(2, digits) if places is None else places
        top = 10 ** Decimal(digits - places) - Decimal(1).scaleb(-places)
        lowest.append(-top)
        highest.append(top)
    low, high = max(lowest, default=None), min(highest, default=None)
    if (step := checks.get("multiple_of")) is not None:
        drawn = _multiples(Decimal(str(step)), low, high, above, below)
    else:
        drawn = st.decimals(low, high, allow_nan=False, allow_infinity=False, places=places)
    return drawn.filter(lambda one: one not in (above, below)).map(str)


def _complex(_checks: Mapping[str, Any]) -> Strategy[str]:
    return st.complex_numbers(allow_nan=False, allow_infinity=False).map(lambda one: str(one).strip("()"))


def _urls(checks: Mapping[str, Any]) -> Strategy[str]:
    schemes = cast("list[str]", checks.get("allowed_schemes") or ["http", "https"])
    if {*schemes} & {"http", "https"}:
        most: int | None = checks.get("max_length")
        return urls().filter(
            lambda one: one.partition(":")[0] in schemes and (most is None or len(one) <= most)
        )
    names = st.from_regex("[a-z]{1,9}", fullmatch=True)
    return st.tuples(st.sampled_from(schemes), names).map(
        lambda one: f"{one[0]}://{'' if one[0] == 'file' else 'user:word@host.example'}/{one[1]}"
    )


_CHECKED: Final[Mapping[str, Callable[[Mapping[str, Any]], Strategy[str]]]] = {
    "complex": _complex,
    "date": _dates,
    "datetime": _datetimes,
    "decimal": _decimals,
    "multi-host-url": _urls,
    "time": _times,
    "timedelta": _spans,
    "url": _urls,
}
