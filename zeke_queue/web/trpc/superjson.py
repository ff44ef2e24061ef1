"""superjson's wire format: JSON with metadata that marks which parts are a Date, a Map, undefined and so on.

Input is converted to plain values, as for a payload; output is marked so that clients get Dates.

| in JavaScript | read as | written from |
|---|---|---|
| undefined | no member of an object; None elsewhere | |
| Date | an aware ``datetime`` | an aware ``datetime`` |
| bigint | ``int`` | an ``int`` that a JavaScript number can't hold |
| NaN, ±Infinity, -0 | ``float`` | ``float`` |
| Map | ``dict``; its keys are text or integers | a mapping with keys that are no text |
| Set, typed array | ``list`` | ``set``, ``frozenset`` |
| Error | ``{"name": …, "message": …}`` | |
| RegExp, URL | its text | |

Parts that were the same object become equal values. Objects that contain themselves, and instances of classes
and symbols that a client registered, have no JSON form and are refused.

Source: superjson 2.2.6, ``plainer.ts``, ``accessDeep.ts``, ``pathstringifier.ts``, ``transformer.ts``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, cast
from uuid import UUID

from zeke_queue.core.jsonb import INTEGER_DIGITS_READ
from zeke_queue.web.shapes import iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DEPTH_MAX: Final = 200
"""Maximum nesting of arrays and objects in a value, as in the queue's own JSON."""

EXPANDED_MAX: Final = 1_000_000
"""Maximum total size of the values with references in one request, with each reference counted as a copy.

The size is approximately the length as JSON, for which a payload has the same limit. Without a limit, a few
hundred bytes of references to references would expand to JSON that exceeds any memory.
"""

SAFE_INTEGER: Final = 2**53 - 1
"""The largest integer up to which a JavaScript number is exact."""

_UNPLAIN: Final = frozenset({"undefined", "map"})
"""Types that are converted only when the whole value is."""

_FORBIDDEN: Final = frozenset({"__proto__", "prototype", "constructor"})
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_INTEGER: Final = re.compile(rf"-?\d{{1,{INTEGER_DIGITS_READ}}}", re.ASCII)
_INDEX: Final = re.compile(r"0|[1-9]\d{0,8}", re.ASCII)
_NUMBERS: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf, "-0": -0.0}

_PART: Final = 4
_CONTAINER: Final = 32  # more than the length of an empty one, since each costs time
_DATE_TEXT: Final = 24
_BITS_PER_DIGIT: Final = 3

_Key: TypeAlias = "str | int"
_Made: TypeAlias = "tuple[Any, int, int]"
"""A converted container: its plain value, its approximate length as JSON, and its nesting depth."""

_Tree: TypeAlias = "dict[str, Any] | list[Any] | None"


class BadSuperJson(ValueError):
    """The input is not valid superjson, or has no plain form; the message names the place and the reason."""


class _Undefined:
    """JavaScript's undefined, until the whole value is converted."""


class _Pairs(list[Any]):
    """The entries of a Map, until the whole value is converted, since paths refer to them by index."""


class Budget:
    """The limit of the total size of one request's values.

    Attributes:
        left: the remaining size.
    """

    def __init__(self, most: int = EXPANDED_MAX) -> None:
        self.left = most


class _Slot(NamedTuple):
    """A place in a tree: a container and the key in it."""

    inside: Any
    key: _Key

    def get(self) -> Any:
        return self.inside[self.key]

    def put(self, value: Any) -> None:
        self.inside[self.key] = value


# Reading


def decode(wire: object, budget: Budget | None = None) -> Any:
    """Decode a value, in time proportional to the input's size, even if it contains references.

    Args:
        wire: parsed JSON, ``{"json": …, "meta": …}``, nested at most 200 levels; it is modified and must not
            be used afterwards.
        budget: the request's budget, to which a value with references is charged; None for a separate one.

    Raises:
        BadSuperJson: the input is invalid, or has no plain form.
    """
    if not isinstance(wire, dict) or "json" not in wire:
        raise BadSuperJson(
            'not superjson\'s form; send {"json": …} with meta beside it, as superjson.serialize does'
        )
    given = cast("dict[str, Any]", wire)
    meta = _object(given.get("meta") or {}, "meta")
    legacy = not meta.get("v")
    root = [given["json"]]
    values, equalities = meta.get("values"), meta.get("referentialEqualities")
    if values is None and not equalities:
        return root[0]
    kinds: set[str] = set()
    _annotate(_Slot(root, 0), values, kinds, legacy=legacy)
    if not equalities and kinds.isdisjoint(_UNPLAIN):
        return root[0]
    _equate(root, equalities, legacy=legacy)
    return _Plain((budget or Budget()) if equalities else None).whole(root[0])


def _annotate(slot: _Slot, tree: _Tree, kinds: set[str], *, legacy: bool) -> None:
    """Convert the parts that a metadata tree marks at and below a place, the innermost first.

    Their types are added to ``kinds``.
    """
    if tree is None:
        return
    below: object = tree
    if isinstance(tree, list):
        below = tree[1] if len(tree) > 1 else {}
    for path, subtree in _object(below, "meta.values").items():
        _annotate(_descend(slot, path, legacy=legacy), subtree, kinds, legacy=legacy)
    if isinstance(tree, list):
        if not tree:
            raise BadSuperJson("meta.values: an annotation is empty; it begins with a type")
        slot.put(_made(tree[0], slot.get()))
        kinds.add(str(tree[0]))


def _equate(root: list[Any], equalities: object, *, legacy: bool) -> None:
    """Make places refer to the object of another place."""
    if not equalities:
        return
    others: object = equalities
    if isinstance(equalities, list):
        parts = cast("list[Any]", equalities)
        _share(root, _Slot(root, 0), parts[0], legacy=legacy)
        others = parts[1] if len(parts) > 1 else {}
    for path, same in _object(others, "meta.referentialEqualities").items():
        _share(root, _descend(_Slot(root, 0), path, legacy=legacy), same, legacy=legacy)


def _share(root: list[Any], source: _Slot, paths: object, *, legacy: bool) -> None:
    if not isinstance(paths, list):
        raise BadSuperJson("meta.referentialEqualities: not a list of paths")
    for path in cast("list[Any]", paths):
        if not isinstance(path, str):
            raise BadSuperJson("meta.referentialEqualities: a path is no text")
        _descend(_Slot(root, 0), path, legacy=legacy).put(source.get())


def _descend(slot: _Slot, path: str, *, legacy: bool) -> _Slot:
    """Return the place at a path below another one.

    Raises:
        BadSuperJson: the path does not exist.
    """
    for segment in parse_path(path, legacy=legacy):
        if segment in _FORBIDDEN:
            raise BadSuperJson(f"meta: a path has {segment}, which is not allowed as a property")
        inside = slot.get()
        if isinstance(inside, list) and _INDEX.fullmatch(segment):
            index = int(segment)
            slot, there = _Slot(inside, index), index < len(cast("list[Any]", inside))
        else:
            slot, there = _Slot(inside, segment), isinstance(inside, dict) and segment in inside
        if not there:
            raise BadSuperJson(f"meta: there is nothing at the path {_shown(path)}")
    return slot


def parse_path(path: str, *, legacy: bool = False) -> list[str]:
    r"""Split a path at its dots; dots and backslashes in keys are escaped.

    Args:
        path: a path from ``meta``.
        legacy: whether backslashes are literal, as before superjson 2.2.3.

    >>> parse_path(r"a\\.b.c")
    ['a\\', 'b', 'c']
    >>> parse_path(r"a\.b")
    ['a.b']
    """
    if "\\" not in path:
        return path.split(".")
    pattern = r"\\\.|[^.]" if legacy else r"\\[\\.]|[^.\\]"
    segments: list[str] = []
    at = 0
    while True:
        part = re.compile(f"(?:{pattern})*", re.DOTALL).match(path, at)
        assert part is not None, "it matches nothing at the least"  # noqa: S101
        text = part.group()
        segments.append(
            text.replace("\\.", ".") if legacy else re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)
        )
        at = part.end()
        if at == len(path):
            return segments
        if path[at] != ".":
            raise BadSuperJson(
                f"meta: the path {_shown(path)} has a backslash before neither a dot nor a backslash"
            )
        at += 1


def _made(kind: object, value: Any) -> Any:
    """Return the value that a marked part represents.

    Raises:
        BadSuperJson: the type is unknown, or the part does not match it.
    """
    if isinstance(kind, list):
        named = cast("list[Any]", kind)
        if len(named) == 2 and named[0] == "typed-array" and isinstance(value, list):  # noqa: PLR2004 - type and name
            return cast("Any", value)
        raise BadSuperJson(f"meta.values: {_shown(named)} is not known here; send plain values")
    make = _MAKERS.get(kind) if isinstance(kind, str) else None
    if make is None:
        raise BadSuperJson(f"meta.values: the type {_shown(kind)} is not known")
    try:
        return make(value)
    except (TypeError, ValueError, KeyError) as error:
        raise BadSuperJson(f"meta.values: {_shown(value)} is no {kind}") from error


def _date(value: Any) -> datetime:
    if _DATE.fullmatch(value) is None:
        raise ValueError(value)
    return datetime.fromisoformat(value)


def _integer(value: Any) -> int:
    if _INTEGER.fullmatch(value) is None:
        raise ValueError(value)
    return int(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(value)
    return cast("list[Any]", value)


def _pairs(value: Any) -> _Pairs:
    entries = _list(value)
    if isinstance(value, _Pairs):  # several paths may lead to it, and each would read all entries
        raise TypeError(value)
    if not all(isinstance(entry, list) and len(cast("list[Any]", entry)) == 2 for entry in entries):  # noqa: PLR2004
        raise ValueError(value)
    return _Pairs(entries)


def _error(value: Any) -> dict[str, Any]:
    given = cast("dict[str, Any]", value)
    _text(given["name"])
    _text(given["message"])
    return given


_MAKERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "undefined": lambda _: _Undefined(),
    "Date": _date,
    "bigint": _integer,
    "number": lambda value: _NUMBERS[value],
    "set": _list,
    "map": _pairs,
    "Error": _error,
    "regexp": _text,
    "URL": _text,
}


class _Plain:
    """Converts a value to its plain form, each part once, even if several places refer to it.

    Args:
        budget: the size limit; None if there are no references, since the value cannot grow then.
    """

    def __init__(self, budget: Budget | None) -> None:
        self._budget = budget
        self._most = math.inf if budget is None else budget.left
        self._above: set[int] = set()
        self._read = 0
        # By id of the source, which is kept alive so that the id is not reused.
        self._made: dict[int, tuple[_Made, object]] = {}

    def whole(self, value: Any) -> Any:
        """Convert the whole value and charge its size to the budget.

        Raises:
            BadSuperJson: the value contains itself, is nested too deeply, becomes too large, or has a Map
                with keys that are neither text nor integers.
        """
        if not isinstance(value, dict | list):
            return None if isinstance(value, _Undefined) else value
        plain, weight, _ = self._of(value)
        if self._budget is not None:
            self._budget.left -= weight
        return plain

    def _of(self, value: Any) -> _Made:
        own = id(value)
        if own in self._above:
            raise BadSuperJson("the value contains itself, which has no JSON form; break the circle")
        known = self._made.get(own)
        if len(self._above) + (1 if known is None else known[0][2]) > DEPTH_MAX:
            raise BadSuperJson(f"the value nests more than {DEPTH_MAX} levels deep; flatten it")
        if known is not None:
            return known[0]
        self._above.add(own)
        made = self._container(value)
        self._above.remove(own)
        if self._budget is not None:
            self._made[own] = made, value
        return made

    def _container(self, value: dict[str, Any] | list[Any]) -> _Made:
        weight, height = _CONTAINER, 0
        plain: list[Any] = []
        keys, members = _members_of(value)
        for member in members:
            if isinstance(member, dict | list):
                made, more, above = self._of(member)
                plain.append(made)
                weight += more
                height = max(height, above)
            else:
                plain.append(None if isinstance(member, _Undefined) else member)
        if self._budget is not None:
            own = sum(map(_weight, plain)) + sum(map(_weight, keys or ()))
            weight += own
            self._read += _CONTAINER + own
        if weight > self._most or self._read > self._most:
            raise BadSuperJson(
                "meta.referentialEqualities: the value is too large once every reference is a copy"
            )
        return plain if keys is None else dict(zip(keys, plain, strict=True)), weight, height + 1


def _members_of(value: dict[str, Any] | list[Any]) -> tuple[list[Any] | None, list[Any]]:
    """Return the keys and members of a container's plain form; None instead of keys for a list."""
    if isinstance(value, _Pairs):
        return [_map_key(key) for key, _ in value], [member for _, member in value]
    if isinstance(value, list):
        return None, value
    if any(isinstance(member, _Undefined) for member in value.values()):
        value = {key: member for key, member in value.items() if not isinstance(member, _Undefined)}
    return list(value), list(value.values())


def _map_key(key: Any) -> _Key:
    if isinstance(key, bool) or not isinstance(key, str | int):
        raise BadSuperJson("a Map has a key that is neither text nor an integer; send an object, or pairs")
    return key


def _weight(value: object) -> int:
    """Return the approximate length as JSON, with separators, of a value that is not a container."""
    if isinstance(value, str):
        return _PART + len(value)
    if isinstance(value, int):
        return _PART + value.bit_length() // _BITS_PER_DIGIT
    return _PART + (_DATE_TEXT if isinstance(value, datetime) else 0)


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadSuperJson(f"{where}: not an object")
    return cast("dict[str, Any]", value)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"  # noqa: PLR2004 - enough to find the place


# Writing


def encode(value: Any) -> dict[str, Any]:
    """Encode a value as superjson: ``{"json": …}``, with ``meta`` if parts need to be marked.

    Args:
        value: plain values, and those of the table above; UUIDs become text.

    Raises:
        TypeError: the value contains another type.
        ValueError: a ``datetime`` is naive.
    """
    json, tree = _written(value)
    return {"json": json} if tree is None else {"json": json, "meta": {"values": tree, "v": 1}}


def _written(value: Any) -> tuple[Any, _Tree]:
    """Return a value's JSON form and the metadata tree of its marked parts."""
    if value is None or isinstance(value, bool | str):
        return value, None
    if isinstance(value, int | float):
        return _written_number(value)
    if isinstance(value, datetime):
        return _written_date(value), ["Date"]
    if isinstance(value, UUID):
        return str(value), None
    return _written_container(value)


def _written_container(value: Any) -> tuple[Any, _Tree]:
    kind: str | None = None
    if isinstance(value, Mapping):
        given = cast("Mapping[Any, Any]", value)
        if all(isinstance(key, str) for key in given):
            json, below = _members(given.items())
            return json, below or None
        kind, members = "map", [[key, member] for key, member in given.items()]
    elif isinstance(value, set | frozenset):
        kind, members = "set", sorted(cast("set[Any]", value), key=repr)
    elif isinstance(value, list | tuple):
        members = cast("list[Any]", value)
    else:
        raise TypeError(f"{type(value).__name__} has no form in superjson")
    json, below = _members(enumerate(members))
    if kind is None:
        return list(json.values()), below or None
    return list(json.values()), [kind, below] if below else [kind]


def _written_number(value: float) -> tuple[Any, _Tree]:
    if isinstance(value, int):
        return (value, None) if abs(value) <= SAFE_INTEGER else (str(value), ["bigint"])
    if math.isnan(value):
        return "NaN", ["number"]
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity", ["number"]
    return ("-0", ["number"]) if not value and math.copysign(1, value) < 0 else (value, None)


def _written_date(value: datetime) -> str:
    if value.tzinfo is None:
        raise ValueError("a datetime without a zone is no instant")
    return iso(value)


def _members(members: Iterable[tuple[Any, Any]]) -> tuple[dict[Any, Any], dict[str, Any]]:
    """Return the JSON form of members, and their metadata by path."""
    written: dict[Any, Any] = {}
    below: dict[str, Any] = {}
    for key, member in members:
        # Clients refuse a whole response with metadata for such a key, so the value is sent as text.
        written[key], tree = _written(member)
        if key in _FORBIDDEN:
            continue
        name = str(key).replace("\\", "\\\\").replace(".", "\\.")
        if isinstance(tree, list):
            below[name] = tree
        elif tree is not None:
            below |= {f"{name}.{path}": subtree for path, subtree in tree.items()}
    return written, below
